"""How the replicas of one model go onto cards: whole, split over several, or partly in main memory.

Owns the search. It is exact up to `MOST_STATES` ways to take some of the cards (eight cards that all differ, or
hundreds of equal ones); beyond that, cards count as slightly smaller until they are alike. Cards of the same size
are taken in the order of their numbers, so that the order in which they are listed decides nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from demo.engine.devices import Device
from demo.engine.pipeline import RESERVE_BYTES, Part, Pipeline
from demo.engine.plans import Load, ReplicaPlan

MOST_STATES = 256
FINENESS = 2**20  # steps in which the fullest card's fraction is searched

State = tuple[int, ...]  # how many cards of each size
Reached = dict[State, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Rack:
    """Cards by their free bytes, the largest first, and by number among equals."""

    sizes: tuple[int, ...]
    cards: tuple[tuple[Device, ...], ...]

    @classmethod
    def of(cls, cards: Sequence[Device]) -> Rack:
        unit = 1
        while True:
            alike: dict[int, list[Device]] = {}
            for card in sorted(cards, key=lambda card: (card.index or 0, card.id)):
                alike.setdefault(card.free_bytes // unit * unit, []).append(card)
            sizes = sorted(alike, reverse=True)
            if math.prod(len(alike[size]) + 1 for size in sizes) <= MOST_STATES or len(sizes) == 1:
                return cls(tuple(sizes), tuple(tuple(alike[size]) for size in sizes))
            unit = max(2**24, unit * 2)

    @property
    def counts(self) -> State:
        return tuple(len(cards) for cards in self.cards)

    def states(self, up_to: State | None = None) -> Iterator[State]:
        """Every way to take some of the cards, what a way contains before itself."""
        return product(*(range(count + 1) for count in up_to or self.counts))

    def size_of(self, state: State) -> int:
        return sum(size * count for size, count in zip(self.sizes, state))

    def draw(self, kind: int) -> tuple[Device, Rack]:
        """The first card of a size, and the others."""
        card, *others = self.cards[kind]
        cards = (*self.cards[:kind], tuple(others), *self.cards[kind + 1 :])
        return card, replace(self, cards=cards)

    def deal(self, groups: Sequence[State]) -> list[list[Device]]:
        """The very cards of each group; no card is dealt twice."""
        piles = [deque(cards) for cards in self.cards]
        return [[pile.popleft() for pile, count in zip(piles, group) for _ in range(count)] for group in groups]


def on_one(pipeline: Pipeline, card: Device) -> ReplicaPlan | None:
    """A whole replica on one card, if there is room."""
    if pipeline.whole.total > card.free_bytes:
        return None
    return ReplicaPlan({card.id: pipeline.whole}, {"": card.id})


def on_each(pipeline: Pipeline, cards: Sequence[Device]) -> list[ReplicaPlan]:
    """A whole replica on every card that has room."""
    placed = (on_one(pipeline, card) for card in by_number(cards))
    return [replica for replica in placed if replica is not None]


def split(pipeline: Pipeline, cards: Sequence[Device], *, is_even: bool = True) -> ReplicaPlan | None:
    """One replica over cards, some of which may stay empty, such that the fullest one's fraction is the least.

    What follows the first card's stretch is then spread in the same way over the others, and so on, so that the ones
    behind a card that has to be full are not. Where it need not be even, any way that fits will do, which takes much
    less time to find.
    """
    rack, start = Rack.of(cards), 0
    pieces: list[tuple[Device, int, int]] = []
    while start < len(pipeline):
        reached = _most_even(pipeline, rack, start) if is_even else _within(pipeline, rack, start)
        if reached is None:
            return None
        kind, stop = _first_stretch(rack, reached, start)
        card, rack = rack.draw(kind)
        pieces.append((card, start, stop))
        start = stop
    return stretched(pipeline, pieces)


def stretched(pipeline: Pipeline, pieces: Sequence[tuple[Device, int, int]]) -> ReplicaPlan:
    """A replica over cards, of which each has the stretch of parts between two numbers."""
    loads = {card.id: pipeline.load(start, stop) for card, start, stop in pieces}
    if len(loads) == 1 and not pipeline.parts[0].spilled:
        return ReplicaPlan(loads, {"": pieces[0][0].id})
    paths = ((path, card.id) for card, *ends in pieces for part in pipeline.parts[slice(*ends)] for path in part.paths)
    return ReplicaPlan(loads, dict(paths))


def in_groups(
    pipeline: Pipeline,
    cards: Sequence[Device],
    *,
    size: int | None = None,
    most: int | None = None,
    is_even: bool = True,
) -> list[ReplicaPlan]:
    """As many replicas as fit, or at most ``most``, each over a group of cards of its own.

    A group has ``size`` cards, or as few as it takes. Among equals the poorest group is the richest.
    """
    rack = Rack.of(cards)
    reached = _reach(pipeline, rack)
    enough = {state for state in rack.states() if reached[state][0] == len(pipeline)}
    if size is None:
        groups = [state for state in enough if enough.isdisjoint(_less(state))]
    else:
        groups = [state for state in enough if sum(state) == size]
    chosen = _most_groups(rack, sorted(groups), most=most or sum(rack.counts))
    numbers = {card.id: card.index or 0 for card in cards}
    splits = (split(pipeline, dealt, is_even=is_even) for dealt in rack.deal(chosen))
    placed = (replica for replica in splits if replica is not None)
    return sorted(placed, key=lambda replica: min(numbers[card] for card in replica.cards))


def with_spill(
    pipeline: Pipeline, cards: Sequence[Device], main_memory: Device, *, is_even: bool = True
) -> ReplicaPlan | None:
    """One replica over cards with as few of its layers in main memory as it takes."""
    for count in range(1, pipeline.num_spillable + 1):
        spilt = pipeline.spill(count)
        if spilt.parts[0].spilled_bytes + RESERVE_BYTES["cpu"] > main_memory.free_bytes:
            return None
        replica = split(spilt, cards, is_even=is_even)
        if replica is not None:
            return _with_main_memory(replica, spilt.parts[0], main_memory)
    return None


def least(is_enough: Callable[[int], bool], most: int) -> int:
    """The least number up to ``most``, which is enough, that is enough."""
    low, high = -1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def by_number(cards: Sequence[Device]) -> list[Device]:
    return sorted(cards, key=lambda card: (card.index or 0, card.id))


# --- the search


def _reach(pipeline: Pipeline, rack: Rack, start: int = 0) -> Reached:
    """For every way to take cards: how far the pipeline gets on them in their best order, and which size comes last.

    A longer beginning never makes the rest longer, so the furthest beginning is the best one.
    """
    known: dict[tuple[int, int], int] = {}

    def furthest(begin: int, kind: int) -> int:
        if (begin, kind) not in known:
            known[begin, kind] = pipeline.furthest(begin, rack.sizes[kind])
        return known[begin, kind]

    reached: Reached = {}
    for state in rack.states():
        kinds = [kind for kind, count in enumerate(state) if count]
        ends = ((furthest(reached[_one_less(state, kind)][0], kind), -kind) for kind in kinds)
        stop, kind = max(ends, default=(start, 0))
        reached[state] = stop, -kind
    return reached


def _within(pipeline: Pipeline, rack: Rack, start: int) -> Reached | None:
    """The search's outcome; None where the cards are too small."""
    reached = _reach(pipeline, rack, start)
    return reached if reached[rack.counts][0] == len(pipeline) else None


