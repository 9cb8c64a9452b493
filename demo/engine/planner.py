"""Where models go, decided before anything is loaded: plans, or refusals that show their arithmetic.

Owns the entry points, and what is suggested after a refusal; how the decision is made is in `demo.engine.decisions` for
one model and in `demo.engine.together` for several. Pure: it sees sizes and flags only, and imports no framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from demo.engine.decisions import fitting_plan, refusal, unmeasured_plan
from demo.engine.devices import Device
from demo.engine.footprint import ModelFootprint
from demo.engine.pipeline import RESERVE_BYTES
from demo.engine.plans import NO_FLAGS, Flags, Load, Plan, ReplicaPlan, Suggestion
from demo.engine.site import Site, grid, site_of
from demo.engine.suggestions import suggest
from demo.engine.together import capped, fitting_plans, refusals
from demo.engine.widening import is_same, widened
from demo.engine.words import gib, remedy
from demo.errors import DoesNotFit

__all__ = [
    "RESERVE_BYTES",
    "Flags",
    "Load",
    "Plan",
    "ReplicaPlan",
    "Suggestion",
    "assess",
    "assess_together",
    "checked",
    "gib",
    "needs_outline",
    "plan",
    "plan_together",
]


def plan(model: ModelFootprint | str, devices: Sequence[Device], flags: Flags = NO_FLAGS) -> Plan:
    """Like `assess`, but raises `DoesNotFit` with the arithmetic where the model does not fit."""
    return checked(assess(model, devices, flags))


def plan_together(
    models: Sequence[ModelFootprint | str], devices: Sequence[Device], flags: Flags = NO_FLAGS
) -> tuple[Plan, ...]:
    """Like `assess_together`, but raises `DoesNotFit` for the first model that does not fit."""
    return tuple(checked(decision) for decision in assess_together(models, devices, flags))


def checked(decision: Plan) -> Plan:
    """The plan itself, unless it is a refusal: then `DoesNotFit` is raised."""
    if decision.fits is False:
        raise DoesNotFit(decision.arithmetic.rstrip("."), remedy=remedy(decision))
    return decision


def assess(model: ModelFootprint | str, devices: Sequence[Device], flags: Flags = NO_FLAGS) -> Plan:
    """The plan for a model, or for the name of one that cannot be measured yet; ``fits`` says whether it holds.

    Raises `ConfigError` for flags that make no sense here.
    """
    return assess_together((model,), devices, flags)[0]


def assess_together(
    models: Sequence[ModelFootprint | str], devices: Sequence[Device], flags: Flags = NO_FLAGS
) -> tuple[Plan, ...]:
    """A plan for each model, all of them there at once or, with ``swap``, in turns; or what of it does not fit.

    A model that cannot be measured yet comes last, and counts for nothing. Raises `ConfigError` for flags that make no
    sense here.
    """
    site = site_of(devices, flags)
    sized = [model for model in models if not isinstance(model, str)]
    decided = _decide(sized, devices, site, flags) if sized else ()
    if decided and all(plan_.fits for plan_ in decided):
        decided = _with_more(sized, decided, site, flags)
    left = site.without(replica.devices for plan_ in decided for replica in plan_.replicas)
    known = iter(decided)
    plans = [unmeasured_plan(model, left, flags) if isinstance(model, str) else next(known) for model in models]
    return capped(plans, site)


def needs_outline(devices: Sequence[Device], flags: Flags) -> bool:
    """Whether a plan cannot be had from the models' sizes alone, without their parts.

    For ``auto`` on several cards the parts are worth having only where whole models do not fit each of them.
    """
    cards = site_of(devices, flags).cards
    splits = flags.placement == "shard" or (grid(flags.placement) or (1, 1))[1] > 1
    return bool(cards) and (splits or flags.quantization != "none" or flags.offload)


def _decide(models: Sequence[ModelFootprint], devices: Sequence[Device], site: Site, flags: Flags) -> tuple[Plan, ...]:
    """All plans; or the refusals, with suggestions, of those that do not even fit alone, else of all."""
    plans = _attempt(models, site, flags)
    if plans is not None:
        return plans
    alone = [fitting_plan(model, site, flags) for model in models]
    if all(alone):
        return _advised(refusals(models, site, flags), models, devices, flags)
    return tuple(
        found or _advised([refusal(model, site, flags)], [model], devices, flags)[0]
        for model, found in zip(models, alone)
    )


def _with_more(models: Sequence[ModelFootprint], plans: tuple[Plan, ...], site: Site, flags: Flags) -> tuple[Plan, ...]:
    """The same plans with what there is room for: steps recorded first, then more answers at a time."""
    if site.cards and (flags.graphs is None or (flags.graphs and flags.offload)):
        recording = replace(flags, graphs=True, offload=False)  # where main memory is needed, steps are not recorded
        found = _attempt(models, site, recording)
        if found is not None and is_same(found, plans) and any(plan_.graphs for plan_ in found):
            plans, flags = found, recording
    return _widened(models, plans, site, flags) if flags.slots is None else plans


def _widened(models: Sequence[ModelFootprint], plans: Sequence[Plan], site: Site, flags: Flags) -> tuple[Plan, ...]:
    def attempt(models: Sequence[ModelFootprint], slots: int) -> Sequence[Plan] | None:
        return _attempt(models, site, replace(flags, slots=slots))

    return tuple(widened(models, plans, attempt, most=flags.most_slots, on_cpu=not site.cards))


def _attempt(
    models: Sequence[ModelFootprint], site: Site, flags: Flags, *, is_thorough: bool = True
) -> tuple[Plan, ...] | None:
    if len(models) > 1:
        return fitting_plans(models, site, flags, is_thorough=is_thorough)
    found = fitting_plan(models[0], site, flags)
    return None if found is None else (found,)


def _advised(
    refused: Sequence[Plan], models: Sequence[ModelFootprint], devices: Sequence[Device], flags: Flags
) -> tuple[Plan, ...]:
    """The refusals with the flags that would help all of these models."""

    def attempt(changed: Flags) -> tuple[Plan, ...] | None:
        return _attempt(models, site_of(devices, changed), changed, is_thorough=False)

    suggestions = suggest(attempt, devices, flags, refused)
    return tuple(replace(decision, suggestions=suggestions) for decision in refused)
