"""A worker's process sees its replica's cards alone, and what it says of them is told in the plan's numbers."""

import re
from itertools import pairwise

import pytest
from engine_kit import until
from hypothesis import given
from hypothesis import strategies as st

from demo.api.metrics import metrics_text
from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import GIB, Device, _visible
from demo.engine.events import Failed, Loading, LoadReport, Memory, Ready, Token
from demo.engine.manager import ModelManager
from demo.engine.own_cards import VISIBLE, OwnCards
from demo.engine.telemetry import Status
from demo.types import DeviceMemory, Placement

MACHINE = [(f"GPU-{letter * 4}-1", index) for index, letter in enumerate("abcdef")]  # UUID and handle
CARDS = [Device(f"cuda:{index}", "pretended card", "cuda", 16 * GIB, 16 * GIB) for index in range(4)]
MAIN_MEMORY = Device("cpu", "CPU", "cpu", 64 * GIB, 32 * GIB)

numbers = st.lists(st.integers(0, 11), unique=True, min_size=1, max_size=6)
spare = st.sampled_from(["7", "GPU-zz", "", "-1", " 9"])  # entries that name no card


@st.composite
def inherited(draw, *, is_whole=False):
    """What a parent may have been given: nothing, or cards in any order and form, and maybe one that is not there.

    Where it ``is_whole`` no card stands behind that one, which CUDA does not show.
    """
    if draw(st.booleans()):
        return None
    chosen = draw(st.lists(st.sampled_from(range(len(MACHINE))), unique=True))
    entries = [draw(st.sampled_from([str(index), MACHINE[index][0], f" {MACHINE[index][0][:8]}"])) for index in chosen]
    if draw(st.booleans()):
        entries.insert(draw(st.integers(len(entries) if is_whole else 0, len(entries))), draw(spare))
    return ",".join(entries)


def placed(*cards, **facts):
    return Placement({f"layers.{index}": card for index, card in enumerate(cards)}, **facts)


@given(inherited(), st.data())
def test_a_process_sees_the_very_cards_that_the_plan_means_in_the_same_order(visible, data):
    parent = _visible(MACHINE, visible)
    own = sorted(data.draw(st.sets(st.sampled_from(range(len(parent))))) if parent else [])
    environment = OwnCards(tuple(own)).environment(visible)
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert _visible(MACHINE, environment[VISIBLE]) == [parent[number] for number in own]


@given(inherited(is_whole=True), numbers)
def test_a_card_that_is_not_the_replicas_is_never_seen(visible, own):
    """Not even where the plan is of cards that the machine has not, as a pretended one may be."""
    parent = dict(enumerate(_visible(MACHINE, visible)))
    seen = _visible(MACHINE, OwnCards(tuple(sorted(own))).environment(visible)[VISIBLE])
    assert set(seen) <= {parent.get(number) for number in own}


@given(st.lists(st.integers(0, 11), min_size=1), st.booleans())
def test_a_placement_goes_in_and_its_names_come_out_again(cards, has_main_memory):
    names = [f"cuda:{card}" for card in cards] + ["cpu"] * has_main_memory
    planned = placed(
        *names, planned={name: len(name) for name in names}, caps={**dict.fromkeys(names, 7), "cuda:99": 8}
    )
    own = OwnCards.of(planned)
    inside = own.placement(planned)
    assert [own.told(device) for device in inside.device_map.values()] == names
    assert list(inside.device_map) == list(planned.device_map)
    assert own.outside(inside.planned) == planned.planned
    assert set(inside.caps) == set(inside.device_map.values())  # a card of others has no name in here
    seen = {device for device in inside.device_map.values() if device != "cpu"}
    assert seen == {f"cuda:{index}" for index in range(len(set(cards)))}
    for one, other in pairwise(cards):
        assert (one < other) == (own.numbers.index(one) < own.numbers.index(other))


