"""One replica's right to be on the card, for models that take turns there; every other replica has it for good.

Owns the two facts that must never be mixed up: whether the replica may be on the card, and whether it is. Knows nothing
of processes or of who decides. Whatever is read here was true at one moment for both.
"""

from __future__ import annotations

import threading


class Seat:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._granted = threading.Event()
        self._granted.set()
        self._is_given_up = False
        self._is_taken = False

    @property
    def is_granted(self) -> bool:
        return self._granted.is_set()

    @property
    def is_taken(self) -> bool:
        """Whether there may be something of the replica on the card."""
        with self._lock:
            return self._is_taken

    def grant(self) -> None:
        with self._lock:
            self._granted.set()

    def withdraw(self) -> None:
        """After this nothing comes onto the card; what is there is still to leave."""
        with self._lock:
            if not self._is_given_up:
                self._granted.clear()

    def take(self) -> bool:
        """Come onto the card if that is granted."""
        with self._lock:
            if self._granted.is_set():
                self._is_taken = True
            return self._granted.is_set()

    def leave(self) -> None:
        with self._lock:
            self._is_taken = False

    def wait(self) -> None:
        """Until it is granted or given up."""
        self._granted.wait()

    def give_up(self) -> None:
        """The replica closes: nobody waits here any more."""
        with self._lock:
            self._is_given_up = True
            self._granted.set()
