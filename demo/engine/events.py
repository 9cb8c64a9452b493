"""What crosses the pipe between the page's process and a worker, and what a stream of an answer yields.

Owns the wire vocabulary, all of it picklable plain data. Knows nothing of pipes, processes or models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from demo.spans import Phase
from demo.types import DeviceMemory, GenerateRequest, StopReason, Usage

# --- parent to worker


@dataclass(frozen=True, slots=True)
class Generate:
    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class Cancel:
    request_id: str


@dataclass(frozen=True, slots=True)
class Park:
    """Leave the card: keep the weights in main memory until `Resume`. Sent only while no answer is running."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Take the place on the card again."""


@dataclass(frozen=True, slots=True)
class Fed:
    """To a load that waits for another replica's weights: what that one offered, None where it offered nothing."""

    weights: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Shutdown:
    pass


# --- worker to parent


@dataclass(frozen=True, slots=True)
class Loading:
    """Progress of a load: ``stage`` is a short phrase for people, ``fraction`` 0..1 or None when unknown."""

    stage: str
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Offered:
    """How other replicas come by the weights of this one, in the backend's own form; None: not at all."""

    weights: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a worker found after loading: the proof that each weight is resident once, where it was planned."""

    parameters: int
    resident_bytes: dict[str, int]  # device name -> bytes of parameters and buffers
    dtype: str
    seconds_s: float
    loads: int = 1  # how often this process has loaded weights; anything but 1 is a defect
    slots: int = 1  # how many answers it makes at a time
    spans_s: dict[Phase, float] = field(default_factory=dict)  # seconds of each phase; they add up to ``seconds_s``


@dataclass(frozen=True, slots=True)
class Ready:
    report: LoadReport


@dataclass(frozen=True, slots=True)
class Memory:
    """What the process holds of each device; after a load, after an answer, and when the model changes its place."""

    devices: dict[str, DeviceMemory]


@dataclass(frozen=True, slots=True)
class Parked:
    """The card is free of this model."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The model is back on the card and takes requests."""


@dataclass(frozen=True, slots=True)
class Token:
    """Some more text of an answer; whole characters only."""

    request_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    request_id: str
    reason: StopReason
    usage: Usage
    replica: int | None = None  # which one made it, as its snapshot is numbered; told by the parent


@dataclass(frozen=True, slots=True)
class Failed:
    """An error as data; ``request_id`` is empty when the load failed. ``trace`` is for the log, never for the page."""

    request_id: str
    kind: str
    message: str
    trace: str = field(default="", repr=False)


# --- made in the parent while a stream waits


@dataclass(frozen=True, slots=True)
class Ping:
    """Sent every 0.25 s while nothing else comes, so that Stop and a closed tab are noticed."""

    state: Literal["queued", "loading", "working"]
    detail: str = ""
    fraction: float | None = None


Command = Generate | Cancel | Park | Resume | Fed | Shutdown
WorkerEvent = Loading | Offered | Ready | Memory | Parked | Resumed | Token | Done | Failed
StreamEvent = Ping | Token | Done
