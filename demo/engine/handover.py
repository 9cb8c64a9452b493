"""The weights that one replica of a model has and the others copy, as the parent hands them on.

Owns who offers, who waits, and what becomes of those who wait when the one that was to offer ends: they read the files.
What is offered is opaque here, it is the backend's. Knows nothing of processes or devices.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from demo.engine.events import Command, Fed

Part = Literal["", "gives", "takes"]  # of a replica's process in its model's handover; "": there is none
Send = Callable[[Command], None]


class Handover:
    """Shared by the replicas of a model: the first gives. Called from each replica's own thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_settled = False
        self._weights: bytes | None = None
        self._waiting: list[Send] = []

    def settle(self, weights: bytes | None) -> None:
        """From now on this is what there is; None: nothing, until something else is offered."""
        with self._lock:
            self._is_settled, self._weights = True, weights
            waiting, self._waiting = self._waiting, []
        for send in waiting:
            send(Fed(weights))

    def wait(self, send: Send) -> None:
        """Have ``send`` called once with what there is, now or as soon as it is settled."""
        with self._lock:
            if not self._is_settled:
                self._waiting.append(send)
                return
            weights = self._weights
        send(Fed(weights))

    def forget(self, send: Send) -> None:
        """Nobody listens there any more."""
        with self._lock:
            self._waiting = [one for one in self._waiting if one != send]


class Share:
    """One replica's part in a handover, for the process that runs now and those after it."""

    def __init__(self, handover: Handover, part: Part) -> None:
        self._handover = handover
        self._part = part
        self._send: Send | None = None

    def started(self, send: Send) -> None:
        """A process runs; ``send`` reaches it, and nobody once it has ended."""
        if self._part == "takes":
            self._send = send
            self._handover.wait(send)

    def offered(self, weights: bytes | None) -> None:
        if self._part == "gives":
            self._handover.settle(weights)

    def ended(self) -> None:
        """What the process offered went with it, and it will offer nothing more."""
        if self._part == "gives":
            self._handover.settle(None)
        elif self._send is not None:
            self._handover.forget(self._send)
