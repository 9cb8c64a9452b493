"""Asks a short-lived child process for the parts of a model, so that this one never imports torch.

Owns the child: it sees no card and no network, and it is killed when it takes too long. Its failure is no error: the
caller is told nothing and plans with the sum alone. Knows nothing of how the parts are found; bytes are integers.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[2]  # from where the child finds this package
TIMEOUT_S = 180.0  # the first import of the frameworks on a slow disk is most of it
# Cards are hidden so that no context is opened on one; what is not here already is not looked for.
SURROUNDINGS: Mapping[str, str] = {
    "CUDA_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Module:
    """A part of a model that is never split over devices, by its path in the model as transformers builds it."""

    path: str  # "model.layers.3", "lm_head"
    kind: Literal["embedding", "vision", "layer", "head", "other"]
    floats: int  # numbers that take the planned dtype
    linear_floats: int = 0  # of them, those that quantization stores in fewer bits; none outside the decoder layers
    other_bytes: int = 0  # of tensors that keep their own type
    tied_to: str | None = None  # the module whose weights it shares: counted there, and it must be on the same device
    linear_rows: int = 0  # rows of those linears, each of which has a scale of its own in int8


@dataclass(frozen=True, slots=True)
class Outline:
    """A model without its weights: its parts in the order they compute, and its configuration with all defaults."""

    modules: tuple[Module, ...]
    config: Mapping[str, Any]
    keeps_one_logit: bool


def read(directory: Path, name: str, *, timeout_s: float = TIMEOUT_S) -> Outline | None:
    """The outline of the model whose ``config.json`` lies in a directory; None where it cannot be had."""
    command = [sys.executable, "-m", "demo.backends.outline", str(directory.resolve())]
    try:
        child = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **SURROUNDINGS},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,  # the child is killed then
            check=True,
        )
        return _parse(child.stdout)
    except subprocess.TimeoutExpired:
        reason = f"building it took longer than {timeout_s:.0f} s"
    except subprocess.CalledProcessError as error:
        reason = _last_line(error.stderr) or f"the process ended with code {error.returncode}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    log.warning("The parts of %s are not known, so it is planned in one piece: %s", name, reason)
    return None


def _parse(text: str) -> Outline:
    found = json.loads(_last_line(text))  # whatever a library may have printed stands before it
    modules = tuple(Module(**module) for module in found["modules"])
    return Outline(modules, dict(found["config"]), bool(found["keeps_one_logit"]))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
