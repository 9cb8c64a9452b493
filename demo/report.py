"""What the command line prints about models without loading any: the plan, and the catalogue.

Owns the words and the order of these printouts; all numbers come from `demo.engine.planner`. GiB appear only here and
there where people read, bytes in the JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from demo.catalog import CATALOG, ModelSpec
from demo.cli import ShowPlan
from demo.config import EngineConfig
from demo.engine.devices import detect, parse_assumed
from demo.engine.manager import resolve_roles
from demo.engine.planner import Flags, Plan, gib
from demo.engine.planning import plans_for
from demo.errors import DoesNotFit, ModelUnavailable
from demo.families import FAMILIES, Family
from demo.prompts import load_prompts

COLUMNS = ("replica", "device", "weights", "KV cache", "activations", "reserve", "total", "of free")


def show_plan(task: ShowPlan, config: EngineConfig) -> int:
    """Print where each model would go; the exit code is 2 where one does not fit.

    Raises `ModelUnavailable` after that for a model whose size nobody tells: such a plan is no promise, though it is
    all that a start would have.
    """
    here = detect()
    devices = here if task.assume is None else (*parse_assumed(task.assume), *(d for d in here if d.kind == "cpu"))
    plans = list(plans_for(resolve_roles(config).values(), devices, Flags.of(config)).values())
    if task.json:
        _say(json.dumps(_as_json(plans), indent=2))
    else:
        free = {device.id: device.free_bytes for device in devices}
        _say("\n".join(line for plan in plans for line in _lines(plan, free)))
    if any(plan.fits is False for plan in plans):
        return DoesNotFit.exit_code
    if unknown := ", ".join(plan.model for plan in plans if plan.fits is None):
        remedy = "Check the name and the network; where it is gated, log in to the hub with `hf auth login`."
        raise ModelUnavailable(
            "Whether it fits is not known, for its files cannot be had", value=unknown, remedy=remedy
        )
    return 0


def show_models() -> int:
    """List the families by the types in their ``config.json``, and under each the models that have names."""
    _say("--model takes one of the names below, OWNER/REPO of the Hugging Face hub, or a directory.")
    known = {name: [spec for spec in CATALOG.values() if spec.family == name] for name in (*FAMILIES, "fake")}
    for family in FAMILIES.values():
        types = ", ".join(family.types) or "any other that has a chat template"
        _say(f"\n{family.name} (model type {types})\n  {_abilities(family, family)}")
        for line in _verdict(family):
            _say(f"  {line}")
        _list(known[family.name], _abilities(family, family))
    _say("")
    _list(known["fake"], "")
    return 0


def _list(specs: Sequence[ModelSpec], usual: str) -> None:
    """Names and where they come from; abilities only where they are not the family's."""
    width = max((len(spec.name) for spec in specs), default=0)
    for spec in specs:
        own = _abilities(spec, spec.traits)
        _say(f"    {spec.name:{width}}  {_source(spec)}{'' if own == usual else f' ({own})'}")


def _abilities(limits: ModelSpec | Family, family: Family) -> str:
    """Roles, the dialect of boxes, and what one conversation may hold."""
    pictures = "1 picture" if limits.max_pictures == 1 else f"{limits.max_pictures} pictures"
    talk = "one question at a time" if limits.max_turns == 1 else f"{pictures} in a conversation"
    facts = [", ".join(limits.roles)]
    facts += [f"boxes as {limits.dialect}"] if "grounding" in limits.roles else []
    facts += [talk]
    facts += [f"clips as {limits.max_frames} frames"] if limits.max_frames else []
    if isinstance(limits, Family) or limits.backend != "fake":
        facts += ["may think aloud"] if family.thoughts else []
        facts += ["heeds a system prompt"] if family.has_system else []
    return "; ".join(facts)


def _verdict(family: Family) -> list[str]:
    """Whether public sources show how the family's boxes are asked for and written."""
    if family.dialect is None or not (told := load_prompts(family.prompts).verified):
        return []
    of_words = told.partition("Not verified: ")[2].partition(". ")[0].rstrip(".")
    missing = "; ".join(words for words in (family.unverified, of_words) if words)
    return [f"not verified: {missing}" if missing else "prompts and boxes are verified against published sources"]


def _as_json(plans: Sequence[Plan]) -> dict[str, object]:
    """One object: the first model's plan, and the other models' plans in ``others`` where roles have their own."""
    first, *others = (plan.to_json() for plan in plans)
    return {**first, "others": others} if others else first


def _lines(plan: Plan, free: Mapping[str, int]) -> list[str]:
    """The verdict, the arithmetic, a table of what each device holds, and what would fit instead."""
    verdict = {True: "fits", False: "does not fit", None: "size not known yet"}[plan.fits]
    stored = plan.dtype if plan.quantization == "none" else f"{plan.dtype}, {plan.quantization}"
    turns = ", in turns with the others" if plan.takes_turns else ""
    lines = [f"{plan.model}: {verdict} ({plan.placement}, {stored}{turns})", f"  {plan.arithmetic}"]
    if plan.fits:
        lines += [f"  {row}" for row in _table(plan, free)]
    lines += [f"  {s.flags}: would fit, needs {gib(s.bytes)} on the fullest device" for s in plan.suggestions]
    return lines


def _table(plan: Plan, free: Mapping[str, int]) -> list[str]:
    """Bytes by device and replica; the numbers stand under one another."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for index, replica in enumerate(plan.replicas):
        for device, load in replica.loads.items():
            sizes = (load.weights, load.kv_cache, load.activations, load.reserve, load.total, free.get(device, 0))
            rows.append((str(index), device, *map(gib, sizes)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths)) for row in rows]


def _source(spec: ModelSpec) -> str:
    if spec.backend == "fake":
        return "no model at all: canned answers, for trying out the page and for tests"
    return "comes with the demo" if spec.is_directory else f"https://huggingface.co/{spec.source}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
