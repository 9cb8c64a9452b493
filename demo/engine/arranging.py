"""The replicas of one model that a placement asks for, or none where they do not fit.

Owns what each word of ``--placement`` means, and the order in which ``auto`` tries things: as many whole replicas as
fit, one on a card; of the cards left over as many as fit on the fewest cards each; layers in main memory where that is
allowed. Knows nothing of flags that change a model's size, nor of words for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from demo.engine.devices import Device
from demo.engine.pipeline import RESERVE_BYTES, Pipeline
from demo.engine.placing import in_groups, on_each, on_one, split, with_spill
from demo.engine.plans import Flags, ReplicaPlan
from demo.engine.site import Site, emptiest, grid


def arrange(pipeline: Pipeline, site: Site, flags: Flags) -> list[ReplicaPlan]:
    """All replicas of the plan; none where the model does not fit."""
    if not site.cards:
        return _some(_in_main_memory(pipeline, site))
    shape = grid(flags.placement)
    if shape is not None:
        rows, columns = shape
        return in_groups(pipeline, site.cards, size=columns, count=rows)
    if flags.placement == "replicate":
        return on_each(pipeline, site.cards)
    placed = _unspilt(pipeline, site.cards, flags.placement)
    if placed or not flags.offload or site.main_memory is None:
        return placed
    cards = [emptiest(site.cards)] if flags.placement == "single" else site.cards
    return _some(with_spill(pipeline, cards, site.main_memory))


def _unspilt(pipeline: Pipeline, cards: Sequence[Device], placement: str) -> list[ReplicaPlan]:
    if placement == "single":
        return _some(on_one(pipeline, emptiest(cards)))
    if placement == "shard":
        return _some(split(pipeline, cards))
    # A card that has room for a whole replica gains nothing by sharing one, so these come first.
    whole = on_each(pipeline, cards)
    taken = {card for replica in whole for card in replica.cards}
    left = [card for card in cards if card.id not in taken]
    return [*whole, *(in_groups(pipeline, left) if left else ())]


def _in_main_memory(pipeline: Pipeline, site: Site) -> ReplicaPlan | None:
    load = replace(pipeline.whole, reserve=RESERVE_BYTES["cpu"])
    if site.main_memory is None or load.total > site.main_memory.free_bytes:
        return None
    return ReplicaPlan({site.main_memory.id: load}, {"": site.main_memory.id})


def _some(replica: ReplicaPlan | None) -> list[ReplicaPlan]:
    return [] if replica is None else [replica]
