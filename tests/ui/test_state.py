"""The folder for what outlives the process: which one, and whose."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from page_kit import ROOT, free_port

from demo.errors import ConfigError
from demo.ui.state import LOCK, default_folder, state_folder


def test_where_jobs_are_kept_unless_it_is_said(tmp_path):
    assert default_folder({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "vlm-demo"
    for environ in ({}, {"XDG_STATE_HOME": "relative"}):
        assert default_folder(environ) == Path.home() / ".local/state/vlm-demo"


def test_who_has_no_home_keeps_nothing(monkeypatch):
    def nobody_known(_):
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody_known)
    assert default_folder({}) is None
    with state_folder(None, {}) as folder:
        assert folder is None


def test_a_folder_that_was_asked_for_is_one_demos_alone(tmp_path):
    given = str(tmp_path / "kept")
    with state_folder(given, {}) as folder:
        assert folder == tmp_path / "kept"
        with pytest.raises(ConfigError, match=r"Another demo keeps its jobs in this folder \(.*kept\)\. End that one"):
            state_folder(given, {}).__enter__()
        with state_folder(str(tmp_path / "other"), {}) as other:
            assert other == tmp_path / "other"
    with state_folder(given, {}) as again:
        assert again == folder


def test_a_second_demo_beside_the_first_starts_without_the_default_folder(tmp_path, caplog):
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    with state_folder(None, environ) as first, state_folder(None, environ) as second:
        assert (first, second) == (tmp_path / "vlm-demo", None)
    assert "unless --state gives it a folder" in caplog.text


def test_a_folder_that_cannot_be_written_is_left_to_whoever_writes_there(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with state_folder(str(tmp_path / "file"), {}) as folder:
        assert folder == tmp_path / "file"


def test_the_lock_of_a_demo_that_was_killed_holds_nobody_up(tmp_path):
    code = (
        "import sys, os; from demo.ui.state import state_folder; state_folder(sys.argv[1], {}).__enter__(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=False)
    assert (tmp_path / LOCK).exists()
    with state_folder(str(tmp_path), {}) as folder:
        assert folder == tmp_path


def test_the_second_demo_of_a_folder_ends_with_2_before_it_loads_anything(tmp_path):
    command = [sys.executable, "launch.py", "--model", "fake?load_s=60", "--port", str(free_port())]
    with state_folder(str(tmp_path), {}):
        ran = subprocess.run(
            [*command, "--state", tmp_path], cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60
        )
    assert ran.returncode == 2
    assert f"Another demo keeps its jobs in this folder ({tmp_path}). End that one, or give this one" in ran.stderr
    assert "Traceback" not in ran.stderr
