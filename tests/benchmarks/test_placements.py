"""The benchmark of placements: what its verdicts mean, and that it measures a model through the real engine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import checkpoints
from benchmarks.children import Child
from benchmarks.measuring import ProcessMemory
from benchmarks.other_ways import Trial
from benchmarks.placement import equal_answers, table, verdicts
from tests.benchmarks import shapes

ROOT = Path(__file__).parents[2]
GIB = 2**30


def benchmark(*arguments):
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.placement", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    *printed, last = run.stdout.splitlines()
    return printed, json.loads(last)


def row(**changes):
    replica = {"allocator": {"cuda:0": {"peak": 9 * GIB}}, "resident": {"cuda:0": 8 * GIB}, "load_s": 1.5}
    measured = {
        "model": "m", "asked": "single", "outcome": "answered", "planned": {"cuda:0": 10 * GIB},
        "planned_parts": {"cuda:0": {"weights": 8 * GIB, "reserve": 2 * GIB}}, "process_peak": {"cuda:0": 10 * GIB},
        "replicas": [{**replica, "total_loads": 1, "slots": 16}], "answers": ["aa", "bb"], "prefill_s": 0.5,
        "tokens_per_s": 20.0, "total_tokens": 2048, "context": 2048,
    }  # fmt: skip
    measured |= changes
    return {**measured, "verdicts": verdicts(measured)}


@pytest.mark.parametrize(
    ("taken", "percent", "is_close"), [(10.0, 0.0, True), (9.5, 5.26, False), (10.1, -0.99, True), (10.5, -4.76, False)]
)
def test_a_plan_may_ask_for_a_little_too_much_and_hardly_for_too_little(taken, percent, is_close):
    found = row(process_peak={"cuda:0": int(taken * GIB)})["verdicts"]["cuda:0"]
    assert found["error_percent"] == pytest.approx(percent, abs=0.01)
    assert found["is_close"] is is_close


def test_bytes_that_the_driver_does_not_tell_are_no_success():
    found = row(process_peak={})["verdicts"]["cuda:0"]
    assert (found["taken"], found["error_percent"], found["is_close"]) == (None, None, False)


def test_answers_are_equal_where_all_replicas_of_all_placements_agree():
    assert equal_answers([row(), row(asked="shard")]) == {"m": True}
    assert equal_answers([row(), row(asked="shard", answers=["aa", "cc"])]) == {"m": False}
    assert equal_answers([row(answers=["aa", "bb", "cc"])]) == {"m": False}  # its replicas differ
    assert equal_answers([row(), row(asked="replicate", outcome="refused")]) == {"m": True}


def test_the_table_has_a_line_for_each_device_and_says_why_there_is_none():
    refused = {"model": "m", "asked": "replicate", "outcome": "refused", "error": "9 GiB short", "verdicts": {}}
    lines = table([row(), refused]).splitlines()
    assert "| m | single | cuda:0 | 10.00 | 10.00 | +0.0 % | 9.00 | 8.00 + 2.00 | 8.00 | 1 | 16 | 1.5 |" in lines[2]
    assert "refused: 9 GiB short" in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_a_child_that_fails_or_takes_too_long_is_an_outcome():
    crashed = Child(["-c", "raise SystemExit('no such card')"], limit_s=60).run()
    assert (crashed["outcome"], crashed["code"]) == ("crashed", 1)
    assert "no such card" in crashed["error"]
    slow = Child(["-c", "import time; time.sleep(600)"], limit_s=1).run()
    assert "ended after 1 s" in slow["error"]
    assert Child(["-c", 'print(1); print(\'{"outcome": "fine"}\')'], limit_s=60).run()["outcome"] == "fine"


def test_out_of_memory_is_the_outcome_of_its_step():
    trial = Trial()
    with trial.step("load"):
        pass
    with pytest.raises(torch.OutOfMemoryError), trial.step("move"):
        raise torch.OutOfMemoryError
    assert [(step["step"], step["outcome"]) for step in trial.steps] == [("load", "fine"), ("move", "out of memory")]


def test_the_memory_of_processes_that_nobody_started_is_none():
    with ProcessMemory() as watched:
        pass
    assert watched.peaks.get("cpu", 0) == 0


def test_whole_copies_of_the_seeds_model_are_refused_on_two_small_cards():
    plan = ["launch.py", "--plan", "--assume", "2x24GiB", "--placement", "replicate"]
    assert Child([*plan, "--model", str(checkpoints.SHAPES / "cogvlm-17b")], limit_s=120).exit_code()["code"] == 2


def test_a_model_is_written_loaded_once_and_asked_to_the_end_of_its_context(tmp_path):
    shape = shapes.cogvlm(tmp_path / "shapes")
    _, written = benchmark("write", "--shapes", str(shape.parent), "--out", str(tmp_path / "models"), "--jobs", "1")
    assert [(entry["model"], entry["files"]) for entry in written["rows"]] == [("tiny-cogvlm", 1)]

    result_file = tmp_path / "result.json"
    arguments = ["--dir", str(tmp_path / "models"), "--picture-px", "56", "--rounds", "1", "--json", str(result_file)]
    flags = ["--jobs", "2", "--dtype", "float32", "--gaps"]
    printed, result = benchmark("run", *arguments, "--placement", "cpu", "2x2", *flags)
    answered, refused = result["rows"]
    assert (answered["dtype"], result["gaps"]) == ("float32", {})  # a single replica agrees with itself
    given = answered["given"]["short"]
    assert (given["pictures"], given["letters"], given["counts"]) == (1, 0, [1])
    assert answered["outcome"] == "answered"
    assert answered["total_tokens"] == answered["context"] == 128
    assert [(replica["total_loads"], replica["deaths"]) for replica in answered["replicas"]] == [(1, 0)]
    assert answered["replicas"][0]["resident"]["cpu"] >= written["rows"][0]["bytes"]
    assert answered["verdicts"]["cpu"]["taken"] > answered["replicas"][0]["resident"]["cpu"]
    assert result["equal_answers"] == {"tiny-cogvlm": True}
    assert (refused["outcome"], refused["exit_code"]) == ("refused", 2)
    assert any(line.startswith("| tiny-cogvlm | cpu | cpu |") for line in printed)
    assert json.loads(result_file.read_text()) == result
