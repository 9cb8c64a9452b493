"""What holds for every model, machine and set of flags; small cases against a planner that tries everything."""

from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planner_kit import (
    ON_CPU,
    ROOM,
    card,
    cost,
    cpu,
    fits_on,
    flags_for,
    machines,
    models,
    most_replicas,
    parted,
    splits,
    untimed,
    usable,
)

from demo.cli import parse_args
from demo.engine.devices import GIB
from demo.engine.planner import Flags, assess
from demo.errors import ConfigError

PLACEMENTS = ["auto", "single", "replicate", "shard", "2x1", "1x2", "2x2"]


@st.composite
def cases(draw, placements=PLACEMENTS, max_cards=3):
    machine = draw(machines(max_cards))
    return draw(models()), machine, draw(flags_for(machine, placements))


@untimed
@given(cases([*PLACEMENTS, "cpu"]), st.booleans())
def test_no_plan_goes_over_what_is_free_or_allowed(case, offload):
    footprint, machine, flags = case
    decision = assess(footprint, machine, replace(flags, offload=offload))
    for device in machine:
        allowed = min(device.free_bytes, flags.max_memory.get(device.index, device.free_bytes))
        assert sum(replica.devices.get(device.id, 0) for replica in decision.replicas) <= allowed
    unused = {d.id for d in machine if d.kind == "cuda" and flags.devices is not None and d.index not in flags.devices}
    assert unused.isdisjoint(device for replica in decision.replicas for device in replica.devices)


@untimed
@given(cases(), st.booleans())
def test_every_module_is_placed_once_and_every_device_is_charged_for_what_it_holds(case, offload):
    footprint, machine, flags = case
    flags = replace(flags, offload=offload)
    decision = assess(footprint, machine, flags)
    for replica in decision.replicas:
        map_ = {m.path: replica.device_map.get(m.path, replica.device_map.get("")) for m in footprint.modules}
        assert set(replica.device_map) in ({""}, set(map_))
        assert all(map_[m.tied_to] == map_[m.path] for m in footprint.modules if m.tied_to)
        assert len({map_[m.path] for m in footprint.modules if m.kind in ("vision", "embedding")}) == 1
        if "cpu" in replica.devices:
            continue
        for device, size in replica.devices.items():
            assert size == cost(footprint, [m for m in footprint.modules if map_[m.path] == device], flags)
        order = [map_[m.path] for m in footprint.modules if m.kind == "layer"]
        assert len(list(groupby(order))) == len(set(order))  # no card is returned to


@untimed
@given(cases())
def test_a_refusal_is_only_for_what_no_way_to_place_it_would_fit(case):
    footprint, machine, flags = case
    cards = usable(machine, flags)
    found = {
        "single": lambda: any(fits_on(footprint, [c], flags) for c in cards),
        "replicate": lambda: any(fits_on(footprint, [c], flags) for c in cards),
        "shard": lambda: fits_on(footprint, cards, flags),
        "auto": lambda: fits_on(footprint, cards, flags),
        "2x1": lambda: most_replicas(footprint, cards, flags, 1) >= 2,
        "1x2": lambda: most_replicas(footprint, cards, flags, 2) >= 1,
        "2x2": lambda: most_replicas(footprint, cards, flags, 2) >= 2,
    }[flags.placement]()
    assert assess(footprint, machine, flags).fits is found


@untimed
@given(cases(["2x2", "auto"], max_cards=4))
def test_four_cards_hold_as_many_replicas_as_there_is_a_way_to_place(case):
    footprint, machine, flags = case
    cards = usable(machine, flags)
    decision = assess(footprint, machine, flags)
    if flags.placement == "auto":
        assert len(decision.replicas) == most_replicas(footprint, cards, flags)
    else:
        assert decision.fits is (most_replicas(footprint, cards, flags, 2) >= 2)


