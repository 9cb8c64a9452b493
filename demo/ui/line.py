"""gradio's queue of all that makes the model work, as those who wait in it see it: how many, which place, how long.

Owns the reading of that queue; gradio tells it to its own front end only, in its own words. Called, it is how many
wait. Seconds end in ``_s``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from demo.ui.widgets import MODEL_EVENTS

if TYPE_CHECKING:
    import gradio as gr


class Line:
    def __init__(self, page: gr.Blocks) -> None:
        self._page = page  # and not its queue, which is made anew when it is set up

    def __call__(self) -> int:
        """How many wait, in all."""
        return len(self._page._queue)

    def free(self, places: int) -> int:
        """How many of so many places nobody has or waits for."""
        line = self._page._queue.event_queue_per_concurrency_id.get(MODEL_EVENTS)
        if line is None:  # nobody has asked yet
            return places
        return 0 if line.queue else places - line.current_concurrency

    def ahead(self, session: str | None) -> int | None:
        """How many come before the last of a visitor's events; None where the visitor does not wait."""
        line = self._page._queue.event_queue_per_concurrency_id.get(MODEL_EVENTS)
        sessions = [event.session_hash for event in tuple(line.queue)] if line else []
        places = [place for place, one in enumerate(sessions) if one == session]
        return max(places, default=None)

    def waits(self, session: str | None, function: Callable[..., Any]) -> bool:
        """Whether an event of this visitor waits that runs this function."""
        line = self._page._queue.event_queue_per_concurrency_id.get(MODEL_EVENTS)
        waiting = tuple(line.queue) if line else ()
        return any(event.session_hash == session and event.fn.fn == function for event in waiting)

    def wait_s(self, ahead: int) -> float | None:
        """How long somebody with so many before them may wait, as things went so far; None where nothing did yet."""
        line = self._page._queue.event_queue_per_concurrency_id.get(MODEL_EVENTS)
        times = tuple(self._page._queue.process_time_per_fn.items())
        taken = [time for function, time in times if function.concurrency_id == MODEL_EVENTS]
        count = sum(time.count for time in taken)
        if line is None or not count:
            return None
        mean_s: float = sum(time.process_time for time in taken) / count
        return mean_s * math.ceil((ahead + 1) / (line.concurrency_limit or 1))
