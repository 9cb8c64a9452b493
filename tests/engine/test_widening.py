"""How many answers at a time a plan has room for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planner_kit import GIB, card, cpu, machines, model, models, untimed

from demo.catalog import resolve
from demo.config import EngineConfig, ModelChoice
from demo.engine.footprint import measure
from demo.engine.planner import Flags, assess, assess_together

AUTO = Flags(slots=None)
CHATTY = {"layers": 32, "kv_width": 4096, "context": 2048}  # a conversation takes 1 GiB of keys and values


@pytest.mark.parametrize(
    ("free_gib", "slots"),
    [(80, 16), (16, 8), (12, 4), (8, 2), (7, 1)],
)
def test_what_the_weights_leave_is_for_more_answers_at_a_time(free_gib, slots):
    found = assess(model(4, **CHATTY), [card(0, free_gib * GIB)], AUTO)
    assert (found.fits, found.slots) == (True, slots)
    assert found.kv_cache_bytes == slots * GIB
    assert found.to_json()["slots"] == slots


@pytest.mark.parametrize(("free_gib", "slots"), [(80, 32), (30, 16), (16, 8)])
def test_where_nobody_waits_for_a_single_answer_there_may_be_more(free_gib, slots):
    flags = Flags.of(EngineConfig(is_batch=True))
    assert assess(model(4, **CHATTY), [card(0, free_gib * GIB)], flags).slots == slots


def test_a_number_that_is_named_is_planned_for_or_refused():
    cards = [card(0, 12 * GIB)]
    assert assess(model(4, **CHATTY), cards, Flags(slots=5)).slots == 5
    refused = assess(model(4, **CHATTY), cards, Flags(slots=12))
    assert refused.fits is False
    assert refused.kv_cache_bytes == 12 * GIB
    assert "12 conversations of 2048 tokens" in refused.arithmetic


def test_no_replica_is_given_up_for_more_answers_at_a_time():
    cards = [card(0, 80 * GIB), card(1, 8 * GIB)]
    found = assess(model(4, **CHATTY), cards, AUTO)
    assert (found.placement, len(found.replicas), found.slots) == ("replicate", 2, 2)


def test_models_that_remember_more_than_keys_answer_one_at_a_time():
    alone = model(4, **CHATTY, answers_alone=True)
    for slots in (None, 4):
        assert assess(alone, [card(0, 80 * GIB)], Flags(slots=slots)).slots == 1


def test_a_small_model_on_a_cpu_makes_eight_at_a_time_and_a_large_one_one():
    assert assess(model(1, **CHATTY), [cpu(64 * GIB)], AUTO).slots == 8
    assert assess(model(10, **CHATTY), [cpu(64 * GIB)], AUTO).slots == 1
    assert assess(model(10, **CHATTY), [cpu(64 * GIB)], Flags(slots=4)).slots == 4


def test_the_fake_makes_as_many_as_it_is_told_and_no_more():
    fake = measure(resolve(ModelChoice("fake")))
    assert assess(fake, [cpu(GIB)], AUTO).slots == 1
    assert assess(fake, [cpu(4 * GIB)], Flags(slots=3)).slots == 3


def test_models_that_share_a_card_share_what_is_left():
    pair = [model(4, name="one", **CHATTY), model(4, name="two", **CHATTY)]
    plans = assess_together(pair, [card(0, 24 * GIB)], AUTO)
    assert [plan.slots for plan in plans] == [4, 4]


@untimed
@given(models(), machines(), st.sampled_from(["auto", "single", "replicate", "shard"]))
def test_room_for_more_changes_nothing_else_and_never_goes_over_what_is_free(model, devices, placement):
    one = assess(model, devices, Flags(placement, slots=1))
    found = assess(model, devices, Flags(placement, slots=None))
    assert (found.fits, found.dtype, found.shortfall_bytes) == (one.fits, one.dtype, one.shortfall_bytes)
    assert [sorted(r.devices) for r in found.replicas] == [sorted(r.devices) for r in one.replicas]
    free = {device.id: device.free_bytes for device in devices}
    for replica in found.replicas:
        assert all(size <= free[device] for device, size in replica.devices.items())
    if found.fits:
        assert assess(model, devices, Flags(placement, slots=found.slots)).fits


@untimed
@given(models(), machines(max_cards=1), st.integers(0, 4))
def test_more_memory_never_makes_it_fewer(model, devices, more):
    device, memory = devices
    larger = replace(device, free_bytes=device.free_bytes + more * GIB, total_bytes=device.total_bytes + more * GIB)
    small, large = (assess(model, [each, memory], Flags("single", slots=None)) for each in (device, larger))
    assert not small.fits or large.slots >= small.slots
