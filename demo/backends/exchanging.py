"""What a model on cards computes by other kernels than its library's, and when that is worth it.

Owns the list and the order; how each is exchanged, and proved to give the same, is its own module's (`attending`,
`fusing`, `turning`, `aligning`, `few_rows`). Kernels of our own are for steps that are recorded: launched one by one
from Python they take longer than torch's, all but those for weights of 8 bits, which torchao unpacks for each product,
and one that takes the place of ten, which turns prompts and pictures. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from demo.backends.aligning import align_widths
from demo.backends.attending import attend_in_fewer_kernels
from demo.backends.base import Progress
from demo.backends.few_rows import quicken
from demo.backends.fusing import fuse_norms
from demo.backends.kernels.launching import Kernels, at_hand
from demo.backends.turning import fuse_turns
from demo.types import Placement


def exchange(model: Any, placement: Placement, devices: Iterable[str], progress: Progress) -> Kernels | None:
    """Have all computed so that can be; the kernels of our own that recorded steps are computed by, if any."""
    kernels = None
    if placement.kernels and (placement.graphs or placement.quantization == "int8"):
        progress("compiling kernels", None)
        kernels = at_hand(devices)
    of_steps = kernels if placement.graphs else None
    attend_in_fewer_kernels(of_steps)
    fuse_norms(model, of_steps)
    fuse_turns(model, of_steps)
    align_widths(model)
    if kernels is not None:
        quicken(model, kernels, only_int8=not placement.graphs)
    return of_steps
