"""Weights straight from the replica that has them, card to card, in place of another reading of their files.

Owns what a replica tells of its weights (each tensor's shape and place, handles by which other processes reach the
memory, a sum of the numbers in it) and how another is put together from that: built without weights from config.json,
then given copies of its own, each compared with the sum. Knows nothing of pipes or of who comes first. Sizes are bytes.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import dispatch_model
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import GenerationConfig

from demo.backends import memory, outline
from demo.backends.base import Feed
from demo.catalog import ModelSpec, read_config
from demo.spans import Stopwatch
from demo.types import Placement

WORD = 8  # bytes that are added up at a time


log = logging.getLogger(__name__)


class Wire(Protocol):
    """How one process reaches the memory of another's tensors. Both methods raise `RuntimeError` where it cannot."""

    kind: str  # of the devices that it connects, as torch calls them

    def share(self, store: torch.UntypedStorage) -> Any:
        """A handle that can be pickled; the memory has to stay as it is for as long as anybody may open it."""

    def open(self, handle: Any, device: torch.device) -> torch.UntypedStorage:
        """The other's memory, to be copied from, as if it were on ``device``."""


class CardWire:
    """CUDA's own handles between processes: they name memory, so that a process may see its own cards alone.

    The sums that are worked out for an offer have waited for all that writes the weights, so no event is waited for.
    """

    kind = "cuda"

    def share(self, store: torch.UntypedStorage) -> Any:
        return store._share_cuda_()

    def open(self, handle: Any, device: torch.device) -> torch.UntypedStorage:
        _, *memory, _ = handle  # first the other's number of its card, last whether to wait for its event
        return torch.UntypedStorage._new_shared_cuda(device.index or 0, *memory, False)


CARD_WIRE = CardWire()


@dataclass(frozen=True, slots=True)
class Store:
    """Memory that one tensor or several lie in."""

    handle: Any
    size: int
    total: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A parameter or buffer: its place in one of the stores. Names with the same place are one tensor."""

    name: str
    store: int
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int  # in numbers, as the strides


@dataclass(frozen=True, slots=True)
class Offer:
    stores: tuple[Store, ...]
    pieces: tuple[Piece, ...]
    dtype: str  # the model's
    generation: Mapping[str, Any]  # its generation_config


class Exchange:
    """One load's part in the handing on of weights. Whatever goes wrong in it, there are the files to read."""

    def __init__(self, feed: Feed, wire: Wire) -> None:
        self._feed = feed
        self._wire = wire
        self._is_fed = False

    @classmethod
    def of(
        cls, feed: Feed | None, wire: Wire, spec: ModelSpec, directory: Path, placement: Placement
    ) -> Exchange | None:
        """None where weights are not handed on, or these cannot be."""
        if feed is None or not may_be_handed_on(spec, directory, placement, wire):
            return None
        return cls(feed, wire)

    def take(self, directory: Path, placement: Placement, watch: Stopwatch) -> Any | None:
        """The model as another replica has it; None where none offered it, or it could not be copied."""
        watch.begin("waiting")
        for device in memory.devices_of(placement):
            torch.zeros(1, device=device)  # opens the card meanwhile
        offered = self._feed.wait()
        if offered is None:
            return None
        watch.begin("weights")
        try:
            model = take(offered, directory, placement, self._wire)
        except Exception as error:  # noqa: BLE001 - between cards, drivers and versions much may go wrong
            log.warning("another replica's weights could not be copied, they are read once more: %s", error)
        else:
            self._is_fed = True
            return model
        memory.release()  # not above: there the error still holds what was copied
        return None

    def offer(self, model: Any) -> None:
        """Tell the others of a model that was read; what was copied itself is offered by its owner."""
        if self._is_fed:
            return
        try:
            self._feed.offer(offer(model, self._wire))
        except RuntimeError as error:
            log.info("other replicas read the weights themselves: %s", error)
            self._feed.offer(None)


def may_be_handed_on(spec: ModelSpec, directory: Path, placement: Placement, wire: Wire) -> bool:
    """Whether the weights are plain numbers that stay where the wire reaches, of a model built from its config.json."""
    is_reached = all(torch.device(device).type == wire.kind for device in placement.device_map.values())
    is_plain = placement.quantization == "none" and not read_config(directory).get("quantization_config")
    return is_reached and is_plain and not placement.takes_turns and not spec.trust_remote_code


