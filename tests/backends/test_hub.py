"""Downloads from a hub: what is fetched, what is refused, and how the failures are told apart.

Each download runs in a process of its own, as in the demo: huggingface_hub reads its environment when it is imported.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakehub import FakeHub

ROOT = Path(__file__).resolve().parent.parent.parent
RUNNER = """
import json, sys
from pathlib import Path
from demo.backends import checkpoint, hub
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.errors import DemoError
asked = json.loads(sys.argv[1])
exec(asked["before"])
spec = resolve(ModelChoice(asked["name"]), revision=asked["revision"], trust_remote_code=asked["trust"])
stages, answer = [], {}
try:
    path = hub.fetch_model(spec, lambda *stage: stages.append(stage))
    answer = {"path": str(path), "files": sorted(p.name for p in path.iterdir())}
    tokenizer = hub.fetch_tokenizer(spec, lambda *stage: stages.append(stage))
    answer["tokenizer"] = tokenizer and sorted(p.name for p in tokenizer.iterdir())
    answer["weights"] = checkpoint.check_weights(path)
except DemoError as error:
    answer = {"kind": error.kind, "message": str(error)}
print(json.dumps({**answer, "stages": stages}))
"""


def safetensors(num_weights: int = 4) -> bytes:
    entry = {"w": {"dtype": "F32", "shape": [num_weights], "data_offsets": [0, 4 * num_weights]}}
    header = json.dumps(entry).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * num_weights)


MODEL = {
    "config.json": json.dumps({"model_type": "llava", "vision_config": {}}).encode(),
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "README.md": b"# A model",
    "model.safetensors": safetensors(),
    "pytorch_model.bin": b"pickle",
    "modeling_x.py": b"raise SystemExit",
    "onnx/config.json": b"{}",
    "consolidated.safetensors": safetensors(),
}


@dataclass
class Client:
    """A user's machine: its cache and its environment."""

    home: Path
    hub_url: str

    def start(self, name="org/model", *, before="", revision=None, trust=False, **environ: str) -> subprocess.Popen:
        asked = json.dumps({"name": name, "before": before, "revision": revision, "trust": trust})
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        env = {**clean, "HF_HOME": str(self.home), "HF_ENDPOINT": self.hub_url, "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-c", RUNNER, asked]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env={**env, **environ}, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)

    def fetch(self, *args, **how) -> dict:
        process = self.start(*args, **how)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return {**json.loads(output), "stderr": errors}


@pytest.fixture
def hub():
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def client(hub, tmp_path):
    return Client(tmp_path / "home", hub.url)


def test_a_model_is_downloaded_without_pickles_code_or_copies_and_pinned_to_a_commit(hub, client):
    commit = hub.add("org/model", MODEL)
    answer = client.fetch()
    assert answer["files"] == ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"]
    assert Path(answer["path"]).name == commit
    assert Path(answer["path"]).is_relative_to(client.home)
    assert answer["weights"] == 4


def test_remote_code_is_fetched_only_when_it_is_trusted(hub, client):
    commit = hub.add("org/model", MODEL)
    assert "modeling_x.py" in client.fetch(trust=True, revision=commit)["files"]