def _most_even(pipeline: Pipeline, rack: Rack, start: int) -> Reached | None:
    """The search's outcome with the cards as small as can be, all by the same factor; None where they are too small."""
    reached = _within(pipeline, rack, start)
    if reached is None:
        return None
    low, high = 0, FINENESS  # in ``high`` parts of `FINENESS` it fits
    while high - low > 1:
        middle = (low + high) // 2
        smaller = replace(rack, sizes=tuple(size * middle // FINENESS for size in rack.sizes))
        found = _within(pipeline, smaller, start)
        if found is None:
            low = middle
        else:
            high, reached = middle, found
    return reached


def _first_stretch(rack: Rack, reached: Reached, start: int) -> tuple[int, int]:
    """The size of the card that is used first, and where its stretch ends: the search followed back from all cards."""
    state, first = rack.counts, (0, start)
    while any(state):
        stop, kind = reached[state]
        state = _one_less(state, kind)
        if reached[state][0] < stop:
            first = kind, stop
    return first


def _most_groups(rack: Rack, groups: Sequence[State], most: int) -> list[State]:
    """At most so many groups that share no card; as many as there can be, of the fewest cards."""
    # for every number of groups: what is taken of -> (minus the cards used, the poorest group's bytes, the groups)
    best: dict[State, tuple[int, int, tuple[State, ...]]] = dict.fromkeys(rack.states(), (0, 1 << 62, ()))
    chosen: tuple[State, ...] = ()
    for _ in range(most):
        after: dict[State, tuple[int, int, tuple[State, ...]]] = {}
        for state in rack.states():
            for group in groups:
                before = best.get(tuple(have - take for have, take in zip(state, group)))
                if before is not None:
                    found = (before[0] - sum(group), min(before[1], rack.size_of(group)), (*before[2], group))
                    after[state] = max(after.get(state, found), found)
        best = after
        if rack.counts not in best:
            break
        chosen = best[rack.counts][2]
    return list(chosen)


def _with_main_memory(replica: ReplicaPlan, first: Part, main_memory: Device) -> ReplicaPlan:
    below = Load(weights=first.spilled_bytes, reserve=RESERVE_BYTES["cpu"])
    staged = dict.fromkeys(first.spilled, main_memory.id)
    return replace(
        replica,
        loads={**replica.loads, main_memory.id: below},
        device_map={**replica.device_map, **staged},
    )


def _one_less(state: State, kind: int) -> State:
    return (*state[:kind], state[kind] - 1, *state[kind + 1 :])


def _less(state: State) -> list[State]:
    return [_one_less(state, kind) for kind, count in enumerate(state) if count]