@untimed
@given(cases(["replicate"]))
def test_every_card_that_has_room_for_a_replica_gets_one(case):
    footprint, machine, flags = case
    roomy = [c.id for c in usable(machine, flags) if fits_on(footprint, [c], flags)]
    assert [list(replica.devices) for replica in assess(footprint, machine, flags).replicas] == [[id] for id in roomy]


@untimed
@given(cases(["shard"]))
def test_the_fullest_card_of_a_split_is_as_little_full_as_can_be(case):
    footprint, machine, flags = case
    decision = assess(footprint, machine, flags)
    if not decision.fits:
        return
    free = {c.id: c.free_bytes for c in usable(machine, flags)}

    def fullest(devices):
        return max(size / free[device] if free[device] else float("inf") for device, size in devices.items())

    least = min(fullest(split) for split in splits(footprint, usable(machine, flags), flags))
    assert fullest(decision.replicas[0].devices) == pytest.approx(least, abs=1e-5)


@untimed
@given(cases(["auto"]))
def test_auto_takes_no_more_cards_for_its_replicas_than_the_fewest(case):
    footprint, machine, flags = case
    decision = assess(footprint, machine, flags)
    cards = usable(machine, flags)
    if len(decision.replicas) == 1:
        fewest = next(
            n for n in range(1, len(cards) + 1) if most_replicas(footprint, cards, flags, n) or n == len(cards)
        )
        assert len(decision.replicas[0].devices) <= fewest


# --- more is never worse


@untimed
@given(cases([*PLACEMENTS, "cpu"]), st.booleans(), st.data())
def test_more_memory_never_turns_a_plan_into_a_refusal_or_into_fewer_replicas(case, offload, data):
    footprint, machine, flags = case
    flags = replace(flags, offload=offload)
    before = assess(footprint, machine, flags)
    index = data.draw(st.integers(0, len(machine) - 1))
    more = machine[index].free_bytes + data.draw(ROOM)
    grown = [*machine]
    grown[index] = replace(machine[index], free_bytes=more, total_bytes=more)
    after = assess(footprint, grown, flags)
    assert after.fits >= before.fits
    assert len(after.replicas) >= len(before.replicas)


@untimed
@given(cases([p for p in PLACEMENTS if p != "single"]), st.booleans(), ROOM)
def test_another_card_never_turns_a_plan_into_a_refusal_or_into_fewer_replicas(case, offload, free):
    footprint, machine, flags = case
    number = len(machine) - 1
    devices = None if flags.devices is None else (*flags.devices, number)
    before = assess(footprint, machine, replace(flags, offload=offload))
    after = assess(footprint, [*machine, card(number, free)], replace(flags, offload=offload, devices=devices))
    assert after.fits >= before.fits
    assert len(after.replicas) >= len(before.replicas)


@untimed
@given(cases([*PLACEMENTS, "cpu"]), st.booleans(), st.randoms())
def test_the_order_of_the_devices_does_not_matter(case, offload, random):
    footprint, machine, flags = case
    flags = replace(flags, offload=offload)
    shuffled = list(machine)
    random.shuffle(shuffled)
    numbers = None if flags.devices is None else tuple(random.sample(flags.devices, len(flags.devices)))
    assert assess(footprint, shuffled, replace(flags, devices=numbers)) == assess(footprint, machine, flags)


# --- refusals say what is true


@untimed
@given(cases(["auto", "single", "replicate", "shard"]))
def test_a_shortfall_is_the_least_that_every_card_needs_besides(case):
    footprint, machine, flags = case
    flags = replace(flags, max_memory={})
    decision = assess(footprint, machine, flags)
    if decision.fits:
        assert decision.shortfall_bytes == 0
        return

    def with_more(extra):
        grown = [replace(d, free_bytes=d.free_bytes + extra) if d.kind == "cuda" else d for d in machine]
        return assess(footprint, grown, flags).fits

    assert with_more(decision.shortfall_bytes)
    assert not with_more(decision.shortfall_bytes - 1)