def test_progress_is_reported_in_bytes_and_reaches_the_end(hub, client):
    hub.add("org/model", {**MODEL, "model.safetensors": safetensors(3_000_000)})
    stages = client.fetch()["stages"]
    assert stages[0] == ["looking up org/model", None]
    fractions = [fraction for _, fraction in stages if fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any(0 < fraction < 1 for fraction in fractions)
    assert stages[-1][0] == "downloading org/model, 12.0 MB of 12.0 MB"


def test_a_second_start_downloads_nothing(hub, client):
    hub.add("org/model", MODEL)
    first = client.fetch()
    hub.requests.clear()
    assert client.fetch()["path"] == first["path"]
    assert hub.downloads() == []


def test_a_new_commit_is_fetched_but_a_pinned_revision_stays(hub, client):
    old = hub.add("org/model", MODEL)
    assert Path(client.fetch()["path"]).name == old
    new = hub.add("org/model", {**MODEL, "config.json": b'{"model_type": "llava", "vision_config": {"a": 1}}'})
    assert Path(client.fetch()["path"]).name == new
    assert Path(client.fetch(revision=old)["path"]).name == old


def test_the_tokenizer_of_its_own_repository_is_fetched_without_weights(hub, client):
    hub.add("org/model", MODEL)
    hub.add("org/words", {"tokenizer.json": b"{}", "tokenizer.model": b"x", "model.safetensors": b"", "x.bin": b""})
    assert client.fetch("org/model?tokenizer=org/words")["tokenizer"] == ["tokenizer.json", "tokenizer.model"]


def test_offline_the_cache_is_used_and_the_hub_is_not_asked(hub, client):
    hub.add("org/model", MODEL)
    path = client.fetch()["path"]
    hub.requests.clear()
    assert client.fetch(HF_HUB_OFFLINE="1")["path"] == path
    assert hub.requests == []


def test_offline_without_a_cached_model_the_remedy_is_to_start_once_online(hub, client):
    hub.add("org/model", MODEL)
    answer = client.fetch(HF_HUB_OFFLINE="1")
    assert answer["kind"] == "no_network"
    assert "Start once without HF_HUB_OFFLINE" in answer["message"]


def test_without_a_network_the_cache_is_used_and_the_log_says_so(hub, client):
    hub.add("org/model", MODEL)
    path = client.fetch()["path"]
    client.hub_url = "http://127.0.0.1:9"  # nothing listens on the discard port
    answer = client.fetch()
    assert answer["path"] == path
    assert "taken from the cache" in answer["stderr"]


def test_without_a_network_and_without_a_cache_the_hub_is_named_unreachable(client):
    client.hub_url = "http://127.0.0.1:9"
    answer = client.fetch()
    assert answer["kind"] == "no_network"
    assert "cannot be reached" in answer["message"]
    assert "HF_HUB_OFFLINE" not in answer["message"]


def test_a_hub_that_is_down_counts_as_no_network(hub, client):
    hub.add("org/model", MODEL)
    path = client.fetch()["path"]
    hub.faults.status = 503
    assert client.fetch()["path"] == path
    hub.add("org/other", MODEL)
    assert client.fetch("org/other")["kind"] == "no_network"


def test_a_gated_model_says_whose_terms_to_accept(hub, client):
    hub.add("org/model", MODEL, gated=True, token="hf_secret")
    answer = client.fetch()
    assert answer["kind"] == "model_gated"
    assert "org/model" in answer["message"]
    assert "set HF_TOKEN" in answer["message"]
    assert "files" in client.fetch(HF_TOKEN="hf_secret")


def test_a_private_model_without_its_token_is_not_found(hub, client):
    hub.add("org/model", MODEL, private=True, token="hf_secret")
    answer = client.fetch(HF_TOKEN="hf_wrong")
    assert answer["kind"] == "model_not_found"
    assert "HF_TOKEN" in answer["message"]
    assert "files" in client.fetch(HF_TOKEN="hf_secret")


def test_a_token_the_hub_does_not_accept_is_told_apart(hub, client):
    hub.faults.status = 401
    answer = client.fetch(HF_TOKEN="hf_expired")
    assert (answer["kind"], "HF_TOKEN is valid" in answer["message"]) == ("model_gated", True)
    assert "hf_expired" not in answer["message"]


def test_a_missing_repository_and_a_missing_revision_are_told_apart(hub, client):
    hub.add("org/model", MODEL)
    missing = client.fetch("org/modle")
    assert (missing["kind"], "no such model (org/modle)" in missing["message"]) == ("model_not_found", True)
    revision = client.fetch(revision="v9")
    assert (revision["kind"], "org/model, revision v9" in revision["message"]) == ("model_not_found", True)


def test_pickled_weights_are_refused_before_anything_is_downloaded(hub, client):
    hub.add("org/model", {"config.json": MODEL["config.json"], "pytorch_model.bin": b"pickle"})
    answer = client.fetch()
    assert answer["kind"] == "unsafe_weights"
    assert "pytorch_model.bin" in answer["message"]
    assert hub.downloads() == []


def test_a_repository_without_weights_is_refused(hub, client):
    hub.add("org/model", {"config.json": MODEL["config.json"]})
    assert client.fetch()["kind"] == "broken_checkpoint"


def test_too_little_room_is_noticed_before_the_download(hub, client):
    hub.add("org/model", MODEL)
    full = "import collections; hub.shutil.disk_usage = lambda _: collections.namedtuple('U', 'free')(7_000)"
    hub.add("org/model", {**MODEL, "model.safetensors": safetensors(2_000)})
    answer = client.fetch(before=full)
    assert answer["kind"] == "disk_full"
    assert "needs 0.0 MB" in answer["message"]
    assert "HF_HOME" in answer["message"]
    assert hub.downloads() == []


def test_a_disk_that_fills_up_during_the_download_is_told_from_a_broken_network(hub, client):
    hub.add("org/model", MODEL)
    # a full disk cannot be had without a mount: the client's writer fails as it would on one
    full = (
        "import errno, huggingface_hub.file_download as f\ndef full(*a, **k): raise OSError(errno.ENOSPC, 'No space')\n"
    )
    assert client.fetch(before=full + "f.http_get = full")["kind"] == "disk_full"
    assert "files" in client.fetch()


def test_a_download_that_was_killed_ends_on_the_next_start_and_keeps_what_is_complete(hub, client):
    hub.add("org/model", {**MODEL, "model.safetensors": safetensors(100_000)})
    hub.faults.stall = "model.safetensors"
    process = client.start()
    while not ("model.safetensors" in hub.downloads() and len(list(client.home.rglob("snapshots/*/*"))) == 3):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    hub.faults.stall = ""
    hub.requests.clear()
    assert client.fetch()["weights"] == 100_000
    assert hub.downloads() == ["model.safetensors"]


def test_a_network_that_stays_away_during_the_download_is_told_as_an_interruption(hub, client):
    hub.add("org/model", MODEL)
    hub.faults.cut_after, hub.faults.cuts_left = {"model.safetensors": 0}, 99
    hasty = "import huggingface_hub.file_download as f; f.time.sleep = lambda s: None"  # between the client's attempts
    answer = client.fetch(before=hasty)
    assert answer["kind"] == "no_network"
    assert "The download was interrupted" in answer["message"]
    assert "files that are complete are kept" in answer["message"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub, client):
    hub.add("org/model", {**MODEL, "model.safetensors": safetensors(100_000)})
    hub.faults.cut_after, hub.faults.cuts_left = {"model.safetensors": 1_000}, 1
    answer = client.fetch()
    assert answer["weights"] == 100_000
    assert answer["stages"][-1][1] == 1.0


def test_two_replicas_that_start_together_download_once(hub, client):
    hub.add("org/model", {**MODEL, "model.safetensors": safetensors(500_000)})
    answers: list[dict] = []
    threads = [threading.Thread(target=lambda: answers.append(client.fetch())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["weights"] for answer in answers] == [500_000] * 2
    assert hub.downloads().count("model.safetensors") == 1


def test_a_directory_needs_no_hub(client, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_bytes(MODEL["config.json"])
    (folder / "model.safetensors").write_bytes(safetensors())
    client.hub_url = "http://127.0.0.1:9"
    answer = client.fetch(str(folder), HF_HUB_OFFLINE="1")
    assert (answer["path"], answer["weights"], answer["tokenizer"]) == (str(folder), 4, None)


def test_no_error_shows_a_path_of_this_machine(hub, client, tmp_path):
    hub.add("org/model", {**MODEL, "model.safetensors": safetensors()[:-1]})
    answer = client.fetch()
    assert answer["kind"] == "broken_checkpoint"
    assert "model.safetensors" in answer["message"]
    assert str(tmp_path) not in answer["message"]
