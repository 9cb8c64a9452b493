"""Weights in fewer bits: which library does it, how it is told, and which parts of a model it leaves alone.

Owns the choice between libraries, which are imported late and need not be installed, and what each is told. Picture
towers, projectors, embeddings and the head keep the model's dtype. Knows nothing of devices or plans.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from transformers import BitsAndBytesConfig, TorchAoConfig

from demo.backends.outline import quantizable
from demo.errors import ConfigError

Kind = Literal["int8", "int4"]
KINDS: tuple[Kind, ...] = ("int8", "int4")
DEFAULT = "bitsandbytes"
GROUP = 128  # numbers that share a scale, in torchao's 4 bits; bitsandbytes' have 64


def config_for(kind: str, skip: Sequence[str], library: str = DEFAULT, *, dtype: torch.dtype = torch.bfloat16) -> Any:
    """What `from_pretrained` is told so that ``library`` stores linear weights in ``kind``, all but those in ``skip``.

    ``skip`` are module paths; ``dtype`` is what the model computes in. Raises `ConfigError` where that cannot be had.
    """
    if kind not in KINDS:
        raise ConfigError("Unknown quantization", value=kind, remedy=f"Known: {', '.join(KINDS)}.")
    if library not in LIBRARIES:
        raise ConfigError("Unknown quantizing library", value=library, remedy=f"Known: {', '.join(LIBRARIES)}.")
    if importlib.util.find_spec(library) is None:
        where = "-r requirements-quantize.txt" if library == DEFAULT else library
        remedy = f"Install it: pip install {where}."
        raise ConfigError(f"--quantize {kind} needs a library that is not installed", value=library, remedy=remedy)
    return LIBRARIES[library](kind, list(skip), dtype)


def left_alone(model: torch.nn.Module) -> list[str]:
    """The linear layers that keep the model's dtype, by their paths: all but those that the plan counts as smaller."""
    shrunk = set(quantizable(model))
    linears = (path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear))
    return [path for path in linears if path not in shrunk]


def refuse_twice(config: Mapping[str, Any], name: str) -> None:
    """A checkpoint that is quantized already is loaded as it is, and by no other recipe."""
    stored = config.get("quantization_config")
    if stored:
        method = stored.get("quant_method", "unknown") if isinstance(stored, dict) else "unknown"
        remedy = "Start without --quantize: it is loaded as it is."
        raise ConfigError("The model's weights are quantized already", value=f"{name}, {method}", remedy=remedy)


def _bitsandbytes(kind: str, skip: list[str], dtype: torch.dtype) -> Any:
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=skip
    )


def _torchao(kind: str, skip: list[str], dtype: torch.dtype) -> Any:
    quantization = importlib.import_module("torchao.quantization")
    if kind == "int8":
        return TorchAoConfig(quantization.Int8WeightOnlyConfig(), modules_to_not_convert=skip)
    if not torch.cuda.is_available():
        prototype = importlib.import_module("torchao.prototype.quantization.int4.inference_workflow")
        return TorchAoConfig(prototype.PrototypeInt4WeightOnlyConfig(group_size=GROUP), modules_to_not_convert=skip)
    if dtype != torch.bfloat16:
        remedy = "Add --dtype bfloat16."
        raise ConfigError("torchao's 4-bit weights compute in bfloat16 only", value=str(dtype), remedy=remedy)
    # torch's own kernel; the other packings need a library more
    packed = quantization.Int4WeightOnlyConfig(group_size=GROUP, int4_packing_format="tile_packed_to_4d")
    return TorchAoConfig(packed, modules_to_not_convert=skip)


LIBRARIES: Mapping[str, Callable[[str, list[str], torch.dtype], Any]] = {
    "bitsandbytes": _bitsandbytes,
    "torchao": _torchao,
}
