"""Models for photos that are recommended where none is loaded, with the plan of each for the devices found here.

Owns the reading of ``assets/recommended.json``, the sizes of catalogue models, so that no network is asked and no
framework loaded; `python tests/recommended.py` writes it. Knows nothing of how an offer is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.catalog import CATALOG, ModelSpec
from demo.engine.devices import Device
from demo.engine.footprint import ModelFootprint
from demo.engine.outline import Module
from demo.engine.planner import assess
from demo.engine.plans import Plan
from demo.engine.shape import Shape

RECOMMENDED = Path(__file__).resolve().parents[2] / "assets" / "recommended.json"


@dataclass(frozen=True, slots=True)
class Offer:
    """A model, and the plan or refusal of a start with ``flags`` on this machine."""

    spec: ModelSpec
    download_bytes: int
    plan: Plan
    free_bytes: Mapping[str, int]  # of each device that was planned for
    flags: str = ""  # what it takes to fit, besides --model

    @property
    def command(self) -> str:
        return f"python launch.py --model {self.spec.name} {self.flags}".rstrip()


def offers(devices: Sequence[Device], source: Path = RECOMMENDED) -> tuple[Offer, ...]:
    """The smallest first. Where a model fits only with flags that the planner suggests, it is offered with them."""
    footprints = [_footprint(entry) for entry in json.loads(source.read_text(encoding="utf-8"))]
    return tuple(_offer(footprint, devices) for footprint in sorted(footprints, key=lambda found: found.floats))


def to_json(footprint: ModelFootprint) -> dict[str, Any]:
    """A footprint as the file holds it: parts of one size that follow one another are one entry."""
    shape = {name: getattr(footprint.shape, name) for name in Shape.__slots__}
    plain = {name: getattr(footprint, name) for name in ("name", "floats", "stored_dtype", "other_bytes")}
    return {**plain, "shape": shape, "modules": list(_folded(footprint.modules))}


def _offer(footprint: ModelFootprint, devices: Sequence[Device]) -> Offer:
    plan = assess(footprint, devices)
    flags = next((suggestion.flags for suggestion in plan.suggestions if suggestion.fits), "")
    size = footprint.weights_bytes(footprint.stored_dtype)
    free = {device.id: device.free_bytes for device in devices}
    return Offer(CATALOG[footprint.name], size, plan, free, "" if plan.fits else flags)


def _footprint(entry: Mapping[str, Any]) -> ModelFootprint:
    modules = tuple(module for folded in entry["modules"] for module in _unfolded(folded))
    return ModelFootprint(**{**entry, "shape": Shape(**entry["shape"]), "modules": modules})


def _folded(modules: Iterable[Module]) -> Iterable[dict[str, Any]]:
    last: dict[str, Any] = {}
    for module in modules:
        facts = {name: getattr(module, name) for name in Module.__slots__}
        stem, _, number = module.path.rpartition(".")
        entry = {**facts, "path": f"{stem}.{{}}", "count": 1} if number.isdecimal() else facts
        if {**entry, "count": 0} == {**last, "count": 0}:
            last["count"] += 1
            continue
        if last:
            yield last
        last = entry
    yield last


def _unfolded(entry: Mapping[str, Any]) -> Iterable[Module]:
    facts = {name: value for name, value in entry.items() if name != "count"}
    for number in range(entry.get("count", 1)):
        yield Module(**{**facts, "path": entry["path"].format(number)})
