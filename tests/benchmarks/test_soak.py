"""The benchmark of memory under a long load: that it asks what it says, and runs to its line of JSON."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from benchmarks.residence import resident_bytes
from benchmarks.soak import noise

ROOT = Path(__file__).parents[2]


def test_a_process_holds_more_once_it_has_written_more():
    before = resident_bytes(os.getpid())
    block = bytearray(os.urandom(2**20) * 64)
    assert resident_bytes(os.getpid()) - before > len(block) // 2
    assert resident_bytes(os.getpid(), most=True) >= before + len(block) // 2


def test_pictures_are_of_all_sizes_and_nobody_elses():
    pictures = [noise(random.Random(number)) for number in range(4)]
    assert len({picture.size for picture in pictures}) == 4
    assert all(len(picture.rgb) == 3 * picture.size.pixels for picture in pictures)


def test_it_runs_to_its_line_of_json(tmp_path):
    arguments = ["--model", "fake?tokens=9", "--rounds", "2", "--conversations", "4", "--json", str(tmp_path / "out")]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert result == json.loads((tmp_path / "out").read_text())
    assert [row["conversations"] for row in result["rounds"]] == [4, 4]
    assert all(row["workers_bytes"] > 2**20 for row in result["rounds"])
