"""What the engine is doing at one moment, as plain data for people and metrics.

Owns the words for it. Knows nothing of processes or pages. Bytes are integers, seconds end in ``_s``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from demo.spans import Phase
from demo.types import DeviceMemory

# "parked": loaded, and in main memory until its turn on the card comes
State = Literal["starting", "loading", "idle", "busy", "parked", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class ReplicaSnapshot:
    """What a replica is doing, for people and metrics."""

    replica_id: int
    model: str
    state: State
    detail: str  # the stage of a load, or the reason of a failure
    fraction: float | None
    devices: tuple[str, ...]
    planned: dict[str, int] = field(default_factory=dict)  # device -> bytes, everything counted
    planned_weights: dict[str, int] = field(default_factory=dict)  # of them, the weights
    resident_bytes: dict[str, int] = field(default_factory=dict)  # the weights as they lie after the load
    memory: dict[str, DeviceMemory] = field(default_factory=dict)  # what the process holds, as it last said
    parameters: int = 0
    loads: int = 0  # by the process that runs now; anything but 1 once it is ready is a defect
    total_loads: int = 0  # begun by all its processes; more than 1 + deaths is a defect
    load_s: float = 0.0  # of the last load that succeeded
    load_spans_s: dict[Phase, float] = field(default_factory=dict)  # and of each of its phases
    deaths: int = 0  # of earlier processes
    served: int = 0
    tokens_per_s: float = 0.0  # of the last answer that had any speed
    pid: int = 0  # of the process that runs now; 0 where there is none
    takes_turns: bool = False  # it holds its cards only while it answers
    slots: int = 1  # answers at a time: as planned, and after the load as the model can
    places: int = 1  # requests that it takes at a time: for each slot one, and those whose prompts wait for a slot
    running: int = 0  # answers that it is making, or has yet to begin
