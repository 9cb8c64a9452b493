"""Jobs of many pictures that outlive their page, and the process: who shows a job's token finds it again.

Owns the tokens, where jobs are kept, for how long, and how much of the disk they may take. A token is random, made here
and says nothing; on the disk there is only its hash, so that neither names the other, nor a client any file. A job in
memory is held by the tabs that show it; another is read from its folder. Knows nothing of gradio. Bytes are integers,
seconds end in ``_s``.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from demo.captioning import sidecars
from demo.captioning.kept import Job, JobFolder, bytes_of
from demo.captioning.progress import Progress
from demo.errors import DemoError
from demo.ui.batch import Batch, Keeping
from demo.ui.notes import note

KEPT_S = 24 * 3600.0  # since something became of one of its pictures, or somebody looked at it
JOB_BYTES = 2_000_000_000  # of one job's pictures
ALL_BYTES = 8_000_000_000
FREE_BYTES = 2_000_000_000  # that are left on the disk

_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}", re.ASCII)
_NAME = re.compile(r"[0-9a-f]{64}")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Desk:
    """All visitors' jobs. ``passing`` is for those that are not kept, and gone with the process."""

    folder: Path | None  # None: nothing is kept
    passing: Path
    job_bytes: int = JOB_BYTES
    all_bytes: int = ALL_BYTES
    clock: Callable[[], float] = time.time
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _batches: WeakValueDictionary[str, Batch] = field(default_factory=WeakValueDictionary, repr=False)

    def begin(self, job: Job, num_refused: int = 0) -> Batch:
        """A job under a new token; its pictures are held until they were looked at, where there is room for them.

        Raises `DemoError` where not even its results have a place.
        """
        self.sweep()
        token = secrets.token_urlsafe(24)
        folder, job, keeping = self._placed(_name(token), job)
        entries = sidecars.left_alone(job.items, job.existing)
        progress = Progress(len(job.items) + num_refused, done=len(entries), failed=num_refused)
        batch = Batch(token, job.items, job.wishes, folder, progress, keeping, job.existing, entries=entries)
        with self._lock:
            self._batches[_name(token)] = batch
        return batch

    def find(self, token: str, model: str) -> Batch | None:
        """The job of a token, or None for one that is unknown, too old, or nothing that this made.

        ``model`` is who would be asked about the rest.
        """
        if not _TOKEN.fullmatch(token):
            return None
        self.sweep()
        with self._lock:
            batch = self._batches.get(_name(token))
            if batch is None and (batch := self._read(token, model)) is not None:
                self._batches[_name(token)] = batch
        if batch is not None:
            batch.folder.touch()
        return batch

    def clear(self, batch: Batch) -> None:
        """Nothing is left of it."""
        batch.stop()
        with self._lock:
            self._batches.pop(_name(batch.token), None)
        batch.folder.delete()

    def sweep(self) -> None:
        """Delete what is too old, of this process and of earlier ones."""
        for folder in self._folders():
            if folder.changed_s < self.clock() - KEPT_S:
                folder.delete()

    def _folders(self) -> Iterator[JobFolder]:
        for root in filter(None, (self._root, self._passing)):
            with contextlib.suppress(OSError):  # it is not there yet, or is not for us to look into
                yield from [JobFolder(path) for path in root.iterdir() if _NAME.fullmatch(path.name)]

    @property
    def _root(self) -> Path | None:
        return None if self.folder is None else self.folder / "batches"

    @property
    def _passing(self) -> Path:
        return self.passing / "batches"

    def _placed(self, name: str, job: Job) -> tuple[JobFolder, Job, Keeping]:
        keeping: Keeping = "impossible"
        if self._root is not None:
            kept = JobFolder(self._root / name)
            try:
                if self._has_room(bytes_of(job.items), self._root):
                    kept.make()
                    return kept, kept.hold(job), "kept"
                keeping = "large"
            except OSError as error:
                log.warning("a job of the page cannot be kept: %s", error.strerror)
                kept.delete()
        return self._passing_folder(name), job, keeping

    def _passing_folder(self, name: str) -> JobFolder:
        folder = JobFolder(self._passing / name)
        try:
            folder.make()
        except OSError as error:
            folder.delete()
            log.error("a job of the page cannot begin: %s", error)
            remedy = "Whoever runs it may have to free its disk; then press Start again."
            raise DemoError("The demo's folder cannot be written to", value=error.strerror, remedy=remedy) from error
        return folder

    def _has_room(self, num_bytes: int, root: Path) -> bool:
        for private in (root.parent, root):
            private.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = sum(folder.num_bytes for folder in self._folders())
        is_allowed = num_bytes <= self.job_bytes and taken + num_bytes <= self.all_bytes
        return is_allowed and num_bytes + FREE_BYTES <= shutil.disk_usage(root).free

    def _read(self, token: str, model: str) -> Batch | None:
        """A job that nobody shows any more, or of an earlier process. It waits for its visitor, who may not expect it
        to go on."""
        if self._root is None:
            return None
        folder = JobFolder(self._root / _name(token))
        job = folder.job()
        try:
            read = folder.entries() if job else []
        except OSError:
            return None
        if job is None:
            return None
        entries = sidecars.left_alone(job.items, job.existing) | {entry.key: entry for entry in read}
        left = sum(item.key not in entries for item in job.items)
        failed = sum(bool(entry.error) for entry in entries.values())
        progress = Progress(len(entries) + left, done=len(entries) - failed, failed=failed)
        batch = Batch(token, job.items, job.wishes, folder, progress, existing=job.existing, entries=entries)
        if not left:
            batch.finish()
        elif not folder.has_pictures:
            batch.phase = "stopped"
        else:
            batch.phase = "paused"
            is_same = job.model == model
            batch.found = note("batch.found") if is_same else note("batch.found_other", model=model, before=job.model)
        return batch


def _name(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
