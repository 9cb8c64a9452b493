"""Several models on the same devices: exact packings, turns, and a packer that tries everything beside ours."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planner_kit import (
    ON_CARD,
    ON_CPU,
    ROOM,
    card,
    cost,
    cpu,
    fit_together,
    flags_for,
    machines,
    model,
    models,
    parted,
    splits,
    untimed,
    usable,
)

from demo.engine.devices import GIB
from demo.engine.planner import Flags, assess, assess_together, plan_together
from demo.errors import DoesNotFit


def named(*sizes):
    """Models of so many GiB, of which only the sum is known."""
    return [model(size, name=name) for size, name in zip(sizes, "abc")]


def where(plans):
    """For each model the cards of its replicas."""
    return [["+".join(replica.devices) for replica in plan.replicas] for plan in plans]


# sizes in GiB, free GiB of the cards, flags -> the cards of each model's replicas
PACKINGS = {
    "side by side on one card": ((4, 2), [8], Flags(), [["cuda:0"], ["cuda:0"]]),
    "each on a card of its own": ((4, 3), [5, 5], Flags(), [["cuda:0"], ["cuda:1"]]),
    "the large one where it has room": ((2, 7), [8, 3], Flags(), [["cuda:1"], ["cuda:0"]]),
    "both on both": ((3, 2), [8, 8], Flags(), [["cuda:0", "cuda:1"], ["cuda:0", "cuda:1"]]),
    "one more of the small one": ((6, 2), [8, 3], Flags(), [["cuda:0"], ["cuda:1"]]),
    "a replica on each card that has room": (
        (1, 1),
        [8, 2, 8],
        Flags("replicate"),
        [["cuda:0", "cuda:1", "cuda:2"], ["cuda:0", "cuda:2"]],
    ),
    "one each, as even as can be": ((4, 4), [24, 24], Flags("single"), [["cuda:0"], ["cuda:1"]]),
    "two of each": ((4, 4), [12, 5, 5], Flags("2x1"), [["cuda:0", "cuda:1"], ["cuda:0", "cuda:2"]]),
    "in main memory": ((4, 4), [24], Flags("cpu"), [["cpu"], ["cpu"]]),
    "three": ((4, 4, 2), [8, 5], Flags(), [["cuda:0"], ["cuda:1"], ["cuda:0"]]),
}  # fmt: skip


@pytest.mark.parametrize(("sizes", "free", "flags", "expected"), PACKINGS.values(), ids=PACKINGS)
def test_models_are_packed_together(sizes, free, flags, expected):
    devices = [*(card(index, size * GIB) for index, size in enumerate(free)), cpu(64 * GIB)]
    plans = plan_together(named(*sizes), devices, flags)
    assert where(plans) == expected


def test_a_large_model_is_split_and_a_small_one_finds_its_place_beside_it():
    large, small = parted(*[GIB] * 12, name="large"), model(3, name="small")
    plans = plan_together([large, small], [card(0, 10 * GIB), card(1, 10 * GIB)])
    assert [plan.placement for plan in plans] == ["shard", "single"]
    assert [len(replica.devices) for plan in plans for replica in plan.replicas] == [2, 1]
    assert "free" in plans[1].arithmetic


def test_cards_that_are_left_over_get_more_replicas():
    large, small = parted(*[GIB] * 12, name="large"), model(2, name="small")
    plans = plan_together([large, small], [card(number, 10 * GIB) for number in range(5)])
    assert [len(plan.replicas) for plan in plans] == [2, 5]


def test_a_model_for_two_roles_is_one_of_the_models():
    assert len(plan_together([model(2)], [card(0, 4 * GIB)])) == 1


def test_on_the_cpu_models_are_wide_as_long_as_the_others_have_room():
    plans = plan_together(named(4, 4), [cpu(12 * GIB + 2 * ON_CPU)], Flags("cpu"))
    assert [plan.dtype for plan in plans] == ["float32", "bfloat16"]
    assert [plan.dtype for plan in plan_together(named(4, 4), [cpu(8 * GIB + 2 * ON_CPU)])] == ["bfloat16"] * 2
    assert assess_together(named(4, 4), [cpu(8 * GIB + 2 * ON_CPU - 1)])[0].fits is False


def test_a_model_of_unknown_size_counts_for_nothing_and_comes_last():
    plans = plan_together(["owner/repo", model(4)], [card(0, 5 * GIB), card(1, 6 * GIB)], Flags("single"))
    assert [plan.fits for plan in plans] == [None, True]
    assert where(plans) == [["cuda:0"], ["cuda:1"]]


# --- too large together


def test_what_does_not_fit_together_is_refused_with_what_is_lacking_and_what_helps():
    devices = [card(0, 6 * GIB), cpu(64 * GIB)]
    plans = assess_together(named(4, 3), devices)
    assert [plan.fits for plan in plans] == [False, False]
    assert {plan.shortfall_bytes for plan in plans} == {7 * GIB + 2 * ON_CARD - 6 * GIB}
    assert "together with b" in plans[0].arithmetic
    assert [suggestion.flags for suggestion in plans[0].suggestions] == ["--swap", "--placement cpu"]
    with pytest.raises(DoesNotFit, match="--swap"):
        plan_together(named(4, 3), devices)


def test_a_model_that_does_not_even_fit_alone_is_refused_for_that():
    plans = assess_together(named(9, 3), [card(0, 6 * GIB)])
    assert [plan.fits for plan in plans] == [False, True]
    assert plans[0].shortfall_bytes == 9 * GIB + ON_CARD - 6 * GIB


def test_models_take_turns_where_they_may_and_only_if_they_have_to():
    devices = [card(0, 6 * GIB), cpu(64 * GIB)]
    plans = plan_together(named(4, 3), devices, Flags(swap=True))
    assert [(plan.fits, plan.takes_turns) for plan in plans] == [(True, True)] * 2
    assert all(plan.placement_of(0, threads=1).takes_turns for plan in plans)
    assert not any(plan.placement_of(0, threads=1).prepares_ahead for plan in plans)
    assert where(plans) == [["cuda:0"], ["cuda:0"]]
    together = plan_together(named(2, 1), devices, Flags(swap=True))
    assert not any(plan.takes_turns for plan in together)
    assert not any(plan.placement_of(0, threads=1).takes_turns for plan in together)


def test_who_waits_for_a_turn_still_holds_a_context_on_the_card_and_its_weights_in_main_memory():
    turns = Flags(swap=True)
    enough = 4 * GIB + 2 * ON_CARD
    assert assess_together(named(4, 3), [card(0, enough), cpu(64 * GIB)], turns)[0].fits
    assert not all(plan.fits for plan in assess_together(named(4, 3), [card(0, enough - 1), cpu(64 * GIB)], turns))
    parked = 7 * GIB + 2 * ON_CPU  # both: the copy of the one on the card is kept
    assert assess_together(named(4, 3), [card(0, enough), cpu(parked)], turns)[0].fits
    assert assess_together(named(4, 3), [card(0, enough), cpu(parked - 1)], turns)[0].fits is False


def test_processes_that_share_a_card_share_its_budget():
    flags = Flags(max_memory={0: 8 * GIB})
    plans = plan_together(named(4, 2), [card(0, 20 * GIB)], flags)
    caps = [replica.caps["cuda:0"] for plan in plans for replica in plan.replicas]
    assert caps == [4 * GIB + ON_CARD + (2 * GIB - 2 * ON_CARD) // 2, 2 * GIB + ON_CARD + (2 * GIB - 2 * ON_CARD) // 2]
    assert sum(caps) == 8 * GIB
    turns = plan_together(named(4, 4), [card(0, 20 * GIB), cpu(64 * GIB)], replace(flags, swap=True))
    assert [replica.caps["cuda:0"] for plan in turns for replica in plan.replicas] == [8 * GIB - ON_CARD] * 2


# --- what holds for all


@st.composite
def cases(draw, placements, count=2, max_cards=3, max_layers=3):
    machine = draw(machines(max_cards))
    chosen = [draw(models(max_layers, name)) for name in "abc"[:count]]
    return chosen, machine, draw(flags_for(machine, placements))


def whole(footprint, cards, flags):
    return [{c.id: cost(footprint, footprint.modules, flags)} for c in cards]


@untimed
@given(cases(["single", "auto", "replicate", "shard", "2x1", "1x2"]))
def test_together_they_stay_within_what_is_free_and_allowed(case):
    footprints, machine, flags = case
    plans = assess_together(footprints, machine, flags)
    if not all(plan.fits for plan in plans):
        return
    for device in machine:
        allowed = min(device.free_bytes, flags.max_memory.get(device.index, device.free_bytes))
        replicas = [replica for plan in plans for replica in plan.replicas if device.id in replica.devices]
        assert sum(replica.devices[device.id] for replica in replicas) <= allowed
        if device.index in flags.max_memory and replicas:
            assert sum(replica.caps[device.id] for replica in replicas) <= flags.max_memory[device.index]
            assert all(replica.caps[device.id] >= replica.devices[device.id] for replica in replicas)


@untimed
@given(cases(["single", "replicate"], count=3))
def test_whole_models_are_refused_only_if_no_assignment_fits(case):
    footprints, machine, flags = case
    fits = all(plan.fits for plan in assess_together(footprints, machine, flags))
    assert fits is fit_together(footprints, usable(machine, flags), flags, whole)


@untimed
@given(cases(["auto", "shard"]))
def test_split_models_are_refused_only_if_no_pair_of_splits_fits(case):
    footprints, machine, flags = case
    fits = all(plan.fits for plan in assess_together(footprints, machine, flags))
    assert fits is fit_together(footprints, usable(machine, flags), flags, splits)


@untimed
@given(cases(["single", "auto", "replicate", "shard", "cpu"]), st.data())
def test_more_memory_never_turns_plans_into_refusals(case, data):
    footprints, machine, flags = case
    before = all(plan.fits for plan in assess_together(footprints, machine, flags))
    index = data.draw(st.integers(0, len(machine) - 1))
    more = machine[index].free_bytes + data.draw(ROOM)
    grown = [*machine[:index], replace(machine[index], free_bytes=more), *machine[index + 1 :]]
    assert all(plan.fits for plan in assess_together(footprints, grown, flags)) >= before


@untimed
@given(cases(["auto", "replicate", "shard"]), ROOM)
def test_another_card_never_turns_plans_into_refusals(case, free):
    footprints, machine, flags = case
    number = len(machine) - 1
    devices = None if flags.devices is None else (*flags.devices, number)
    before = all(plan.fits for plan in assess_together(footprints, machine, flags))
    grown = [*machine, card(number, free)]
    assert all(plan.fits for plan in assess_together(footprints, grown, replace(flags, devices=devices))) >= before


@untimed
@given(cases(["single", "auto", "replicate", "shard"], count=3), st.randoms())
def test_the_order_of_devices_does_not_matter_nor_does_that_of_models_for_what_fits(case, random):
    footprints, machine, flags = case
    shuffled = list(machine)
    random.shuffle(shuffled)
    plans = assess_together(footprints, machine, flags)
    assert assess_together(footprints, shuffled, flags) == plans
    if flags.placement in ("single", "replicate"):  # for splits of three models not all is tried
        for order in permutations(footprints):
            fits = all(plan.fits for plan in assess_together(order, machine, flags))
            assert fits is all(plan.fits for plan in plans)


@untimed
@given(cases(["auto", "single"]), st.integers(0, 3))
def test_turns_are_taken_only_where_all_fit_alone_beside_the_contexts_of_the_others(case, memory):
    footprints, machine, flags = case
    machine = [*machine[:-1], cpu(memory * GIB)]
    flags = replace(flags, swap=True)
    plans = assess_together(footprints, machine, flags)
    if not any(plan.takes_turns for plan in plans):
        return
    assert all(plan.takes_turns and plan.fits for plan in plans)
    assert not all(plan.fits for plan in assess_together(footprints, machine, replace(flags, swap=False)))
    for footprint, plan in zip(footprints, plans):
        assert assess(footprint, machine, flags).fits
        for replica in plan.replicas:
            for device in usable(machine, flags):
                assert replica.devices.get(device.id, 0) + ON_CARD <= max(ON_CARD, device.free_bytes)
    replicas = [replica for plan in plans for replica in plan.replicas]
    assert sum(sum(replica.weights.values()) + ON_CPU for replica in replicas) <= memory * GIB
