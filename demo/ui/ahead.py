"""Work that is begun before the one who asked for it comes to take it.

A question reaches the page's server in one request and its answer is fetched by a second, which the browser sends once
it has redrawn the conversation. This lets the model work meanwhile. Owns the thread that does the work, how many may be
begun, and that what nobody takes, or wants any longer, ends. Knows nothing of gradio, questions or models; seconds end
in ``_s``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Step = TypeVar("Step")

UNTAKEN_S = 5.0  # a page that has not come by then is gone


class HeadStart(Generic[Step]):
    """The steps of one work, which come often enough to see between them that it is to end."""

    def __init__(
        self, steps: Generator[Step, None, None], is_wanted: Callable[[], bool], *, untaken_s: float = UNTAKEN_S
    ) -> None:
        self._steps = steps
        self._is_wanted = is_wanted
        self._end_s = time.monotonic() + untaken_s
        self._made: SimpleQueue[tuple[Step, ...]] = SimpleQueue()  # one step each, and in the end none
        self._lock = threading.Lock()  # held for a line only
        self._is_taken = self._is_left = False
        self._thread = threading.Thread(target=self._work, name="head start", daemon=True)
        self._thread.start()

    @property
    def is_untaken(self) -> bool:
        """It is at work, and nobody has come for it yet."""
        return self._thread.is_alive() and not self._is_taken

    def take(self) -> Generator[Step, None, None] | None:
        """The steps so far and those to come, once; None where it was ended. Closing the iterator ends it."""
        with self._lock:
            if self._is_taken or self._is_left:
                return None
            self._is_taken = True
        return self._taken()

    def _taken(self) -> Generator[Step, None, None]:
        try:
            while made := self._made.get():
                yield from made
        finally:
            self._is_left = True

    def _work(self) -> None:
        try:
            with closing(self._steps):
                for step in self._steps:
                    self._made.put((step,))
                    if self._is_over():
                        break
        finally:
            self._made.put(())

    def _is_over(self) -> bool:
        with self._lock:
            is_late = not self._is_taken and time.monotonic() > self._end_s
            self._is_left = self._is_left or is_late or not self._is_wanted()
            return self._is_left


class HeadStarts:
    """All of one page, so that no more is at work than could be without them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: list[HeadStart[Any]] = []

    def begin(
        self,
        steps: Generator[Step, None, None],
        is_wanted: Callable[[], bool],
        *,
        free: Callable[[], int],
    ) -> HeadStart[Step] | None:
        """Begin where there is a free place for this and for each that nobody has taken yet; else None."""
        with self._lock:
            self._begun = [one for one in self._begun if one.is_untaken]
            if len(self._begun) >= free():
                return None
            begun = HeadStart(steps, is_wanted)
            self._begun.append(begun)
            return begun
