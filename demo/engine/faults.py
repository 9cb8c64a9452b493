"""How an exception in a worker becomes data that crosses the pipe, and words that a user can act upon.

Owns the recognition of what frameworks raise, by names and words, because it imports none of them. Knows nothing of
pipes; of plans only what the worker was told.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from demo.engine.events import Failed
from demo.engine.planner import gib
from demo.errors import DemoError, OutOfMemory, ReplicaDied

if TYPE_CHECKING:
    from demo.engine.worker import WorkerJob
    from demo.types import Placement

# What the frameworks raise when memory runs out.
OUT_OF_MEMORY_NAMES = ("OutOfMemoryError", "MemoryError")
OUT_OF_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory")
# After these the process's CUDA context is gone for good; only a new process helps.
LOST_DEVICE_WORDS = ("CUDA error", "device-side assert", "unspecified launch failure")


def describe(error: Exception, *, request_id: str = "", job: WorkerJob | None = None, doing: str = "loading") -> Failed:
    """An exception as data: our own keep their kind and words, the rest gets a sentence without server paths.

    Outside of any answer there is a ``job``, whose plan the words then name, and something it was ``doing``.
    """
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    shown = error if isinstance(error, DemoError) else _translate(error, job, doing)
    return Failed(request_id, shown.kind, str(shown), trace)


def _translate(error: Exception, job: WorkerJob | None, doing: str) -> DemoError:
    name = type(error).__name__
    words = str(error)
    if name in OUT_OF_MEMORY_NAMES or any(word in words for word in OUT_OF_MEMORY_WORDS):
        return _out_of_memory(job, doing)
    if any(word in words for word in LOST_DEVICE_WORDS):
        remedy = "The model is being restarted; try again in a moment."
        return ReplicaDied("The device reported a fault it cannot recover from", remedy=remedy)
    what = "The model failed on this request" if job is None else f"The model failed while {doing}"
    return DemoError(what, value=name, remedy="The server's log has the details.")


def _out_of_memory(job: WorkerJob | None, doing: str) -> OutOfMemory:
    if job is None:
        remedy = "Try a smaller picture, a shorter conversation or a shorter answer."
        return OutOfMemory("The model ran out of memory while answering", remedy=remedy)
    remedy = f"Others may use more of it than when the plan was made: see --plan. Else try {_changes(job.placement)}."
    return OutOfMemory(f"The model ran out of memory while {doing}", value=f"planned: {_planned(job)}", remedy=remedy)


def _planned(job: WorkerJob) -> str:
    """What the plan counted on; it was right when it was made, or the model's size was not known then."""
    devices = sorted(set(job.placement.device_map.values()))
    places = (f"{device} {gib(job.planned[device])}" if job.planned.get(device) else device for device in devices)
    return f"{', '.join(places)}, {job.placement.dtype}"


def _changes(placement: Placement) -> str:
    devices = set(placement.device_map.values())
    changes = ["--dtype bfloat16"] if placement.dtype in ("auto", "float32") else []
    if devices != {"cpu"}:
        changes += ["--quantize int8"] if placement.quantization == "none" else []
        changes += ["--placement shard"] if len(devices) == 1 else ["more cards with --devices"]
    changes += ["a higher --max-memory"] if placement.caps else []
    return " or ".join([*changes, "a smaller model"])
