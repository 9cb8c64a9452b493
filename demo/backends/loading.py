"""Loads a transformers model from a directory, once, where the placement says, and proves it.

Owns the choice of classes (our own for CogVLM and CogAgent, the auto classes for the rest), the dtype on a CPU, and the
one call of `from_pretrained`, which places every weight where it stays, unless another replica has them to copy. That
call changes globals of torch while it runs, so a lock keeps two from meeting in one process. Knows nothing of requests.
Bytes are integers.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)
from transformers.utils.logging import disable_progress_bar

from demo.backends import memory, outline, processors, quantizing, spreading
from demo.backends.checkpoint import check_weights
from demo.backends.feeding import Exchange
from demo.backends.proving import prove
from demo.catalog import ModelSpec, read_config
from demo.errors import BrokenCheckpoint, ConfigError, UnsafeWeights
from demo.models.cogvlm import classes_of
from demo.spans import Stopwatch
from demo.types import Placement

FULL_PRECISION_BYTES = 4_000_000_000  # up to this size a CPU computes in float32, which it is fastest at

log = logging.getLogger(__name__)
WHOLE: Mapping[str, Any] = MappingProxyType({"missing_keys": (), "unexpected_keys": ()})  # told of a copied model
_loading = threading.Lock()  # transformers patches torch.nn.init, tie_weights and the default dtype during a load


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready, and what prepares its input."""

    model: Any
    processor: Any

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer


def load(
    spec: ModelSpec,
    directory: Path,
    words: Path,
    placement: Placement,
    watch: Stopwatch | None = None,
    exchange: Exchange | None = None,
) -> Loaded:
    """Load what lies in ``directory`` (tokenizer in ``words``) onto the placement's devices.

    ``watch`` is told of the phases, and left in the last of them. With ``exchange`` the weights may come from another
    replica, or go to others.
    """
    watch = watch or Stopwatch()
    watch.begin("processor")
    disable_progress_bar()
    num_weights = check_weights(directory)
    dtype = dtype_for(placement, num_weights)
    if spec.is_cogvlm:
        ours = classes_of(spec.family)
        tokenizer = None if words == directory else words
        processor = ours.processor.from_pretrained(directory, tokenizer=tokenizer, local_files_only=True)
        return Loaded(_loaded(ours.model, spec, directory, placement, dtype, watch, exchange), processor)
    _check_known(directory, spec)
    cls = _auto_class(directory, spec)
    with _faults_explained(spec):
        processor = processors.load(directory, spec)  # before the weights: it is quick to say what it lacks
    return Loaded(_loaded(cls, spec, directory, placement, dtype, watch, exchange), processor)


def dtype_for(placement: Placement, num_weights: int) -> Any:
    """The dtype to load in: as asked, else the checkpoint's own, else (on a CPU) what a CPU is good at."""
    if placement.dtype != "auto":
        return getattr(torch, placement.dtype)
    if set(placement.device_map.values()) == {"cpu"}:
        return torch.float32 if num_weights * 4 <= FULL_PRECISION_BYTES else torch.bfloat16
    return "auto"


def _loaded(
    cls: Any,
    spec: ModelSpec,
    directory: Path,
    placement: Placement,
    dtype: Any,
    watch: Stopwatch,
    exchange: Exchange | None,
) -> Any:
    _check_offload(placement)
    with _loading, memory.refusals_explained(placement), _faults_explained(spec):
        watch.begin("devices")
        memory.enforce(placement.caps)
        model = None if exchange is None else exchange.take(directory, placement, watch)
        found = WHOLE
        if model is None:
            watch.begin("weights")
            model, found = _from_pretrained(cls, spec, directory, placement, dtype)
        watch.begin("checks")
        spreading.settle(model, placement.device_map)
        prove(model, found, spec.name, placement, dtype)
        if exchange is not None:
            exchange.offer(model)
    return model.eval()