@pytest.mark.parametrize(
    ("cards", "visible", "shown"),
    [
        (["cuda:2", "cuda:0"], None, "0,2"),
        (["cuda:1"], "2,3", "3"),
        (["cuda:1", "cuda:0"], "GPU-bb, MIG-aa/1/0", "GPU-bb,MIG-aa/1/0"),
        (["cuda"], "5", "5"),
        (["cpu", "cuda:1"], None, "1"),
        (["cpu"], "0,1", ""),
        (["http://127.0.0.1:8000"], None, ""),
        (["cuda:1"], "", "-1"),
    ],
)
def test_what_a_process_is_shown(cards, visible, shown):
    assert OwnCards.of(placed(*cards)).environment(visible)[VISIBLE] == shown


def test_what_leaves_the_process_has_the_plans_names():
    own = OwnCards((2, 5))
    held = DeviceMemory(1, 2, 3)
    words = "cuda:1: 3.0 GiB; GPU 0 has 79 GiB, 10 GPUs in all, not cuda:7 (1 GPU 1x)"
    told = "cuda:5: 3.0 GiB; GPU 2 has 79 GiB, 10 GPUs in all, not cuda:7 (1 GPU 1x)"
    report = LoadReport(9, {"cuda:0": 4, "cpu": 1}, "bfloat16", 0.5)
    assert own.event(Memory({"cuda:0": held, "cuda:1": held, "cpu": held})) == Memory(
        {"cuda:2": held, "cuda:5": held, "cpu": held}
    )
    assert own.event(Ready(report)).report.resident_bytes == {"cuda:2": 4, "cpu": 1}
    failed = own.event(Failed("r", "out_of_memory", words, words))
    assert (failed.message, failed.trace) == (told, told)
    for event in (Token("r", words), Loading(words)):
        assert own.event(event) == event


# --- through the real engine


@pytest.fixture
def start(monkeypatch):
    """Builds a manager for pretended cards, in a process that was given ``visible``."""
    managers = []

    def build(model, *, visible=None, **flags):
        if visible is None:
            monkeypatch.delenv(VISIBLE, raising=False)
        else:
            monkeypatch.setenv(VISIBLE, visible)
        config = EngineConfig(models=(ModelChoice(model),), **flags)
        managers.append(ModelManager(config, devices=[*CARDS, MAIN_MEMORY]))
        managers[-1].start()
        return managers[-1]

    yield build
    for manager in managers:
        manager.close()


def replicas_of(manager):
    return manager.snapshot().replicas


def test_each_replica_over_two_cards_tells_of_its_own_by_the_plans_numbers(start):
    manager = start("fake?parameters=6000000000", placement="2x2")
    assert until(lambda: [replica.state for replica in replicas_of(manager)] == ["idle"] * 2)
    pairs = [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")]
    for replica, pair in zip(replicas_of(manager), pairs, strict=True):
        assert replica.devices == tuple(replica.memory) == tuple(replica.resident_bytes) == pair
        assert replica.resident_bytes == replica.planned_weights
    shown = metrics_text(Status(manager.snapshot(), (), 0.0), waiting=0)
    for name in ("resident", "reserved"):
        found = re.findall(rf'^demo_{name}_bytes{{.*replica="(\d)".*device="([^"]+)"}}', shown, re.MULTILINE)
        assert found == [(str(number), card) for number, pair in enumerate(pairs) for card in pair]


@pytest.mark.parametrize(("visible", "last"), [(None, "3"), ("4,6,GPU-bb,7", "7"), ("6,GPU-aa,0,GPU-bb", "GPU-bb")])
def test_a_process_is_shown_its_cards_by_what_the_parent_was_given(start, visible, last):
    """The fake fails where its own environment shows this card, which is the last replica's."""
    manager = start(f"fake?fail_load=broken_checkpoint&only_on={last}", visible=visible, placement="replicate")
    assert until(lambda: [replica.state for replica in replicas_of(manager)] == ["idle"] * 3 + ["failed"])


def test_a_shortage_names_the_plans_cards(start):
    manager = start("fake?parameters=6000000000&fail_load=oom&only_on=2", placement="2x2")
    assert until(lambda: replicas_of(manager)[1].state == "failed")
    assert "planned: cuda:2 11.9 GiB, cuda:3 11.9 GiB" in replicas_of(manager)[1].detail
