"""The plots: every design and load is in them, and the same figures give the same file."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.plots import plot_serve

ROOT = Path(__file__).parents[2]
RESULT = {
    "loads": {
        "engine": [
            {"users": 1, "tokens_per_s": 100.0, "first_token_s": 0.1},
            {"users": 8, "tokens_per_s": 260.0, "first_token_s": 0.4},
        ],
        "generate(), one copy": [
            {"users": 1, "tokens_per_s": 90.0, "first_token_s": 0.2},
            {"users": 8, "tokens_per_s": 95.0, "first_token_s": 9.0},
        ],
    }
}


def test_each_design_is_a_line_through_its_loads():
    speeds, waits = plot_serve(RESULT).axes
    assert {line.get_label(): list(line.get_ydata()) for line in speeds.get_lines()} == {
        "engine": [100, 260],
        "generate(), one copy": [90, 95],
    }
    assert [list(line.get_xydata()[-1]) for line in waits.get_lines()] == [[8, 0.4], [8, 9]]


def test_a_result_becomes_a_file_named_like_it_and_is_the_same_again(tmp_path):
    (tmp_path / "two.json").write_text(json.dumps(RESULT))
    for out in ("a", "b"):
        command = [sys.executable, "-m", "benchmarks.plots", str(tmp_path / "two.json"), "--out", str(tmp_path / out)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    first, second = ((tmp_path / out / "two.svg").read_bytes() for out in ("a", "b"))
    assert first == second
    assert b"users at a time" in first
