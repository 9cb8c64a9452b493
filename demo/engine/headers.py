"""What is stored in a checkpoint, from the safetensors headers alone: on the disk, or on the hub before the download.

Owns the reading of headers. Knows nothing of models: it counts numbers that take a planned dtype, and the bytes of
those that keep their own.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from demo.errors import BrokenCheckpoint

STORED_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
STORED_BYTES = {"F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2}  # the rest has one byte
MAX_HEADER_BYTES = 100_000_000  # the format's own limit


@dataclass(frozen=True, slots=True)
class Stored:
    """The contents of a checkpoint's files; ``dtype`` is the one that most of its floats have."""

    floats: int
    dtype: str
    other_bytes: int


def stored_in(directory: Path) -> Stored | None:
    """What a directory's safetensors hold; None where there are none, or where they do not say that they are all.

    Raises `BrokenCheckpoint` for a file that is missing, cut short or no safetensors file.
    """
    return total(_tensors(path) for path in _weight_files(directory))


def total(files: Iterable[Iterable[tuple[str, int]]]) -> Stored | None:
    """Add up tensors, each a stored type and a count; None for no tensors at all."""
    counts: Counter[str] = Counter()
    for tensors in files:
        for stored, count in tensors:
            counts[stored] += count
    floats = Counter({STORED_DTYPES[name]: count for name, count in counts.items() if name in STORED_DTYPES})
    others = sum(count * STORED_BYTES.get(name, 1) for name, count in counts.items() if name not in STORED_DTYPES)
    if not floats and not others:
        return None
    return Stored(sum(floats.values()), floats.most_common(1)[0][0] if floats else "float32", others)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, for whoever loads the model says what is wrong with it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _weight_files(directory: Path) -> list[Path]:
    """The files that a load would read: those of the index, or the single one, or whatever is there."""
    index = read_json(directory / "model.safetensors.index.json")
    if isinstance(index.get("weight_map"), dict):
        return [directory / file for file in sorted(set(index["weight_map"].values()))]
    single = directory / "model.safetensors"
    found = [single] if single.exists() else sorted(directory.glob("*.safetensors"))
    return [] if any("-of-" in path.name for path in found) else found  # shards without their index: are these all?


def _tensors(path: Path) -> list[tuple[str, int]]:
    """Stored type and count of each tensor in one file; a file that is cut short is refused here already."""
    header = _read_header(path)
    return [(tensor["dtype"], prod(tensor["shape"])) for key, tensor in header.items() if key != "__metadata__"]


def _read_header(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAX_HEADER_BYTES:
                raise ValueError("the header is too long")
            header = json.loads(file.read(length))
        ends = [tensor["data_offsets"][1] for key, tensor in header.items() if key != "__metadata__"]
        if path.stat().st_size != 8 + length + max(ends, default=0):
            raise ValueError("the file is cut short")
    except FileNotFoundError:
        raise BrokenCheckpoint("A weight file is missing", value=path.name, remedy="Download it again.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        what = "A weight file is broken or was cut short"
        raise BrokenCheckpoint(what, value=path.name, remedy="Download it again.") from None
    return dict(header)
