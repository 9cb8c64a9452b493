"""How many pictures of one job are asked about at a time: as many as there are places, and fewer once memory ran out.

Owns that number. It is halved when memory ran out with others inside, and is as before once a picture ran out of it
alone, which then is too large whatever the others are. One picture is always let in; more only while there is room for
them elsewhere, so that whoever else asks comes first. Called from any thread; knows nothing of pictures or models.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

WAIT_S = 0.1  # between two looks at whether there is room elsewhere


@dataclass(frozen=True, slots=True)
class Seat:
    """One picture inside, and what it found when it came."""

    number: int  # in the order of coming
    company: int  # how many were inside then, itself among them
    num_halvings: int  # how often memory had run out before


class Room:
    """``places`` may be changed while nobody is inside."""

    def __init__(self, places: int = 1) -> None:
        self.places = places
        self._fitting: int | None = None  # as many as there is memory for; None: nothing is known of that
        self._num_halvings = 0
        self._num_entered = 0
        self._inside = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        return self.places if self._fitting is None else min(self.places, self._fitting)

    @property
    def is_short(self) -> bool:
        """Memory ran out, and fewer are let in than there are places for."""
        return self.limit < self.places

    def enter(self, may_wait: Callable[[], bool], is_free: Callable[[], bool]) -> Seat | None:
        """Wait to be let in; None once it may not wait any longer. ``is_free`` says whether there is room elsewhere."""
        with self._changed:
            while self._inside >= self.limit or (self._inside and not is_free()):
                if not may_wait():
                    return None
                self._changed.wait(WAIT_S)
            self._inside += 1
            self._num_entered += 1
            return Seat(self._num_entered, self._inside, self._num_halvings)

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def leave_short(self, seat: Seat) -> bool:
        """Leave because memory ran out. Whether it was alone inside all the time, so that no other number would do."""
        with self._changed:
            was_alone = seat.company == 1 and seat.number == self._num_entered
            if was_alone:
                self._fitting = None
            elif seat.num_halvings == self._num_halvings:  # else those who came with it have told of the same shortage
                self._fitting = max(1, max(seat.company, self._inside) // 2)
                self._num_halvings += 1
            self._inside -= 1
            self._changed.notify_all()
            return was_alone
