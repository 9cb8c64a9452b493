"""The benchmark of quantization: scenes that travel in a file, what is left alone, and how answers are compared."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import checkpoints, quantization
from tests.benchmarks import shapes
from training import evaluate, sets
from training.bank import Bank, Photos

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes") / "scenes.npz"
    quantization.store(Bank.synthetic(), Photos.synthetic(), 2, path)
    return path


def said(chains):
    return [[(p.scene, p.group, p.text(), p.turn.answer) for p in chain] for chain in chains]


def test_scenes_come_out_of_the_file_as_the_evaluation_draws_them(file):
    bank, photos = Bank.synthetic(), Photos.synthetic()
    found = quantization.scenes(file)
    for number, (name, config) in enumerate(sets.tests(bank, photos).items()):
        seed = evaluate.SEED + 1_000_000 * number
        album = evaluate.draw(bank, photos, config, count=2, seed=seed, device=CPU)
        assert torch.equal(found[name].album.pictures, album.pictures)
        assert said(found[name].chains) == said(evaluate.prompts(album, bank, seed=seed))
    assert len(found) == number + 1


def test_the_first_scenes_bring_only_their_own_questions(file):
    whole, part = quantization.scenes(file), quantization.scenes(file, 1)
    for name, set_ in part.items():
        assert torch.equal(set_.album.pictures, whole[name].album.pictures[:1])
        assert said(set_.chains) == said([chain for chain in whole[name].chains if chain[0].scene == 0])
        assert set_.chains


@pytest.mark.parametrize(("library", "kind"), [choice.split(":") for choice in quantization.CHOICES if ":" in choice])
def test_each_choice_has_a_recipe_that_names_its_library(library, kind):
    pytest.importorskip(library)
    method = quantization.recipe(library, kind, ["lm_head"], torch.bfloat16).quant_method
    assert method.value == library


def test_later_turns_are_asked_with_the_answers_before_them(file):
    chain = max(quantization.scenes(file)["photo"].chains, key=len)
    chain[0].answer = "a first answer"
    assert len(chain) > 1
    assert all("Answer: a first answer" in prompt.text() for prompt in chain[1:])


def test_parts_say_what_is_quantized_besides_the_layers(tmp_path):
    model = checkpoints.on_meta(checkpoints.config_of(shapes.llava(tmp_path)))
    left = {part: quantization.left_alone(model, "int8", part) for part in quantization.PARTS}
    assert left["all"] == []
    assert left["vision"] == ["lm_head"]
    assert left["layers"] == [*left["head"], "lm_head"]
    assert any("vision_tower" in path for path in left["head"])


def test_answers_are_compared_with_those_of_the_model_as_it_is():
    rows = [
        {"choice": "none", "answers": ["a", "b", "c", "d"]},
        {"choice": "torchao:int4", "answers": ["a", "b", "c", "x"]},
        {"choice": "bitsandbytes:int4", "outcome": "failed"},
    ]
    assert [row.get("same_percent") for row in quantization.compared(rows)] == [100, 75, None]


def test_the_table_shows_what_was_measured_and_what_failed():
    measured = {"outcome": "measured", "right_percent": 98.5, "same_percent": 96.0, "peak": 2**30}
    rows = [
        {"what": "accuracy", "choice": "torchao:int8", "part": "layers", **measured},
        {"what": "speed", "choice": "torchao:int8", "part": "all", "outcome": "failed", "error": "no | such\nkernel"},
    ]
    text = quantization.table(rows)
    assert "| torchao:int8 | layers | 98.50 | 96.00 | 1.00 |" in text
    assert "| torchao:int8 | all | failed: no / such kernel |" in text


def test_a_model_is_measured_and_a_library_that_is_not_there_is_an_outcome(tmp_path):
    shards = checkpoints.prepare(shapes.llava(tmp_path), tmp_path / "tiny")
    for shard in shards:
        checkpoints.fill(shard)
    arguments = ["run", "--dir", str(tmp_path / "tiny"), "--device", "cpu", "--tokens", "8", "--jobs", "2"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.quantization", *arguments, "--choice", "none", "nowhere:int8"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    plain, missing = json.loads(run.stdout.splitlines()[-1])["rows"]
    assert (plain["what"], plain["outcome"]) == ("speed", "measured")
    assert plain["tokens_per_s"] > 0
    assert missing["outcome"] == "failed"
    assert "nowhere" in missing["error"]