def changed(flags, words):
    """The flags with what a suggestion says, as the command line reads it."""
    if "without --max-memory" in words:
        flags, words = replace(flags, max_memory={}), words.replace("without --max-memory", "")
    said = Flags.of(parse_args(words.split(), {}).engine)
    names = [word[2:].replace("quantize", "quantization") for word in words.split() if word.startswith("--")]
    return replace(flags, **{name: getattr(said, name) for name in names})


@untimed
@given(cases([*PLACEMENTS, "cpu"]))
def test_a_suggestion_that_is_said_to_fit_does_and_takes_what_it_says(case):
    footprint, machine, flags = case
    decision = assess(footprint, machine, flags)
    assert not (decision.fits and decision.suggestions)
    for suggestion in decision.suggestions:
        assert suggestion.fits
        there = assess(footprint, machine, changed(flags, suggestion.flags))
        assert there.fits
        assert suggestion.bytes == max(size for replica in there.replicas for size in replica.devices.values())


@untimed
@given(cases(["auto", "single", "shard"]))
def test_layers_are_offloaded_only_where_cards_are_full_and_only_as_many_as_it_takes(case):
    footprint, machine, flags = case
    plain = assess(footprint, machine, flags)
    offloaded = assess(footprint, machine, replace(flags, offload=True))
    if plain.fits:
        assert offloaded == plain
        return
    cards = usable(machine, flags)
    if flags.placement == "single":
        cards = [max(cards, key=lambda c: (c.free_bytes, -c.index))]
    needed = fewest_offloaded(footprint, cards, machine[-1], flags)
    if needed is None:
        assert offloaded.fits is False
    else:
        (replica,) = offloaded.replicas
        assert sum(device == "cpu" for device in replica.device_map.values()) == needed


def fewest_offloaded(footprint, cards, memory, flags):
    """How many of the first layers have to be in main memory, tried one after the other; None where all do not help."""
    layers = [m for m in footprint.modules if m.kind == "layer"]
    dtype = footprint.stored_dtype if flags.dtype == "auto" else flags.dtype
    free = {c.id: c.free_bytes for c in cards}
    for count in range(1, len(layers) + 1):
        sizes = [footprint.bytes_of(m, dtype) for m in layers[:count]]
        if sum(sizes) + ON_CPU > memory.free_bytes:
            return None
        gone = {m.path for m in layers[:count]}
        # weightless, but with their cache, and in the first part: the layers that compute on the first card
        rest = tuple(replace(m, floats=0, other_bytes=0) if m.path in gone else m for m in footprint.modules)
        for split in splits(replace(footprint, modules=rest), cards, flags):
            first = next(iter(split))
            if holds_the_first(replace(footprint, modules=rest), split, count, flags):
                staged = {**split, first: split[first] + max(sizes)}
                if all(size <= free[id] for id, size in staged.items()):
                    return count
    return None


def holds_the_first(footprint, split, count, flags):
    """Whether the first card of a split has the first part and so many layers: by what it costs, at least."""
    stretch = [m for m in footprint.modules if m.kind in ("vision", "embedding")]
    stretch += [m for m in footprint.modules if m.kind == "layer"][:count]
    stretch += [m for m in footprint.modules if m.kind == "head" and m.tied_to]
    return next(iter(split.values())) >= cost(footprint, stretch, flags)


# --- many cards


def test_a_rack_of_unlike_cards_is_planned_in_no_time_and_within_bounds():
    machine = [card(number, (20 + number) * GIB - 17 * number) for number in range(16)]
    decision = assess(parted(*[GIB] * 60, first=GIB, head=GIB), machine, Flags("4x4"))
    assert decision.fits
    assert all(size <= machine[int(id[5:])].free_bytes for r in decision.replicas for id, size in r.devices.items())
    assert len(assess(parted(*[GIB] * 60), machine).replicas) == 5


def test_only_a_machine_with_what_is_asked_for_is_planned_for():
    with pytest.raises(ConfigError):
        assess(parted(GIB), [cpu(GIB)], Flags("shard"))
