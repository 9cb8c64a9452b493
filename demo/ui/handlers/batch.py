"""The handlers of many pictures: one visitor's job, worked at in turns that let others through. No gradio, no look.

Owns the phases of a job, what of it is shown, and its results as a file. A turn holds one place in the page's queue and
ends when somebody waits there, each time at least a picture further; the page then asks for the next turn, behind those
who wait. In the engine it asks about one picture at a time like everybody, and about more only in places that nobody
else wants, over all replicas and slots. So a closed page ends the job, and a pause holds nothing. Uploads are named by
their paths, which are shown nowhere. Nothing that is kept is in a visitor's language.
"""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from demo.captioning import export
from demo.captioning.archive import ArchiveLimits
from demo.captioning.captioner import Captioner, Wishes
from demo.captioning.journal import Entry, entry_of
from demo.captioning.progress import Progress
from demo.captioning.room import Room
from demo.captioning.work import Result, work
from demo.captioning.worklist import Item, WorkList, work_list
from demo.errors import DemoError, InvalidInput
from demo.imaging import to_pil
from demo.types import Picture
from demo.ui.context import UiContext
from demo.ui.handlers.sampling import Controls
from demo.ui.handlers.wishes import wishes_of
from demo.ui.notes import Note, note, told

if TYPE_CHECKING:
    from demo.engine.snapshots import ReplicaSnapshot

MOST_PICTURES = 2_000  # of one job
TOTAL_BYTES = 2_000_000_000  # of all pictures of an archive
ROWS = 12  # that are shown, the newest; what an update costs does not grow with the job
PREVIEW_PX = 160
UPDATE_S = 0.4