def _from_pretrained(cls: Any, spec: ModelSpec, directory: Path, placement: Placement, dtype: Any) -> Any:
    # sdpa is transformers' own choice where a model has it; asked for by name, a model without it is refused
    attention = {} if placement.attn == "sdpa" else {"attn_implementation": placement.attn}
    return cls.from_pretrained(
        directory,
        device_map=dict(placement.device_map),
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        trust_remote_code=spec.trust_remote_code and not spec.is_cogvlm,
        **attention,
        **_quantization(spec, directory, placement, dtype),
    )


def _check_offload(placement: Placement) -> None:
    """Layers in main memory that compute elsewhere are slow: only ever by the user's own wish."""
    devices = set(memory.devices_of(placement))
    if "cpu" not in devices or devices == {"cpu"}:
        return
    if not placement.offload:
        remedy = "Add --offload to allow it, or choose a smaller model or another --placement."
        raise ConfigError("Some layers were to wait in main memory, which nobody asked for", remedy=remedy)
    if placement.quantization != "none":
        remedy = "Leave one of the two out."
        raise ConfigError("Quantized layers cannot wait in main memory: --quantize and --offload", remedy=remedy)


def _quantization(spec: ModelSpec, directory: Path, placement: Placement, dtype: Any) -> dict[str, Any]:
    if placement.quantization == "none":
        return {}
    quantizing.refuse_twice(read_config(directory), spec.name)
    if spec.trust_remote_code and not spec.is_cogvlm:
        remedy = "Start without --quantize."
        raise ConfigError("Models with remote code are not quantized", value=spec.name, remedy=remedy)
    skip = quantizing.left_alone(outline.build(directory), placement.quantization)
    compute = torch.bfloat16 if dtype == "auto" else dtype
    return {"quantization_config": quantizing.config_for(placement.quantization, skip, dtype=compute)}


@contextmanager
def _faults_explained(spec: ModelSpec) -> Iterator[None]:
    """What `from_pretrained` says of files that do not belong together, or of a library that it misses."""
    try:
        yield
    except ImportError as error:  # of a quantized checkpoint, or of the part that prepares its input
        library = re.search(r"`([\w.-]{2,40})`", str(error))
        name = library[1] if library else "the one that the server's log names"
        raise ConfigError(
            "The model needs a library that is not installed", value=spec.name, remedy=f"Install {name}."
        ) from error
    except RuntimeError as error:
        if "conversion of the weights" in str(error):
            remedy = "The server's log has the library's words; another --dtype or no --quantize may do."
            raise ConfigError("The weights could not be quantized", value=spec.name, remedy=remedy) from error
        if "size mismatch" not in str(error) and "ignore_mismatched_sizes" not in str(error):
            raise
        remedy = "Its config.json belongs to another model, or the files are of different versions."
        raise BrokenCheckpoint("The weights do not match config.json", value=spec.name, remedy=remedy) from error


def _check_known(directory: Path, spec: ModelSpec) -> None:
    """Refuse a type of model that only its own remote code, or another version of transformers, could run."""
    config = read_config(directory)
    if config.get("model_type") in CONFIG_MAPPING or spec.trust_remote_code:
        return
    if "auto_map" in config:
        raise UnsafeWeights(
            "The model needs code from its own repository, which is not run unless you ask for it",
            value=spec.name,
            remedy="Read that code, then add --trust-remote-code and --revision with the commit you read.",
        )
    remedy = "Install a newer transformers, or choose another model."
    raise ConfigError(
        "This version of transformers does not know the model", value=config.get("model_type"), remedy=remedy
    )


def _auto_class(directory: Path, spec: ModelSpec) -> Any:
    if spec.trust_remote_code:
        offered = read_config(directory).get("auto_map", {})
        if "AutoModelForCausalLM" in offered and "AutoModelForImageTextToText" not in offered:
            return AutoModelForCausalLM
        if offered:
            return AutoModelForImageTextToText
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    if type(config) not in AutoModelForImageTextToText._model_mapping:
        remedy = "Choose an image-text-to-text model."
        raise ConfigError("This model does not answer in words", value=config.model_type, remedy=remedy)
    return AutoModelForImageTextToText
