"""Pictures that were prepared for a model once are not prepared again for the next turn of their conversation.

Owns what is kept of an image processor's work, how it is told by, and how much of it there may be: on a card that work
takes most of the time to a later turn's first token. What is handed out is a copy, so that nobody changes what is kept.
Knows nothing of conversations and of the rest of a prompt. Sizes are bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

MOST_BYTES = 256 * 2**20
KNOWN = ("transformers.", "demo.")  # whose processors give for the same pictures the same again, and remember nothing
PLAIN = (str, int, float, bool, type(None), Enum, torch.dtype, torch.device)


class UnknownValueError(TypeError):
    """It cannot be told by its value, or not be copied."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What pictures became, and the memory that it takes."""

    prepared: Any
    size: int


class Memo:
    """Stands for a function of pictures, and calls it for those that it has not seen lately. Any thread may call it."""

    def __init__(self, prepare: Callable[..., Any], *, most_bytes: int = MOST_BYTES) -> None:
        self._prepare = prepare
        self._most_bytes = most_bytes
        self._lock = threading.Lock()  # guards the next two
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()  # the one that was asked for longest ago is the first
        self.size = 0

    def __call__(self, *given: Any, **how: Any) -> Any:
        try:
            key = (_key(given), _key(how))
        except UnknownValueError:
            return self._prepare(*given, **how)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        if found is not None:
            return _copied(found.prepared)
        prepared = self._prepare(*given, **how)
        with contextlib.suppress(UnknownValueError):
            self._keep(key, Kept(_copied(prepared), _size(prepared)))
        return prepared

    def __deepcopy__(self, _memo: dict[int, Any]) -> Memo:
        return self  # whoever copies a processor's settings copies all that it holds

    def _keep(self, key: Hashable, new: Kept) -> None:
        if new.size > self._most_bytes:
            return
        with self._lock:
            if key in self._kept:  # another thread was as quick
                return
            self._kept[key] = new
            self.size += new.size
            while self.size > self._most_bytes:
                _, oldest = self._kept.popitem(last=False)
                self.size -= oldest.size


def remember_pictures(processor: Any, *, most_bytes: int = MOST_BYTES) -> Memo | None:
    """Have a processor's part for pictures remember its work; None where it is of a kind that is not known for that."""
    pictures = getattr(processor, "image_processor", None)
    if not isinstance(pictures, BaseImageProcessor) or not type(pictures).__module__.startswith(KNOWN):
        return None
    memo = Memo(pictures.preprocess, most_bytes=most_bytes)
    pictures.preprocess = memo
    return memo


def _key(value: Any) -> Hashable:
    """What a value is told by; pictures by what is seen, so that another object of the same picture is the same."""
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, Image.Image) and value.mode == "RGB":
        return value.size, hashlib.blake2b(value.tobytes(), digest_size=16).digest()
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_key, value))
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return dict, tuple((name, _key(value[name])) for name in sorted(value))
    if is_dataclass(value) and not isinstance(value, type):
        return type(value), tuple(_key(getattr(value, field.name)) for field in fields(value))
    raise UnknownValueError(type(value))


def _copied(value: Any) -> Any:
    """The same in memory of its own."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.copy()
    if isinstance(value, BatchFeature):
        other = copy(value)
        other.data = _copied(value.data)
        return other
    if type(value) is dict:
        return {name: _copied(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    if isinstance(value, (*PLAIN, np.generic)):
        return value
    raise UnknownValueError(type(value))


def _size(value: Any) -> int:
    if isinstance(value, torch.Tensor | np.ndarray):
        return int(value.nbytes)
    if isinstance(value, BatchFeature | dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0
