"""The child process that is asked for a model's parts: what it sees, what it costs and how it may fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from footprint_kit import CONFIG

from demo.engine import outline
from demo.engine.outline import Module

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def directory(tmp_path):
    """A directory with nothing but a configuration, in the form in which CogVLM was published."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a script in the place of Python, for children that the model's own code cannot be made to be."""

    def put(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return put


def test_the_parts_come_from_a_configuration_alone(directory):
    found = outline.read(directory, "m")
    assert [module.path for module in found.modules] == [
        "model.embed_tokens",
        "model.vision",
        "model.layers.0",
        "model.layers.1",
        "model.norm",
        "lm_head",
    ]
    assert found.modules[-1] == Module("lm_head", "head", floats=0, tied_to="model.embed_tokens")
    assert found.modules[0] == Module("model.embed_tokens", "embedding", floats=272 * 32)
    assert found.config["max_position_embeddings"] == 2048  # which the file does not say
    assert found.keeps_one_logit


def test_the_process_that_asks_imports_no_framework(directory):
    asks = (
        "import sys; from pathlib import Path; from demo.engine import outline;"
        "assert outline.read(Path(sys.argv[1]), 'm') is not None;"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", asks, directory], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_child_sees_no_card_and_no_network(tmp_path, stand_in):
    stand_in("""echo "{\\"modules\\": [], \\"config\\": {\\"cards\\": \\"$CUDA_VISIBLE_DEVICES\\", \\"offline\\": \
\\"$HF_HUB_OFFLINE\\"}, \\"keeps_one_logit\\": true}" """)
    assert outline.read(tmp_path, "m").config == {"cards": "", "offline": "1"}


def test_a_child_that_takes_too_long_is_killed(tmp_path, stand_in, caplog):
    stand_in(f"echo $$ > {tmp_path}/pid; exec sleep 600")
    started_s = time.monotonic()
    assert outline.read(tmp_path, "m", timeout_s=2.0) is None
    assert time.monotonic() - started_s < 300
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert "m are not known" in caplog.text
    assert "longer than 2 s" in caplog.text


def test_a_failure_is_a_line_in_the_log_with_the_childs_last_word(tmp_path, caplog):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert outline.read(tmp_path, "words-only") is None
    assert "The parts of words-only are not known" in caplog.text
    assert "This model reads no pictures" in caplog.text


@pytest.mark.parametrize(
    "script",
    ["echo", "echo nonsense", "echo '{}'", "echo '[1]'", """echo '{"modules": [{"path": "a"}], "config": {}}'"""],
)
def test_an_answer_that_is_none_is_a_failure_too(tmp_path, stand_in, script, caplog):
    stand_in(script)
    assert outline.read(tmp_path, "m") is None
    assert "m are not known" in caplog.text


def test_what_a_library_prints_before_the_answer_is_passed_over(tmp_path, stand_in):
    stand_in("""echo hello; echo '{"modules": [], "config": {}, "keeps_one_logit": false}'""")
    assert outline.read(tmp_path, "m") == outline.Outline((), {}, keeps_one_logit=False)


def test_a_python_that_cannot_be_started_is_a_failure_too(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    assert outline.read(tmp_path, "m") is None
    assert "FileNotFoundError" in caplog.text
