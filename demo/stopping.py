"""The wish that the process ends: SIGINT and SIGTERM, told to the main thread. Seconds end in ``_s``.

Owns both signals' handlers. They run in the main thread between any two of its steps, also in the middle of a wait, so
they may take no lock that the wait holds: `threading.Event` would, and the process hang.
"""

from __future__ import annotations

import signal
from queue import Empty, SimpleQueue


class StopSignal:
    """Made once, in the main thread. A second signal ends the process at once."""

    def __init__(self) -> None:
        self._is_asked = False
        self._asked: SimpleQueue[int] = SimpleQueue()  # its `put` may interrupt its `get`
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def wait(self, timeout_s: float) -> bool:
        """Whether the process is to end; waits for it so long."""
        if self._is_asked:
            return True
        try:
            self._asked.get(timeout=timeout_s)
        except Empty:
            return self._is_asked
        return True

    def _ask(self, number: int, _: object) -> None:
        if self._is_asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._is_asked = True
        self._asked.put(number)
