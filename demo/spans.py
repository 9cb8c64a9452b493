"""How long a load spends in each of its phases.

Owns the phases' names and the clock that runs from one to the next. Pure; knows nothing of what is done in a phase.
Seconds end in ``_s``; names are for metrics, logs and benchmarks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal, get_args

# In the order of a load. "files" is the look for the model's files, with the download where there is one; "devices" the
# opening of the cards; "processor" the configuration and what prepares the input; "waiting" that for a first replica's
# weights; "weights" `from_pretrained` alone, or copying those; "checks" the proof that all is where it was planned;
# "kernels" the compiling of what steps are computed by, "recording" that of steps of fixed shapes.
Phase = Literal[
    "imports",
    "files",
    "devices",
    "processor",
    "waiting",
    "weights",
    "checks",
    "kernels",
    "warm_up",
    "rehearsal",
    "recording",
    "other",
]
PHASES: tuple[Phase, ...] = get_args(Phase)


class Stopwatch:
    """One phase at a time: the one that begins ends the one before, and may be come back to."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spans_s: dict[Phase, float] = {}
        self._phase: Phase | None = None
        self._began_s = 0.0

    def begin(self, phase: Phase | None) -> None:
        """From now on it is this phase; None: it is none."""
        now_s = self._clock()
        if self._phase is not None:
            self._spans_s[self._phase] = self._spans_s.get(self._phase, 0.0) + now_s - self._began_s
        self._phase, self._began_s = phase, now_s

    def stop(self) -> dict[Phase, float]:
        """End the phase that runs, and tell the seconds of each that there was."""
        self.begin(None)
        return dict(self._spans_s)


def whole(spans_s: Mapping[Phase, float], total_s: float) -> dict[Phase, float]:
    """The phases in the order of a load, the last of them what belongs to no other; they add up to ``total_s``."""
    known = {phase: spans_s[phase] for phase in PHASES if phase in spans_s}
    return {**known, "other": max(0.0, total_s - sum(known.values()))}


def in_words(spans_s: Mapping[Phase, float]) -> str:
    """For the log: "imports 6.1 s, weights 1.8 s"."""
    return ", ".join(f"{phase.replace('_', ' ')} {seconds_s:.1f} s" for phase, seconds_s in spans_s.items())
