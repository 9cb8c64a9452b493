"""Captions as files: a text beside each picture's name, one table, one zip of everything.

Owns the names of the text files, so that no two pictures share one, and the ways to write. What is written replaces
its file at once, never half of it. Knows nothing of models or pages.
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from demo.captioning.journal import Entry, line_of
from demo.captioning.worklist import Item

COLUMNS = ("file", "caption", "style", "note", "error")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a table calculator would run what begins so


def text_files(items: Sequence[Item], recorded: Mapping[str, str]) -> dict[str, str]:
    """By key, where each caption goes: the picture's name with .txt, and its ending kept where two would meet.

    ``recorded`` are the names that were given before, which stay.
    """
    files = {item.key: recorded[item.key] for item in items if recorded.get(item.key)}
    taken = {name.casefold() for name in recorded.values()}  # some disks take no notice of case
    for item in items:
        if item.key not in files:
            stems = [item.name.with_suffix(""), item.name, *(f"{item.name}-{number}" for number in range(2, 10_000))]
            files[item.key] = next(name for stem in stems if (name := f"{stem}.txt").casefold() not in taken)
            taken.add(files[item.key].casefold())
    return files


def read_text(folder: Path, name: str) -> str | None:
    """The caption that is there, or None."""
    try:
        return (folder / name).read_text(encoding="utf-8", errors="replace").rstrip("\n")
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_text(folder: Path, name: str, text: str) -> None:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, (text + "\n").encode("utf-8", "replace"))


def replace_file(target: Path, data: bytes) -> None:
    part = target.with_name(f".{target.name[:100]}.{os.urandom(4).hex()}.part")
    try:
        part.write_bytes(data)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def newest(entries: Iterable[Entry]) -> list[Entry]:
    """The last word on each picture, in the order in which pictures first came up."""
    return list({entry.key: entry for entry in entries}.values())


def as_csv(entries: Iterable[Entry]) -> bytes:
    """With the mark that tells table calculators of UTF-8; a caption that looks like a formula is quoted."""
    out = io.StringIO(newline="")
    table = csv.writer(out)
    table.writerow(COLUMNS)
    table.writerows([_cell(getattr(entry, column)) for column in COLUMNS] for entry in entries)
    return b"\xef\xbb\xbf" + out.getvalue().encode("utf-8", "replace")


def as_jsonl(entries: Iterable[Entry]) -> bytes:
    return "".join(line_of(entry) + "\n" for entry in entries).encode("utf-8", "replace")


def as_zip(entries: Sequence[Entry]) -> bytes:
    """Text files, captions.jsonl and captions.csv, without anything of the pictures."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("captions.jsonl", as_jsonl(entries))
        archive.writestr("captions.csv", as_csv(entries))
        for entry in entries:
            if entry.text_file and not entry.error:
                archive.writestr(str(PurePosixPath(entry.text_file)), entry.text + "\n")
    return out.getvalue()


def _cell(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value
