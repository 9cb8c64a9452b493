"""A job in a folder of its own, which outlives whoever works at it: its list, its pictures, and what became of them.

Owns the folder's files: ``job.json`` (what is to be done, written once), ``pictures`` (links to the files that are to
be looked at, or copies of them), ``captions.jsonl`` (the journal, which grows) and ``previews``. Nothing that is read
from it names a file anywhere else. Knows nothing of whose job it is. Bytes are integers, seconds end in ``_s``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from demo.captioning import export, journal
from demo.captioning.captioner import Wishes
from demo.captioning.journal import Entry
from demo.captioning.sidecars import existing_of
from demo.captioning.worklist import Item
from demo.errors import InvalidInput
from demo.flags import Existing
from demo.types import Sampling

_KEY = re.compile(r"[0-9a-f]{20}")
_PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done; ``model`` is the name of the one that was asked when it began."""

    items: tuple[Item, ...]
    wishes: Wishes
    model: str
    existing: Existing = "skip"  # what is done about the captions that pictures bring along


@dataclass(frozen=True, slots=True)
class JobFolder:
    path: Path

    @property
    def is_there(self) -> bool:
        return self.path.is_dir()

    @property
    def has_pictures(self) -> bool:
        return self._pictures.is_dir()

    @property
    def changed_s(self) -> float:
        """When something became of a picture last, or the job was touched; 0 where nothing is known."""
        return max(_changed_s(self.path), _changed_s(self._journal))

    @property
    def num_bytes(self) -> int:
        """Of the pictures."""
        try:
            return sum(entry.stat().st_size for entry in os.scandir(self._pictures))
        except OSError:
            return 0

    def make(self) -> None:
        """An empty folder that nobody else of this machine may look into."""
        self.path.mkdir(parents=True, mode=_PRIVATE)
        self._previews.mkdir(mode=_PRIVATE)

    def hold(self, job: Job) -> Job:
        """Keep the job with its pictures; what is returned no longer needs the files that it was made of."""
        self._pictures.mkdir(mode=_PRIVATE)
        numbers = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in job.items))}
        for path, number in numbers.items():
            _link(path, self._pictures / str(number))
        rows = [
            {"name": str(item.name), "shown": item.shown, "file": numbers[item.path], "key": item.key}
            | ({"member": item.member} if item.member else {})
            | ({} if item.before is None else {"before": item.before})
            for item in job.items
        ]
        written = {"model": job.model, "wishes": asdict(job.wishes), "existing": job.existing, "items": rows}
        export.replace_file(self.path / "job.json", json.dumps(written).encode())
        return replace(job, items=tuple(self._item(row) for row in rows))

    def job(self) -> Job | None:
        """What `hold` kept; None for what is not there or cannot be read, as that of another version."""
        try:
            found = json.loads((self.path / "job.json").read_bytes())
            wishes = Wishes(**{**found["wishes"], "sampling": Sampling(**found["wishes"]["sampling"])})
            existing = existing_of(found.get("existing", "skip"))
            return Job(tuple(self._item(row) for row in found["items"]), wishes, str(found["model"]), existing)
        except (OSError, ValueError, TypeError, LookupError, RecursionError, InvalidInput):
            return None

    def entries(self) -> list[Entry]:
        """The last word on each picture so far. A line that a crash cut is dropped, from the file too."""
        with journal.Journal(self._journal) as opened:
            return export.newest(opened.entries)

    def add(self, entry: Entry, preview: bytes = b"") -> None:
        """On the disk once it returns."""
        if preview and _KEY.fullmatch(entry.key):
            (self._previews / entry.key).write_bytes(preview)
        journal.append(self._journal, entry)

    def preview(self, key: str) -> bytes:
        """Empty where there is none."""
        try:
            return (self._previews / key).read_bytes() if _KEY.fullmatch(key) else b""
        except OSError:
            return b""

    def touch(self) -> None:
        """It is being looked at, and so not old."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def release(self, but: Collection[Item] = ()) -> None:
        """The pictures are looked at no more, but for these."""
        if not but:
            shutil.rmtree(self._pictures, ignore_errors=True)
            return
        needed = {item.path for item in but}
        with contextlib.suppress(OSError):
            for path in self._pictures.iterdir():
                if path not in needed:
                    path.unlink()

    def delete(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _item(self, row: dict[str, Any]) -> Item:
        file = self._pictures / str(int(row["file"]))
        before = None if row.get("before") is None else str(row["before"])
        name, member = PurePosixPath(row["name"]), str(row.get("member", ""))
        return Item(name, str(row["shown"]), file, str(row["key"]), member, before)

    @property
    def _pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def _previews(self) -> Path:
        return self.path / "previews"

    @property
    def _journal(self) -> Path:
        return self.path / "captions.jsonl"


def bytes_of(items: Sequence[Item]) -> int:
    """Of the files that are needed, each once. Raises `OSError`."""
    return sum(path.stat().st_size for path in {item.path for item in items})


def _changed_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _link(source: Path, target: Path) -> None:
    """Another name for the same bytes; a copy where the disk has no such thing, or it is another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
