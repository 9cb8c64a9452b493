"""How large a model is, before it is loaded: from the safetensors headers, its ``config.json`` and its outline.

Owns the `ModelFootprint`, and where its facts come from: a directory, the hub, or the options of the fake model. Knows
nothing of devices or placements, and imports no framework. Bytes are integers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.engine import activations, outline, published
from demo.engine.activations import ITEM_BYTES
from demo.engine.headers import Stored, read_json, stored_in
from demo.engine.outline import Module, Outline
from demo.engine.shape import LIMITS, Limits, Shape, shape_of, text_part
from demo.errors import BrokenCheckpoint

if TYPE_CHECKING:
    from demo.catalog import ModelSpec

__all__ = [
    "ITEM_BYTES",
    "Limits",
    "ModelFootprint",
    "Module",
    "Shape",
    "measure",
    "of_directory",
    "of_repository",
    "shape_of",
]

# A quantized linear: bytes for each of its weights and, beside them, for each of its rows (the scales of int8 in
# float32). Four bits share one float32 scale among 64 weights.
BYTES_PER_WEIGHT: Mapping[str, float] = {"int8": 1.0, "int4": 0.5 + 4 / 64}
BYTES_PER_ROW: Mapping[str, int] = {"int8": 4, "int4": 0}
FAKE_LAYERS = 8
MOST_SLOTS = 64
# An outline with that many times more or fewer numbers than are stored is that of another model. Smaller differences
# are weights that a file holds twice, or that the model computes itself.
MOST_APART = 1.5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelFootprint:
    """A model's size. ``floats`` counts the numbers that take the planned dtype; ``other_bytes`` keep theirs."""

    name: str
    floats: int
    stored_dtype: str
    other_bytes: int = 0
    shape: Shape = field(default_factory=Shape)
    modules: tuple[Module, ...] = ()  # in the order they compute; empty where only the sum is known
    is_quantized: bool = False  # the checkpoint is quantized already, and is loaded as it is
    most_slots: int = MOST_SLOTS  # answers that it can make at a time
    auto_slots: int = MOST_SLOTS  # of them, as many as are worth their memory where nobody says how many

    def weights_bytes(self, dtype: str, quantization: str = "none") -> int:
        """All weights; where only the sum is known, as large as without quantization."""
        if not self.modules:
            return self.floats * ITEM_BYTES[dtype] + self.other_bytes
        return sum(self.bytes_of(module, dtype, quantization) for module in self.modules)

    def bytes_of(self, module: Module, dtype: str, quantization: str = "none") -> int:
        """One part's weights as they will lie on its device."""
        if quantization == "none" or self.is_quantized:
            return module.floats * ITEM_BYTES[dtype] + module.other_bytes
        plain = (module.floats - module.linear_floats) * ITEM_BYTES[dtype] + module.other_bytes
        scales = module.linear_rows * BYTES_PER_ROW[quantization]
        return plain + int(module.linear_floats * BYTES_PER_WEIGHT[quantization]) + scales

    def kv_cache_bytes(self, dtype: str, *, slots: int, layers: int | None = None) -> int:
        """Keys and values of ``slots`` conversations of the planned context, in some layers or in all.

        Those of CogAgent's larger picture are as many however short a conversation is.
        """
        shape = self.shape
        layer = shape.context * shape.kv_width + (shape.large.patches * shape.large.width if shape.large else 0)
        return 2 * (shape.layers if layers is None else layers) * layer * ITEM_BYTES[dtype] * slots

    def slots(self, wanted: int | None) -> int:
        """How many of the answers that are wanted at a time it can make; one where that is yet to be decided."""
        return 1 if self.shape.answers_alone else min(wanted or 1, self.most_slots)

    def vision_activation_bytes(self, dtype: str, attn: str = "sdpa", *, kernels: bool = False) -> int:
        """What the device of the vision tower needs while pictures are read, for one conversation."""
        return activations.vision_bytes(self.shape, dtype, attn, kernels=kernels)

    def prefill_activation_bytes(
        self, dtype: str, attn: str = "sdpa", quantization: str = "none", *, beside_tower: bool = True
    ) -> int:
        """What each device with decoder layers needs while the longest planned prompt is read."""
        unpacked = 0 if quantization == "none" else activations.unpacked_bytes(self.shape, dtype)
        return activations.prefill_bytes(self.shape, dtype, attn, beside_tower=beside_tower) + unpacked

    def logits_bytes(self, slots: int = 1) -> int:
        """What the device of the head needs to choose a token of each answer."""
        return activations.logits_bytes(self.shape, slots)

    def activation_bytes(self, dtype: str, attn: str = "sdpa", quantization: str = "none", *, slots: int = 1) -> int:
        """On one device that holds the whole model: the larger of the two peaks, which do not meet, and the scores."""
        prefill = self.prefill_activation_bytes(dtype, attn, quantization)
        return max(self.vision_activation_bytes(dtype, attn), prefill) + self.logits_bytes(slots)


def measure(spec: ModelSpec, *, outline: bool = False) -> ModelFootprint | str:
    """The footprint of a model whose files, or at least whose configuration, can be had; else its name alone.

    With ``outline``, its parts too. Raises `BrokenCheckpoint` for a directory with a damaged file.
    """
    if spec.backend == "fake":
        return _of_fake(spec)
    limits = Limits(spec.max_pictures, spec.max_side, spec.traits.tiles)
    if spec.is_directory:
        return of_directory(Path(spec.source), spec.name, outline=outline, limits=limits) or spec.name
    found = of_repository(spec.source, spec.revision, spec.name, outline=outline, limits=limits)
    return found or spec.name  # the worker will know more after the download


