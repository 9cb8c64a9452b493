"""How many tokens all models made, over the last minutes and in all: counted as answers pass by.

Owns a fixed number of steps of time, of which the oldest are forgotten. Costs nothing while nothing is answered, and
needs nobody to look. Seconds end in ``_s``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from demo.engine.events import Done, StreamEvent, Token

STEP_S = 5.0
NUM_STEPS = 120


@dataclass(frozen=True, slots=True)
class TokenHistory:
    """Tokens per second in each step that is over, the oldest first; ``total`` counts from the start."""

    step_s: float = STEP_S
    rates: tuple[float, ...] = ()
    total: int = 0


class Throughput:
    """Shared by all answers. Any thread may count and look."""

    def __init__(
        self, *, step_s: float = STEP_S, num_steps: int = NUM_STEPS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._step_s = step_s
        self._num_steps = num_steps
        self._clock = clock
        self._lock = threading.Lock()  # guards all below
        self._counts: dict[int, int] = {}  # step -> tokens, for steps that had any
        self._total = 0

    def counted(self, events: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
        """The same events. A piece of text counts as a token until the end tells how many there really were."""
        pieces = 0
        for event in events:
            if isinstance(event, Token):
                pieces += 1
                self.add(1)
            elif isinstance(event, Done):
                self.add(max(0, event.usage.completion_tokens - pieces))
            yield event

    def add(self, num_tokens: int) -> None:
        step = self._step()
        with self._lock:
            self._total += num_tokens
            self._counts[step] = self._counts.get(step, 0) + num_tokens
            for old in [known for known in self._counts if known < step - self._num_steps]:
                del self._counts[old]

    def history(self) -> TokenHistory:
        now = self._step()
        with self._lock:
            counts = [self._counts.get(step, 0) for step in range(now - self._num_steps, now)]
            return TokenHistory(self._step_s, tuple(count / self._step_s for count in counts), self._total)

    def _step(self) -> int:
        return int(self._clock() // self._step_s)
