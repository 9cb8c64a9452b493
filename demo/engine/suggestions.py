"""The nearest flags that would make a model fit, best first.

Owns which changes are tried and in which order: first those that cost a user nothing (other cards), then precision,
the length of conversations, and last what makes every answer slower. Two changes together are tried only where no
single one helps. Knows nothing of how a plan is made. Bytes are integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from demo.engine.devices import Device
from demo.engine.plans import Flags, Plan, Suggestion
from demo.engine.site import MAY_SPILL, emptiest, grid
from demo.errors import ConfigError

MOST = 6  # suggestions; the rest would only hide the best
SHORTEST_CONTEXT = 512

Try = Callable[[Flags], "Sequence[Plan] | None"]  # what comes of flags: a plan for each model, or a refusal


@dataclass(frozen=True, slots=True)
class Change:
    """Words for a command line and what they set."""

    words: str
    sets: dict[str, Any]

    def apply(self, flags: Flags) -> Flags:
        return replace(flags, **self.sets)


def suggest(attempt: Try, devices: Sequence[Device], flags: Flags, refused: Sequence[Plan]) -> tuple[Suggestion, ...]:
    """The changes after which all of the refused models fit."""
    changes = list(_changes(devices, flags, refused))
    found = _fitting(attempt, flags, changes)
    if not found:
        pairs = (pair for pair in combinations(changes, 2) if not pair[0].sets.keys() & pair[1].sets.keys())
        found = _fitting(attempt, flags, [Change(f"{a.words} {b.words}", {**a.sets, **b.sets}) for a, b in pairs])
    return tuple(found[:MOST])


def fullest(plans: Sequence[Plan]) -> int:
    """What the fullest device has to hold of all models together; those that take turns are there one at a time."""
    used: dict[str, int] = {}
    for plan in plans:
        for replica in plan.replicas:
            for device, size in replica.devices.items():
                before = used.get(device, 0)
                used[device] = max(before, size) if plan.takes_turns else before + size
    return max(used.values(), default=0)


def _fitting(attempt: Try, flags: Flags, changes: Sequence[Change]) -> list[Suggestion]:
    found: list[Suggestion] = []
    for change in changes:
        if any(_is_milder(better.flags, change.words) for better in found):
            continue
        try:
            plans = attempt(change.apply(flags))
        except ConfigError:  # the changed flags make no sense here
            continue
        if plans is not None:
            found.append(Suggestion(change.words, True, fullest(plans)))
    return found


def _is_milder(better: str, words: str) -> bool:
    """Whether the same flags with other numbers fit already: contexts are tried from the longest."""
    cut = "--context "
    return cut in better and better.partition(cut)[0] == words.partition(cut)[0]


def _changes(devices: Sequence[Device], flags: Flags, refused: Sequence[Plan]) -> Iterator[Change]:
    """From the best to the worst."""
    cards = [device for device in devices if device.kind == "cuda"]
    is_on_cards = flags.placement != "cpu" and bool(cards)
    yield from _elsewhere(cards, flags)
    if any(plan.dtype == "float32" for plan in refused):
        yield Change("--dtype bfloat16", {"dtype": "bfloat16"})
    if is_on_cards and flags.quantization == "none" and not flags.offload:  # the two exclude each other
        yield Change("--quantize int8", {"quantization": "int8", "offload": False})
    yield from _shorter(max(plan.context for plan in refused))
    if is_on_cards and flags.quantization != "int4" and not flags.offload:
        yield Change("--quantize int4", {"quantization": "int4", "offload": False})
    if is_on_cards and len(refused) > 1 and not flags.swap:
        yield Change("--swap", {"swap": True})
    if is_on_cards and flags.placement in MAY_SPILL and not flags.offload and flags.quantization == "none":
        yield Change("--offload", {"offload": True})
    if is_on_cards and any(device.kind == "cpu" for device in devices):
        yield Change("--placement cpu", {"placement": "cpu", "offload": False})


def _elsewhere(cards: Sequence[Device], flags: Flags) -> Iterator[Change]:
    """Changes that cost nothing but cards."""
    unused = [card for card in cards if flags.devices is not None and card.index not in flags.devices]
    if flags.placement in ("single", "replicate") and len(cards) - len(unused) > 1:
        yield Change("--placement shard", {"placement": "shard"})
    elif flags.placement == "cpu" or grid(flags.placement) is not None:
        yield Change("--placement auto", {"placement": "auto"})
    if unused and flags.placement == "single":
        best = emptiest(unused).index
        yield Change(f"--devices {best}", {"devices": (best,)})
    elif unused:
        numbers = sorted(card.index or 0 for card in cards)
        yield Change(f"--devices {','.join(map(str, numbers))}", {"devices": tuple(numbers)})
    if flags.max_memory:
        yield Change("without --max-memory", {"max_memory": {}})


def _shorter(context: int) -> Iterator[Change]:
    """Half as long, and again, from the longest."""
    while (context := context // 2) >= SHORTEST_CONTEXT:
        yield Change(f"--context {context}", {"context": context})
