"""Trains the bundled model from scratch: ``python -m training.train``.

Owns the recipe and the loop. Everything random follows from the seed; the schedule counts steps, not seconds. Writes
a directory that the demo loads like any other model, and a log of the run beside it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor

from demo.models.cogvlm import CogVLMConfig, CogVLMForConditionalGeneration
from training import export, optim, sets, tokenizer
from training.bank import Bank, Photos
from training.colours import COLOURS
from training.data import Batch, Source, corpus, loader
from training.initialise import initialise
from training.losses import dense_loss, picked, text_loss
from training.packed import DenseHead, PackedModel, normalised
from training.packing import IGNORED, TASKS
from training.render import Renderer
from training.tokenizer import COORDINATES, FIRST_COORDINATE

logger = logging.getLogger("training")

_CLIP = 5.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run is made of. The defaults are the run that made the bundled model."""

    steps: int = 18_000
    batch: int = 256
    length: int = 384  # text tokens of a row
    answers: int = 256  # labelled tokens of a row, at most
    merges: int = 1_000
    corpus: int = 3_000  # scenes whose conversations the tokenizer learns from
    muon_lr: float = 0.01
    adam_lr: float = 1.5e-3
    warm_steps: int = 200
    seed: int = 1
    workers: int = 14
    check_every: int = 1_000


def model_config(vocab: int) -> CogVLMConfig:
    """The bundled model: CogVLM2's shape (a merge convolution after the tower), small."""
    return CogVLMConfig(
        vocab_size=vocab,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_multi_query_heads=4,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        rope_theta=10_000.0,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
        vision_config={
            "hidden_size": 320,
            "intermediate_size": 1280,
            "num_hidden_layers": 8,
            "num_heads": 5,
            "image_size": 224,
            "patch_size": 14,
            "num_positions": 257,
            "in_channels": 3,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
            "dropout_prob": 0.0,
        },
    )


