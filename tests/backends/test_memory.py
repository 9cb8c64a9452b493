"""What the process says it holds, and the words for a load that was refused memory."""

from __future__ import annotations

import mmap

import pytest
import torch

from demo.backends import memory
from demo.errors import OutOfMemory
from demo.types import Placement

MIB = 2**20


def test_main_memory_counts_what_was_written_and_remembers_the_most():
    before = memory.held(["cpu"])["cpu"]
    # Straight from the kernel: an allocator may hand out pages that earlier work has written and given back to it.
    with mmap.mmap(-1, 64 * MIB) as block:
        block.write(b"\1" * len(block))
        during = memory.held(["cpu"])["cpu"]
    after = memory.held(["cpu"])["cpu"]
    assert during.allocated - before.allocated > 48 * MIB
    assert after.peak > during.allocated - MIB  # the kernel counts in batches
    assert after.peak >= after.reserved


def test_a_placements_devices_are_named_once_as_the_plan_names_them():
    device_map = {"a": "cuda:1", "b": "cuda", "c": "cuda:1", "d": "cpu", "e": "cuda:0"}
    assert memory.devices_of(Placement(device_map)) == ("cuda:1", "cuda:0", "cpu")


def test_a_cap_on_main_memory_is_not_the_allocators_business():
    memory.enforce({"cpu": 1})
    assert torch.ones(3).sum() == 3


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError("not enough memory: you tried ...")],
)
def test_a_refusal_names_the_plan_and_the_cap(error):
    placement = Placement({"": "cpu"}, planned={"cpu": 3 * 2**30}, caps={"cpu": 2**30})
    with pytest.raises(OutOfMemory) as raised, memory.refusals_explained(placement):
        raise error
    assert "3.00 GiB of weights planned" in str(raised.value)
    assert "at most 1.00 GiB allowed" in str(raised.value)


def test_another_fault_passes_as_it_is():
    with pytest.raises(RuntimeError, match="a defect"), memory.refusals_explained(Placement({"": "cpu"})):
        raise RuntimeError("a defect")


def test_more_than_the_machine_has_is_refused_in_words():
    with pytest.raises(OutOfMemory), memory.refusals_explained(Placement({"": "cpu"})):
        torch.empty(2**60, dtype=torch.uint8)
