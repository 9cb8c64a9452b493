"""The same computation leaves the same traces, and the first that differs is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import checkpoints
from benchmarks.repeats import Trace, checksum, compare, first_difference, table
from tests.benchmarks import shapes

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int64, torch.bool])
def test_a_checksum_sees_every_bit_and_its_place(dtype):
    tensor = torch.tensor([[1, 0, 0], [1, 1, 0]], dtype=dtype)
    swapped = tensor.flip(1)
    assert checksum(tensor) == checksum(tensor.clone())
    assert checksum(tensor) != checksum(swapped)
    assert checksum(torch.tensor([0.0])) != checksum(torch.tensor([-0.0]))


class Between(nn.Module):
    """Two layers, and between them what is no module."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.noise = 0.0

    def forward(self, values):
        return self.last(self.first(values) + self.noise)


def traced(model, values):
    with Trace(model) as trace, torch.no_grad():
        model(values)
        model(values)
    return trace.names, trace.sums()


def test_a_fault_of_a_module_and_one_between_modules_are_told_apart():
    torch.manual_seed(0)
    model, values = Between(), torch.randn(2, 4)
    names, sums = traced(model, values)
    assert names[:4] == ["input of first", "output of first", "input of last", "output of last"]
    assert first_difference(names, sums, traced(model, values)[1]) is None
    model.noise = 1e-3
    assert first_difference(names, sums, traced(model, values)[1]) == ("input of last", 0)
    model.noise = 0.0
    with torch.no_grad():
        model.last.bias += 1e-3
    assert first_difference(names, sums, traced(model, values)[1]) == ("output of last", 0)
    later = [*sums[:5], sums[5] + 1, *sums[6:]]
    assert first_difference(names, sums, later) == ("output of first", 1)


def test_a_device_that_failed_is_said_and_other_weights_are_named():
    first = {"outcome": "answered", "weights": {"w": 1}, "names": ["a"], "times": [{"answer": "x", "sums": [3]}]}
    second = {**first, "weights": {"w": 2}, "times": [{"answer": "y", "sums": [4]}]}
    rows = compare(["cuda:0", "cuda:1", "cuda:2"], [first, second, {"outcome": "crashed", "error": "no card"}])
    assert [row["outcome"] for row in rows] == ["same", "differs", "crashed"]
    assert (rows[1]["first"], rows[1]["same_answer"], rows[1]["other_weights"]) == ("a", False, ["w"])
    assert len({line.count("|") for line in table(rows).splitlines()}) == 1


def test_two_processes_compute_the_same_again_and_again(tmp_path):
    shape = shapes.cogvlm(tmp_path / "shapes")
    checkpoints.write([shape], tmp_path / "models", layers=None, jobs=1)
    arguments = ["--dir", str(tmp_path / "models" / shape.name), "--device", "cpu", "cpu", "--times", "2"]
    arguments += ["--tokens", "4", "--picture-px", "56", "--dtype", "float32"]
    command = [sys.executable, "-m", "benchmarks.repeats", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert [(row["outcome"], row["same_answer"], row["other_weights"]) for row in result["rows"]] == [
        ("same", True, [])
    ] * 4
