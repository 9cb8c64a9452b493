"""What one visitor's tab is owed of gradio: the report of each stopped run, which looks like that of a refused one.

gradio tells a page that a run failed when the queue refused it, and also when it was stopped: mostly twice, once when
the run is over and once when the page hears that its request to stop was served, and on a busy machine or over a slow
line after the next run was asked for. This counts the stops whose first report is still to come, and knows a report for
that of an earlier run by the number that the page had for its newest one, so that those are passed over and a refusal
is told. It is changed in place by the events of one visitor.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Phase = Literal["idle", "asked", "running", "stopped", "broken"]


class Lock:
    """One for each visitor: gradio gives them copies of what the page was built with, and cannot copy Python's own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __deepcopy__(self, _: dict[int, Any]) -> Lock:
        return Lock()


@dataclass(frozen=True, slots=True)
class Run:
    """A run at work."""

    stops: Stops
    number: int
    may_begin: bool

    @property
    def is_current(self) -> bool:
        """It was not stopped, and no other was asked for since."""
        return self.stops.phase == "running" and self.stops.number == self.number

    @property
    def was_stopped(self) -> bool:
        """And nothing was asked for since."""
        return self.may_begin and self.stops.was_stopped and self.stops.number == self.number


@dataclass(slots=True)
class Stops:
    """One visitor's runs on one tab. Each operation is the event of the same name."""

    phase: Phase = "idle"  # of the run that was asked for last
    number: int = 0  # of that run
    owed: list[int] = field(default_factory=list)  # the numbers of stopped runs whose first report is to come
    # Events run in threads. Held for a few lines only, as a run may be left on the server's one event loop.
    lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    @property
    def is_open(self) -> bool:
        """A run is waiting or answering."""
        return self.phase in ("asked", "running")

    def asked(self, after: float = 0) -> None:
        """``after`` is the number that the page knows; the new one is another in any case."""
        with self.lock:
            self.phase = "asked"
            self.number = max(self.number, int(after)) + 1

    @property
    def was_stopped(self) -> bool:
        return self.phase == "stopped"

    @contextlib.contextmanager
    def run(self) -> Iterator[Run]:
        """The work of the run that was asked for last. Left by an exception, it could not be shown or lost its page."""
        with self.lock:
            run = Run(self, self.number, may_begin=self.phase == "asked")
            if run.may_begin:
                self.phase = "running"
        left: Phase = "broken"
        try:
            yield run
            left = "idle"
        finally:
            with self.lock:
                if run.may_begin and run.is_current:  # one that may not begin is in the way of the one that works
                    self.phase = left
                if left == "idle" and run.number in self.owed:
                    self.owed.remove(run.number)

    def stopped(self) -> None:
        with self.lock:
            if self.is_open:
                self.owed.append(self.number)
            self.phase = "stopped"

    def takes_report(self, known: float | None, *, waits: bool) -> bool:
        """Whether a failure that gradio reports is that of a stop; else the run that was asked for last failed.

        ``known`` is the number of the newest run that the page knew of when it heard of the failure; ``waits`` is
        whether the newest one is in gradio's queue.
        """
        with self.lock:
            if self.owed:
                self.owed.pop(0)
                return True
            # once more for the same stop: what runs or waits was not refused, nor what the page does not know of yet
            if self.was_stopped or self.phase == "running" or waits or known != self.number:
                return True
            self.phase = "idle"
            return False
