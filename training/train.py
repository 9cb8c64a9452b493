"""Trains the bundled model from scratch: ``python -m training.train``.

Owns the recipe, the loop, and going on from a model that was trained before. Everything random follows from the seed;
the schedule counts steps, not seconds. Writes a directory that the demo loads like any other model, and a log of the
run beside it.
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
from transformers import PreTrainedTokenizerFast

from demo.models.cogvlm import CogVLMConfig, CogVLMForConditionalGeneration
from training import export, optim, photos, sets, sprites, tokenizer
from training.bank import Bank, Photos
from training.colours import COLOURS
from training.data import Batch, Source, corpus, loader
from training.initialise import initialise
from training.losses import dense_loss, picked, text_loss
from training.nouns import load_nouns
from training.packed import DenseHead, PackedModel, normalised
from training.packing import IGNORED, TASKS
from training.render import Renderer
from training.team import Team
from training.tokenizer import COORDINATES, FIRST_COORDINATE

logger = logging.getLogger("training")

_CLIP = 5.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run is made of. The defaults are a whole run; the bundled model's own are in training/README.md."""

    steps: int = 8_449
    batch: int = 512
    length: int = 381  # text tokens of a row: with the picture 448, which attention kernels like
    answers: int = 240  # labelled tokens of a row, at most
    merges: int = 1_000
    corpus: int = 3_000  # scenes whose conversations the tokenizer learns from
    muon_lr: float = 0.01
    adam_lr: float = 1.5e-3
    rate: float = 1.0  # share of both rates; less where a run goes on from a trained model
    dense: float = 1.0  # weight of the dense loss; its head is new in every run
    warm_steps: int = 200
    seed: int = 1
    workers: int = 14
    check_every: int = 3_000
    check_batches: int = 2
    decoder_layers: int = 5
    tower_layers: int = 8


