"""Two ways that other demos load a model on several cards, each tried under the cap of smaller cards.

``python -m benchmarks.other_ways composite|dispatch DIR CAP_BYTES`` prints one JSON line. "composite" is CogVLM's
composite demo: the whole model on the CPU, then ``.to("cuda:0")``. "dispatch" gives the layers to both cards by
``device_map="auto"``, answers, and then makes that same call to ``.to``. Bytes are integers.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from demo.models.cogvlm import CogVLMForConditionalGeneration

SLACK = 7 / 8  # of a cap is offered to device_map="auto", which does not see what answering takes
TOKENS = 16

Step = Callable[[], None]


class Trial:
    """The steps of one way, with what came of each."""

    def __init__(self) -> None:
        self.steps: list[dict[str, object]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Out of memory ends the trial, and is its outcome."""
        started_s = time.perf_counter()
        outcome = "fine"
        try:
            yield
        except torch.OutOfMemoryError:
            outcome = "out of memory"
            raise
        finally:
            seconds_s = round(time.perf_counter() - started_s, 2)
            self.steps.append({"step": name, "outcome": outcome, "seconds_s": seconds_s, "peak": _peaks()})


def composite(trial: Trial, directory: Path, _cap: int) -> None:
    with trial.step("from_pretrained on the CPU"):
        model = _from_pretrained(directory)
    with trial.step('.to("cuda:0")'):
        model.to("cuda:0")
    with trial.step("answer"):
        _answer(model)


def dispatch(trial: Trial, directory: Path, cap: int) -> None:
    with trial.step('device_map="auto"'):
        limits = {card: int(cap * SLACK) for card in range(torch.cuda.device_count())}
        model = _from_pretrained(directory, device_map="auto", max_memory=limits)
    with trial.step("answer"):
        _answer(model)
    with trial.step('.to("cuda:0")'):
        model.to("cuda:0")


WAYS: dict[str, Callable[[Trial, Path, int], None]] = {"composite": composite, "dispatch": dispatch}


def _from_pretrained(directory: Path, **how: Any) -> Any:
    return CogVLMForConditionalGeneration.from_pretrained(directory, dtype=torch.bfloat16, **how).eval()


@torch.inference_mode()
def _answer(model: Any) -> None:
    ids = torch.arange(3, 67, device=model.model.embed_tokens.weight.device)[None]
    model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)


def _peaks() -> dict[str, int]:
    return {f"cuda:{card}": torch.cuda.max_memory_reserved(card) for card in range(torch.cuda.device_count())}


def _cap_cards(cap: int) -> None:
    for card in range(torch.cuda.device_count()):
        total = torch.cuda.get_device_properties(card).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap / total), card)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("cap", type=int, help="bytes")
    options = parser.parse_args()
    _cap_cards(options.cap)
    trial = Trial()
    try:
        WAYS[options.way](trial, options.directory, options.cap)
        outcome = "answered"
    except torch.OutOfMemoryError:
        outcome = "out of memory"
    print(json.dumps({"way": options.way, "outcome": outcome, "steps": trial.steps}))


if __name__ == "__main__":
    main()
