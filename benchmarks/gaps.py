"""How far apart the scores were where two answers to one question part: a rounding, or more than one can explain.

    python -m benchmarks.gaps --dir DIR --given JSON [--placement single] [--dtype float32]

Loads a model once more, without the engine, and asks it the questions again. Up to the first token in which its answer
differs from a given one both saw the same tokens, so that the scores there are those of the same text under either
answer. A letter is a token of the benchmark's checkpoints. Prints one line of JSON; `benchmarks.placement run --gaps`
starts it. Scores are plain numbers; a "rounding" is the distance of two neighbouring numbers of the model's dtype.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.config import EngineConfig, ModelChoice

if TYPE_CHECKING:
    import torch

    from demo.backends.hf import HFBackend
    from demo.types import Message


@dataclass(frozen=True, slots=True)
class Parting:
    """Where an answer leaves another, and what the model scored the two tokens there."""

    question: str
    at: int  # tokens that are alike
    tokens: tuple[str, str]  # the model's own now, and the given one
    scores: tuple[float, float]
    gap: float
    roundings: float
    rank: int  # of the given token; 1 is the second best


def parting(one: str, other: str) -> int | None:
    """How many letters are alike before two answers part; None where one begins with the other."""
    return next((index for index, (a, b) in enumerate(zip(one, other)) if a != b), None)


def spacing(score: float, eps: float) -> float:
    """The distance of a number to the next of a dtype whose distance at 1 is ``eps``."""
    return eps * 2.0 ** math.floor(math.log2(abs(score))) if score else eps


def partings(backend: HFBackend, name: str, message: Message, given: Sequence[str]) -> list[Parting]:
    """One for each given answer that is not the model's own now."""
    import torch

    words, scores = answer(backend, message, max(map(len, given)))
    eps = torch.finfo(backend._model.dtype).eps
    found = []
    for other in given:
        at = parting(words, other)
        if at is not None:
            found.append(_parting(backend, name, at, (words[at], other[at]), scores[at], eps))
    return found


def answer(backend: HFBackend, message: Message, tokens: int) -> tuple[str, list[torch.Tensor]]:
    """The greedy answer, and for each of its tokens the scores of all (vocabulary,)."""
    import torch

    from demo.backends.streaming import settings_for
    from demo.types import Sampling

    inputs = backend._placed(backend._prompter.prepare([message]))
    settings = settings_for(Sampling(), backend._settings, max_new_tokens=tokens)
    settings.output_logits = settings.return_dict_in_generate = True
    with torch.inference_mode():
        found = backend._model.generate(**inputs, generation_config=settings)
    ids = found.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    words: str = backend._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return words, [step[0] for step in found.logits]


def _parting(
    backend: HFBackend, name: str, at: int, tokens: tuple[str, str], scores: torch.Tensor, eps: float
) -> Parting:
    best, other = (float(scores[backend._tokenizer.convert_tokens_to_ids(token)]) for token in tokens)
    gap, rank = best - other, int((scores > other).sum())
    return Parting(name, at, tokens, (best, other), gap, gap / spacing(best, eps), rank)


def measure_gaps(options: argparse.Namespace) -> dict[str, Any]:
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as in the workers; before torch looks at the cards
    from benchmarks.measuring import question
    from demo.backends.hf import HFBackend
    from demo.engine.devices import cpu_threads, detect
    from demo.engine.manager import plan_all, resolve_roles

    flags = {"placement": options.placement, "dtype": options.dtype, "quantize": options.quantize}
    config = EngineConfig((ModelChoice(str(options.dir)),), **flags)
    ((spec, plan),) = plan_all(config, resolve_roles(config), detect()).items()
    backend = HFBackend()
    backend.load(spec, plan.placement_of(0, threads=cpu_threads()), lambda *_: None)
    found = []
    for name, asked in json.loads(options.given).items():
        message = question(asked["letters"], asked["pictures"], options.picture_px)
        found += partings(backend, name, message, asked["answers"])
    backend.close()
    return {"outcome": "answered", "placement": plan.placement, "partings": [asdict(each) for each in found]}


def table(gaps: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| model | question | tokens alike | scores | gap | roundings | rank |", "|---|---|---|---|---|---|---|"]
    for model, row in gaps.items():
        if row["outcome"] != "answered":
            lines.append(f"| {model} | {row['outcome']}: {str(row.get('error', '')).replace('|', '/')} |" + " |" * 5)
        for each in row.get("partings", ()):
            scores = " ".join(f"{score:.5f}" for score in each["scores"])
            rest = f"{each['gap']:.5f} | {each['roundings']:.1f} | {each['rank']}"
            lines.append(f"| {model} | {each['question']} | {each['at']} | {scores} | {rest} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="the model")
    parser.add_argument("--given", required=True, help='{"short": {"letters": 0, "pictures": 1, "answers": [...]}}')
    parser.add_argument("--placement", default="single")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quantize", default="none")
    parser.add_argument("--picture-px", type=int, default=1568)
    print(json.dumps(measure_gaps(parser.parse_args())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
