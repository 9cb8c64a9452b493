"""Models that do not fit the cards together take turns there, the others' weights waiting in main memory.

Owns the decision whose turn it is, and one thread that carries it out; it groups the requests that wait by their model.
Knows nothing of what requests hold or how a model moves. A model never leaves in the middle of an answer. Seconds end
in ``_s``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

from demo.engine.pool import Pool

# Once another model has waiters, each replica on the card begins at most this many answers more, and for at most this
# long. By PCIe's rate, which was not measured here, 33 GiB come and go in about 3 s, so that eight answers of some 5 s
# each would cost less than a tenth more than without turns; and nobody waits much longer than for a long answer.
ANSWERS = 8
PATIENCE_S = 30.0
POLL_S = 0.25  # while somebody waits; otherwise only a change is worth a look

T = TypeVar("T")
log = logging.getLogger(__name__)


def rivals(takers: Iterable[tuple[T, AbstractSet[str]]]) -> list[list[T]]:
    """Those that take turns and the devices they do it on -> groups that share none; who is alone needs no turn."""
    groups: list[tuple[AbstractSet[str], list[T]]] = []
    for taker, devices in takers:
        met = [group for group in groups if group[0] & devices]
        groups = [group for group in groups if not group[0] & devices]
        members = [member for group in met for member in group[1]]
        groups.append(({*devices, *(device for group in met for device in group[0])}, [*members, taker]))
    return [members for _, members in groups if len(members) > 1]


class Turnstile:
    """One model is on the card at a time: the first at the beginning, then whoever has waited longest.

    A model that is not loaded yet, or whose process died, waits for its turn like one that has requests, so that all
    are loaded soon after the start.
    """

    def __init__(self, pools: Sequence[Pool], *, answers: int = ANSWERS, patience_s: float = PATIENCE_S) -> None:
        self._pools = tuple(pools)
        self._answers = answers
        self._patience_s = patience_s
        self._current = self._pools[0]  # on the card, or coming, or leaving
        self._is_leaving = False
        self._since_s: float | None = None  # when the one on the card and somebody who waits for another began to meet
        self._unloaded_since_s = time.monotonic()
        self._closing = threading.Event()
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="turns", daemon=True)
        for pool in self._pools:
            pool.limit(0)
            for replica in pool.replicas:
                replica.end_turn()
            pool.watch(self._changed.set)

    @property
    def lookahead(self) -> int:
        """How many requests have to be seen waiting, so that there is something to group."""
        return sum(self._quota(pool) for pool in self._pools)

    def start(self) -> None:
        self._begin(self._current)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._changed.clear()
            while self._step():
                pass
            self._changed.wait(POLL_S if any(pool.waiting for pool in self._pools) else None)

    def _step(self) -> bool:
        """Decide one thing; False when there is nothing to decide now."""
        if self._is_leaving:
            return self._leave()
        self._is_leaving = self._should_leave(self._current)
        if self._is_leaving:
            self._current.limit(0)
        return self._is_leaving

    def _begin(self, pool: Pool) -> None:
        log.info("%s has its turn on the card", pool.model)
        self._current, self._is_leaving, self._since_s = pool, False, None
        for replica in pool.replicas:
            replica.take_turn()
        pool.limit(None if self._next() is None else self._quota(pool))

    def _leave(self) -> bool:
        """Once the last answer has ended, have the replicas leave, and once they have, begin the next turn."""
        pool = self._current
        if pool.busy:
            if self._next() is None:  # whoever waited has gone
                self._begin(pool)
            return False
        for replica in pool.replicas:
            replica.end_turn()
        if not any(replica.is_on_card for replica in pool.replicas):
            self._begin(self._next() or pool)
        return False

    def _quota(self, pool: Pool) -> int:
        return self._answers * pool.capacity

    def _should_leave(self, pool: Pool) -> bool:
        if self._next() is None:
            if pool.quota is not None:
                pool.limit(None)
            self._since_s = None
            return False
        if not any(replica.is_ready for replica in pool.replicas):
            return all(replica.failure is not None or replica.is_resting for replica in pool.replicas)
        if pool.quota is None:
            pool.limit(self._quota(pool))
        self._since_s = self._since_s or time.monotonic()
        is_idle = not pool.waiting and not pool.busy
        return is_idle or pool.quota == 0 or time.monotonic() - self._since_s >= self._patience_s

    def _next(self) -> Pool | None:
        """Who has waited longest of those whose turn it is not."""
        others = [pool for pool in self._pools if pool is not self._current]
        waiting = {pool: since_s for pool in others if (since_s := self._waiting_since_s(pool)) is not None}
        return min(waiting, key=lambda pool: waiting[pool], default=None)

    def _waiting_since_s(self, pool: Pool) -> float | None:
        if pool.failure() is not None:
            return None
        if any(replica.needs_load for replica in pool.replicas):
            return min(self._unloaded_since_s, pool.waiting_since_s or self._unloaded_since_s)
        return pool.waiting_since_s
