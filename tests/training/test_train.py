"""A run in small, on the CPU: it saves what the demo loads, repeats itself from its seed, and learns."""

import dataclasses
import json
import math

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from demo.models.cogvlm import CogVLMForConditionalGeneration, CogVLMProcessor
from training.bank import Photos
from training.data import Source, loader
from training.packing import TASKS
from training.team import Team
from training.train import Recipe, Trainer, model_config, run

TINY = Recipe(
    steps=2, batch=2, length=160, answers=80, merges=100, corpus=20, warm_steps=2, workers=0, check_batches=1,
    decoder_layers=1, tower_layers=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(bank, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    assert run(TINY, bank, Photos.synthetic(), out) == out / "model"
    return out


def weights(directory):
    return {name: w for file in directory.glob("*.safetensors") for name, w in load_file(file).items()}


def test_a_run_logs_its_recipe_finite_losses_and_what_it_guesses_right(trained):
    recipe, first, *checks = (json.loads(line) for line in (trained / "log-0.jsonl").read_text().splitlines())
    assert recipe["recipe"] == dataclasses.asdict(TINY)
    assert math.isfinite(first["text"])
    assert math.isfinite(first["dense"])
    assert [check["set"] for check in checks] == ["in style", "photo"]
    for check in checks:
        assert check["step"] == TINY.steps
        assert check["right"].keys() <= set(TASKS)
        assert all(0 <= share <= 1 for share in check["right"].values())


def test_the_demo_loads_what_a_run_saved_and_it_answers(trained):
    model = CogVLMForConditionalGeneration.from_pretrained(trained / "model").eval()
    processor = CogVLMProcessor.from_pretrained(trained / "model")
    question = [{"type": "image", "image": Image.new("RGB", (90, 60), "red")}, {"type": "text", "text": "What is it?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    ).to(model.dtype)
    made = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    assert made.shape[1] > inputs["input_ids"].shape[1]
    assert torch.isfinite(model(**inputs).logits).all()


def test_the_saved_directory_names_its_nouns(trained, bank):
    nouns = json.loads((trained / "model" / "nouns.json").read_text())
    assert nouns == {noun.name: noun.codepoint for noun in bank.nouns}


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained, bank, tmp_path):
    again = weights(run(TINY, bank, Photos.synthetic(), tmp_path / "again"))
    other = weights(run(dataclasses.replace(TINY, seed=2), bank, Photos.synthetic(), tmp_path / "other"))
    first = weights(trained / "model")
    assert first.keys() == again.keys() == other.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(first[name].shape == other[name].shape and torch.equal(first[name], other[name]) for name in first)


def test_a_run_goes_on_from_a_trained_model_with_its_tokens(trained, bank, tmp_path):
    recipe = dataclasses.replace(TINY, seed=2, merges=50, rate=0.0, dense=0.0)
    again = run(recipe, bank, Photos.synthetic(), tmp_path / "again", start=trained / "model")
    assert (again / "tokenizer.json").read_text() == (trained / "model" / "tokenizer.json").read_text()
    before, after = weights(trained / "model"), weights(again)
    assert all(torch.equal(before[name], after[name]) for name in before)  # a rate of 0 leaves them


def test_a_few_pictures_are_learnt_by_heart(bank, config, words):
    recipe = dataclasses.replace(TINY, steps=24, batch=4, length=128, answers=80, warm_steps=5)
    trainer = Trainer(recipe, bank, Photos.synthetic(), words, Team(0, 1, torch.device("cpu")))
    batch = next(iter(loader(Source(bank, words, config, recipe.batch, recipe.length, seed=3), workers=0)))
    losses = [trainer.step(batch, number, recipe.steps) for number in range(recipe.steps)]
    text, dense = ([loss.item() for loss in column] for column in zip(*losses))
    assert text[-1] < 0.4 * text[0]
    assert dense[-1] < 0.4 * dense[0]
    right = trainer.check([batch])
    assert sum(right.values()) / len(right) > 0.4


def test_a_recipes_shape_is_the_models():
    config = model_config(300, decoder_layers=2, tower_layers=3)
    assert (config.num_hidden_layers, config.vision_config.num_hidden_layers) == (2, 3)
    default = Recipe()
    shipped = model_config(300)
    assert shipped.num_hidden_layers == default.decoder_layers
    assert shipped.vision_config.num_hidden_layers == default.tower_layers
