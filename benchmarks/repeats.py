"""Where the same computation first comes out otherwise: on one card again, or on two like cards side by side.

    python -m benchmarks.repeats --dir DIR/MODEL --device cuda:0 cuda:1 [--times 3] [--tokens 32] [--letters 0]

Asks one question greedily, over and over, in a process of its own for each device, all at once. Every module without
parts of its own leaves a checksum of the bits that go in and of those that come out, weights leave one each. The first
checksum that is not that of the first time on the first device names the culprit: an output whose input was alike is
that module's; an input is that of what lies between modules, as attention does. What decides among kernels is chosen
from outside, for example by ``TORCH_CUDNN_SDPA_DEPRIORITIZED=1`` in the environment.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.children import Child, Row
from benchmarks.circumstances import circumstances, save

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def checksum(tensor: torch.Tensor) -> torch.Tensor:
    """One number of all bits and their places, the same in whatever order it is summed up."""
    bits = tensor.detach().contiguous().view(BITS[tensor.element_size()]).flatten().long()
    places = torch.arange(1, 2 * len(bits), 2, device=bits.device)
    return (bits * places).sum()


class Trace:
    """The checksums of what goes through a model's smallest modules, in the order of the calls."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._hooks = ExitStack()
        self._sums: list[torch.Tensor] = []
        self.names: list[str] = []

    def __enter__(self) -> Trace:
        for path, module in self._model.named_modules():
            if not any(module.children()):
                hook = module.register_forward_hook(lambda _, given, out, path=path: self._note(path, given, out))
                self._hooks.callback(hook.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def _note(self, path: str, given: tuple[Any, ...], out: Any) -> None:
        for side, values in (("input", given), ("output", out if isinstance(out, tuple) else (out,))):
            for value in (value for value in values if isinstance(value, torch.Tensor)):
                self.names.append(f"{side} of {path}")
                self._sums.append(checksum(value))

    def sums(self) -> list[int]:
        """To be asked for at the end: it waits for the card."""
        return [int(found) for found in self._sums]


def first_difference(names: Sequence[str], one: Sequence[int], other: Sequence[int]) -> tuple[str, int] | None:
    """The name of the first checksum that differs, and how many of that name were alike before it."""
    at = next((index for index, (a, b) in enumerate(zip(one, other)) if a != b), None)
    return None if at is None else (names[at], list(names[:at]).count(names[at]))


def trace_device(options: argparse.Namespace, device: str) -> dict[str, Any]:
    """In the child: load, ask again and again, and hand back all checksums."""
    from benchmarks.gaps import answer
    from benchmarks.measuring import question
    from demo.backends import tensors
    from demo.backends.hf import HFBackend
    from demo.catalog import resolve
    from demo.config import ModelChoice
    from demo.types import Placement

    backend = HFBackend()
    placement = Placement({"": device}, dtype=options.dtype, attn=options.attn, threads=1)
    backend.load(resolve(ModelChoice(str(options.dir.resolve()))), placement, lambda *_: None)
    weights = {name: int(checksum(tensor)) for name, tensor in tensors.kept(backend._model)}
    message = question(options.letters, 1, options.picture_px)
    times = []
    for _ in range(options.times):
        with Trace(backend._model) as trace:
            words, _ = answer(backend, message, options.tokens)
        times.append({"answer": words, "sums": trace.sums()})
    backend.close()
    return {"outcome": "answered", "weights": weights, "names": trace.names, "times": times}


def compare(devices: Sequence[str], traced: Sequence[Row]) -> list[Row]:
    """Each time on each device beside the first time on the first device."""
    first, rows = traced[0], []
    for device, found in zip(devices, traced):
        if found["outcome"] != "answered" or first["outcome"] != "answered":
            rows.append({"device": device, "outcome": found["outcome"], "error": found.get("error", "")})
            continue
        others = [name for name, sum_ in found["weights"].items() if first["weights"].get(name) != sum_]
        for number, time in enumerate(found["times"]):
            difference = first_difference(first["names"], first["times"][0]["sums"], time["sums"])
            row = {"device": device, "time": number, "outcome": "same" if difference is None else "differs"}
            if difference is not None:
                row |= {"first": difference[0], "calls_before": difference[1]}
            same_answer = time["answer"] == first["times"][0]["answer"]
            rows.append({**row, "same_answer": same_answer, "other_weights": others[:8]})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| device | time | outcome | first | calls of it before | same answer | other weights |"]
    lines.append("|---|---|---|---|---|---|---|")
    names = ("device", "time", "outcome", "first", "calls_before", "same_answer")
    for row in rows:
        cells = [str(row.get(name, "")) for name in names]
        lines.append(f"| {' | '.join(cells)} | {', '.join(row.get('other_weights', [row.get('error', '')]))} |")
    return "\n".join(lines)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="the model")
    parser.add_argument("--device", nargs="+", default=["cuda:0"], help="the same one twice: two processes share it")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--letters", type=int, default=0, help="that many more tokens in the prompt")
    parser.add_argument("--picture-px", type=int, default=1568)
    parser.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float16", "float32"))
    parser.add_argument("--attn", default="sdpa", choices=("sdpa", "eager"))
    parser.add_argument("--limit-s", type=float, default=400.0)
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--commit", help="what is measured, where git does not say it")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main() -> int:
    options = parse_args()
    if options.child:
        print(json.dumps(trace_device(options, options.device[0])))
        return 0
    how = [f"--{name}={getattr(options, name)}" for name in ("dir", "times", "tokens", "letters", "dtype", "attn")]
    how.append(f"--picture-px={options.picture_px}")
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # for the children, as in the workers
    children = [
        Child(["-m", "benchmarks.repeats", "--child", *how, "--device", d], options.limit_s) for d in options.device
    ]
    with ThreadPoolExecutor(len(children)) as pool:
        rows = compare(options.device, list(pool.map(Child.run, children)))
    print(table(rows))
    chosen = {name: value for name, value in os.environ.items() if name.startswith(("TORCH_", "CUBLAS_", "CUDNN_"))}
    asked = {"model": options.dir.name, "attn": options.attn, "dtype": options.dtype, "environment": chosen}
    result = {"benchmark": "repeats", **asked, **circumstances(options.commit), "rows": rows}
    save(options.json, result)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
