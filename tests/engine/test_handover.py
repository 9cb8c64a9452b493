"""Weights handed from a model's first replica to the others: who waits, for what, and what happens when it is lost."""

from __future__ import annotations

import os
import signal

import pytest
from engine_kit import ask, cards, replicas_of, text_of, until

from demo.engine.events import Fed
from demo.engine.handover import Handover, Share


class Line:
    """What one process was sent."""

    def __init__(self):
        self.sent = []

    def __call__(self, command):
        self.sent.append(command)


@pytest.fixture(name="shares")
def _shares():
    handover = Handover()
    return [Share(handover, part) for part in ("gives", "takes", "takes")]


def test_who_waits_is_told_once_and_who_comes_later_at_once(shares):
    giver, early, late = shares
    lines = [Line(), Line(), Line()]
    giver.started(lines[0])
    early.started(lines[1])
    assert lines[1].sent == []
    giver.offered(b"weights")
    late.started(lines[2])
    assert [line.sent for line in lines] == [[], [Fed(b"weights")], [Fed(b"weights")]]


def test_when_the_giver_ends_before_it_has_offered_the_others_read_for_themselves(shares):
    giver, early, late = shares
    waiting, later = Line(), Line()
    early.started(waiting)
    giver.ended()
    late.started(later)
    assert waiting.sent == later.sent == [Fed(None)]


def test_what_a_giver_offered_goes_with_it_and_its_next_process_offers_anew(shares):
    giver, taker, _ = shares
    giver.offered(b"old")
    giver.ended()
    taker.started(lost := Line())
    giver.offered(b"new")
    taker.started(found := Line())
    assert (lost.sent, found.sent) == ([Fed(None)], [Fed(b"new")])


def test_the_end_of_one_that_takes_changes_nothing_and_it_cannot_offer(shares):
    giver, taker, other = shares
    giver.offered(b"weights")
    taker.offered(b"its own")
    taker.ended()
    other.started(line := Line())
    assert line.sent == [Fed(b"weights")]


def test_a_process_that_ended_while_it_waited_is_told_nothing(shares):
    giver, taker, _ = shares
    taker.started(gone := Line())
    taker.ended()
    taker.started(there := Line())
    giver.offered(b"weights")
    assert (gone.sent, there.sent) == ([], [Fed(b"weights")])


def test_without_a_part_nobody_waits():
    share = Share(Handover(), "")
    share.started(line := Line())
    share.offered(b"weights")
    share.ended()
    assert line.sent == []


# --- in processes


def moves(path):
    return path.read_text().splitlines()


def test_replicas_on_cards_are_fed_by_the_first(start_on_cards, tmp_path):
    path = tmp_path / "moves"
    manager = start_on_cards(
        f"fake?feeds=1&load_s=0.3&moves={path}", devices=cards(3), placement="replicate", wait=False
    )
    assert until(lambda: all(replica.state == "idle" for replica in replicas_of(manager)))
    first, *others = (replica.pid for replica in replicas_of(manager))
    fed = [line for line in moves(path) if line.startswith("fed")]
    assert sorted(fed) == sorted(f"fed by {first} to {pid}" for pid in others)
    assert [(replica.loads, replica.total_loads) for replica in replicas_of(manager)] == [(1, 1)] * 3


def test_shards_are_fed_as_well_and_one_replica_alone_waits_for_nobody(start_on_cards, tmp_path):
    path = tmp_path / "moves"
    manager = start_on_cards(
        f"fake?feeds=1&parameters=2000000000&moves={path}", devices=cards(4), placement="2x2", wait=False
    )
    assert until(lambda: all(replica.state == "idle" for replica in replicas_of(manager)))
    assert sum(line.startswith("fed") for line in moves(path)) == 1
    manager.close()
    manager = start_on_cards(f"fake?feeds=1&moves={path}.2", devices=cards(1), placement="single")
    assert not any(line.startswith("fed") for line in moves(tmp_path / "moves.2"))


def test_when_the_first_dies_loading_the_others_do_not_wait_for_it(start_on_cards, tmp_path):
    path, once = tmp_path / "moves", tmp_path / "once"
    model = f"fake?feeds=1&fail_load=exit&only_on=0&once={once}&moves={path}"
    manager = start_on_cards(model, devices=cards(2), placement="replicate", wait=False)
    assert until(lambda: all(replica.state == "idle" for replica in replicas_of(manager)))
    assert [replica.deaths for replica in replicas_of(manager)] == [1, 0]
    assert not any(line.startswith("fed") for line in moves(path))
    assert text_of(manager.stream(ask()))


def test_a_replica_that_is_restarted_is_fed_again(start_on_cards, tmp_path):
    path = tmp_path / "moves"
    manager = start_on_cards(f"fake?feeds=1&moves={path}", devices=cards(2), placement="replicate", wait=False)
    assert until(lambda: all(replica.state == "idle" for replica in replicas_of(manager)))
    first, second = (replica.pid for replica in replicas_of(manager))
    os.kill(second, signal.SIGKILL)
    assert until(lambda: replicas_of(manager)[1].deaths == 1 and replicas_of(manager)[1].state == "idle")
    assert moves(path)[-1] == f"fed by {first} to {replicas_of(manager)[1].pid}"
