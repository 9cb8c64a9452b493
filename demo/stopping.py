"""The wish that the process ends: SIGINT and SIGTERM, told to the main thread. Seconds end in ``_s``.

Owns both signals' handlers and the wakeup descriptor. Python runs handlers in the main thread, between any two of
its steps, but the system may give a signal to any thread: a wait for a lock would sleep on, and the process not end. A
byte that the signal itself writes ends this wait, whichever thread was hit, and however shortly before it began.
"""

from __future__ import annotations

import select
import signal
import socket
import time


class StopSignal:
    """Made once, in the main thread. A second signal ends the process at once."""

    def __init__(self) -> None:
        self._is_asked = False
        self._woken, self._waking = socket.socketpair()
        self._waking.setblocking(False)
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def wait(self, timeout_s: float) -> bool:
        """Whether the process is to end; waits for it so long."""
        end_s = time.monotonic() + timeout_s
        while not self._is_asked:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return False
            if select.select([self._woken], [], [], left_s)[0]:
                self._woken.recv(1)  # by now Python knows of the signal, and has run its handler before the next step
        return True

    def _ask(self, number: int, _: object) -> None:
        if self._is_asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._is_asked = True
