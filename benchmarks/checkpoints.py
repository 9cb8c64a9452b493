"""Checkpoints with random weights in the shapes of published models, written once and fast.

Owns the shapes (`benchmarks/shapes`), what each tensor is filled with, and the writing: tensor by tensor, straight into
safetensors files of about 5 GB, several files at a time. The weights are random on the card where there is one. They
say nothing, but they say it in printable letters and without an end: only such tokens score above zero, so that an
answer's length is what was asked for and its text tells one answer from another. Bytes are integers.
"""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from benchmarks import vocabulary
from demo.catalog import spec_of_directory
from demo.models.cogvlm import CogVLMConfig, classes_of

SHAPES = Path(__file__).resolve().parent / "shapes"
SHARD_BYTES = 5 * 10**9
STD = 0.02
STORED = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor to be written; ``rows`` are those that are not zero, None is all."""

    name: str
    shape: tuple[int, ...]
    filling: Literal["normal", "ones", "zeros"]
    rows: tuple[int, ...] | None = None

    @property
    def numel(self) -> int:
        return torch.Size(self.shape).numel()


@dataclass(frozen=True, slots=True)
class Shard:
    """One file to be written."""

    path: Path
    tensors: tuple[Tensor, ...]
    dtype: torch.dtype
    device: str
    seed: int

    @property
    def num_bytes(self) -> int:
        return sum(tensor.numel for tensor in self.tensors) * self.dtype.itemsize


def write(shapes: Sequence[Path], out: Path, *, layers: int | None, jobs: int) -> list[dict[str, object]]:
    """Write a checkpoint for each shape; what was written, by model."""
    started_s = time.perf_counter()
    plans = [prepare(shape, out / shape.name, layers=layers) for shape in shapes]
    shards = sorted((shard for plan in plans for shard in plan), key=lambda shard: -shard.num_bytes)
    if jobs == 1:
        for shard in shards:
            fill(shard)
    else:
        with ProcessPoolExecutor(min(jobs, len(shards)), mp_context=get_context("spawn")) as pool:
            list(pool.map(fill, shards))
    seconds_s = time.perf_counter() - started_s
    return [
        {"model": shape.name, "bytes": sum(shard.num_bytes for shard in plan), "files": len(plan), "all_s": seconds_s}
        for shape, plan in zip(shapes, plans, strict=True)
    ]


def prepare(shape: Path, directory: Path, *, layers: int | None = None, shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """Write everything but the weights, and say what weights there are to write."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in shape.glob("*.json"):
        shutil.copy(file, directory)
    if layers is not None:
        _shrink(directory / "config.json", layers)
    config = config_of(directory)
    letters = vocabulary.save(config, directory)
    tensors = list(_tensors(on_meta(config), letters))
    shards = list(_shards(directory, tensors, config.dtype or torch.bfloat16, shard_bytes))
    weights = {tensor.name: shard.path.name for shard in shards for tensor in shard.tensors}
    total = {"total_size": sum(shard.num_bytes for shard in shards)}
    (directory / INDEX).write_text(json.dumps({"metadata": total, "weight_map": weights}), encoding="utf-8")
    return shards


def fill(shard: Shard) -> None:
    """Write one file in the safetensors format: the header's length, the header, the tensors."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in shard.tensors:
        start, end = end, end + tensor.numel * shard.dtype.itemsize
        entry = {"dtype": STORED[shard.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        header[tensor.name] = entry
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data begins on a multiple of 8
    chance = torch.Generator(shard.device).manual_seed(shard.seed)
    with shard.path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in shard.tensors:
            values = _values(tensor, shard.dtype, chance).cpu()
            file.write(values.flatten().view(torch.uint8).numpy().data)


def _values(tensor: Tensor, dtype: torch.dtype, chance: torch.Generator) -> torch.Tensor:
    values = torch.empty(tensor.shape, dtype=dtype, device=chance.device)
    if tensor.filling != "normal":
        return values.fill_(1 if tensor.filling == "ones" else 0)
    if tensor.rows is None:
        return values.normal_(0, STD, generator=chance)
    some = torch.empty(len(tensor.rows), *tensor.shape[1:], dtype=dtype, device=chance.device)
    values.zero_()[list(tensor.rows)] = some.normal_(0, STD, generator=chance)
    return values


def _shrink(path: Path, layers: int) -> None:
    """Keep the first few layers of the decoder and of the tower."""
    config = json.loads(path.read_text(encoding="utf-8"))
    vision, text = config["vision_config"], config.get("text_config", config)
    text["num_hidden_layers"] = layers
    vision["depth" if "depth" in vision else "num_hidden_layers"] = layers
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")


def config_of(directory: Path) -> Any:
    """The configuration as the class that the demo loads it with."""
    spec = spec_of_directory(directory)
    return (classes_of(spec.family).config if spec.is_cogvlm else AutoConfig).from_pretrained(directory)


def on_meta(config: Any) -> nn.Module:
    """The model without its weights."""
    with torch.device("meta"):
        if isinstance(config, CogVLMConfig):  # CogAgent's is one too
            return classes_of(config.model_type).model(config)
        model: nn.Module = AutoModelForImageTextToText.from_config(config)
        return model


def _tensors(model: Any, letters: Sequence[int]) -> Iterator[Tensor]:
    head = model.get_output_embeddings().weight
    for name, value in model.state_dict(keep_vars=True).items():
        owner, _, kind = name.rpartition(".")
        is_norm = "norm" in type(model.get_submodule(owner)).__name__.lower()
        filling: Literal["normal", "ones", "zeros"] = "normal"
        if is_norm and kind == "weight":
            filling = "ones"
        elif kind == "bias":
            filling = "zeros"
        yield Tensor(name, tuple(value.shape), filling, tuple(letters) if value is head else None)


def _shards(directory: Path, tensors: Sequence[Tensor], dtype: torch.dtype, most: int) -> Iterator[Shard]:
    groups: list[list[Tensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if groups[-1] and filled + tensor.numel * dtype.itemsize > most:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += tensor.numel * dtype.itemsize
    cards = torch.cuda.device_count()
    for number, group in enumerate(groups, start=1):
        path = directory / f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        yield Shard(path, tuple(group), dtype, f"cuda:{number % cards}" if cards else "cpu", seed=number)
