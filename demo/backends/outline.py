"""The parts of a model and their sizes, from its ``config.json`` alone: ``python -m demo.backends.outline DIR``.

Owns the rule by which a model is cut into parts that stay whole, and the choice of the linears that quantization may
shrink. The model is built on torch's meta device, where tensors have shapes and no memory; weights are never read, and
no remote code is run. Prints one JSON object. Knows nothing of devices or plans. Bytes are integers.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from demo.catalog import spec_of_directory
from demo.models.cogvlm import classes_of

Kind = Literal["embedding", "vision", "layer", "head", "other"]

PLANNED = torch.bfloat16  # built in this dtype, a tensor of another one shows that it keeps its own
# The name of a part that reads pictures (or sounds). Everything inside it stays together.
TOWER = re.compile(r"vision|visual|image|video|audio|speech|qformer|perceiver|resampler|abstractor|(^|_)vi?t($|_)|^vq")
PROJECTOR = re.compile(r"projector|connector|adapter")  # one with towers' names inside computes between them, by itself
# The parts in the order in which they compute, whatever order a model registers them in; "other" is settled by place.
RANK = {"embedding": 0, "vision": 0, "layer": 1, "head": 3}


@dataclass(slots=True)
class Part:
    """What one part holds; the fields are those of the engine's ``Module``."""

    path: str
    kind: Kind
    floats: int = 0
    linear_floats: int = 0
    linear_rows: int = 0
    other_bytes: int = 0
    tied_to: str | None = None
    is_early: bool = field(default=True, repr=False)  # registered before the first layer

    @property
    def rank(self) -> int:
        return RANK.get(self.kind, 0 if self.is_early else 2)


def build(directory: Path, *, dtype: torch.dtype = PLANNED, **attention: str) -> Any:
    """The model of a directory's ``config.json``, on the meta device; ``attn_implementation`` may be chosen."""
    with torch.device("meta"):
        spec = spec_of_directory(directory)
        if spec.is_cogvlm:
            ours = classes_of(spec.family)
            config = ours.config.from_pretrained(directory, local_files_only=True)
            return ours.model._from_config(config, dtype=dtype, **attention)
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        return AutoModelForImageTextToText.from_config(config, dtype=dtype, **attention)


def parts_of(model: Any) -> list[Part]:
    """The parts that are never split over devices, in the order they compute; each tensor belongs to one of them.

    Parts are the embeddings, each tower, each decoder layer, the head, and what is left between them.
    """
    parts = {path: Part(path, kind) for path, kind in _cut(model)}
    layers = [index for index, part in enumerate(parts.values()) if part.kind == "layer"]
    for index, part in enumerate(parts.values()):
        part.is_early = not layers or index < layers[0]
    _count(model, parts)
    full = [part for part in parts.values() if part.floats or part.other_bytes or part.tied_to]
    return sorted(full, key=lambda part: part.rank)


def quantizable(model: Any) -> list[str]:
    """The linears that quantization may shrink: those of the decoder layers. Towers, projectors and the head stay."""
    layers = [path for path, kind in _cut(model) if kind == "layer"]
    linears = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return [name for name in linears if _owner(name, layers) is not None]


def _cut(model: Any) -> list[tuple[str, Kind]]:
    """Paths and kinds of the parts, in the order of registration; a parameter beside modules is a part of its own."""
    names = {id(module): name for name, module in model.named_modules()}
    ends: dict[str, Kind] = {}
    for module, kind in ((model.get_input_embeddings(), "embedding"), (model.get_output_embeddings(), "head")):
        if module is not None and id(module) in names:
            ends[names[id(module)]] = kind  # type: ignore[assignment]  # mypy widens the literals of the tuple
    towers = _towers(model, list(ends))
    layers = _layers(model, towers)
    return list(_walk(model, "", ends | dict.fromkeys(towers, "vision") | layers))  # type: ignore[operator]


def _towers(model: Any, ends: Sequence[str]) -> list[str]:
    """The outermost modules that are named as towers and hold neither the word embeddings nor the head."""
    towers: list[str] = []
    for name, module in model.named_modules():
        leaf = name.rpartition(".")[2]
        inside = " ".join(child for child, _ in module.named_children()) if PROJECTOR.search(leaf) else ""
        named = TOWER.search(leaf) is not None or TOWER.search(inside) is not None
        if named and _owner(name, towers) is None and not any(_is_within(end, name) for end in ends):
            towers.append(name)
    return towers


def _layers(model: Any, towers: Sequence[str]) -> dict[str, Kind]:
    """What the model itself forbids to split, and every list as long as the decoder is deep."""
    whole = set(model._no_split_modules or ())
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    found: dict[str, Kind] = {}
    for name, module in model.named_modules():
        if _owner(name, [*towers, *found]) is not None:
            continue
        if type(module).__name__ in whole:
            found[name] = "layer" if name.rpartition(".")[2].isdecimal() else "other"
        elif isinstance(module, nn.ModuleList) and len(module) == depth:
            found |= {f"{name}.{index}": "layer" for index in range(len(module))}
    return found


def _walk(module: nn.Module, path: str, wholes: dict[str, Kind]) -> Iterator[tuple[str, Kind]]:
    if path in wholes:
        yield path, wholes[path]
    elif not any(_is_within(whole, path) for whole in wholes):
        yield path, "other"
    else:
        bare = [*dict(module.named_parameters(recurse=False)), *dict(module.named_buffers(recurse=False))]
        yield from ((_join(path, name), "other") for name in bare)
        for name, child in module.named_children():
            yield from _walk(child, _join(path, name), wholes)


def _count(model: Any, parts: dict[str, Part]) -> None:
    """Put each tensor's size to its part; a tensor under a second name is counted under the first."""
    kept = set(model.state_dict())
    tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    linears = {f"{name}.weight" for name in quantizable(model)}
    seen: dict[int, str] = {}
    for name, tensor in _tensors(model):
        part = parts[_owner(name, parts) or ""]
        source = tied.get(name) or seen.setdefault(id(tensor), name)
        if source != name:
            owner = _owner(source, parts) or ""
            part.tied_to = part.tied_to if owner == part.path else owner
        elif tensor.dtype == PLANNED or (name in kept and tensor.is_floating_point()):
            part.floats += tensor.numel()
            if name in linears:
                part.linear_floats += tensor.numel()
                part.linear_rows += tensor.shape[0]
        else:
            part.other_bytes += tensor.numel() * tensor.element_size()


def _tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _owner(name: str, paths: Sequence[str] | dict[str, Part]) -> str | None:
    """The one of the paths that a name is, or lies below."""
    return next((path for path in paths if _is_within(name, path)), None)


def _is_within(name: str, path: str) -> bool:
    return name == path or not path or name.startswith(f"{path}.")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def describe(model: Any) -> dict[str, Any]:
    """The parts, the configuration with every default filled in, and what the code of the model tells."""
    config = json.loads(model.config.to_json_string(use_diff=False))
    text = model.config.get_text_config()
    if text is not model.config:
        config["text_config"] = json.loads(text.to_json_string(use_diff=False))
    fields = ("path", "kind", "floats", "linear_floats", "linear_rows", "other_bytes", "tied_to")
    modules = [{name: getattr(part, name) for name in fields} for part in parts_of(model)]
    one_logit = "logits_to_keep" in signature(model.forward).parameters
    return {"modules": modules, "config": config, "keeps_one_logit": one_logit}


def main(argv: Sequence[str]) -> None:
    logging.disable(logging.WARNING)  # of configurations that were written for older versions
    sys.stdout.write(json.dumps(describe(build(Path(argv[0])))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