def of_directory(
    directory: Path, name: str, *, outline: bool = False, limits: Limits = LIMITS
) -> ModelFootprint | None:
    """The footprint of a model's files; None where neither weights nor a configuration can be measured.

    The outline costs seconds. It is made when asked for, and when the headers are missing or the configuration leaves
    out the decoder's shapes, as those that rely on a family's defaults do.
    """
    return _footprint(directory, name, stored_in(directory), limits, outline)


def of_repository(
    repository: str, revision: str | None, name: str, *, outline: bool = False, limits: Limits = LIMITS
) -> ModelFootprint | None:
    """The footprint of a repository on the hub: from the cache where its files are there, else without its weights.

    Only the configuration and the headers are fetched; None where they cannot be had.
    """
    directory, stored = published.cached_directory(repository, revision), None
    if directory is not None:
        try:
            stored = stored_in(directory)
        except BrokenCheckpoint:
            log.info("The download of %s was broken off; its worker completes it", name)
    if stored is None:
        fetched, stored = published.preview(repository, revision)
        directory = fetched or directory
    return _footprint(directory, name, stored, limits, outline) if directory else None


def _of_fake(spec: ModelSpec) -> ModelFootprint:
    """As many parameters as it is told to pretend, in layers of the same size."""
    told = dict(spec.options).get("parameters", "0")  # anything but a number is refused by the backend itself
    parameters = int(told) if told.isdecimal() else 0
    sizes = _shares(parameters, [1] * FAKE_LAYERS) if parameters else []
    modules = tuple(Module(f"layers.{index}", "layer", floats=size) for index, size in enumerate(sizes))
    return ModelFootprint(spec.name, parameters, stored_dtype="float32", modules=modules, auto_slots=1)


def _footprint(
    directory: Path, name: str, stored: Stored | None, limits: Limits, wants_outline: bool
) -> ModelFootprint | None:
    config = read_json(directory / "config.json")
    max_pixels = _max_pixels(read_json(directory / "preprocessor_config.json"))
    shape = shape_of(config, limits, max_pixels=max_pixels)
    found: Outline | None = None
    relies_on_defaults = "model_type" in config and not (shape.layers and shape.hidden)
    if config and (wants_outline or stored is None or relies_on_defaults):
        found = _of_these(outline.read(directory, name), stored, "quantization_config" in config)
    if found is not None:
        shape = shape_of(found.config, limits, max_pixels=max_pixels, keeps_one_logit=found.keeps_one_logit)
    elif stored is None:
        return None
    dtype = _stated_dtype(config) or (stored.dtype if stored else "float32")
    return _weighed(name, dtype, shape, stored, found.modules if found else (), "quantization_config" in config)


def _of_these(found: Outline | None, stored: Stored | None, is_quantized: bool) -> Outline | None:
    """The outline, unless the weights that are stored cannot be its own."""
    if found is None or stored is None or is_quantized:
        return found
    built = sum(module.floats for module in found.modules)
    if stored.floats / MOST_APART <= built <= stored.floats * MOST_APART:
        return found
    log.warning("config.json describes %d numbers where %d are stored; only those are counted", built, stored.floats)
    return None


def _weighed(
    name: str, dtype: str, shape: Shape, stored: Stored | None, modules: tuple[Module, ...], is_quantized: bool
) -> ModelFootprint:
    """The parts are what a load will make; the headers say what is stored, which counts where that is quantized."""
    if stored is not None and (is_quantized or not modules):
        parts = _shared_out(stored, modules)
        return ModelFootprint(name, stored.floats, dtype, stored.other_bytes, shape, parts, is_quantized)
    floats = sum(module.floats for module in modules)
    others = sum(module.other_bytes for module in modules)
    return ModelFootprint(name, floats, dtype, others, shape, modules, is_quantized)


def _shared_out(stored: Stored, modules: tuple[Module, ...]) -> tuple[Module, ...]:
    """The parts of a quantized checkpoint: its bytes that are no floats go to where the linears are.

    Which linears were quantized only the checkpoint's own tool knows; those of the layers are, so they share them out.
    """
    plain = _shares(stored.floats, [module.floats - module.linear_floats for module in modules])
    packed = _shares(stored.other_bytes, [module.linear_floats for module in modules])
    return tuple(
        replace(module, floats=floats, linear_floats=0, linear_rows=0, other_bytes=bytes_)
        for module, floats, bytes_ in zip(modules, plain, packed)
    )


def _shares(total: int, weights: Sequence[int]) -> list[int]:
    """A whole in integer parts, as large as their weights say; no parts where nothing has a weight."""
    if not sum(weights):
        return []
    ends = [total * reached // sum(weights) for reached in accumulate(weights)]
    return [end - start for start, end in zip([0, *ends], ends)]


def _stated_dtype(config: Mapping[str, Any]) -> str | None:
    stated = (part.get(key) for part in (config, text_part(config)) for key in ("dtype", "torch_dtype"))
    return next((str(name) for name in stated if name in ITEM_BYTES), None)


def _max_pixels(processor: Mapping[str, Any]) -> int:
    """The most pixels that a processor for pictures of any size leaves of one; 0 where it does not say."""
    size = processor.get("size")
    named = (processor.get("max_pixels"), size.get("longest_edge") if isinstance(size, dict) else None)
    return next((value for value in named if isinstance(value, int)), 0)
