"""A repository that the catalogue does not name: its family is read from the hub before anything is downloaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakehub import FakeHub

ROOT = Path(__file__).resolve().parents[1]
ASKS = """
import sys
from demo.config import EngineConfig, ModelChoice
from demo.engine.manager import resolve_roles
from demo.errors import DemoError
from demo.recognition import recognised
try:
    specs = resolve_roles(recognised(EngineConfig(models=(ModelChoice("org/model"),))))
    print({spec.family for spec in specs.values()}, *sorted(specs))
except DemoError as error:
    print(error)
"""


@pytest.fixture
def hub():
    with FakeHub() as running:
        yield running


@pytest.fixture
def ask(tmp_path):
    """Each question in a process of its own: huggingface_hub reads its environment when it is imported."""

    def ask(url):
        surroundings = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", ASKS]
        ran = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **surroundings}, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    return ask


@pytest.fixture
def planned(tmp_path):
    def planned(url, *flags):
        surroundings = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "launch.py", "--plan", "--assume", "2x24GiB", *flags]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **surroundings}, capture_output=True, text=True)

    return planned


@pytest.mark.parametrize("status", [0, 401, 403, 503], ids=["absent", "private", "gated", "down"])
def test_a_plan_of_a_model_whose_files_cannot_be_had_is_printed_and_does_not_end_well(hub, planned, status):
    hub.faults.status = status
    ran = planned(hub.url, "--model", "nonexist/foo", "--json")
    assert ran.returncode == 1
    plan = json.loads(ran.stdout)
    assert (plan["model"], plan["fits"], plan["weights_bytes"]) == ("nonexist/foo", None, None)
    (said,) = ran.stderr.splitlines()
    assert said.startswith("error: Whether it fits is not known, for its files cannot be had (nonexist/foo). Check")


def test_a_model_that_does_not_fit_beside_one_that_is_not_known_is_a_refusal(hub, planned):
    ran = planned(hub.url, "--model", "nonexist/foo", "--model", "grounding=fake?parameters=99000000000")
    assert ran.returncode == 2
    assert "size not known yet" in ran.stdout


def config(**entries) -> dict[str, bytes]:
    return {"config.json": json.dumps(entries).encode(), "model.safetensors": b"never asked for"}


def test_a_repository_of_a_known_family_grounds(hub, ask):
    hub.add("org/model", config(model_type="qwen3_vl", vision_config={}))
    assert ask(hub.url) == "{'qwen3_vl'} captioning chat grounding"
    assert set(hub.downloads()) <= {"config.json", "model.safetensors"}


def test_a_repository_that_was_downloaded_is_known_without_the_hub(hub, ask, tmp_path):
    home = tmp_path / "hub" / "models--org--model"
    (home / "snapshots" / "abc").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    written = config(model_type="florence2", vision_config={})["config.json"]
    (home / "snapshots" / "abc" / "config.json").write_bytes(written)
    assert ask(hub.url) == "{'florence2'} captioning chat grounding"
    assert hub.downloads() == []


def test_a_repository_of_another_type_chats_and_captions(hub, ask):
    hub.add("org/model", config(model_type="of-tomorrow", vision_config={}))
    assert ask(hub.url) == "{'generic'} captioning chat"


def test_published_cogvlms_are_left_to_whoever_has_their_other_files(hub, ask):
    hub.add("org/model", config(vision_config={}, num_multi_query_heads=8))
    assert ask(hub.url) == "{'auto'} captioning chat"


def test_a_text_only_repository_is_refused_before_it_is_downloaded(hub, ask):
    hub.add("org/model", config(model_type="llama"))
    assert "reads no pictures" in ask(hub.url)


def test_a_hub_that_does_not_answer_leaves_chat_and_captions(hub, ask):
    hub.faults.status = 503
    assert ask(hub.url) == "{'auto'} captioning chat"
