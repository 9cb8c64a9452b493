"""Weights in fewer bits: which library does it, how it is told, and which parts of a model it leaves alone.

Owns the choice of library for each kind; they are imported late and need not be installed. Picture towers, projectors,
embeddings and the head keep the model's dtype, and so do linears whose shape a library cannot take. Knows nothing of
devices or plans.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import torch
from transformers import BitsAndBytesConfig, TorchAoConfig

from demo.backends.outline import quantizable
from demo.errors import ConfigError

Kind = Literal["int8", "int4"]
KINDS: tuple[Kind, ...] = ("int8", "int4")
# As measured on an H200 (benchmarks/README.md): in 8 bits torchao answers 2.4 times as fast as bitsandbytes and needs
# 2.6 GiB less at the peak; in 4 bits bitsandbytes answers 1.4 times as fast as torchao, in as much memory. A step's few
# rows are multiplied with torchao's weights by kernels of our own (`few_rows`).
LIBRARIES: Mapping[str, str] = {"int8": "torchao", "int4": "bitsandbytes"}
# What a linear's rows (output) and their length (input) must be multiples of. bitsandbytes gives 64 numbers one scale
# and, on CPUs that know bfloat16, stores 32 rows together; torchao takes every shape.
BLOCKS: Mapping[str, tuple[int, int]] = {"int8": (1, 1), "int4": (32, 64)}
# Of the numbers that are to shrink. The routers of experts are fewer; a plan counts them as if they did.
MOST_UNFIT = 0.005


def config_for(kind: str, skip: Sequence[str], *, dtype: torch.dtype = torch.bfloat16) -> Any:
    """What `from_pretrained` is told so that linear weights are stored in ``kind``, all but those in ``skip``.

    ``skip`` are module paths; ``dtype`` is what the model computes in. Raises `ConfigError` where that cannot be had.
    """
    _check_kind(kind)
    library = LIBRARIES[kind]
    if importlib.util.find_spec(library) is None:
        remedy = "Install it: pip install -r requirements-quantize.txt."
        raise ConfigError(f"--quantize {kind} needs a library that is not installed", value=library, remedy=remedy)
    if kind == "int4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=list(skip),
        )
    quantization = importlib.import_module("torchao.quantization")
    return TorchAoConfig(quantization.Int8WeightOnlyConfig(version=2), modules_to_not_convert=list(skip))


def left_alone(model: torch.nn.Module, kind: str) -> list[str]:
    """The modules whose linears keep the model's dtype, by their paths: all but the decoder layers.

    A few linears of those may stay too, for their shape; raises `ConfigError` where it would be more than a few.
    """
    _check_kind(kind)
    linears = {path: part for path, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    chosen = quantizable(model)
    unfit = {path for path in chosen if not _is_fit(linears[path], kind)}
    num_unfit = sum(linears[path].weight.numel() for path in unfit)
    if num_unfit > MOST_UNFIT * sum(linears[path].weight.numel() for path in chosen):
        path = next(path for path in chosen if path in unfit)
        rows, width = BLOCKS[kind]
        value = f"{path}, {linears[path].out_features} x {linears[path].in_features}"
        remedy = f"They come in {rows} rows of {width} numbers, or multiples; --quantize int8 takes any."
        raise ConfigError(f"The model's layers have not the shape for --quantize {kind}", value=value, remedy=remedy)
    shrunk = set(chosen) - unfit
    return list(dict.fromkeys(_outermost(path, shrunk) for path in linears if path not in shrunk))


def refuse_twice(config: Mapping[str, Any], name: str) -> None:
    """A checkpoint that is quantized already is loaded as it is, and by no other recipe."""
    stored = config.get("quantization_config")
    if stored:
        method = stored.get("quant_method", "unknown") if isinstance(stored, dict) else "unknown"
        remedy = "Start without --quantize: it is loaded as it is."
        raise ConfigError("The model's weights are quantized already", value=f"{name}, {method}", remedy=remedy)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ConfigError("Unknown quantization", value=kind, remedy=f"Known: {', '.join(KINDS)}.")


def _outermost(path: str, shrunk: Collection[str]) -> str:
    """The largest module around a linear in which nothing shrinks.

    transformers makes one or two regular expressions of every path that it is given, anew for every weight that it
    loads, and Python keeps 512: a load of a CogAgent-18B that was told of each linear of its towers compiled them for
    a minute and more. A path stands for all that begin or end with it, too.
    """
    names = path.split(".")
    around = (".".join(names[:count]) for count in range(1, len(names)))
    return next((one for one in around if not any(p.startswith(one) or p.endswith(one) for p in shrunk)), path)


def _is_fit(linear: torch.nn.Linear, kind: str) -> bool:
    rows, width = BLOCKS[kind]
    return linear.out_features % rows == 0 and linear.in_features % width == 0
