"""The replicas of one model, and who may use which.

Owns the places: a lease is a slot of one replica, or one before them where the next prompts are prepared. It is given
to whoever has waited longest, on the least busy replica that is ready. Knows nothing of models or requests' contents.
Its lock is held for a few lines only, never while waiting, so that a lease can be left from an event loop's thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType

from demo.engine.answer import PING_S, Answer
from demo.engine.events import Ping
from demo.engine.replica import ProcessReplica
from demo.errors import DemoError, ReplicaDied, ShuttingDown
from demo.types import GenerateRequest

log = logging.getLogger(__name__)


class Pool:
    def __init__(self, replicas: Sequence[ProcessReplica]) -> None:
        self.replicas = tuple(replicas)
        self._lock = threading.Lock()
        self._waiters: deque[Lease] = deque()
        self._leased = [0] * len(self.replicas)
        self._patient = [0] * len(self.replicas)  # of them, by those for whom nobody waits
        self._granted = [0] * len(self.replicas)  # in all, so that equally busy replicas take turns
        self._is_closed = False
        self._quota: int | None = None
        self._on_change: Callable[[], None] = lambda: None
        self._num_failed = 0

    @property
    def model(self) -> str:
        return self.replicas[0].model

    @property
    def capacity(self) -> int:
        """How many answers can be made at a time; before the models are loaded, as many as are planned for."""
        return sum(replica.slots for replica in self.replicas)

    @property
    def places(self) -> int:
        """How many requests are sent to the replicas at a time, those counted that are only prepared."""
        return sum(replica.places for replica in self.replicas)

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    @property
    def waiting_since_s(self) -> float | None:
        """When the longest waiting of those who wait came, by the monotonic clock."""
        with self._lock:
            return min((waiter.since_s for waiter in self._waiters), default=None)

    @property
    def busy(self) -> int:
        """How many places are held."""
        with self._lock:
            return sum(self._leased)

    def watch(self, on_change: Callable[[], None]) -> None:
        """``on_change`` is called after each change of places, waiters or replicas, from any thread."""
        self._on_change = on_change

    @property
    def quota(self) -> int | None:
        """How many places may be given yet; None is no limit."""
        return self._quota

    def limit(self, quota: int | None) -> None:
        """From now on give so many places and no more; those that are held stay so."""
        with self._lock:
            self._quota = quota
        self.refresh()

    def lease(self, *, first: bool = False, is_patient: bool = False) -> Lease:
        """A place in the queue, to be entered with ``with``; ``first`` is for a request that lost its replica.

        Those who are patient come after all others, and may be sent to a replica that has no slot for them yet.
        """
        return Lease(self, first=first, is_patient=is_patient)

    def refresh(self) -> None:
        """Give free places to those who wait. Called whenever a place or a replica's state has changed."""
        with self._lock:
            while self._waiters and (index := self._least_busy(self._waiters[0])) is not None:
                self._leased[index] += 1
                self._patient[index] += self._waiters[0].is_patient
                self._granted[index] += 1
                self._quota = None if self._quota is None else self._quota - 1
                self._waiters.popleft().grant(index)
            if self._is_closed or self.failure() is not None:
                for waiter in self._waiters:
                    waiter.wake()
        self._tell_failures()
        self._on_change()

    def close(self) -> None:
        """Turn away those who wait, now and later."""
        self._is_closed = True
        self.refresh()

    def failure(self) -> DemoError | None:
        """Why no request can be served any more; None while there is hope."""
        if self._is_closed:
            return ShuttingDown("The demo is stopping", remedy="Ask again once it is back.")
        reasons = [replica.failure for replica in self.replicas]
        if all(reasons):
            return reasons[0]
        return None

    def join(self, lease: Lease, *, first: bool) -> None:
        with self._lock:
            last = len(self._waiters) if lease.is_patient else sum(not one.is_patient for one in self._waiters)
            self._waiters.insert(0 if first else last, lease)
        self.refresh()

    def leave(self, lease: Lease) -> None:
        with self._lock:
            if lease in self._waiters:
                self._waiters.remove(lease)

    def release(self, index: int, *, is_patient: bool) -> None:
        with self._lock:
            self._leased[index] -= 1
            self._patient[index] -= is_patient
        self.refresh()

    def ping(self, lease: Lease) -> Ping:
        """What a waiting request is waiting for."""
        snapshots = [replica.snapshot() for replica in self.replicas]
        if any(snapshot.state in ("idle", "busy") for snapshot in snapshots):
            with self._lock:
                ahead = self._waiters.index(lease) if lease in self._waiters else 0
            return Ping("queued", f"{ahead} ahead" if ahead else "next")
        nearest = max(snapshots, key=lambda snapshot: snapshot.fraction or 0.0)
        return Ping("loading", nearest.detail, nearest.fraction)

    def _least_busy(self, lease: Lease) -> int | None:
        if self._is_closed or self._quota == 0:
            return None
        free = [i for i, r in enumerate(self.replicas) if r.is_ready and self._leased[i] < self._most(i, lease)]
        return min(free, key=lambda i: (self._leased[i], self._granted[i]), default=None)

    def _most(self, index: int, lease: Lease) -> int:
        """With how many a replica is full for this one: where prompts are prepared ahead, the patient are not counted,
        for its worker lets all others go before them."""
        replica = self.replicas[index]
        if lease.is_patient or replica.places == replica.slots:
            return replica.places
        return replica.slots + self._patient[index]

    def _tell_failures(self) -> None:
        failed = [replica for replica in self.replicas if replica.failure is not None]
        if len(failed) > self._num_failed and len(failed) < len(self.replicas):
            left = len(self.replicas) - len(failed)
            log.warning("%d of %d replicas of %s still serve", left, len(self.replicas), self.model)
        self._num_failed = len(failed)


class Lease:
    """One request's hold on a place. Leaving it is immediate; the place is free once the worker is done with it."""

    def __init__(self, pool: Pool, *, first: bool, is_patient: bool) -> None:
        self._pool = pool
        self.is_patient = is_patient
        self.since_s = time.monotonic()
        self._first = first
        self._index: int | None = None
        self._is_handed_over = False  # to an answer, whose end frees the place
        self._changed = threading.Event()

    def __enter__(self) -> Lease:
        self._pool.join(self, first=self._first)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.leave(self)
        if self._index is not None and not self._is_handed_over:
            self._pool.release(self._index, is_patient=self.is_patient)

    def wait(self) -> Iterator[Ping]:
        """Pings until a place is held; raises what makes waiting useless."""
        while self._index is None:
            if (failure := self._pool.failure()) is not None:
                raise failure
            if not self._changed.wait(PING_S):
                yield self._pool.ping(self)

    def open(self, request: GenerateRequest) -> Answer:
        """Begin the answer on the replica that is held."""
        if self._index is None:
            raise ReplicaDied("No replica is held", remedy="Wait for the lease first.")
        index = self._index
        release = partial(self._pool.release, index, is_patient=self.is_patient)
        answer = self._pool.replicas[index].open(request, on_end=release)
        self._is_handed_over = True
        return answer

    def grant(self, index: int) -> None:
        self._index = index
        self._changed.set()

    def wake(self) -> None:
        self._changed.set()
