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


def arrange(pipeline: Pipeline, site: Site, flags: Flags, *, is_even: bool = True) -> list[ReplicaPlan]:
    """All replicas of the plan; none where the model does not fit. Uneven splits are found in less time."""
    shape = grid(flags.placement)
    if not site.cards:
        return _some(_in_main_memory(pipeline, site))
    if shape is not None:
        rows, columns = shape
        replicas = in_groups(pipeline, site.cards, size=columns, most=rows, is_even=is_even)
        return replicas if len(replicas) == rows else []
    if flags.placement == "replicate":
        return on_each(pipeline, site.cards)
    several = _as_many_as_fit(pipeline, site.cards, is_even=is_even) if flags.placement == "auto" else []
    return several or _some(arrange_one(pipeline, site, flags, is_even=is_even))


def arrange_one(pipeline: Pipeline, site: Site, flags: Flags, *, is_even: bool = True) -> ReplicaPlan | None:
    """One replica on the cards that the placement takes; with layers in main memory only where it must and may."""
    cards = [emptiest(site.cards)] if flags.placement == "single" else site.cards
    if flags.placement == "single":
        replica = on_one(pipeline, cards[0])
    elif flags.placement == "shard":
        replica = split(pipeline, cards, is_even=is_even)
    else:
        groups = in_groups(pipeline, cards, most=1, is_even=is_even)
        replica = on_one(pipeline, emptiest(cards)) or next(iter(groups), None)
    if replica is None and flags.offload and site.main_memory is not None:
        replica = with_spill(pipeline, cards, site.main_memory, is_even=is_even)
    return replica


def _as_many_as_fit(pipeline: Pipeline, cards: Sequence[Device], *, is_even: bool) -> list[ReplicaPlan]:
    """A card that has room for a whole replica gains nothing by sharing one, so these come first."""
    whole = on_each(pipeline, cards)
    taken = {card for replica in whole for card in replica.cards}
    left = [card for card in cards if card.id not in taken]
    return [*whole, *(in_groups(pipeline, left, is_even=is_even) if left else ())]


def _in_main_memory(pipeline: Pipeline, site: Site) -> ReplicaPlan | None:
    load = replace(pipeline.whole, reserve=RESERVE_BYTES["cpu"])
    if site.main_memory is None or load.total > site.main_memory.free_bytes:
        return None
    return ReplicaPlan({site.main_memory.id: load}, {"": site.main_memory.id})


def _some(replica: ReplicaPlan | None) -> list[ReplicaPlan]:
    return [] if replica is None else [replica]
