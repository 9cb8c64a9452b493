"""The benchmark of captions: its pictures, its medians, and that it runs to its line of JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.captions import Pace, Row, make_folder

ROOT = Path(__file__).parents[2]


def test_no_two_pictures_of_the_folder_are_the_same(tmp_path):
    items = make_folder(tmp_path, 14)
    assert len({item.path.read_bytes() for item in items}) == len(items) == 14


def test_a_row_is_the_median_of_its_rounds_and_tells_what_differs():
    paces = [Pace(4, total_s, ("a", "b", "")) for total_s in (3.0, 1.0, 2.0)]
    row = Row.of("some way", paces, ("a", "c", ""))
    assert (row.at_a_time, row.pictures, row.total_s, row.per_s) == (4, 3, 2.0, 1.5)
    assert row.per_s_rounds == (1.0, 3.0, 1.5)
    assert (row.failed, row.differing) == (1, 1)


@pytest.mark.slow
def test_more_at_a_time_are_faster_and_the_captions_are_the_same(tmp_path):
    arguments = ["--model", "fake?token_s=0.01", "--pictures", "8", "--slots", "4", "--rounds", "1"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.captions", *arguments, "--json", str(tmp_path / "out.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert result == json.loads((tmp_path / "out.json").read_text())
    assert {"cores", "versions", "commit"} <= result.keys()
    one, worker = result["rows"]
    assert (one["at_a_time"], worker["at_a_time"]) == (1, 4)
    assert all((row["pictures"], row["failed"], row["differing"]) == (8, 0, 0) for row in (one, worker))
    assert result["ratio"] > 2
    assert len([line for line in run.stdout.splitlines() if line.startswith("| ")]) == 3
