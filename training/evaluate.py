"""Measures a trained model on held-out scenes by greedy generation: ``python -m training.evaluate``.

Owns the sets, the prompts and the table. Scenes come from seeds that training never uses; "photo" has photographs that
training never saw, "unseen style" drawings in a style it never saw. Later turns of a conversation are asked with the
model's own earlier answers as history. The measures are in `training.scoring`.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from demo.models.cogvlm import CogVLMForConditionalGeneration
from training import sets
from training import tokenizer as words
from training.asking import Asker, Turn
from training.bank import Bank, Photos
from training.captions import caption_detailed, caption_grounded, caption_short
from training.dialogue import conversation
from training.packed import normalised
from training.packing import scene_rng
from training.phrases import Banks, Split
from training.questions import question
from training.referring import ground, ground_absent, region
from training.render import Renderer
from training.scenes import Scene, SceneConfig, sample_scene
from training.scoring import NounCounter, boxes_of, is_well_formed, matched, overlap, same_answer, same_boxes
from training.small_talk import alien, unknown
from training.view import View

SEED = 20_000_000
_CAPTIONS = ("caption_short", "caption_detailed", "caption_grounded")
_LONG = 200  # tokens that the longest caption may take


@dataclass
class Prompt:
    """One question to be asked, and what came of it."""

    scene: int
    group: str  # what it counts for
    turn: Turn
    history: list[Prompt] = field(default_factory=list)
    answer: str = ""

    def text(self) -> str:
        said = "".join(f"Question: {p.turn.question} Answer: {p.answer}\n" for p in self.history)
        return f"{said}Question: {self.turn.question} Answer:"


@dataclass(frozen=True, slots=True)
class Album:
    """The scenes of a set and their pictures, (N, 3, S, S) bytes."""

    scenes: list[Scene]
    pictures: Tensor


def draw(bank: Bank, photos: Photos, config: SceneConfig, *, count: int, seed: int, device: torch.device) -> Album:
    sampled = [sample_scene(np.random.default_rng((seed, i)), bank, config) for i in range(count)]
    renderer = Renderer(bank, photos, device, compiled=False)
    pictures = []
    for start in range(0, count, 64):
        part = sampled[start : start + 64]
        layers, backgrounds = (torch.from_numpy(np.stack([row[k] for row in part])).to(device) for k in (1, 2))
        pictures.append(renderer.render(layers, backgrounds, seed + start)[0].cpu())
    return Album([row[0] for row in sampled], torch.cat(pictures))


def prompts(album: Album, bank: Bank, *, seed: int) -> list[list[Prompt]]:
    """Per conversation its prompts in order; most have one."""
    banks = Banks.load()
    return [
        chain
        for i, scene in enumerate(album.scenes)
        for chain in _about(i, View(scene, bank.nouns), scene_rng(seed, i), banks)
    ]


def _about(index: int, view: View, rng: random.Random, banks: Banks) -> Iterator[list[Prompt]]:
    def asker(split: Split) -> Asker:
        return Asker(view, rng, banks, split)

    trained, unseen, page = asker("train"), asker("unseen"), asker("page")
    yield [Prompt(index, "ground", ground(trained))]
    yield [Prompt(index, "ground page", ground(page))]
    yield [Prompt(index, "ground unseen", ground(unseen))]
    yield [Prompt(index, "absent", ground_absent(rng.choice((trained, page))))]
    yield [Prompt(index, "region", region(trained))]
    for _ in range(2):
        yield [Prompt(index, "question", question(trained))]
        yield [Prompt(index, "question unseen", question(unseen))]
    yield [Prompt(index, "caption", rng.choice((caption_short, caption_detailed))(rng.choice((trained, page))))]
    yield [Prompt(index, "caption grounded", caption_grounded(rng.choice((trained, page))))]
    yield [Prompt(index, "caption unseen", rng.choice((caption_short, caption_detailed, caption_grounded))(unseen))]
    yield [Prompt(index, "alien or unknown", rng.choice((alien, unknown))(rng.choice((trained, unseen))))]
    chain: list[Prompt] = []
    for turn in conversation(trained, 3):
        chain.append(Prompt(index, "later turn" if chain else "first turn", turn, history=list(chain)))
    yield [*chain, Prompt(index, "caption in turn 4", caption_short(trained), history=list(chain))]


class Answerer:
    """Greedy generation in batches, by the model's own `generate`; each picture is looked at once."""

    def __init__(
        self, model: CogVLMForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, album: Album, batch: int
    ) -> None:
        self.model, self.tokenizer, self.batch = model, tokenizer, batch
        self.features = torch.cat([self._see(part) for part in album.pictures.split(64)])  # (scenes, N, D)

    @torch.inference_mode()
    def _see(self, pictures: Tensor) -> Tensor:
        pixels = normalised(pictures.to(self.model.device)).to(self.model.dtype)
        return self.model.get_image_features(pixels)

    def answer(self, asked: Sequence[Prompt]) -> None:
        """Fill in ``answer``; prompts of like length and like answers go together."""
        order = sorted(asked, key=lambda p: (len(p.turn.answer) // 40, len(p.text())))
        for start in range(0, len(order), self.batch):
            self._answer(order[start : start + self.batch])

    @torch.inference_mode()
    def _answer(self, asked: Sequence[Prompt]) -> None:
        config, device = self.model.config, self.model.device
        encoded = self.tokenizer([p.text() for p in asked], add_special_tokens=False)["input_ids"]
        longest = max(len(ids) for ids in encoded)
        image = config.num_image_tokens
        start = [config.bos_token_id] + [config.pad_token_id] * image
        ids = torch.tensor([[config.pad_token_id] * (longest - len(e)) + start + e for e in encoded], device=device)
        column = torch.arange(ids.shape[1], device=device)[None]
        first = torch.tensor([longest - len(e) for e in encoded], device=device)[:, None]
        types = ((column > first) & (column <= first + image)).long()
        features = self.features[[p.scene for p in asked]].flatten(0, 1)
        embeds = self.model.model.embed_tokens(ids).masked_scatter((types == 1)[..., None], features)
        made = self.model.generate(
            inputs_embeds=embeds,
            attention_mask=(column >= first).long(),
            mm_token_type_ids=types,
            max_new_tokens=_LONG,
            do_sample=False,
        )
        for prompt, text in zip(asked, self.tokenizer.batch_decode(made, skip_special_tokens=True)):
            prompt.answer = text.strip()


def ask_all(chains: list[list[Prompt]], answerer: Answerer) -> list[Prompt]:
    """Turn by turn, so that every question is asked with the answers before it."""
    for depth in range(max(len(chain) for chain in chains)):
        answerer.answer([chain[depth] for chain in chains if len(chain) > depth])
    return [prompt for chain in chains for prompt in chain]


def is_right(prompt: Prompt, count: NounCounter) -> bool:
    wanted = count(prompt.turn.answer)
    if prompt.turn.task in _CAPTIONS and wanted:  # of an empty picture it has to be said that it is empty
        return count(prompt.answer) == wanted
    return same_answer(prompt.answer, prompt.turn.answer)


def measure(asked: Sequence[Prompt], count: NounCounter) -> dict[str, float]:
    """All figures in per cent."""
    groups: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in asked:
        groups[prompt.group].append(prompt)
        if prompt.group in ("question", "question unseen"):
            groups[f"  {prompt.turn.task}"].append(prompt)
    figures = {
        name: 100 * sum(is_right(p, count) for p in group) / len(group) for name, group in sorted(groups.items())
    }
    asked_in = {"grounding": [*groups["ground"], *groups["ground page"]], "grounding, unseen": groups["ground unseen"]}
    for name, group in asked_in.items():
        grounded = [p for p in group if boxes_of(p.turn.answer)]
        wanted = sum(len(boxes_of(p.turn.answer)) for p in grounded)
        hits = sum(matched(boxes_of(p.answer), boxes_of(p.turn.answer)) for p in grounded)
        figures[f"{name}: boxes found (IoU 0.5)"] = 100 * hits / max(1, wanted)
        right = sum(same_boxes(p.answer, p.turn.answer) for p in grounded)
        figures[f"{name}: answers with all boxes right"] = 100 * right / max(1, len(grounded))
    for name, captions in (
        ("caption", [*groups["caption"], *groups["caption grounded"]]),
        ("caption, unseen", groups["caption unseen"]),
        ("caption in turn 4", groups["caption in turn 4"]),
    ):
        hits = sum(overlap(count(p.answer), count(p.turn.answer)) for p in captions)
        figures[f"{name}: object precision"] = 100 * hits / max(1, sum(count(p.answer).total() for p in captions))
        figures[f"{name}: object recall"] = 100 * hits / max(1, sum(count(p.turn.answer).total() for p in captions))
    boxed = [p for p in asked if "[[" in p.answer]
    figures["unparseable boxes"] = 100 * sum(not is_well_formed(p.answer) for p in boxed) / max(1, len(boxed))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("assets/bundled"))
    parser.add_argument("--scenes", type=int, default=2_000)
    parser.add_argument("--batch", type=int, help="default: 256, on a CPU 64, which is three times as fast there")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: bfloat16, on a CPU float32")
    parser.add_argument("--out", type=Path, default=Path("training/runs/results.json"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sets", nargs="*", help="some of the sets only, by name")
    options = parser.parse_args()
    device = torch.device(options.device)
    is_on_cpu = device.type == "cpu"
    dtype = getattr(torch, options.dtype or ("float32" if is_on_cpu else "bfloat16"))
    batch = options.batch or (64 if is_on_cpu else 256)
    model = CogVLMForConditionalGeneration.from_pretrained(
        options.model, dtype=dtype, device_map={"": str(device)}
    ).eval()
    bank, photos = Bank.load(), Photos.load()
    count = NounCounter(bank.nouns)
    results: dict[str, dict[str, float]] = {}
    wrong: dict[str, list[dict[str, str]]] = {}
    for number, (name, config) in enumerate(sets.tests(bank, photos).items()):
        if options.sets and name not in options.sets:
            continue
        seed = SEED + 1_000_000 * number
        album = draw(bank, photos, config, count=options.scenes, seed=seed, device=device)
        asked = ask_all(prompts(album, bank, seed=seed), Answerer(model, words.load(options.model), album, batch))
        results[name] = measure(asked, count)
        wrong[name] = [
            {"task": p.turn.task, "group": p.group, "prompt": p.text(), "answer": p.answer, "truth": p.turn.answer}
            for p in asked
            if not is_right(p, count)
        ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps({"model": str(options.model), "scenes": options.scenes, "results": results}, indent=1) + "\n"
    )
    options.out.with_suffix(".wrong.json").write_text(json.dumps(wrong, indent=0))
    print(table(results))


def table(results: dict[str, dict[str, float]]) -> str:
    """The figures as a Markdown table, a column a set."""
    sets = list(results)
    rows = list(dict.fromkeys(row for figures in results.values() for row in figures))
    lines = ["| | " + " | ".join(sets) + " |", "|---|" + "---|" * len(sets)]
    lines += [
        f"| {row} | " + " | ".join(f"{results[s][row]:.1f}" if row in results[s] else "" for s in sets) + " |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
