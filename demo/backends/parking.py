"""Takes a model's weights off its cards and brings them back, for models that take turns on them.

Owns the copy in main memory, made once at the first leave (weights never change), and the emptying and filling of the
tensors' storages in place: whoever holds a tensor, a tied one, a view or a quantizing library, keeps it. Knows nothing
of turns. On a CPU there is nothing to do.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from demo.backends.tensors import kept, pieces

ALIGNMENT = 512  # bytes; where one storage's copy may begin in the host's block
REFUSAL: type[Exception] = getattr(torch, "AcceleratorError", RuntimeError)  # torch has the former since 2.8

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """A storage on a card, as the bytes that it holds, and their copy in main memory."""

    on_card: torch.Tensor  # (n,) of bytes, over the whole storage
    on_host: torch.Tensor  # (n,) of bytes


class Garage:
    """The parked state of one model."""

    def __init__(self, model: Any, *, leaves: str = "cuda") -> None:
        """``leaves`` is the type of the devices that are left; weights on others stay where they are."""
        self._model = model
        self._leaves = leaves
        self._places: list[_Place] = []
        self._block: torch.Tensor | None = None
        self.is_parked = False

    def park(self) -> None:
        """Free the cards of the weights, and of whatever the allocator kept for later."""
        if self.is_parked:
            return
        if self._block is None:
            self._places = self._copied()
        _wait(self._devices())
        for place in self._places:
            place.on_card.untyped_storage().resize_(0)
        self.is_parked = True
        gc.collect()
        _empty_caches()

    def resume(self) -> None:
        """Bring the weights back; the copies are queued, and what is computed next waits for them by itself."""
        if not self.is_parked:
            return
        try:
            for place in self._places:
                place.on_card.untyped_storage().resize_(len(place.on_host))
                place.on_card.copy_(place.on_host, non_blocking=True)
        except torch.OutOfMemoryError:
            _wait(self._devices())
            for place in self._places:
                place.on_card.untyped_storage().resize_(0)
            _empty_caches()
            raise
        self.is_parked = False

    @property
    def has_copy(self) -> bool:
        """Whether main memory holds a second copy of the weights."""
        return bool(self._places)

    def _devices(self) -> set[torch.device]:
        return {place.on_card.device for place in self._places}

    def _copied(self) -> list[_Place]:
        """Lay all storages one after the other into one pinned block; torch would round each up to a power of two."""
        cards = list(_storages(self._model, self._leaves))
        self._block = _pinned(sum(_aligned(len(card)) for card in cards))
        places, start = [], 0
        for card in cards:
            host = self._block[start : start + len(card)]
            host.copy_(card, non_blocking=True)
            places.append(_Place(card, host))
            start += _aligned(len(card))
        return places


def _storages(model: Any, device_type: str) -> Iterator[torch.Tensor]:
    """Every storage of the model's that lies on such a device, once, as a tensor of its bytes."""
    seen: set[tuple[torch.device, int]] = set()
    for _, tensor in kept(model):
        for piece in pieces(tensor):
            storage = piece.untyped_storage()
            key = (piece.device, storage.data_ptr())
            if piece.device.type != device_type or not storage.nbytes() or key in seen:
                continue
            seen.add(key)
            yield torch.empty(0, dtype=torch.uint8, device=piece.device).set_(storage)  # type: ignore[call-overload]


def _pinned(size: int) -> torch.Tensor:
    """A block of main memory that cards copy from at full speed; a slower one where the system gives no such.

    It has to be unpinned before its pages go, else whoever gets them next could not pin them. The array is what every
    view's storage keeps alive, and it tells of its end before it frees them; a tensor may end before its views do.
    """
    pages = np.empty(size, np.uint8)
    if size and torch.cuda.is_available():
        address, cudart = pages.ctypes.data, torch.cuda.cudart()
        refusal = int(cudart.cudaHostRegister(address, size, 0))
        if refusal:
            _clear_refusal()
            log.warning("Main memory could not be pinned (error %d): models will take turns more slowly", refusal)
        else:
            weakref.finalize(pages, cudart.cudaHostUnregister, address)
    return torch.from_numpy(pages)


def _clear_refusal() -> None:
    """CUDA keeps a refusal until it is asked, and the next kernel would be blamed for it."""
    with contextlib.suppress(REFUSAL):
        torch.zeros(1, device="cuda")


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _wait(devices: set[torch.device]) -> None:
    for device in devices:
        if device.type == "cuda":
            torch.cuda.synchronize(device)


def _empty_caches() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
