"""What one replica tells of itself: its snapshot, renewed with whatever happens, and its loads and deaths in the log.

Owns the counts (answers, deaths, loads that were begun) and who hears of a change. Knows nothing of processes and
requests, or of why something happens. The replica's own thread renews it; any thread may read it, for a snapshot is
replaced whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from demo.engine.events import LoadReport
from demo.engine.snapshots import ReplicaSnapshot
from demo.spans import in_words
from demo.types import Usage

NOTHING_HELD: Mapping[str, object] = MappingProxyType({"resident_bytes": {}, "memory": {}, "pid": 0})

log = logging.getLogger(__name__)


class Bulletin:
    def __init__(self, first: ReplicaSnapshot) -> None:
        """``first`` has the slots that were planned."""
        self.now = first
        self._planned_slots = first.slots
        self._has_begun = False  # the process that runs now, to load
        self._on_change: Callable[[], None] = lambda: None

    def watch(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change

    def tell(self, **changes: object) -> None:
        """Renew these fields of the snapshot."""
        self.now = replace(self.now, **changes)  # type: ignore[arg-type]
        self._on_change()

    def has_started(self, pid: int) -> None:
        """A process was started; it is still to say that it loads."""
        self._has_begun = False
        self.tell(state="starting", detail="starting the model's process", pid=pid)

    def is_loading(self, stage: str, fraction: float | None) -> None:
        """A process that says so for the first time begins a load; only a death can raise the count again."""
        begun = self.now.total_loads + (not self._has_begun)
        self._has_begun = True
        self.tell(state="loading", detail=stage, fraction=fraction, total_loads=begun)

    def has_loaded(self, report: LoadReport) -> None:
        number, model = self.now.replica_id, self.now.model
        log.info("replica %d of %s: %.1f s (%s)", number, model, report.seconds_s, in_words(report.spans_s))
        if report.slots == 1 < self._planned_slots:
            log.warning("%s answers one at a time: beside others an answer would not be what it is alone", model)
        facts = {"resident_bytes": report.resident_bytes, "parameters": report.parameters, "loads": report.loads}
        facts |= {"slots": report.slots, "load_s": report.seconds_s, "load_spans_s": report.spans_s}
        self.tell(state="idle", detail="", fraction=None, **facts)

    def has_answered(self, usage: Usage) -> None:
        self.tell(served=self.now.served + 1, tokens_per_s=usage.tokens_per_s or self.now.tokens_per_s)

    def has_died(self, reason: str) -> None:
        log.warning("replica %d of %s: %s", self.now.replica_id, self.now.model, reason)
        self.tell(deaths=self.now.deaths + 1)
