"""One step of a model on a card, by the library's kernels and by our own.

    python -m benchmarks.steps [--model qwen2.5-vl-7b] [--bits 16 8] [--answers 1 16] [--columns 512 2048] [--layers N]

A step is one more token of each answer: what is repeated for every token, and reads all weights. The model is made of a
shape of `benchmarks/shapes` with random weights on the card itself, its picture tower of one layer, so that it takes
seconds; nothing is read from disk and no engine is between. Each way is a model of its own and is recorded as the
engine records it. The scores of both are compared. Prints a table and, last, one line of JSON. Times end in ``_us``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoConfig, AutoModelForImageTextToText

from benchmarks.checkpoints import SHAPES
from benchmarks.children import Row
from benchmarks.circumstances import circumstances, save
from demo.backends.exchanging import exchange
from demo.backends.forwards import Forwards
from demo.backends.outline import quantizable
from demo.backends.recorded import on_cards
from demo.backends.slots import SlotCache
from demo.types import Placement

WAYS = {"the library's": False, "our own": True}
STEPS = 20
PROMPT = 10  # tokens; what is behind them in a slot is as good as any
SPARE = 12  # columns that are left of those a step looks at


def made(shape: Path, layers: int | None, bits: int, device: str) -> Any:
    """A model with random weights, in 16 bits, or with its decoder's layers in 8."""
    config = AutoConfig.from_pretrained(shape)
    config.vision_config.num_hidden_layers = config.vision_config.depth = 1
    text = config.get_text_config()
    text.num_hidden_layers = layers or text.num_hidden_layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: text.num_hidden_layers]
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    if bits == 8:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        names = set(quantizable(model))
        quantize_(model, Int8WeightOnlyConfig(version=2), filter_fn=lambda _, path: path in names)
    return model


@torch.inference_mode()
def measured(model: Any, device: str, answers: int, columns: int, write: Callable[..., None] | None) -> Row:
    """A step of so many answers that look at so many columns: microseconds, kernels, and the scores (B, V)."""
    is_card = device.startswith("cuda")
    cache = SlotCache(answers, columns, write=write)
    forwards = Forwards(model, cache, recorder=on_cards([device]) if is_card else None)
    ids = torch.arange(5, 5 + PROMPT, device=device)[None]
    read = forwards.read({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, 0)
    tokens = torch.full((answers,), 7, device=device)
    positions = read.position.expand(*read.position.shape[:-2], answers, 1).clone()

    def step() -> torch.Tensor:
        return forwards.step(tokens, positions, [columns - SPARE] * answers)

    scores = step()
    spent_us = min(_time_us(step, device) for _ in range(3))
    return {"answers": answers, "columns": columns, "step_us": spent_us, "kernels": _kernels(step), "scores": scores}


def _time_us(step: Callable[[], object], device: str) -> float:
    began_s = time.perf_counter()
    for _ in range(STEPS):
        step()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began_s) / STEPS * 1e6


def _kernels(step: Callable[[], object]) -> int | None:
    """How many a card computes in a step; None without a card."""
    if not torch.cuda.is_available():
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        step()
        torch.cuda.synchronize()
    return sum(event.device_type.name == "CUDA" for event in seen.events())


def run(options: argparse.Namespace, say: Callable[[Row], None] | None = None) -> list[Row]:
    rows: list[Row] = []
    for bits in options.bits:
        scores: dict[tuple[int, int], torch.Tensor] = {}
        for way, has_kernels in WAYS.items():
            model = made(SHAPES / options.model, options.layers, bits, options.device)
            quantization = "int8" if bits == 8 else "none"
            placement = Placement({}, graphs=True, kernels=has_kernels, quantization=quantization)
            began_s = time.perf_counter()
            kernels = exchange(model, placement, [options.device], lambda *_: None)
            exchange_s = time.perf_counter() - began_s
            for answers in options.answers:
                for columns in options.columns:
                    write = kernels.write if kernels is not None else None
                    row = measured(model, options.device, answers, columns, write)
                    found = row.pop("scores")
                    before = scores.setdefault((answers, columns), found)
                    apart = float((found - before).norm() / before.norm())
                    row |= {"bits": bits, "by": way, "apart": apart, "exchange_s": exchange_s}
                    rows.append({"tokens_per_s": answers / row["step_us"] * 1e6, **row})
                    if say is not None:
                        say(rows[-1])
            del model
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return rows


HEAD = "| bits | kernels | answers | columns | a step, us | kernels a step | tokens/s | scores apart |"


def line(row: Row) -> str:
    counted = "" if row["kernels"] is None else row["kernels"]
    named = f"| {row['bits']} | {row['by']} | {row['answers']} | {row['columns']} "
    return f"{named}| {row['step_us']:,.0f} | {counted} | {row['tokens_per_s']:,.0f} | {row['apart']:.1e} |"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-vl-7b", help="a folder of benchmarks/shapes")
    parser.add_argument("--bits", type=int, nargs="+", choices=(16, 8), default=[16, 8])
    parser.add_argument("--answers", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--columns", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--layers", type=int, help="of the decoder; default: all")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--commit", help="where git does not tell it")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    around = circumstances(options.commit)
    print(HEAD + "\n" + "|---" * HEAD.count(" | ") + "|---|")
    rows = run(options, lambda row: print(line(row), flush=True))
    result = {"benchmark": "steps", "model": options.model, "layers": options.layers, **around, "rows": rows}
    save(options.json, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
