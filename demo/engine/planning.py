"""From the models that were chosen to their plans: measures what the plan has to know, and no more.

Owns the choice between a model's size, which its files tell at once, and its parts, which cost seconds because the
model has to be built without weights. Knows nothing of how either is found or of how a plan is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from demo.catalog import ModelSpec
from demo.engine.decisions import elsewhere
from demo.engine.devices import Device
from demo.engine.footprint import measure
from demo.engine.planner import assess_together, needs_outline
from demo.engine.plans import Flags, Plan


def plans_for(specs: Iterable[ModelSpec], devices: Sequence[Device], flags: Flags) -> dict[ModelSpec, Plan]:
    """A plan or a refusal for each model. Raises `ConfigError` for flags that make no sense here."""
    if flags.endpoints:
        return {spec: elsewhere(spec.name, flags) for spec in dict.fromkeys(specs)}
    chosen = tuple(dict.fromkeys(specs))
    has_parts = needs_outline(devices, flags)
    plans = assess_together([measure(spec, outline=has_parts) for spec in chosen], devices, flags)
    if not has_parts and not _is_settled(plans, devices, flags):
        plans = assess_together([measure(spec, outline=True) for spec in chosen], devices, flags)
    return dict(zip(chosen, plans))


def _is_settled(plans: Sequence[Plan], devices: Sequence[Device], flags: Flags) -> bool:
    """Whether knowing the parts would change nothing: neither the plans nor what a refusal suggests."""
    cards = sum(device.kind == "cuda" for device in devices)
    if not cards or all(plan.can_split or plan.fits is None for plan in plans):
        return True
    if not all(plan.fits for plan in plans):
        return False
    chosen = cards if flags.devices is None else len(flags.devices)
    return flags.placement != "auto" or all(len(plan.replicas) == chosen for plan in plans)
