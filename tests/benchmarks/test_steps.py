"""The benchmark of steps, with a small model and without a card: both ways, and what is told of them."""

from __future__ import annotations

import json
from argparse import Namespace

import pytest
import torch
from transformers import AutoModelForImageTextToText
from transformers.models.llama import modeling_llama

from benchmarks import steps
from demo.backends import attending
from demo.backends.exchanging import exchange
from demo.backends.turning import NAME
from demo.types import Placement
from tests.tinymodels import save_llava

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there kernels are for cards, and so are the tests")


@pytest.fixture(autouse=True)
def put_back(monkeypatch):
    """What a process's models are exchanged for."""
    monkeypatch.setattr(modeling_llama, NAME, getattr(modeling_llama, NAME))
    yield
    attending.attend_in_fewer_kernels()


def test_both_ways_are_told_in_a_table_and_in_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(steps, "STEPS", 2)
    monkeypatch.setattr(steps, "WAYS", {"the library's": False})
    told = tmp_path / "steps.json"
    asked = ["--model", "llava-small", "--layers", "1", "--bits", "16", "--answers", "1", "3", "--columns", "32"]
    steps.main([*asked, "--device", "cpu", "--json", str(told)])
    out = capsys.readouterr().out
    result = json.loads(out.splitlines()[-1])
    assert result == json.loads(told.read_text())
    assert [(row["bits"], row["answers"], row["apart"]) for row in result["rows"]] == [(16, 1, 0), (16, 3, 0)]
    table = [one for one in out.splitlines() if one.startswith("|")]
    assert {one.count("|") for one in table} == {9}
    assert "| 16 | the library's | 3 | 32 |" in table[-1]


def test_scores_that_are_others_are_found(monkeypatch):
    """A model that differs from way to way stands for a kernel that gives something else."""
    monkeypatch.setattr(steps, "STEPS", 1)
    seeds = iter((0, 1))
    before = torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda _: before(next(seeds)))
    monkeypatch.setattr(steps, "exchange", lambda *_: None)
    options = Namespace(model="llava-small", layers=1, bits=[16], answers=[1], columns=[32], device="cpu")
    one, other = steps.run(options)
    assert (one["by"], one["apart"]) == ("the library's", 0)
    assert other["by"] == "our own"
    assert other["apart"] > 0.5


def test_our_own_kernels_are_measured(tmp_path, monkeypatch):
    pytest.importorskip("triton", reason="Triton is for Linux")
    monkeypatch.setattr(steps, "STEPS", 1)
    found = {}
    for kernels in (False, True):
        model = AutoModelForImageTextToText.from_pretrained(save_llava(tmp_path), dtype=torch.float16).eval()
        own = exchange(model, Placement({}, graphs=True, kernels=kernels), ["cpu"], lambda *_: None)
        assert (own is not None) is kernels
        found[kernels] = steps.measured(model, "cpu", 2, 32, own.write if own else None)
    assert found[True]["step_us"] > 0
    assert (found[True]["scores"] - found[False]["scores"]).norm() < 0.02 * found[False]["scores"].norm()
