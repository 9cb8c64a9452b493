"""The results on disk, one JSON object a line, written as they come: what makes a job resumable after a crash.

Owns the record and the file that only grows. A line that was cut by a crash is dropped; of several lines about one
picture the last one counts. A line is with the operating system once `add` returns, so that a killed process loses
nothing it has finished. Knows nothing of models or of where captions go besides.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

from demo.captioning.captioner import Wishes
from demo.captioning.work import Result
from demo.captioning.worklist import Item
from demo.flags import Existing
from demo.grounding.export import records


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one picture. ``text`` is all that its text file holds; ``error`` says why there is no caption."""

    file: str  # its path below the folder or archive, or its name
    style: str
    caption: str = ""
    regions: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""
    error: str = ""
    text: str = ""
    text_file: str = ""
    key: str = ""
    run: str = ""


def entry_of(result: Result, style: str) -> Entry:
    name = str(result.item.name)
    if result.caption is None or result.size is None:
        return Entry(name, style, error=result.error, key=result.item.key)
    regions = [dict(record) for record in records(result.caption.regions, result.size)]
    note = "; ".join(filter(None, (result.note, result.caption.note)))
    caption = result.caption.text
    return Entry(name, style, caption, regions, note=note, text=caption, key=result.item.key)


class Journal:
    """Open between ``with`` and its end; ``entries`` are what was in it then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: tuple[Entry, ...] = ()

    def __enter__(self) -> Journal:
        self._file = self._path.open("a+b")  # what is added goes to its end, wherever that is by then
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # what follows was cut by a crash
            self._file.truncate(whole)
        self.entries = tuple(_entries(data[:whole]))
        return self

    def add(self, entry: Entry) -> None:
        self._file.write(line_of(entry).encode("utf-8", "replace") + b"\n")
        self._file.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()


def append(path: Path, entry: Entry) -> None:
    """One more line for a file that is not kept open. It is on the disk once this returns, whatever ends then."""
    with path.open("ab") as file:
        file.write(line_of(entry).encode("utf-8", "replace") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def line_of(entry: Entry) -> str:
    return json.dumps({name: value for name, value in asdict(entry).items() if value not in ("", [])} | _always(entry))


def _always(entry: Entry) -> dict[str, Any]:
    return {} if entry.error else {"caption": entry.caption, "regions": entry.regions}


def _entries(data: bytes) -> Iterable[Entry]:
    for line in data.decode("utf-8", "replace").splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if (entry := _entry(found)) is not None:
            yield entry


def _entry(found: Any) -> Entry | None:
    """None for a line that is not ours, or that names a text file elsewhere: folders are handed around."""
    if not isinstance(found, dict) or not isinstance(found.get("regions", []), list):
        return None
    texts = {field.name: found.get(field.name, "") for field in fields(Entry) if field.name != "regions"}
    if not all(isinstance(text, str) for text in texts.values()) or not texts["key"]:
        return None
    target = PurePath(texts["text_file"])
    if target.is_absolute() or target.drive or ".." in target.parts:
        return None
    return Entry(**texts, regions=found.get("regions", []))


# --- which pictures are done


@dataclass(frozen=True, slots=True)
class Resumed:
    """``run`` marks the entries of one pass over the pictures; ``done`` are those it has already, by key."""

    run: str
    done: Mapping[str, Entry]


def resumed(entries: Sequence[Entry], items: Sequence[Item], wishes: Wishes, model: str, existing: Existing) -> Resumed:
    """The pass to go on with: the last one with these wishes, or where it was finished and all are to be made anew, a
    new one. Pictures that failed are tried again."""
    mark = _mark(wishes, model, existing)
    numbers = [int(entry.run.rpartition("-")[2]) for entry in entries if _is_of(entry, mark)]
    number = max(numbers, default=1)
    done = {entry.key: entry for entry in entries if entry.run == f"{mark}-{number}" and not entry.error}
    if existing != "skip" and all(item.key in done for item in items):
        return Resumed(f"{mark}-{number + 1}", {})
    return Resumed(f"{mark}-{number}", done)


def _mark(wishes: Wishes, model: str, existing: Existing) -> str:
    facts = json.dumps([asdict(wishes), model, "" if existing == "skip" else existing])
    return hashlib.sha256(facts.encode()).hexdigest()[:10]


def _is_of(entry: Entry, mark: str) -> bool:
    given, _, number = entry.run.rpartition("-")
    return given == mark and number.isascii() and number.isdecimal()
