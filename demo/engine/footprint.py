"""How large a model is, from its files alone: the safetensors headers and ``config.json``.

Owns that reading. Knows nothing of devices or placements, and imports no framework. The counts of the weights are
exact; what a conversation adds (KV cache, activations) is derived from the shapes in the configuration.
"""

from __future__ import annotations

import importlib
import json
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from demo.errors import BrokenCheckpoint

ITEM_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
STORED_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
STORED_BYTES = {"F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2}  # the rest has one byte
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
TEXT_CONFIGS = ("text_config", "llm_config", "language_config")
PLANNED_CONTEXT = 8192  # tokens; longer contexts are planned for when a flag asks for them
# Buffers that are alive at once in a layer, in widths of the residual stream and of the MLP. Counted for a gated MLP:
# the stream, its normed copy, q, k, v and the attention's output; gate, up and their product.
STREAM_BUFFERS, MLP_BUFFERS = 6, 3


@dataclass(frozen=True, slots=True)
class Shape:
    """The shapes that decide what a conversation costs; 0 where the configuration does not say."""

    layers: int = 0
    hidden: int = 0
    intermediate: int = 0
    kv_width: int = 0  # key-value heads x their dimension
    vocabulary: int = 0
    context: int = PLANNED_CONTEXT
    patches: int = 0
    vision_hidden: int = 0
    vision_intermediate: int = 0


@dataclass(frozen=True, slots=True)
class Module:
    """A part of a model that is never split over devices, by its path in the model as transformers builds it."""

    path: str  # "model.layers.3", "lm_head"
    kind: Literal["embedding", "vision", "layer", "head", "other"]
    floats: int  # numbers that take the planned dtype
    linear_floats: int = 0  # of them, those that quantization stores in fewer bits; 0 in the vision tower and the head
    other_bytes: int = 0  # of tensors that keep their own type
    tied_to: str | None = None  # the module whose weights it shares: counted there, and it must be on the same device


@dataclass(frozen=True, slots=True)
class ModelFootprint:
    """A model's size. ``floats`` counts the numbers that take the planned dtype; ``other_bytes`` keep theirs."""

    name: str
    floats: int
    stored_dtype: str
    other_bytes: int = 0
    shape: Shape = field(default_factory=Shape)
    modules: tuple[Module, ...] = ()  # in the order they compute; empty where only the sum is known

    def weights_bytes(self, dtype: str) -> int:
        return self.floats * ITEM_BYTES[dtype] + self.other_bytes

    def kv_cache_bytes(self, dtype: str, *, slots: int) -> int:
        per_token = 2 * self.shape.layers * self.shape.kv_width * ITEM_BYTES[dtype]
        return per_token * self.shape.context * slots

    def activation_bytes(self, dtype: str) -> int:
        """The larger of the two peaks, the vision tower's and the prefill's with its float32 logits of one position."""
        shape, item = self.shape, ITEM_BYTES[dtype]
        vision = shape.patches * _layer_width(shape.vision_hidden, shape.vision_intermediate) * item
        prefill = shape.context * _layer_width(shape.hidden, shape.intermediate) * item
        return max(vision, prefill) + shape.vocabulary * 4


def cached_directory(repository: str, revision: str | None) -> Path | None:
    """Where the hub's cache has a repository's files; None if it does not, and some may still be missing."""
    hub = importlib.import_module("huggingface_hub")
    cached = hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(cached).parent if isinstance(cached, str) else None


def of_directory(directory: Path, name: str) -> ModelFootprint | None:
    """The footprint of a model's files; None where there are no safetensors to measure."""
    floats: Counter[str] = Counter()
    other_bytes = 0
    for path in _weight_files(directory):
        for stored, count in _count(path).items():
            if stored in STORED_DTYPES:
                floats[STORED_DTYPES[stored]] += count
            else:
                other_bytes += count * STORED_BYTES.get(stored, 1)
    if not floats and not other_bytes:
        return None
    config = _read_json(directory / "config.json")
    stored = floats.most_common(1)[0][0] if floats else "float32"
    return ModelFootprint(name, sum(floats.values()), _stated_dtype(config) or stored, other_bytes, shape_of(config))


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The shapes in a ``config.json``, flat (CogVLM) or nested (most others)."""
    text, vision = _text_part(config), config.get("vision_config") or {}
    heads = _number(text, "num_attention_heads")
    kv_heads = _number(text, "num_key_value_heads", "num_multi_query_heads") or heads
    head_dim = _number(text, "head_dim") or _number(text, "hidden_size") // max(heads, 1)
    patch = _number(vision, "patch_size")
    return Shape(
        layers=_number(text, "num_hidden_layers"),
        hidden=_number(text, "hidden_size"),
        intermediate=_number(text, "intermediate_size"),
        kv_width=kv_heads * head_dim,
        vocabulary=_number(text, "vocab_size"),
        context=min(_number(text, "max_position_embeddings") or PLANNED_CONTEXT, PLANNED_CONTEXT),
        patches=(_number(vision, "image_size") // patch) ** 2 + 1 if patch else 0,
        vision_hidden=_number(vision, "hidden_size"),
        vision_intermediate=_number(vision, "intermediate_size"),
    )


def _stated_dtype(config: Mapping[str, Any]) -> str | None:
    stated = (part.get(key) for part in (config, _text_part(config)) for key in ("dtype", "torch_dtype"))
    return next((str(name) for name in stated if name in ITEM_BYTES), None)


def _layer_width(hidden: int, intermediate: int) -> int:
    return STREAM_BUFFERS * hidden + MLP_BUFFERS * intermediate


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = (config.get(key) for key in TEXT_CONFIGS)
    return next((part for part in nested if isinstance(part, dict)), config)


def _number(config: Mapping[str, Any], *keys: str) -> int:
    values = (config.get(key) for key in keys)
    return next((value for value in values if isinstance(value, int)), 0)


def _weight_files(directory: Path) -> list[Path]:
    """The files that a load would read: those of the index, or the single one, or whatever is there."""
    index = _read_json(directory / "model.safetensors.index.json")
    if isinstance(index.get("weight_map"), dict):
        return [directory / file for file in sorted(set(index["weight_map"].values()))]
    single = directory / "model.safetensors"
    found = [single] if single.exists() else sorted(directory.glob("*.safetensors"))
    return [] if any("-of-" in path.name for path in found) else found  # shards without their index: are these all?


def _count(path: Path) -> Counter[str]:
    """Numbers per stored dtype in one file, from its header; a file that is cut short is refused here already."""
    header = _read_header(path)
    counts: Counter[str] = Counter()
    for key, tensor in header.items():
        if key != "__metadata__":
            size = 1
            for extent in tensor["shape"]:
                size *= extent
            counts[tensor["dtype"]] += size
    return counts


def _read_header(path: Path) -> dict[str, Any]:
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


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, for whoever loads the model says what is wrong with it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
