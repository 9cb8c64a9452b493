"""The cards that a worker's process sees: those of its replica, and no other.

Owns the way between two numberings. The plan numbers cards as the process sees them that made it; the worker's process
sees its own alone and numbers them from 0, in the same order. Libraries that look at every card there is open a context
of half a gigabyte on each, so what is not the replica's is hidden before any is imported. Pure: environments are given
and returned. Knows nothing of frameworks or of how a card is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from demo.engine.events import Failed, Memory, Ready, WorkerEvent
from demo.types import Placement

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
NO_CARD = "-1"  # no card has this number; CUDA looks no further in the list
_IN_WORDS = re.compile(r"\b(cuda:|GPU )(\d+)\b")  # as torch and the demo name a card in a sentence

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class OwnCards:
    """The plan's numbers of a replica's cards, ascending; what its process calls card 0 is the first of them."""

    numbers: tuple[int, ...]

    @classmethod
    def of(cls, placement: Placement) -> OwnCards:
        found = {_number(device) for device in placement.device_map.values()}
        return cls(tuple(sorted(number for number in found if number is not None)))

    def environment(self, inherited: str | None) -> dict[str, str]:
        """The variables that show these cards alone; ``inherited`` is the parent's CUDA_VISIBLE_DEVICES."""
        entries = None if inherited is None else [entry.strip() for entry in inherited.split(",")]
        return {ORDER: "PCI_BUS_ID", VISIBLE: ",".join(_entry(entries, number) for number in self.numbers)}

    def placement(self, planned: Placement) -> Placement:
        """The same placement in the names of the worker's process."""
        device_map = {path: self._inside(device) or device for path, device in planned.device_map.items()}
        return replace(
            planned, device_map=device_map, planned=self.inside(planned.planned), caps=self.inside(planned.caps)
        )

    def inside(self, of_devices: Mapping[str, Value]) -> dict[str, Value]:
        """A table by device in the names of the worker's process, without the cards that it does not see."""
        named = {self._inside(device): value for device, value in of_devices.items()}
        return {device: value for device, value in named.items() if device is not None}

    def outside(self, of_devices: Mapping[str, Value]) -> dict[str, Value]:
        """A table by device in the plan's names."""
        return {self.told(device): value for device, value in of_devices.items()}

    def told(self, words: str) -> str:
        """What the worker's process says, with the plan's numbers of the cards."""
        return _IN_WORDS.sub(self._renumbered, words)

    def event(self, event: WorkerEvent) -> WorkerEvent:
        """What leaves the worker's process, in the plan's names; an answer's text is left as it is."""
        if isinstance(event, Memory):
            return Memory(self.outside(event.devices))
        if isinstance(event, Ready):
            return Ready(replace(event.report, resident_bytes=self.outside(event.report.resident_bytes)))
        if isinstance(event, Failed):
            return replace(event, message=self.told(event.message), trace=self.told(event.trace))
        return event

    def _inside(self, device: str) -> str | None:
        """The process's own name of a device; None for a card that it does not see."""
        number = _number(device)
        if number is None:
            return device
        return f"cuda:{self.numbers.index(number)}" if number in self.numbers else None

    def _renumbered(self, found: re.Match[str]) -> str:
        number = int(found[2])
        return f"{found[1]}{self.numbers[number]}" if number < len(self.numbers) else found[0]


def _number(device: str) -> int | None:
    """A card's number; None where it is no card."""
    kind, _, number = device.partition(":")
    return int(number or 0) if kind == "cuda" else None


def _entry(entries: list[str] | None, number: int) -> str:
    """How a card that the parent calls by this number is called in the list that the parent was given."""
    if entries is None:
        return str(number)
    return entries[number] if number < len(entries) and entries[number] else NO_CARD
