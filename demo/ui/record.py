"""What the runs of one tab came to for one visitor: the one place from which it is shown, kept and asked about.

gradio delivers what a run shows late, in another order or never, and may end a run between the making of a view and its
delivery. So what a run makes is put here before it is shown, by the run that is wanted only, and nobody reads it back
from the page: after a stop nothing reaches it any more, and whatever a late view shows, the next one is of what is
here.

Owns that order. Changed in place by the events of one visitor; knows nothing of gradio or of what it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from demo.ui.stops import Lock, Run, Stops

T = TypeVar("T")


def _same(value: T) -> T:
    return value


@dataclass(slots=True)
class Record(Generic[T]):
    value: T
    stops: Stops = field(default_factory=Stops)
    number: int = 0  # of the run that wrote it last; 0: none did
    _finishing: Lock = field(default_factory=Lock, repr=False)

    @property
    def is_of_last_run(self) -> bool:
        return self.number == self.stops.number

    def asked(self, value: T, after: float = 0) -> None:
        """A run is to begin, from this value. ``after`` is the number that the page knows."""
        with self.stops.lock:
            self.value = value
            self.stops.asked(after)

    def grown(self, run: Run, value: T) -> bool:
        """What a run made of it; False, and nothing is changed, where the run is not wanted any more."""
        with self.stops.lock:
            if run.is_current:
                self.value, self.number = value, run.number
            return run.is_current

    def stopped(self, close: Callable[[T], T] = _same) -> None:
        """Nothing that was under way reaches it after this. ``close`` takes no time."""
        with self.stops.lock:
            self.stops.stopped()
            self.value = close(self.value)

    def settled(self, finish: Callable[[T], T]) -> T:
        """The value after ``finish``, which may take its time: the first who asks does it, and others wait for it."""
        with self._finishing:
            old = self.value
            new = finish(old)
            with self.stops.lock:
                if self.value is old:
                    self.value = new
            return new
