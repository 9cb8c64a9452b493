"""Requests whose prompts are still to be read, in the order in which they will be.

Owns the order, in which the patient come after all others, and whether somebody is at work on them, which is decided in
the same moment as whether anybody is left. Knows nothing of slots and of what else stands in the way of reading one.
All methods may be called from any thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from demo.backends.rows import Row


class Waiting:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: deque[Row] = deque()
        self._is_at_work = False

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def first(self) -> Row | None:
        """The one who is next. If that one is patient, so are all."""
        with self._lock:
            return self._rows[0] if self._rows else None

    def add(self, rows: Sequence[Row]) -> bool:
        """Have these wait; whether work has to be begun, because nobody is at it."""
        with self._lock:
            for row in rows:
                place = len(self._rows) if row.is_patient else sum(not one.is_patient for one in self._rows)
                self._rows.insert(place, row)
            begins, self._is_at_work = not self._is_at_work, True
            return begins

    def keeps_at_work(self, is_busy: bool) -> bool:
        """Whether there is more to do: whoever is told that there is not has to be begun again by `add`."""
        with self._lock:
            self._is_at_work = bool(self._rows) or is_busy
            return self._is_at_work

    def take(self, most: int, joins: Callable[[Row, Sequence[Row]], bool]) -> list[Row]:
        """Those who are next: one, or several of which each ``joins`` the ones before it.

        Of the patient, those go with the first one that are about as long: what is read at once is filled up to the
        longest, and a card reads that as well.
        """
        with self._lock:
            order = list(self._rows)
            if order and order[0].is_patient:
                length = order[0].num_tokens
                order.sort(key=lambda row: abs(row.num_tokens - length))
            group: list[Row] = []
            for row in order[:most]:
                if group and not joins(row, group):
                    break
                group.append(row)
            for row in group:
                self._rows.remove(row)
            return group

    def put_back(self, rows: Sequence[Row]) -> None:
        """Have these be next, in their order."""
        with self._lock:
            self._rows.extendleft(reversed(rows))

    def drop_stopped(self) -> list[Row]:
        """Those who do not wait any longer, because nobody wants their answers."""
        with self._lock:
            gone = [row for row in self._rows if row.outlet.should_stop]
            for row in gone:
                self._rows.remove(row)
            return gone
