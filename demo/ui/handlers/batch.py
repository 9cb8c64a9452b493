"""The handlers of many pictures: one visitor's job, worked at in turns that let others through. No gradio, no look.

Owns how a job begins, its turns, and its results as a file. A turn holds one place in the page's queue and ends when
somebody waits there, each time at least a picture further; the page then asks for the next turn, behind those who wait.
In the engine it asks about one picture at a time like everybody, and about more only in places that nobody else wants,
over all replicas and slots. So a closed page ends the work, and a pause holds nothing. Uploads are named by their
paths, which are shown nowhere.
"""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from demo.captioning import export, sidecars
from demo.captioning.archive import ArchiveLimits
from demo.captioning.captioner import Captioner
from demo.captioning.journal import Entry
from demo.captioning.kept import Job
from demo.captioning.work import work
from demo.captioning.worklist import WorkList, work_list
from demo.errors import DemoError, InvalidInput
from demo.flags import Existing
from demo.imaging import to_pil
from demo.types import Picture
from demo.ui.batch import Batch
from demo.ui.context import UiContext
from demo.ui.handlers.sampling import Controls
from demo.ui.handlers.wishes import wishes_of
from demo.ui.notes import note, told

if TYPE_CHECKING:
    from demo.engine.snapshots import ReplicaSnapshot

MOST_PICTURES = 2_000  # of one job
OTHER_FILES = 100  # of an archive, beside its pictures and a text for each
TOTAL_BYTES = 2_000_000_000  # of all pictures of an archive
PREVIEW_PX = 160
UPDATE_S = 0.4
ROWS_S = 1.0  # between two updates of the captions

log = logging.getLogger(__name__)


def begin(
    context: UiContext,
    paths: Sequence[str] | None,
    style: str | None,
    instruction: str | None = "",
    prefix: str | None = "",
    suffix: str | None = "",
    words: int | None = 0,
    controls: Controls = (),
    existing: str | None = "skip",
) -> Batch:
    """A job out of uploads, pictures and archives of them, both maybe with texts. Raises the family's errors."""
    wishes = wishes_of(context, style, instruction, prefix, suffix, words, controls)
    known = sidecars.existing_of(existing)
    listed = _listed(context, paths or (), known)
    job = Job(listed.items, wishes, context.specs["captioning"].name, known)
    batch = context.desk.begin(job, len(listed.refused))
    for number, refused in enumerate(listed.refused):
        batch.refuse(Entry(refused.shown, wishes.style, error=refused.reason, key=f"refused-{number}"))
    return batch


def found(context: UiContext, token: str | None) -> Batch | None:
    """The job that a tab showed before it was reloaded; ``token`` is what its storage holds, or anything else."""
    spec = context.spec("captioning")
    return context.desk.find(token or "", spec.name) if spec else None


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
        batch.fail(told(str(error)))
    except Exception:  # the request edge: the page goes on whatever happened
        log.exception("a job of the page failed")
        batch.fail(note("answer.broken"))
    finally:
        batch.at_work.release()
    if not batch.progress.left:
        batch.finish()


def results(context: UiContext, batch: Batch) -> str | None:
    """The file with all results so far; the same name for everyone, in a folder of its own. None where there are none,
    or no room for the file."""
    if not batch.entries:
        return None
    names = export.text_files(batch.items, {})
    order = {item.key: number for number, item in enumerate(batch.items)}  # those that were refused come first
    done = sorted(batch.entries.items(), key=lambda entry: order.get(entry[0], -1))
    entries = [replace(entry, text_file=names.get(key, "")) for key, entry in done]
    made = export.FORMATS[batch.format]
    target = context.store.folder / "captions" / os.urandom(16).hex() / made.file
    try:
        target.parent.mkdir(parents=True)
        export.replace_file(target, made.write(entries))
    except OSError as error:
        log.error("the results of a job of the page cannot be written: %s", error)
        return None
    return str(target)


def _work(context: UiContext, batch: Batch, others_wait: Callable[[], bool]) -> Generator[bool, None, None]:
    def may_go_on() -> bool:
        return batch.phase == "running" and not others_wait()

    def is_free() -> bool:
        return any(replica.state in ("idle", "busy") and replica.running < replica.places for replica in replicas())

    def replicas() -> list[ReplicaSnapshot]:
        return [replica for replica in context.engine.snapshot().replicas if replica.model == spec.name]

    spec = context.specs["captioning"]
    captioner = Captioner(context.engine, spec, context.prompts["captioning"], batch.wishes)
    begun_s, told_s, shown_s, is_new = time.monotonic(), 0.0, 0.0, False
    batch.room.places = max(1, sum(replica.places for replica in replicas()))
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
                has_rows = is_new and now_s - shown_s >= ROWS_S
                yield has_rows
                told_s = now_s
                if has_rows:
                    shown_s, is_new = now_s, False
    batch.worked_s += time.monotonic() - begun_s


def _listed(context: UiContext, paths: Sequence[str], existing: Existing) -> WorkList:
    checked = [context.store.checked(path) for path in paths]
    limits = ArchiveLimits(2 * MOST_PICTURES + OTHER_FILES, context.limits.file_bytes, TOTAL_BYTES)
    pictures = [path for path in checked if not sidecars.is_text(path)]
    listed = work_list(pictures, names=[path.name for path in pictures], limits=limits, may_be_texts=True)
    if not listed.items and listed.refused:
        raise InvalidInput(f"{listed.refused[0].shown}: {listed.refused[0].reason}")
    if not listed.items:
        remedy = "Add some first, or a zip archive with some."
        raise InvalidInput("There are no pictures" + (" in this" if checked else ""), remedy=remedy)
    if len(listed.items) > MOST_PICTURES:
        remedy = f"At most {MOST_PICTURES:,} are taken at once; the terminal's caption command takes any number."
        raise InvalidInput("There are too many pictures", value=f"{len(listed.items):,}", remedy=remedy)
    if existing == "overwrite":  # as if there were none
        return listed
    return sidecars.with_captions(listed, checked, names=[path.name for path in checked], limits=limits)


def _preview(picture: Picture) -> bytes:
    small = to_pil(picture)
    small.thumbnail((PREVIEW_PX, PREVIEW_PX))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=70, method=2)
    return out.getvalue()
