"""What the command line prints about models without loading any: the plan, and the catalogue.

Owns the words and the order of these printouts; all numbers come from `demo.engine.planner`. GiB appear only here and
there where people read, bytes in the JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from demo.catalog import CATALOG, ModelSpec
from demo.cli import ShowPlan
from demo.config import EngineConfig
from demo.engine.devices import Device, detect, parse_assumed
from demo.engine.manager import measure, resolve_roles
from demo.engine.planner import Flags, Plan, assess, gib, left_by
from demo.errors import DoesNotFit


def show_plan(task: ShowPlan, config: EngineConfig) -> int:
    """Print where each model would go; the exit code is 2 where one does not fit."""
    here = detect()
    devices = here if task.assume is None else (*parse_assumed(task.assume), *(d for d in here if d.kind == "cpu"))
    plans = _plans(config, devices)
    if task.json:
        _say(json.dumps(_as_json(plans), indent=2))
    else:
        _say("\n".join(line for plan in plans for line in _lines(plan)))
    return DoesNotFit.exit_code if any(plan.fits is False for plan in plans) else 0


def show_models() -> int:
    """List the models that ``--model`` knows by name."""
    width = max(len(name) for name in CATALOG)
    for name, spec in CATALOG.items():
        _say(f"{name:{width}}  {', '.join(spec.roles)}\n{'':{width}}  {_source(spec)}")
    _say("Any other image-text-to-text model: --model OWNER/REPO or --model DIR.")
    return 0


def _plans(config: EngineConfig, devices: Sequence[Device]) -> list[Plan]:
    """As the manager plans, one model after the other on what is left, but a refusal is data and not the end."""
    plans = []
    for spec in dict.fromkeys(resolve_roles(config).values()):
        plan = assess(measure(spec), devices, Flags.of(config))
        devices = left_by(plan, devices)
        plans.append(plan)
    return plans


def _as_json(plans: Sequence[Plan]) -> dict[str, object]:
    """One object: the first model's plan, and the other models' plans in ``others`` where roles have their own."""
    first, *others = (plan.to_json() for plan in plans)
    return {**first, "others": others} if others else first


def _lines(plan: Plan) -> list[str]:
    verdict = {True: "fits", False: "does not fit", None: "size not known yet"}[plan.fits]
    lines = [f"{plan.model}: {verdict} ({plan.placement}, {plan.dtype})", f"  {plan.arithmetic}"]
    for index, replica in enumerate(plan.replicas):
        places = ", ".join(f"{device} {gib(size)}" for device, size in replica.devices.items())
        lines.append(f"  replica {index}: {places}")
    for suggestion in plan.suggestions:
        outcome = "would fit" if suggestion.fits else "would not fit either"
        lines.append(f"  {suggestion.flags}: {outcome}, needs {gib(suggestion.bytes)}")
    return lines


def _source(spec: ModelSpec) -> str:
    if spec.backend == "fake":
        return "no model at all: canned answers, for trying out the page and for tests"
    return "comes with the demo" if spec.is_directory else f"https://huggingface.co/{spec.source}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