def offer(model: Any, wire: Wire) -> bytes:
    """What others need to know to copy the model. Raises `RuntimeError` where its memory cannot be reached."""
    stores: dict[int, Store] = {}  # by address
    order: dict[int, int] = {}
    pieces = []
    for name, tensor in _tensors(model):
        if is_traceable_wrapper_subclass(tensor) or tensor.is_meta:
            raise RuntimeError(f"{name} is not plain numbers")
        store = tensor.untyped_storage()
        key = store.data_ptr() if store.nbytes() else -1  # what is empty lies nowhere
        if key not in stores:
            order[key] = len(stores)
            stores[key] = Store(wire.share(store) if store.nbytes() else None, store.nbytes(), _total(store))
        shape, stride, offset = tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())
        pieces.append(Piece(name, order[key], _word(tensor.dtype), shape, stride, offset))
    settings = model.generation_config.to_dict() if getattr(model, "generation_config", None) is not None else {}
    return pickle.dumps(Offer(tuple(stores.values()), tuple(pieces), _word(model.dtype), settings))


def take(offered: bytes, directory: Path, placement: Placement, wire: Wire) -> Any:
    """The offered model where the placement says, in evaluation mode; `RuntimeError` where a copy is not the same.

    ``offered`` comes from a process of the demo's own, over the pipe that its commands come over.
    """
    found: Offer = pickle.loads(offered)
    device_map = {path: torch.device(device) for path, device in placement.device_map.items()}
    attention = {} if placement.attn == "sdpa" else {"attn_implementation": placement.attn}
    model = outline.build(directory, dtype=getattr(torch, found.dtype), **attention)
    _fill(model, found, device_map, wire)
    if empty := [name for name, tensor in _tensors(model) if tensor.is_meta]:
        raise RuntimeError(f"nobody offered {empty[0]}")
    if found.generation:
        model.generation_config = GenerationConfig.from_dict(dict(found.generation))
    if len(set(device_map.values())) > 1:
        dispatch_model(model, dict(placement.device_map), skip_keys=model._skip_keys_device_placement)
    return model.eval()


def _fill(model: Any, found: Offer, device_map: Mapping[str, torch.device], wire: Wire) -> None:
    """Give the model's every tensor its numbers; those that are one stay one."""
    own: dict[int, torch.UntypedStorage] = {}
    theirs: dict[int, torch.UntypedStorage] = {}  # kept to the end: many lie in memory that is mapped once for all
    made: dict[tuple[object, ...], torch.Tensor] = {}
    for piece in found.pieces:
        path, _, leaf = piece.name.rpartition(".")
        module = model.get_submodule(path)
        if piece.store not in own:
            store, device = found.stores[piece.store], _device_of(piece.name, device_map)
            theirs[piece.store] = wire.open(store.handle, device) if store.size else torch.UntypedStorage(0)
            own[piece.store] = _copied(theirs[piece.store], store, device)
        is_parameter = leaf in module._parameters
        holder = module._parameters if is_parameter else module._buffers
        if holder[leaf].shape != piece.shape:
            raise RuntimeError(f"{piece.name} has {tuple(holder[leaf].shape)} numbers, {piece.shape} were offered")
        place = (piece.store, piece.dtype, piece.shape, piece.stride, piece.offset, is_parameter)
        if place not in made:
            dtype = getattr(torch, piece.dtype)
            plain = torch.empty(0, dtype=dtype, device=own[piece.store].device)
            plain.set_(own[piece.store], piece.offset, piece.shape, piece.stride)  # type: ignore[call-overload]
            made[place] = torch.nn.Parameter(plain, requires_grad=dtype.is_floating_point) if is_parameter else plain
        holder[leaf] = made[place]


def _copied(theirs: torch.UntypedStorage, store: Store, device: torch.device) -> torch.UntypedStorage:
    mine = torch.UntypedStorage(store.size, device=device)
    mine.copy_(theirs)
    if (total := _total(mine)) != store.total:
        raise RuntimeError(f"a copy of {store.size} bytes adds up to {total}, not {store.total}")
    return mine


def _total(store: torch.UntypedStorage) -> int:
    """The sum of the bytes, taken as whole numbers; what runs over is dropped, alike on either side."""
    dtype = torch.uint8 if store.nbytes() % WORD else torch.int64
    numbers = torch.empty(0, dtype=dtype, device=store.device).set_(store)  # type: ignore[call-overload]
    return int(numbers.sum(dtype=torch.int64))


def _device_of(name: str, device_map: Mapping[str, torch.device]) -> torch.device:
    """The device of the innermost part that a tensor is in; one that several parts share is where the first is."""
    path = name
    while path and path not in device_map:
        path = path.rpartition(".")[0]
    return device_map[path]


def _tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
