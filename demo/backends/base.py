"""The seam between the engine's worker and whatever runs a model.

Owns the protocol a backend answers to and the plain data it hands back. Knows nothing of pipes, processes, pages or
of any framework. Bytes are integers, seconds end in ``_s``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from demo.spans import Phase
from demo.types import DeviceMemory, GenerateRequest, Placement, StopReason, Usage

if TYPE_CHECKING:
    from demo.catalog import ModelSpec

__all__ = ["Backend", "Feed", "Finish", "LoadFacts", "Placement", "Progress"]

# A stage in a few words for people ("downloading", "loading weights") and its fraction 0..1, None when unknown.
Progress = Callable[[str, "float | None"], None]


@dataclass(frozen=True, slots=True)
class LoadFacts:
    """What is resident after a load."""

    parameters: int
    resident_bytes: dict[str, int]  # device name -> bytes of parameters and buffers
    dtype: str
    slots: int = 1  # how many answers it can make at a time
    spans_s: Mapping[Phase, float] = field(default_factory=dict)  # seconds of each phase of the load


@dataclass(frozen=True, slots=True)
class Finish:
    """The last item of every stream that did not raise."""

    reason: StopReason
    usage: Usage


class Feed(Protocol):
    """How replicas of one model hand its weights on: the first to have them offers, the others wait for that."""

    def offer(self, weights: bytes | None) -> None:
        """Tell the others how to come by the weights, which then stay where they are; None: that they cannot."""

    def wait(self) -> bytes | None:
        """What the first one offered; None where there is nothing to wait for, or nothing came of it."""


class Backend(Protocol):
    """Runs one model in one process. `load` is called once, before anything else; as many `stream`s as it said slots
    run at a time, each in a thread of its own. A load may use ``feed``, where there is one, or leave it.

    `stream` yields pieces of text (whole characters only) and then one `Finish`. It asks ``cancelled()`` between two
    tokens and, where it can, during the prefill; once that is true it yields ``Finish("cancelled", ...)`` and ends.
    `memory` tells what the process holds of each device, by the names of the plan. `park` moves the weights to main
    memory and leaves the card, `resume` brings them back; they come in turn, after `load` and never
    during a `stream`.
    Errors are raised: the demo's own family says what a user should read, anything else is reported as a defect.
    """

    def load(
        self, spec: ModelSpec, placement: Placement, progress: Progress, feed: Feed | None = None, /
    ) -> LoadFacts: ...

    def stream(self, request: GenerateRequest, cancelled: Callable[[], bool]) -> Iterator[str | Finish]: ...

    def memory(self) -> dict[str, DeviceMemory]: ...

    def park(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None: ...
