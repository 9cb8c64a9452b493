"""Captions as files: a text beside each picture's name, one table or list of all, one zip of everything.

Owns the names of the text files, so that no two pictures share one, and the formats. What is written replaces its file
at once, never half of it. Parquet needs a package that the demo does not bring along. Knows nothing of models or pages.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from demo.captioning.journal import Entry, line_of
from demo.captioning.worklist import Item
from demo.errors import ConfigError

COLUMNS = ("file", "caption", "style", "note", "error", "text_file")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a table calculator would run what begins so


def text_files(items: Sequence[Item], recorded: Mapping[str, str]) -> dict[str, str]:
    """By key, where each caption goes: the picture's name with .txt, and its ending kept where two would meet.

    ``recorded`` are the names that were given before, which stay.
    """
    files = {item.key: recorded[item.key] for item in items if recorded.get(item.key)}
    taken = {name.casefold() for name in recorded.values()}  # some disks take no notice of case
    for item in items:
        if item.key not in files:
            others = (f"{item.name}-{number}" for number in count(2))
            stems = chain((item.name.with_suffix(""), item.name), others)
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
    return _zipped(entries, {"captions.jsonl": as_jsonl(entries), "captions.csv": as_csv(entries)})


def as_texts(entries: Sequence[Entry]) -> bytes:
    """The text files alone, to be unpacked beside the pictures."""
    return _zipped(entries, {})


def _zipped(entries: Iterable[Entry], files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for entry in entries:
            if entry.text_file and not entry.error:
                archive.writestr(str(PurePosixPath(entry.text_file)), entry.text + "\n")
    return out.getvalue()


def has_parquet() -> bool:
    """Whether the package that writes it is installed."""
    return importlib.util.find_spec("pyarrow") is not None


def check_parquet() -> None:
    if not has_parquet():
        remedy = "Install it: pip install pyarrow."
        raise ConfigError("Parquet needs a package that is not installed", value="pyarrow", remedy=remedy)


def as_parquet(entries: Iterable[Entry]) -> bytes:
    """The columns of the table, and the boxes as lists. Raises `ConfigError` where the package is not installed."""
    check_parquet()
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    numbers = arrow.list_(arrow.float64())
    region = arrow.struct([("label", arrow.string()), ("box", numbers), ("box_normalized", numbers)])
    columns = [(name, arrow.string()) for name in COLUMNS]
    rows = [{**{name: _sound(getattr(entry, name)) for name in COLUMNS}, "regions": entry.regions} for entry in entries]
    table = arrow.Table.from_pylist(rows, schema=arrow.schema([*columns, ("regions", arrow.list_(region))]))
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()


def _sound(text: str) -> str:
    """Without halves of characters, which files' names may hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Format:
    """One file of all captions."""

    file: str
    write: Callable[[Sequence[Entry]], bytes]


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "zip": Format("captions.zip", as_zip),
        "txt": Format("captions-txt.zip", as_texts),
        "csv": Format("captions.csv", as_csv),
        "jsonl": Format("captions.jsonl", as_jsonl),
        "parquet": Format("captions.parquet", as_parquet),
    }
)


def formats() -> list[str]:
    """Those that can be written here."""
    return [name for name in FORMATS if name != "parquet" or has_parquet()]


def _cell(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value
