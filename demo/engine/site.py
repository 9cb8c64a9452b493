"""The devices that a plan may use, and whether the flags make sense for them.

Owns the choice of cards (``--devices``), their budgets (``--max-memory``) and what models placed before leave of them.
Knows nothing of models. Bytes are integers; every card's free bytes are within its budget.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from demo.engine.devices import Device
from demo.engine.footprint import ITEM_BYTES
from demo.engine.plans import Flags
from demo.errors import ConfigError

PLACEMENTS = ("auto", "single", "replicate", "shard", "cpu")
QUANTIZATIONS = ("none", "int8", "int4")
MAY_SPILL = ("auto", "single", "shard")  # placements with one replica on all that it may use
GRID = re.compile(r"([1-9]\d{0,2})x([1-9]\d{0,2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Site:
    """Cards by number, and the main memory where it is known."""

    cards: tuple[Device, ...]
    main_memory: Device | None = None
    budgets: Mapping[str, int] = field(default_factory=dict)  # card -> bytes, of the cards that have one

    def grown(self, extra: int) -> Site:
        """The same with so many more bytes free everywhere."""
        cards = tuple(replace(card, free_bytes=card.free_bytes + extra) for card in self.cards)
        memory = self.main_memory and replace(self.main_memory, free_bytes=self.main_memory.free_bytes + extra)
        return replace(self, cards=cards, main_memory=memory)

    def without(self, taken: Iterable[Mapping[str, int]]) -> Site:
        """What is left when replicas take these bytes of the devices."""
        used: dict[str, int] = {}
        for devices in taken:
            for device, size in devices.items():
                used[device] = used.get(device, 0) + size
        cards = tuple(_less(card, used) for card in self.cards)
        return replace(self, cards=cards, main_memory=self.main_memory and _less(self.main_memory, used))

    def with_cards(self, count: int) -> Site:
        """At least so many cards: those that are missing are full."""
        number = max((card.index or 0 for card in self.cards), default=-1) + 1
        missing = range(number, number + count - len(self.cards))
        return replace(self, cards=(*self.cards, *(Device(f"cuda:{n}", "missing", "cuda", 0, 0) for n in missing)))


def grid(placement: str) -> tuple[int, int] | None:
    """Replicas and cards of each in ``RxG``; None for another placement."""
    found = GRID.fullmatch(placement)
    return (int(found[1]), int(found[2])) if found else None


def emptiest(cards: Sequence[Device]) -> Device:
    """The card with the most free bytes, the first of those that have as many."""
    return min(cards, key=lambda card: (-card.free_bytes, card.index or 0))


def site_of(devices: Sequence[Device], flags: Flags) -> Site:
    """The devices that the flags leave. Raises `ConfigError` where they leave none, or make no sense."""
    _check(devices, flags)
    chosen = [d for d in devices if d.kind == "cuda" and (flags.devices is None or d.index in flags.devices)]
    budgets = {card.id: flags.max_memory[card.index or 0] for card in chosen if card.index in flags.max_memory}
    allowed = [replace(card, free_bytes=min(card.free_bytes, budgets.get(card.id, card.free_bytes))) for card in chosen]
    memory = next((device for device in devices if device.kind == "cpu"), None)
    wants_cpu = flags.placement == "cpu" or (flags.placement == "auto" and not chosen)
    if wants_cpu and memory is None:
        raise ConfigError("There is no CPU for this placement", value=flags.placement)
    if not wants_cpu and not chosen:
        raise ConfigError("There is no card for this placement", value=flags.placement, remedy="Use --placement cpu.")
    cards = () if wants_cpu else tuple(sorted(allowed, key=lambda card: card.index or 0))
    return Site(cards, memory, budgets)


def _less(device: Device, used: Mapping[str, int]) -> Device:
    return replace(device, free_bytes=max(0, device.free_bytes - used.get(device.id, 0)))


def _check(devices: Sequence[Device], flags: Flags) -> None:
    if flags.placement not in PLACEMENTS and grid(flags.placement) is None:
        known = ", ".join(PLACEMENTS)
        remedy = f"Known: {known}, and RxG for R replicas of G cards each, like 2x2."
        raise ConfigError("Unknown placement", value=flags.placement, remedy=remedy)
    if flags.quantization not in QUANTIZATIONS:
        raise ConfigError(
            "Unknown quantization", value=flags.quantization, remedy=f"Known: {', '.join(QUANTIZATIONS)}."
        )
    if flags.dtype != "auto" and flags.dtype not in ITEM_BYTES:
        raise ConfigError("Unknown dtype", value=flags.dtype, remedy=f"Known: auto, {', '.join(ITEM_BYTES)}.")
    if flags.offload and flags.quantization != "none":
        raise ConfigError("Quantized layers stay on the cards", remedy="Leave out --offload or --quantize.")
    there = sorted(device.index for device in devices if device.index is not None)
    for number in (*(flags.devices or ()), *flags.max_memory):
        if number not in there:
            found = ", ".join(map(str, there)) or "none"
            raise ConfigError("There is no such card", value=number, remedy=f"Cards here: {found}.")