class Trainer:
    """The model, its dense head, the renderer and the optimisers, on one device."""

    def __init__(self, recipe: Recipe, bank: Bank, photos: Photos, words: object, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.model = CogVLMForConditionalGeneration(model_config(len(words)))  # type: ignore[arg-type]
        initialise(self.model)
        self.model.to(device)
        self.packed = PackedModel(self.model).to(device)
        width = self.model.config.vision_config.hidden_size
        self.dense = DenseHead(width, len(bank.nouns), len(COLOURS)).to(device)
        self.renderer = Renderer(bank, photos, device)
        self.optimizers = optim.optimizers(self.model, self.dense, muon_lr=recipe.muon_lr, adam_lr=recipe.adam_lr)
        self.rates = [group["lr"] for each in self.optimizers for group in each.param_groups]
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            self.packed.compile_layers()

    def losses(self, batch: Batch, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """-> text loss, dense loss, and for the answers' tokens the guesses and the labels, (M,) each."""
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        with torch.no_grad():
            images, owner = self.renderer.render(batch["layers"], batch["background"], number)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            hidden, patches = self.packed(
                normalised(images), batch["ids"].int(), batch["positions"].int(), batch["segment"]
            )
            hidden, labels = picked(hidden, batch["labels"].long(), self.recipe.answers)
            logits = self.model.lm_head(hidden.flatten(0, 1))
            heads = self.dense(patches)
        text = text_loss(logits, labels.flatten())
        dense = dense_loss(heads, owner.flatten(1), batch["nouns"].long(), batch["colours"].long(), batch["boxes"])
        return text, dense, logits.argmax(-1), labels.flatten()

    def step(self, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        recipe = self.recipe
        factor = optim.schedule(number / recipe.steps, warm=min(0.2, recipe.warm_steps / recipe.steps))
        groups = [group for each in self.optimizers for group in each.param_groups]
        for group, rate in zip(groups, self.rates):
            group["lr"] = rate * factor
        text, dense, *_ = self.losses(batch, number)
        (text + dense).backward()
        torch.nn.utils.clip_grad_norm_([*self.model.parameters(), *self.dense.parameters()], _CLIP)
        for each in self.optimizers:
            each.step()
            each.zero_grad(set_to_none=True)
        return text.detach(), dense.detach()

    @torch.no_grad()
    def check(self, batches: list[Batch]) -> dict[str, float]:
        """Share of answer tokens guessed right, by task, with the true answer so far given; coordinates within 20."""
        right: dict[str, list[float]] = {}
        for number, batch in enumerate(batches):
            *_, guesses, labels = self.losses(batch, 10**9 + number)
            tasks = picked(batch["tasks"][..., None].float(), batch["labels"].long(), self.recipe.answers)[0].flatten()
            guesses, labels = guesses.cpu(), labels.cpu()
            near = (guesses - labels).abs() <= 20
            boxes = _is_coordinate(labels) & _is_coordinate(guesses) & near
            good = (guesses == labels) | boxes
            for index, task in enumerate(TASKS):
                chosen = (tasks == index) & (labels != IGNORED)
                right.setdefault(task, []).extend(good[chosen].float().tolist())
        return {task: sum(hits) / len(hits) for task, hits in right.items() if hits}


def _is_coordinate(ids: Tensor) -> Tensor:
    return (ids >= FIRST_COORDINATE) & (ids < FIRST_COORDINATE + len(COORDINATES))


def run(recipe: Recipe, bank: Bank, photos: Photos, out: Path, device: torch.device) -> Path:
    """Train and save; returns the model's directory."""
    out.mkdir(parents=True, exist_ok=True)
    every = sets.training(bank, photos)
    words = tokenizer.build(corpus(bank, every, scenes=recipe.corpus, seed=recipe.seed + 100), merges=recipe.merges)
    trainer = Trainer(recipe, bank, photos, words, device)
    logger.info("%d parameters, %d tokens", sum(p.numel() for p in trainer.model.parameters()), len(words))
    checks = {
        name: _first(Source(bank, words, config, recipe.batch, recipe.length, recipe.seed + 1), 2)
        for name, config in sets.tests(bank, photos).items()
    }
    source = Source(bank, words, every, recipe.batch, recipe.length, recipe.seed)
    log = (out / "log.jsonl").open("w")
    log.write(json.dumps({"recipe": asdict(recipe), "torch": torch.__version__, "device": str(device)}) + "\n")
    began = time.monotonic()
    for number, batch in zip(range(recipe.steps), loader(source, workers=recipe.workers)):
        text, dense = trainer.step(batch, number)
        if number % 100 == 0:
            _record(log, step=number, seconds=time.monotonic() - began, text=text.item(), dense=dense.item())
        if (number + 1) % recipe.check_every == 0 or number + 1 == recipe.steps:
            for name, batches in checks.items():
                _record(
                    log, step=number + 1, set=name, right={k: round(v, 4) for k, v in trainer.check(batches).items()}
                )
            export.save(trainer.model, words, bank.nouns, out / "model")
    log.close()
    return out / "model"


def _first(source: Source, count: int) -> list[Batch]:
    return [batch for _, batch in zip(range(count), loader(source, workers=0))]


def _record(log: TextIO, **facts: object) -> None:
    log.write(json.dumps(facts) + "\n")
    log.flush()
    logger.info("%s", facts)


def main() -> None:
    default = Recipe()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("training/runs/latest"))
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument(
        "--smoke", action="store_true", help="a few tiny steps on drawn shapes, on the CPU, without downloads"
    )
    parser.add_argument("--seed", type=int, default=default.seed)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.smoke:
        recipe = Recipe(steps=3, batch=4, merges=200, corpus=20, workers=0, check_every=3, seed=options.seed)
        run(recipe, Bank.synthetic(), Photos.synthetic(), options.out, torch.device("cpu"))
        return
    from training import sprites

    sprites.fetch()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = Recipe(steps=options.steps, seed=options.seed, workers=max(1, (os.cpu_count() or 2) - 2))
    run(recipe, Bank.load(), Photos.load(), options.out, device)


if __name__ == "__main__":
    main()
