"""How many answers at a time the replicas of a plan have room for, where nobody says how many.

Owns the numbers that are tried and what must not change for their sake: no replica, card or dtype is given up for more
answers at a time. Knows nothing of how a plan is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from demo.engine.footprint import ModelFootprint
from demo.engine.plans import Plan

WIDTHS = (32, 16, 8, 4, 2)
# A CPU gains little beyond the first, and of a model that takes it a minute to read a picture, nothing.
CPU_MOST = 8
CPU_LARGE = 2_000_000_000  # parameters

Try = Callable[[Sequence[ModelFootprint], int], "Sequence[Plan] | None"]  # plans with so many answers at a time


def widened(
    models: Sequence[ModelFootprint], plans: Sequence[Plan], attempt: Try, *, most: int, on_cpu: bool
) -> Sequence[Plan]:
    """The same plans with the most answers at a time that they have room for, up to ``most``."""
    capped = [replace(model, most_slots=min(model.most_slots, _worth(model, on_cpu))) for model in models]
    most = min(most, max((model.most_slots for model in capped), default=1))
    for width in (width for width in WIDTHS if width <= most):
        found = attempt(capped, width)
        if found is not None and is_same(found, plans):
            return found
    return plans


def is_same(some: Sequence[Plan], others: Sequence[Plan]) -> bool:
    """Whether plans differ in nothing that must stay as it is."""
    return list(map(_places, some)) == list(map(_places, others))


def _worth(model: ModelFootprint, on_cpu: bool) -> int:
    if not on_cpu:
        return model.auto_slots
    return min(model.auto_slots, CPU_MOST if model.floats <= CPU_LARGE else 1)


def _places(plan: Plan) -> tuple[object, ...]:
    """What has to stay as it is."""
    devices = [sorted(replica.devices) for replica in plan.replicas]
    return plan.dtype, plan.takes_turns, devices
