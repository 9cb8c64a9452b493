"""The decision about several models at once: plans side by side, taking turns, or a refusal of them all.

Owns the order of these, the dtypes of models that share the main memory, and the share of a card's budget that each
process may take. Knows nothing of suggestions. Bytes are integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from demo.engine.decisions import ample, described, fitting_plan, made_plan, pipeline_for, planned_for
from demo.engine.footprint import ModelFootprint
from demo.engine.packing import Packed, pack
from demo.engine.pipeline import RESERVE_BYTES, Pipeline, whole_load
from demo.engine.placing import least
from demo.engine.plans import Flags, Plan
from demo.engine.site import Site, grid
from demo.engine.words import beside


def fitting_plans(
    models: Sequence[ModelFootprint], site: Site, flags: Flags, *, is_thorough: bool = True
) -> tuple[Plan, ...] | None:
    """A plan for each model, where there are such: resident together, or in turns if that is allowed."""
    models = [planned_for(model, flags) for model in models]
    chosen = _pipelines(models, site, flags)
    packed = pack([pipeline for pipeline, _ in chosen], site, flags, is_thorough=is_thorough)
    if packed:
        dtypes = [dtype for _, dtype in chosen]
        return _side_by_side(models, dtypes, packed, site, flags)
    return _in_turns(models, site, flags) if flags.swap and site.cards and len(models) > 1 else None


def refusals(models: Sequence[ModelFootprint], site: Site, flags: Flags) -> tuple[Plan, ...]:
    """For models that fit alone but not together: what each lacks of them all being there."""
    models = [planned_for(model, flags) for model in models]
    rows, columns = grid(flags.placement) or (1, 1)
    room = site.with_cards(rows * columns) if site.cards else site
    chosen = _pipelines(models, site, flags)
    pipelines = [pipeline for pipeline, _ in chosen]

    def attempt(extra: int) -> Packed:
        return pack(pipelines, room.grown(extra), flags, is_thorough=False)

    short = least(lambda extra: bool(attempt(extra)), sum(map(ample, pipelines)))
    packed = attempt(short)
    plans = []
    for model, (_, dtype), replicas in zip(models, chosen, packed):
        refused = made_plan(model, dtype, flags, (), tried=replicas[0], short=short)
        plans.append(described(refused, site))
    names = [model.name for model in models]
    return tuple(replace(plan, arithmetic=f"{plan.arithmetic} {beside(plan.model, names)}") for plan in plans)


def capped(plans: Sequence[Plan], site: Site) -> tuple[Plan, ...]:
    """The plans with each process's share of a budget: what it is planned to take, and a part of what is left over."""
    counts, planned = dict.fromkeys(site.budgets, 0), dict.fromkeys(site.budgets, 0)
    for plan in plans:
        for replica in plan.replicas:
            for device in sorted(site.budgets.keys() & replica.devices.keys()):
                counts[device] += 1
                planned[device] += RESERVE_BYTES["cuda"] if plan.takes_turns else replica.devices[device]
    result = []
    for plan in plans:
        replicas = []
        for replica in plan.replicas:
            caps = {}
            for device in sorted(site.budgets.keys() & replica.devices.keys()):
                over = site.budgets[device] - planned[device]
                own = replica.devices[device]
                caps[device] = RESERVE_BYTES["cuda"] + over if plan.takes_turns else own + over // counts[device]
            replicas.append(replace(replica, caps=caps))
        result.append(replace(plan, replicas=tuple(replicas)))
    return tuple(result)


def _pipelines(models: Sequence[ModelFootprint], site: Site, flags: Flags) -> list[tuple[Pipeline, str]]:
    """Each model's pipeline and dtype; on the CPU float32 for as many, in their order, as leave room for the others."""
    if site.cards or site.main_memory is None or flags.dtype != "auto":
        return [pipeline_for(model, site, flags) for model in models]
    narrow = [whole_load(model, "bfloat16", flags, "cpu").total for model in models]
    left = site.main_memory.free_bytes - sum(narrow)
    chosen = []
    for model, size in zip(models, narrow):
        more = whole_load(model, "float32", flags, "cpu").total - size
        dtype = "float32" if more <= left else "bfloat16"
        left -= more if dtype == "float32" else 0
        chosen.append(pipeline_for(model, site, replace(flags, dtype=dtype)))
    return chosen


def _side_by_side(
    models: Sequence[ModelFootprint], dtypes: Sequence[str], packed: Packed, site: Site, flags: Flags
) -> tuple[Plan, ...]:
    plans = []
    for index, (model, dtype) in enumerate(zip(models, dtypes)):
        others = [replica.devices for other, replicas in enumerate(packed) if other != index for replica in replicas]
        plans.append(described(made_plan(model, dtype, flags, packed[index]), site.without(others)))
    return tuple(plans)


def _in_turns(models: Sequence[ModelFootprint], site: Site, flags: Flags) -> tuple[Plan, ...] | None:
    """A plan for each as if it were alone, but for the CUDA contexts of the others, whose weights are in main memory.

    Where main memory is too small for all replicas, one of each is enough.
    """
    contexts = {card.id: RESERVE_BYTES["cuda"] * (len(models) - 1) for card in site.cards}
    plans = [fitting_plan(model, site.without([contexts]), flags) for model in models]
    for most in (None, 1):
        kept = [replace(plan, replicas=plan.replicas[:most], takes_turns=True) for plan in plans if plan is not None]
        if len(kept) == len(models) and _parked_bytes(kept) <= (site.main_memory.free_bytes if site.main_memory else 0):
            return tuple(kept)
    return None


def _parked_bytes(plans: Sequence[Plan]) -> int:
    """What main memory has to hold: all weights, for a copy of those on the cards is kept, and the processes."""
    replicas = [replica for plan in plans for replica in plan.replicas]
    return sum(sum(replica.weights.values()) + RESERVE_BYTES["cpu"] for replica in replicas)