Phase = Literal["running", "paused", "stopped", "done"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """A picture as it is shown: ``preview`` is a small WebP. Errors and notes are in the engine's words."""

    name: str
    text: str
    note: str = ""
    is_error: bool = False
    preview: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class Batch:
    """One visitor's job, changed in place by that visitor's events."""

    items: tuple[Item, ...]
    wishes: Wishes
    progress: Progress
    phase: Phase = "running"
    error: Note | None = None  # why it was paused by itself
    entries: dict[str, Entry] = field(default_factory=dict)  # by key
    rows: deque[Row] = field(default_factory=lambda: deque(maxlen=ROWS))
    worked_s: float = 0.0
    format: str = "zip"  # of the file with the results
    room: Room = field(default_factory=Room)
    at_work: threading.Lock = field(default_factory=threading.Lock)  # held by the turn that runs

    @property
    def left(self) -> list[Item]:
        return [item for item in self.items if item.key not in self.entries]

    @property
    def wants_turn(self) -> bool:
        return self.phase == "running" and bool(self.progress.left)

    def pause(self) -> None:
        """The pictures that are being looked at are finished."""
        if self.phase == "running":
            self.phase = "paused"

    def resume(self) -> None:
        if self.phase == "paused":
            self.phase, self.error = "running", None

    def stop(self) -> None:
        if self.phase != "done":
            self.phase = "stopped"

    def choose(self, name: str) -> None:
        """The format of the results; anything that is none changes nothing."""
        if name in export.formats():
            self.format = name

    def add(self, result: Result, worked_s: float) -> None:
        entry = entry_of(result, self.wishes.style)
        self.entries[entry.key] = entry
        self.rows.appendleft(
            Row(entry.file, entry.error or entry.caption, entry.note, bool(entry.error), result.preview)
        )
        self.progress = self.progress.after(is_error=bool(entry.error), worked_s=worked_s)


def begin(
    context: UiContext,
    paths: Sequence[str] | None,
    style: str | None,
    instruction: str | None = "",
    prefix: str | None = "",
    suffix: str | None = "",
    words: int | None = 0,
    controls: Controls = (),
) -> Batch:
    """A job out of uploads, pictures and archives of them. Raises the family's errors."""
    wishes = wishes_of(context, style, instruction, prefix, suffix, words, controls)
    return _batch(_listed(context, paths or ()), wishes)


def turn(context: UiContext, batch: Batch, others_wait: Callable[[], bool]) -> Generator[bool, None, None]:
    """Work at the job; yields, at least four times a second, whether there are more rows. Never raises an error.

    Closing it stops the pictures under way, which stay to be done.
    """
    if not batch.at_work.acquire(blocking=False):
        return  # another turn is at it, and asks for the next one if it is wanted
    try:
        if batch.wants_turn:
            yield from _work(context, batch, others_wait)
    except DemoError as error:
        batch.phase, batch.error = "paused", told(str(error))
    except Exception:  # the request edge: the page goes on whatever happened
        log.exception("a job of the page failed")
        batch.phase, batch.error = "paused", note("answer.broken")
    finally:
        batch.at_work.release()
    if batch.phase == "running" and not batch.progress.left:
        batch.phase = "done"


def results(context: UiContext, batch: Batch) -> str | None:
    """The file with all results so far, or None; the same name for everyone, in a folder of its own."""
    if not batch.entries:
        return None
    names = export.text_files(batch.items, {})
    entries = [replace(entry, text_file=names.get(key, "")) for key, entry in batch.entries.items()]
    made = export.FORMATS[batch.format]
    target = context.store.folder / "captions" / os.urandom(16).hex() / made.file
    target.parent.mkdir(parents=True)
    export.replace_file(target, made.write(entries))
    return str(target)


def _work(context: UiContext, batch: Batch, others_wait: Callable[[], bool]) -> Generator[bool, None, None]:
    def may_go_on() -> bool:
        return batch.phase == "running" and not others_wait()

    def is_free() -> bool:
        return any(replica.state in ("idle", "busy") and replica.running < replica.slots for replica in replicas())

    def replicas() -> list[ReplicaSnapshot]:
        return [replica for replica in context.engine.snapshot().replicas if replica.model == spec.name]

    spec = context.specs["captioning"]
    captioner = Captioner(context.engine, spec, context.prompts["captioning"], batch.wishes)
    begun_s, told_s, is_new = time.monotonic(), 0.0, False
    batch.room.places = max(1, sum(replica.slots for replica in replicas()))
    made = work(batch.left, captioner, room=batch.room, may_go_on=may_go_on, is_free=is_free, preview=_preview)
    with closing(made) as made_so_far:
        for result in made_so_far:
            now_s = time.monotonic()
            if batch.phase == "stopped":
                return
            if result is not None:
                batch.add(result, batch.worked_s + now_s - begun_s)
                is_new = True
            if result is None or now_s - told_s >= UPDATE_S:
                yield is_new
                told_s, is_new = now_s, False
    batch.worked_s += time.monotonic() - begun_s


def _listed(context: UiContext, paths: Sequence[str]) -> WorkList:
    checked = [context.store.checked(path) for path in paths]
    limits = ArchiveLimits(MOST_PICTURES, context.limits.file_bytes, TOTAL_BYTES)
    listed = work_list(checked, names=[path.name for path in checked], limits=limits)
    if not listed.items and listed.refused:
        raise InvalidInput(f"{listed.refused[0].shown}: {listed.refused[0].reason}")
    if not listed.items:
        remedy = "Add some first, or a zip archive with some."
        raise InvalidInput("There are no pictures" + (" in this" if checked else ""), remedy=remedy)
    if len(listed.items) > MOST_PICTURES:
        remedy = f"At most {MOST_PICTURES:,} are taken at once; the terminal's caption command takes any number."
        raise InvalidInput("There are too many pictures", value=f"{len(listed.items):,}", remedy=remedy)
    return listed


def _batch(listed: WorkList, wishes: Wishes) -> Batch:
    """What was refused is among the results, with the reason."""
    total = len(listed.items) + len(listed.refused)
    batch = Batch(listed.items, wishes, Progress(total, failed=len(listed.refused)))
    for number, refused in enumerate(listed.refused):
        key = f"refused-{number}"
        batch.entries[key] = Entry(refused.shown, wishes.style, error=refused.reason, key=key)
        batch.rows.appendleft(Row(refused.shown, refused.reason, is_error=True))
    return batch


def _preview(picture: Picture) -> bytes:
    small = to_pil(picture)
    small.thumbnail((PREVIEW_PX, PREVIEW_PX))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=70, method=2)
    return out.getvalue()
