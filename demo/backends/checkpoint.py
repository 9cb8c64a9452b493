"""Checks that a directory holds a whole, safe checkpoint, before any framework reads it.

Owns the reading of safetensors headers (sizes and shapes, no weights) and the refusals: pickled weights, missing or
truncated files. Knows nothing of models. Errors name files by their last part only; sizes are bytes.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from demo.errors import BrokenCheckpoint, UnsafeWeights

INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_LENGTH_BYTES = 8  # a safetensors file starts with its header's length, little endian
_LFS_POINTER = b"version https://git-lfs"
_AGAIN = "Download the model again; a damaged file in the hub's cache has to be deleted first."


def check_weights(directory: Path) -> int:
    """Refuse a directory whose weights are missing, pickled or damaged; return the number of weights in it."""
    return sum(_count_weights(path) for path in weight_files(directory))


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The safetensors files of a checkpoint, as its index names them or as they lie there."""
    index = directory / INDEX
    if index.exists():
        paths = tuple(directory / name for name in _shards(index))
    elif (directory / "model.safetensors").exists():
        paths = (directory / "model.safetensors",)
    else:
        paths = tuple(sorted(directory.glob("*.safetensors")))
    if not paths:
        refuse_without_safetensors([path.name for path in directory.iterdir()], directory.name)
    return paths


def refuse_without_safetensors(names: list[str], model: str) -> None:
    """Say why a model without a safetensors file is not used: pickled weights, or none at all."""
    pickled = sorted(name for name in names if name.endswith(PICKLES))
    if pickled:
        raise UnsafeWeights(
            "The model has pickled weights only, and opening a pickle runs whatever code is in it",
            value=pickled[0],
            remedy="Choose a model with *.safetensors files, or convert this one where it can do no harm.",
        )
    raise BrokenCheckpoint("The model has no weights: no *.safetensors file", value=model, remedy=_AGAIN)


def _shards(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise BrokenCheckpoint("The index of the weights cannot be read", value=index.name, remedy=_AGAIN) from None
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise BrokenCheckpoint("The index names files outside its directory", value=index.name, remedy=_AGAIN)
    return names


def _count_weights(path: Path) -> int:
    header, end_bytes = _header(path)
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    try:
        wanted_bytes = end_bytes + max((entry["data_offsets"][1] for entry in tensors), default=0)
        num_weights: int = sum(math.prod(entry["shape"]) for entry in tensors)
    except (KeyError, IndexError, TypeError):
        raise _broken("is damaged: its header cannot be read", path) from None
    if path.stat().st_size != wanted_bytes:
        raise _broken(f"is truncated: {path.stat().st_size} of {wanted_bytes} bytes", path)
    return num_weights


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The parsed header and the offset where it ends."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
            if start == _LFS_POINTER:
                raise _broken(
                    "is a Git LFS pointer, not the weights", path, remedy="Run git lfs pull in its directory."
                )
            if len(start) < _LENGTH_BYTES:
                raise _broken("is empty" if not start else "is truncated", path)
            (length,) = struct.unpack("<Q", start[:_LENGTH_BYTES])
            if length > min(MAX_HEADER_BYTES, path.stat().st_size):
                raise _broken("is truncated or no safetensors file", path)
            file.seek(_LENGTH_BYTES)
            header = json.loads(file.read(length))
    except FileNotFoundError:
        raise _broken("is missing", path) from None
    except (OSError, ValueError):
        raise _broken("is damaged: its header cannot be read", path) from None
    if not isinstance(header, dict):
        raise _broken("is damaged: its header cannot be read", path)
    return header, _LENGTH_BYTES + length


def _broken(what: str, path: Path, *, remedy: str = _AGAIN) -> BrokenCheckpoint:
    return BrokenCheckpoint(f"A file of the model {what}", value=path.name, remedy=remedy)
