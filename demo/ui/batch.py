"""One visitor's job of many pictures, and what of it one tab of a browser shows. No gradio, no look.

Owns the phases of a job and its results, which are in its folder as they come, and the pages of captions: the newest
ones, which move while the job runs, or earlier ones, which stand still. Tabs that show the same job share it. Nothing
that is kept is in a visitor's language.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

from demo.captioning import export, sidecars
from demo.captioning.captioner import Wishes
from demo.captioning.journal import Entry, entry_of
from demo.captioning.kept import JobFolder
from demo.captioning.progress import Progress
from demo.captioning.room import Room
from demo.captioning.work import Result
from demo.captioning.worklist import Item
from demo.flags import Existing
from demo.ui.notes import Note, note

PAGE = 24  # captions; what an update costs does not grow with the job. Whole rows of the gallery, mostly
STEP = 12  # captions by which the newest page moves on; in between it grows, and only what is new has to be sent

Phase = Literal["running", "paused", "stopped", "done"]
Keeping = Literal["kept", "large", "impossible"]  # whether a job outlives the process, else why it does not

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """A picture as it is shown: ``preview`` is a small WebP. Errors and notes are in the engine's words."""

    name: str
    text: str
    note: str = ""
    is_error: bool = False
    preview: bytes = field(default=b"", repr=False)


@dataclass(slots=True, weakref_slot=True, eq=False)
class Batch:
    """A job, changed in place by the events of whoever has its token."""

    token: str
    items: tuple[Item, ...]
    wishes: Wishes
    folder: JobFolder
    progress: Progress
    keeping: Keeping = "kept"
    existing: Existing = "skip"
    phase: Phase = "running"
    error: Note | None = None  # why it was paused by itself
    found: Note | None = None  # that it was read from its folder, as after a restart, until it goes on
    entries: dict[str, Entry] = field(default_factory=dict)  # by key, as they came
    worked_s: float = 0.0
    format: str = "zip"  # of the file with the results
    room: Room = field(default_factory=Room)
    at_work: threading.Lock = field(default_factory=threading.Lock)  # held by the turn that runs

    @property
    def left(self) -> list[Item]:
        return [item for item in self.items if item.key not in self.entries]

    @property
    def failed(self) -> list[Item]:
        """The pictures that could not be captioned and are still there, to be asked about again."""
        ended = ((item, self.entries.get(item.key)) for item in self.items)
        return [item for item, entry in ended if entry is not None and entry.error and item.path.is_file()]

    @property
    def is_open(self) -> bool:
        return self.phase in ("running", "paused")

    @property
    def can_retry(self) -> bool:
        """Some failed, and nothing runs."""
        return self.phase in ("paused", "done") and not self.at_work.locked() and bool(self.failed)

    @property
    def wants_turn(self) -> bool:
        return self.phase == "running" and bool(self.progress.left)

    def pause(self) -> None:
        """The pictures that are being looked at are finished."""
        if self.phase == "running":
            self.phase = "paused"

    def resume(self) -> None:
        """Go on with what is left. What failed is not asked about again, also after a restart: it may be what ended the
        demo, and whoever wants to try it says so by `retry`."""
        if self.phase != "paused":
            return
        self.error = self.found = None
        if self.keeping == "kept" and not self.folder.has_pictures:  # it was too old
            self.phase, self.error = "stopped", note("batch.expired")
        else:
            self.phase = "running"

    def retry(self) -> None:
        """Ask about those that failed once more, and about what is left. Until then their errors stay in the folder."""
        if not self.can_retry:
            return
        for item in (failed := self.failed):
            del self.entries[item.key]
        self.progress = replace(self.progress, failed=self.progress.failed - len(failed))
        self.error = self.found = None
        self.phase = "running"

    def fail(self, error: Note) -> None:
        """What would befall every picture befell one."""
        if self.is_open:
            self.phase, self.error = "paused", error

    def stop(self) -> None:
        if self.phase != "done":
            self.phase = "stopped"
            self.folder.release()

    def finish(self) -> None:
        """All pictures were looked at; those that failed are kept, for `retry`."""
        if self.phase == "running":
            self.phase = "done"
            self.folder.release(but=self.failed)

    def choose(self, name: str) -> None:
        """The format of the results; anything that is none changes nothing."""
        if name in export.formats():
            self.format = name

    def add(self, result: Result, worked_s: float) -> None:
        entry = entry_of(result, self.wishes.style)
        if not entry.error:
            entry = replace(entry, text=sidecars.text_of(entry.caption, result.item.before, self.existing))
        self._keep(entry, result.preview)
        self.progress = self.progress.after(is_error=bool(entry.error), worked_s=worked_s)

    def refuse(self, entry: Entry) -> None:
        """What is no picture is among the results, with the reason."""
        self._keep(entry, b"")

    def rows(self, first: int, last: int) -> Iterator[Row]:
        """Captions by their numbers, in the order in which they came."""
        newest_first = islice(reversed(self.entries.values()), len(self.entries) - last, len(self.entries) - first + 1)
        for entry in reversed(list(newest_first)):  # from the end, where most look
            text = entry.error or entry.text
            yield Row(entry.file, text, entry.note, bool(entry.error), self.folder.preview(entry.key))

    def _keep(self, entry: Entry, preview: bytes) -> None:
        self.entries[entry.key] = entry
        try:
            self.folder.add(entry, preview)
        except OSError as error:  # a full disk, or somebody tidied up; the job goes on without
            if self.keeping == "kept":
                log.warning("a job of the page can no longer be kept: %s", error.strerror)
                self.keeping = "impossible"


@dataclass(slots=True)
class Viewer:
    """What one tab of a browser shows. Changed in place by that tab's events."""

    batch: Batch | None = None
    last: int = 0  # the number of the newest caption on the page; 0: whatever is the newest
    seen: tuple[object, ...] = ()  # how the job was when this tab looked at it last

    def show(self, batch: Batch | None) -> None:
        self.batch, self.last = batch, 0

    @property
    def count(self) -> int:
        return len(self.batch.entries) if self.batch else 0

    @property
    def span(self) -> tuple[int, int]:
        """The numbers of the oldest and the newest caption on the page; (1, 0) where there are none."""
        last = min(self.last or self.count, self.count)
        begin = last - PAGE if self.last else (last - 1) // STEP * STEP - (PAGE - STEP)
        return max(0, begin) + 1, last

    @property
    def follows(self) -> bool:
        """It shows the newest captions."""
        return not self.last

    @property
    def has_older(self) -> bool:
        return self.span[0] > 1

    def older(self) -> None:
        if self.has_older:
            self.last = max(min(PAGE, self.count), self.span[0] - 1)

    def newer(self) -> None:
        last = self.span[1] + PAGE
        self.last = last if self.last and last < self.count else 0
