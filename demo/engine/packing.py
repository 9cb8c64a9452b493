"""How several models share the cards, each in processes of its own.

Owns the search. Whole models on single cards are packed exactly. Where one has to be split, its neighbours are placed
one after the other in every order; if that fails, every split of all but the last is tried: all of them for two models
on up to three cards, only those that cut at every second, fourth ... part beyond `MOST_TRIES`, none beyond four cards.
Knows nothing of flags that change a model's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, permutations, product

from demo.engine.arranging import arrange, arrange_one
from demo.engine.devices import Device
from demo.engine.pipeline import Pipeline
from demo.engine.placing import in_groups, stretched
from demo.engine.plans import Flags, ReplicaPlan
from demo.engine.site import Site, grid

MOST_TRIES = 5000
MOST_CARDS = 4  # that every split is tried on

Packed = list[list[ReplicaPlan]]  # for each model its replicas


def pack(pipelines: Sequence[Pipeline], site: Site, flags: Flags, *, is_thorough: bool = True) -> Packed:
    """The replicas of each model; none at all where the models do not fit together.

    What is found without being thorough fits, but not all that fits is found.
    """
    rows, columns = grid(flags.placement) or (0, 0)
    if not site.cards or columns > 1:
        return _one_after_the_other(pipelines, site, flags)
    if flags.placement == "replicate" or rows > 1:
        return _whole(pipelines, site.cards, wanted=rows)
    if flags.placement == "auto" and (whole := _whole(pipelines, site.cards, wanted=0)):
        return whole
    strict = replace(flags, offload=False)
    if flags.placement == "single" or rows == 1:
        placed = _one_card_each(pipelines, site.cards)
    else:
        placed = _one_after_the_other(pipelines, site, strict, just_one=True)
        placed = placed or (_every_split(pipelines, site, strict) if is_thorough else [])
    if not placed and flags.offload:
        placed = _one_after_the_other(pipelines, site, flags, just_one=True)
    return _with_more(pipelines, placed, site) if placed and flags.placement == "auto" else placed


def _whole(pipelines: Sequence[Pipeline], cards: Sequence[Device], *, wanted: int) -> Packed:
    """Whole replicas, at most one of a model on a card: ``wanted`` of each, or for 0 as many as fit.

    As many means that the model with the fewest has the most it can have, then that all together are the most,
    then that they are alike.
    """
    limit = wanted or len(cards)
    # replicas of each model -> on which cards they are
    known: dict[tuple[int, ...], tuple[tuple[int, ...], ...]] = {(0,) * len(pipelines): ()}
    ordered = sorted(cards, key=lambda card: (-card.free_bytes, card.index or 0))
    for card in ordered:
        after: dict[tuple[int, ...], tuple[tuple[int, ...], ...]] = {}
        for counts, chosen in known.items():
            for subset in _fitting_subsets(pipelines, card):
                more = tuple(count + (index in subset) for index, count in enumerate(counts))
                if max(more) <= limit:
                    after.setdefault(more, (*chosen, subset))
        known = after
    best = max(known, key=lambda counts: (min(counts), sum(counts), sorted(counts), counts))
    if min(best) < (wanted or 1):
        return []
    placed: Packed = [[] for _ in pipelines]
    for card, subset in sorted(zip(ordered, known[best]), key=lambda pair: pair[0].index or 0):
        for index in subset:
            placed[index].append(ReplicaPlan({card.id: pipelines[index].whole}, {"": card.id}))
    return placed


def _fitting_subsets(pipelines: Sequence[Pipeline], card: Device) -> list[tuple[int, ...]]:
    """The models that fit a card together, the most first."""
    numbers = range(len(pipelines))
    subsets = (subset for size in reversed(numbers) for subset in combinations(numbers, size + 1))
    fitting = [s for s in subsets if sum(pipelines[index].whole.total for index in s) <= card.free_bytes]
    return [*fitting, ()]


def _one_card_each(pipelines: Sequence[Pipeline], cards: Sequence[Device]) -> Packed:
    """One whole replica of each model, such that the fullest card's fraction is the least."""
    best: tuple[float, tuple[Device, ...]] | None = None
    for choice in product(cards, repeat=len(pipelines)):
        used: dict[str, int] = {}
        for pipeline, card in zip(pipelines, choice):
            used[card.id] = used.get(card.id, 0) + pipeline.whole.total
        if all(used[card.id] <= card.free_bytes for card in choice):
            fullest = max(used[card.id] / max(1, card.free_bytes) for card in choice)
            best = min(best or (fullest, choice), (fullest, choice), key=lambda found: found[0])
    if best is None:
        return []
    return [[ReplicaPlan({card.id: pipeline.whole}, {"": card.id})] for pipeline, card in zip(pipelines, best[1])]


