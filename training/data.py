"""Batches for the trainer: scenes as drawing parameters, and the packed conversations about them, as tensors.

Owns the worker processes' work: everything that needs no GPU. Pictures are drawn on the GPU, from these parameters.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import PreTrainedTokenizerFast

from training.asking import Asker
from training.bank import Bank
from training.packing import Encoder, Row, conversations, pack, scene_rng
from training.phrases import Banks
from training.scenes import MAX_THINGS, Scene, SceneConfig, sample_scene
from training.view import View

Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Source:
    """What a stream of batches is made of."""

    bank: Bank
    tokenizer: PreTrainedTokenizerFast
    config: SceneConfig
    batch: int
    length: int
    seed: int

    def rows(self, index: int, encoder: Encoder, banks: Banks) -> tuple[Scene, np.ndarray, np.ndarray, Row]:
        """Scene ``index`` of the seed: the same whoever asks."""
        rng = np.random.default_rng((self.seed, index))
        scene, layers, background = sample_scene(rng, self.bank, self.config)
        ask = Asker(View(scene, self.bank.nouns), scene_rng(self.seed, index), banks)
        told = (encoder.segment(turns, blind=blind) for turns, blind in conversations(ask))
        return scene, layers, background, pack(told, length=self.length)

    def batches(self, first: int, step: int) -> Iterator[Batch]:
        """Batches number ``first``, ``first + step``, …"""
        encoder, banks = Encoder(self.tokenizer), Banks.load()
        number = first
        while True:
            start = number * self.batch
            yield collate([self.rows(i, encoder, banks) for i in range(start, start + self.batch)])
            number += step


def collate(rows: list[tuple[Scene, np.ndarray, np.ndarray, Row]]) -> Batch:
    """Stack scenes and rows; nouns and colours (B, K) and boxes (B, K, 4) are those of the things, padded."""
    batch = len(rows)
    nouns = np.zeros((batch, MAX_THINGS), np.int16)
    colours = np.full((batch, MAX_THINGS), -1, np.int8)
    boxes = np.zeros((batch, MAX_THINGS, 4), np.float32)
    for i, (scene, *_) in enumerate(rows):
        for k, thing in enumerate(scene.things):
            nouns[i, k], colours[i, k], boxes[i, k] = thing.noun, thing.colour, thing.box
    stacked = {
        "layers": np.stack([row[1] for row in rows]),
        "background": np.stack([row[2] for row in rows]),
        "nouns": nouns,
        "colours": colours,
        "boxes": boxes,
        "ids": np.stack([row[3].ids for row in rows]),
        "labels": np.stack([row[3].labels for row in rows]),
        "positions": np.stack([row[3].positions for row in rows]),
        "segment": np.stack([row[3].segment for row in rows]),
        "tasks": np.stack([row[3].tasks for row in rows]),
    }
    return {name: torch.from_numpy(array) for name, array in stacked.items()}


class Stream(IterableDataset[Batch]):
    """A source dealt out to ``parts`` trainers, and each part to its loader's workers, in turn."""

    def __init__(self, source: Source, part: int, parts: int) -> None:
        self.source, self.part, self.parts = source, part, parts

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        return self.source.batches(self.part + worker * self.parts, workers * self.parts)


def _start_worker(_worker: int) -> None:
    gc.disable()  # nothing here makes cycles, and walking the bank again and again is slow


def loader(source: Source, *, workers: int, part: int = 0, parts: int = 1) -> DataLoader[Batch]:
    """Whole batches number ``part``, ``part + parts``, …, in an order that depends on the seed alone."""
    return DataLoader(
        Stream(source, part, parts),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=8 if workers else None,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_start_worker,
    )


def corpus(bank: Bank, config: SceneConfig, *, scenes: int, seed: int) -> Iterator[str]:
    """Conversations as text, for the tokenizer to learn from."""

    banks = Banks.load()
    for index in range(scenes):
        scene, *_ = sample_scene(np.random.default_rng((seed, index)), bank, config)
        ask = Asker(View(scene, bank.nouns), scene_rng(seed, index), banks)
        for turns, _ in islice(conversations(ask), 10):
            yield "\n".join(f"Question: {turn.question} Answer: {turn.answer}" for turn in turns)
