"""What a plan knows of a repository before the download: from a hub that answers, misbehaves or is not there.

Each question runs in a process of its own: huggingface_hub reads its environment when it is imported.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from footprint_kit import CONFIG

from tests.fakehub import FakeHub

ROOT = Path(__file__).resolve().parents[2]
ASKS = """
import json, sys
from demo.engine.footprint import of_repository
found = of_repository("org/model", None, "m", outline=sys.argv[1] == "outline")
modules = found and [module.path for module in found.modules]
facts = found and (found.floats, found.stored_dtype, found.shape.layers)
print(json.dumps([facts, modules]))
"""


def safetensors(**tensors: int) -> bytes:
    """A file of bfloat16 zeros: name -> count."""
    header, end = {}, 0
    for name, count in tensors.items():
        header[name] = {"dtype": "BF16", "shape": [count], "data_offsets": [end, end + 2 * count]}
        end += 2 * count
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


CONFIG_FILE = {"config.json": json.dumps(CONFIG).encode(), "preprocessor_config.json": b"{}"}
WEIGHTS = {"model.safetensors": safetensors(a=10, b=20)}


@pytest.fixture
def hub():
    with FakeHub() as running:
        yield running


@pytest.fixture
def ask(tmp_path):
    def ask(url, how="sum", **environ):
        surroundings = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", **environ}
        ran = subprocess.run(
            [sys.executable, "-c", ASKS, how],
            cwd=ROOT,
            env={**os.environ, **surroundings},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(ran.stdout)

    return ask


def test_the_headers_are_read_and_the_weights_are_not_downloaded(hub, ask, tmp_path):
    hub.add("org/model", {**CONFIG_FILE, **WEIGHTS})
    assert ask(hub.url) == [[30, "bfloat16", 2], []]
    assert not list(tmp_path.rglob("*.safetensors"))
    assert list(tmp_path.rglob("config.json"))


def test_the_headers_of_all_shards_are_added_up(hub, ask):
    shards = {"model-1.safetensors": safetensors(a=10), "model-2.safetensors": safetensors(b=5, c=2)}
    index = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    index["weight_map"]["c"] = "model-2.safetensors"
    hub.add("org/model", {**CONFIG_FILE, **shards, "model.safetensors.index.json": json.dumps(index).encode()})
    assert ask(hub.url)[0][0] == 17


def test_the_parts_are_known_before_the_download_too(hub, ask):
    hub.add("org/model", CONFIG_FILE)
    facts, modules = ask(hub.url, "outline")
    assert modules[0] == "model.embed_tokens"
    assert "model.layers.1" in modules
    assert facts[0] > 10_000


@pytest.mark.parametrize("status", [500, 404])
def test_a_hub_that_fails_leaves_the_name_only(hub, ask, status):
    hub.add("org/model", CONFIG_FILE)
    hub.faults.status = status
    assert ask(hub.url) == [None, None]


def test_a_gated_repository_leaves_the_name_only(hub, ask):
    hub.add("org/model", {**CONFIG_FILE, **WEIGHTS}, gated=True)
    assert ask(hub.url) == [None, None]


def test_an_unknown_repository_leaves_the_name_only(hub, ask):
    assert ask(hub.url) == [None, None]


def test_without_a_network_nothing_is_waited_for_and_the_name_is_left(ask):
    assert ask("http://127.0.0.1:9") == [None, None]


def test_a_configuration_that_was_fetched_before_serves_without_a_network(hub, ask, tmp_path):
    commit = hub.add("org/model", CONFIG_FILE)
    ask(hub.url)
    refs = next(tmp_path.rglob("models--org--model")) / "refs"
    refs.mkdir(exist_ok=True)
    (refs / "main").write_text(commit)
    assert ask("http://127.0.0.1:9")[1][0] == "model.embed_tokens"


def test_offline_the_hub_is_not_asked(hub, ask):
    hub.add("org/model", CONFIG_FILE)
    assert ask(hub.url, HF_HUB_OFFLINE="1") == [None, None]
    assert hub.requests == []
