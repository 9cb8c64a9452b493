"""Recorded steps are planned for where there is room for them, and nothing is given up for them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planner_kit import GIB, UNIT, card, cpu, machines, model, models, parted, untimed

from demo.catalog import resolve
from demo.config import EngineConfig, ModelChoice
from demo.engine.footprint import ModelFootprint, measure
from demo.engine.pipeline import GRAPH_LAYER_BYTES, pipeline_of
from demo.engine.planner import Flags, assess
from demo.steps import all_shapes

SHAPES = Path(__file__).resolve().parents[2] / "benchmarks" / "shapes"
SHAPE = {"layers": 32, "kv_width": 1024, "context": 2048}
WITH, WITHOUT, ASKED = Flags(graphs=None), Flags(graphs=False), Flags(graphs=True)


def graphs_of(slots, layers=32):
    return len(all_shapes(slots=slots, context=2048)) * layers * GRAPH_LAYER_BYTES


def test_where_there_is_room_they_are_counted():
    cards = [card(0, 80 * GIB)]
    found, without = (assess(model(4, **SHAPE), cards, flags) for flags in (WITH, WITHOUT))
    assert (found.graphs, without.graphs) == (True, False)
    assert found.activation_bytes - without.activation_bytes == graphs_of(1)
    assert found.to_json()["graphs"] is True
    assert found.placement_of(0, threads=1).graphs is True


def test_where_there_is_none_steps_are_not_recorded_unless_that_is_asked_for():
    without = assess(model(4, **SHAPE), [card(0, 80 * GIB)], WITHOUT)
    tight = [card(0, without.replicas[0].load.total + graphs_of(1) - 1)]
    found = assess(model(4, **SHAPE), tight, WITH)
    assert (found.fits, found.graphs) == (True, False)
    assert assess(model(4, **SHAPE), tight, ASKED).shortfall_bytes == 1


def test_answers_at_a_time_and_their_recordings_fit_together():
    found = assess(model(4, **SHAPE), [card(0, 80 * GIB)], Flags(slots=None, graphs=None))
    assert (found.slots, found.graphs) == (16, True)
    one = assess(model(4, **SHAPE), [card(0, 80 * GIB)], Flags(slots=16, graphs=False))
    assert found.activation_bytes - one.activation_bytes == graphs_of(16)


def test_a_model_over_cards_has_those_of_its_layers_on_each():
    parts = parted(*(UNIT,) * 4, first=UNIT, head=UNIT, context=2048)
    cards = [card(0, 4 * UNIT + 4 * GIB), card(1, 4 * UNIT + 4 * GIB)]
    found, without = (assess(parts, cards, Flags("shard", graphs=graphs)) for graphs in (None, False))
    assert found.graphs is True
    more = {
        device: found.replicas[0].loads[device].activations - load.activations
        for device, load in without.replicas[0].loads.items()
    }
    assert sum(more.values()) == graphs_of(1, layers=4)
    assert all(size > 0 for size in more.values())


@pytest.mark.parametrize("flags", [WITH, ASKED])
def test_on_a_cpu_or_with_layers_in_main_memory_nothing_is_recorded(flags):
    assert assess(model(1, **SHAPE), [cpu(64 * GIB)], flags).graphs is False
    parts = parted(*(4 * UNIT,) * 4, first=UNIT, head=UNIT, context=2048)
    spilled = Flags(flags.placement, offload=True, graphs=flags.graphs)
    found = assess(parts, [card(0, 8 * UNIT + 2 * GIB), cpu(64 * GIB)], spilled)
    assert "cpu" in found.replicas[0].loads
    assert found.graphs is False


@pytest.mark.parametrize("flags", [WITH, ASKED])
def test_that_layers_may_be_in_main_memory_takes_nothing_from_what_is_planned(flags):
    devices = [card(0, 80 * GIB), cpu(64 * GIB)]
    found, without = (assess(model(4, **SHAPE), devices, replace(flags, offload=is_so)) for is_so in (True, False))
    assert (found.graphs, found.replicas) == (True, without.replicas)
    tight = [card(0, assess(model(4, **SHAPE), devices, WITHOUT).replicas[0].load.total), cpu(64 * GIB)]
    found = assess(model(4, **SHAPE), tight, replace(flags, offload=True))
    assert (found.fits, found.graphs) == (True, False)


@pytest.mark.parametrize("flags", [WITH, ASKED])
def test_of_a_model_that_answers_alone_nothing_is_recorded(flags):
    found, without = (
        assess(model(4, **SHAPE, answers_alone=True), [card(0, 80 * GIB)], one) for one in (flags, WITHOUT)
    )
    assert (found.graphs, found.replicas) == (False, without.replicas)


def test_the_flag():
    assert [Flags.of(EngineConfig(compile=word)).graphs for word in ("auto", "graphs", "off")] == [None, True, False]


@untimed
@given(models(), machines(), st.sampled_from(["auto", "single", "replicate", "shard"]), st.sampled_from([1, None]))
def test_nothing_is_given_up_for_them_and_no_device_is_overfull(model, devices, placement, slots):
    plain = assess(model, devices, Flags(placement, slots=1))
    found = assess(model, devices, Flags(placement, slots=slots, graphs=None))
    assert (found.fits, found.dtype, found.shortfall_bytes) == (plain.fits, plain.dtype, plain.shortfall_bytes)
    assert [sorted(r.devices) for r in found.replicas] == [sorted(r.devices) for r in plain.replicas]
    free = {device.id: device.free_bytes for device in devices}
    for replica in found.replicas:
        assert all(size <= free[device] for device, size in replica.devices.items())


@pytest.mark.parametrize(
    ("asked", "kernels", "graphs"), [("auto", True, None), ("graphs", True, True), ("off", False, False)]
)
def test_nothing_is_compiled_where_that_is_asked(asked, kernels, graphs):
    flags = Flags.of(EngineConfig(compile=asked))
    assert (flags.kernels, flags.graphs) == (kernels, graphs)
    plan = assess(model(4, **SHAPE), [card(0, 80 * GIB)], flags)
    assert plan.kernels is plan.placement_of(0, threads=1).kernels is kernels


@pytest.mark.parametrize(
    "how", [{"graphs": True}, {"graphs": False, "kernels": True}, {"graphs": True, "kernels": True}]
)
def test_pictures_take_less_where_a_kernel_for_recorded_steps_turns_them(how):
    footprint = measure(resolve(ModelChoice(str(SHAPES / "qwen2.5-vl-7b"))))
    assert isinstance(footprint, ModelFootprint)
    by_kernel = how == {"graphs": True, "kernels": True}
    tower = pipeline_of(footprint, "bfloat16", Flags(**how)).vision
    assert (tower < footprint.vision_activation_bytes("bfloat16")) is by_kernel
    assert tower == footprint.vision_activation_bytes("bfloat16", kernels=by_kernel)