def model_config(vocab: int, *, decoder_layers: int = 5, tower_layers: int = 8) -> CogVLMConfig:
    """The bundled model: CogVLM2's shape (a merge convolution after the tower), small."""
    return CogVLMConfig(
        vocab_size=vocab,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=decoder_layers,
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
            "num_hidden_layers": tower_layers,
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


@dataclass(slots=True)
class Pace:
    """How many steps fit into a time, by the speed of some early ones, after compiling."""

    limit_s: float
    timed_from: int = 100
    timed_until: int = 500
    _started_s: float = 0.0

    def start(self, now_s: float) -> None:
        self._started_s = now_s

    def steps(self, now_s: float) -> int:
        step_s = (now_s - self._started_s) / (self.timed_until - self.timed_from)
        return self.timed_until + max(1, int((self.limit_s - now_s) / step_s))


class Trainer:
    """The model, its dense head, the renderer and the optimisers, on one device."""

    def __init__(self, recipe: Recipe, bank: Bank, photos: Photos, words: PreTrainedTokenizerFast, team: Team) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.team = recipe, team
        config = model_config(len(words), decoder_layers=recipe.decoder_layers, tower_layers=recipe.tower_layers)
        self.model = CogVLMForConditionalGeneration(config)
        initialise(self.model)
        self.dense = DenseHead(self.model.config.vision_config.hidden_size, len(bank.nouns), len(COLOURS))
        self.model.to(team.device)
        self.dense.to(team.device)
        self.packed = PackedModel(self.model)
        self.parameters = [*self.model.parameters(), *self.dense.parameters()]
        self.renderer = Renderer(bank, photos, team.device)
        self.optimizers = optim.optimizers(self.model, self.dense, muon_lr=recipe.muon_lr, adam_lr=recipe.adam_lr)
        self.rates = [group["lr"] for each in self.optimizers for group in each.param_groups]
        self.text_loss = text_loss
        if team.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            self.packed.compile_layers()
            self.text_loss = torch.compile(text_loss, dynamic=False)

    def read(self, batch: Batch, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """-> hidden states (M, D) of the answers' tokens and their labels (M,), and the dense loss."""
        batch = {name: tensor.to(self.team.device, non_blocking=True) for name, tensor in batch.items()}
        with torch.no_grad():
            images, owner = self.renderer.render(batch["layers"], batch["background"], seed)
        with self._autocast():
            hidden, patches = self.packed(
                normalised(images), batch["ids"].int(), batch["positions"].int(), batch["segment"]
            )
            hidden, labels = picked(hidden, batch["labels"].long(), self.recipe.answers)
            heads = self.dense(patches)
        dense = dense_loss(heads, owner.flatten(1), batch["nouns"].long(), batch["colours"].long(), batch["boxes"])
        return hidden.flatten(0, 1), labels.flatten(), dense

    def _autocast(self) -> torch.autocast:
        kind = self.team.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")

    def step(self, batch: Batch, number: int, steps: int) -> tuple[Tensor, Tensor]:
        """One update; -> this process's text loss and dense loss."""
        factor = self.recipe.rate * optim.schedule(number, steps, warm_steps=self.recipe.warm_steps)
        groups = [group for each in self.optimizers for group in each.param_groups]
        for group, rate in zip(groups, self.rates):
            group["lr"] = rate * factor
        hidden, labels, dense = self.read(batch, number * self.team.size + self.team.rank)
        with self._autocast():
            text = self.text_loss(self.model.lm_head.weight, hidden, labels)
        (text + self.recipe.dense * dense).backward()
        self.team.average_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, _CLIP)
        for each in self.optimizers:
            each.step()
            each.zero_grad(set_to_none=True)
        return text.detach(), dense.detach()

    @torch.no_grad()
    def check(self, batches: list[Batch]) -> dict[str, float]:
        """Share of answer tokens guessed right, by task, with the true answer so far given; coordinates within 20."""
        torch.compiler.set_stance("force_eager")  # compiling once more, without gradients, would take longer
        right: dict[str, list[float]] = {}
        for number, batch in enumerate(batches):
            hidden, labels, _ = self.read(batch, 10**9 + number)
            with self._autocast():
                guesses = self.model.lm_head(hidden).argmax(-1)
            tasks = picked(batch["tasks"][..., None].float(), batch["labels"].long(), self.recipe.answers)[0].flatten()
            guesses, labels = guesses.cpu(), labels.cpu()
            near = (guesses - labels).abs() <= 20
            boxes = _is_coordinate(labels) & _is_coordinate(guesses) & near
            good = (guesses == labels) | boxes
            for index, task in enumerate(TASKS):
                chosen = (tasks == index) & (labels != IGNORED)
                right.setdefault(task, []).extend(good[chosen].float().tolist())
        torch.compiler.set_stance("default")
        return {task: sum(hits) / len(hits) for task, hits in right.items() if hits}


def _is_coordinate(ids: Tensor) -> Tensor:
    return (ids >= FIRST_COORDINATE) & (ids < FIRST_COORDINATE + len(COORDINATES))


def run(
    recipe: Recipe, bank: Bank, pictures: Photos, out: Path, *, minutes: float | None = None, start: Path | None = None
) -> Path:
    """Train and save; returns the model's directory.

    ``minutes``: as many steps as fit instead. ``start``: the directory of a trained model to go on from, whose tokens
    stay what they are.
    """
    team = Team.join()
    out.mkdir(parents=True, exist_ok=True)
    every = sets.training(bank, pictures)
    words = (
        tokenizer.load(start)
        if start
        else tokenizer.build(corpus(bank, every, scenes=recipe.corpus, seed=recipe.seed + 100), merges=recipe.merges)
    )
    trainer = Trainer(recipe, bank, pictures, words, team)
    if start:
        trainer.model.load_state_dict(
            CogVLMForConditionalGeneration.from_pretrained(start, dtype="float32").state_dict()
        )
    logger.info("%d parameters, %d tokens", sum(p.numel() for p in trainer.model.parameters()), len(words))
    share = recipe.batch // team.size
    checks = {
        name: _first(Source(bank, words, config, share, recipe.length, recipe.seed + 1), recipe.check_batches)
        for name, config in sets.tests(bank, pictures).items()
    }
    source = Source(bank, words, every, share, recipe.length, recipe.seed)
    batches = iter(loader(source, workers=recipe.workers // team.size, part=team.rank, parts=team.size))
    steps, pace, began = recipe.steps, Pace(60 * minutes) if minutes else None, time.monotonic()
    with (out / f"log-{team.rank}.jsonl").open("w") as log:
        _record(log, recipe=asdict(recipe), torch=torch.__version__, device=str(team.device), processes=team.size)
        number = 0
        while number < steps:
            text, dense = trainer.step(next(batches), number, steps)
            if number % 100 == 0:
                _record(log, step=number, seconds=time.monotonic() - began, text=text.item(), dense=dense.item())
            if pace and number == pace.timed_until:
                steps = team.first_says(pace.steps(time.monotonic() - began))
            elif pace and number == pace.timed_from:
                pace.start(time.monotonic() - began)
            number += 1
            if team.is_first and (number % recipe.check_every == 0 or number == steps):
                for name, some in checks.items():
                    right = {task: round(share, 4) for task, share in trainer.check(some).items()}
                    _record(log, step=number, set=name, right=right, seconds=time.monotonic() - began)
                export.save(trainer.model, words, bank.nouns, out / "model")
    team.leave()
    return out / "model"


def _first(source: Source, count: int) -> list[Batch]:
    return [batch for _, batch in zip(range(count), loader(source, workers=0))]


def _record(log: TextIO, **facts: object) -> None:
    log.write(json.dumps(facts) + "\n")
    log.flush()
    logger.info("%s", facts)


def gather() -> None:
    """Fetch and rasterise what scenes are made of, where that has not been done."""
    if not sprites.BANK.exists():
        sprites.save_bank(sprites.build_bank(load_nouns()), sprites.BANK)
    if not photos.PHOTOS.exists():
        photos.save(photos.collect())


def main() -> None:
    default = Recipe()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("training/runs/latest"))
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument(
        "--smoke", action="store_true", help="a few tiny steps on drawn shapes, on the CPU, without downloads"
    )
    parser.add_argument("--minutes", type=float, help="as many steps as fit instead")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--start", type=Path, help="go on from this model, with no dense loss")
    parser.add_argument("--rate", type=float, default=default.rate, help="share of the rates")
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the loader's workers are forked
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.smoke:
        torch.set_num_threads(1)  # the renderer's many small steps lose by sharing them out
        recipe = Recipe(steps=3, batch=4, merges=200, corpus=20, workers=0, check_batches=1, seed=options.seed)
        run(recipe, Bank.synthetic(), Photos.synthetic(), options.out)
        return
    gather()
    recipe = Recipe(
        steps=options.steps,
        seed=options.seed,
        workers=max(1, (os.cpu_count() or 2) - 2),
        rate=options.rate,
        dense=0.0 if options.start else default.dense,
    )
    run(recipe, Bank.load(), Photos.load(), options.out, minutes=options.minutes, start=options.start)


if __name__ == "__main__":
    main()