def _one_after_the_other(pipelines: Sequence[Pipeline], site: Site, flags: Flags, *, just_one: bool = False) -> Packed:
    """Each model on what the ones before left, in the first order in which all fit; ``just_one`` replica of each."""
    for order in permutations(range(len(pipelines))):
        placed: dict[int, list[ReplicaPlan]] = {}
        left = site
        for index in order:
            found = arrange_one(pipelines[index], left, flags) if just_one else None
            replicas = ([found] if found else []) if just_one else arrange(pipelines[index], left, flags)
            if not replicas:
                break
            placed[index] = replicas
            left = left.without(replica.devices for replica in replicas)
        if len(placed) == len(pipelines):
            return [placed[index] for index in range(len(pipelines))]
    return []


def _every_split(pipelines: Sequence[Pipeline], site: Site, flags: Flags) -> Packed:
    """One replica of each model, for every split of the first the rest on what is left."""
    first, *others = pipelines
    if not others:
        found = arrange_one(first, site, flags)
        return [[found]] if found else []
    if len(site.cards) > MOST_CARDS:
        return []
    for replica in _splits(first, site.cards, most=round(MOST_TRIES ** (1 / len(others)))):
        rest = _every_split(others, site.without([replica.devices]), flags)
        if rest:
            return [[replica], *rest]
    return []


def _splits(pipeline: Pipeline, cards: Sequence[Device], *, most: int) -> Iterator[ReplicaPlan]:
    """Every way to split a replica over some of the cards, the fewest first; coarser ones where they are too many."""
    stride = 1
    while _count_splits(len(cards), math.ceil(len(pipeline) / stride)) > most and stride < len(pipeline):
        stride *= 2
    for size in range(1, len(cards) + 1):
        for chosen in permutations(cards, size):
            for cuts in combinations(range(stride, len(pipeline), stride), size - 1):
                ends = zip(chosen, (0, *cuts), (*cuts, len(pipeline)))
                replica = stretched(pipeline, list(ends))
                if all(replica.devices[card.id] <= card.free_bytes for card in chosen):
                    yield replica


def _count_splits(num_cards: int, num_parts: int) -> int:
    sizes = range(1, num_cards + 1)
    return sum(math.perm(num_cards, size) * math.comb(num_parts - 1, size - 1) for size in sizes)


def _with_more(pipelines: Sequence[Pipeline], placed: Packed, site: Site) -> Packed:
    """More replicas on what is left, of the model with the fewest first, on cards where it is not yet."""
    placed = [list(replicas) for replicas in placed]
    growing = set(range(len(pipelines)))
    while growing:
        index = min(growing, key=lambda index: (len(placed[index]), index))
        left = site.without(replica.devices for replicas in placed for replica in replicas)
        taken = {card for replica in placed[index] for card in replica.cards}
        cards = [card for card in left.cards if card.id not in taken]
        found = in_groups(pipelines[index], cards, most=1) if cards else []
        placed[index] += found
        if not found:
            growing.remove(index)
    return placed
