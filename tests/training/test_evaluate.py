"""The evaluation: what is asked, what the figures mean, and that batches answer as the demo would."""

import copy

import pytest
import torch
from PIL import Image

from demo.models.cogvlm import CogVLMForConditionalGeneration, CogVLMProcessor
from training import export, sets
from training.bank import Photos
from training.evaluate import Answerer, Prompt, ask_all, draw, measure, prompts, table
from training.initialise import initialise
from training.scoring import NounCounter
from training.train import model_config

GROUPS = {
    "ground", "ground page", "ground unseen", "absent", "region", "question", "question unseen", "caption",
    "caption grounded", "alien or unknown", "first turn", "later turn",
    "caption in turn 4", "caption unseen",
}  # fmt: skip
CPU = torch.device("cpu")
TOKENS = 200  # the evaluation's own limit


@pytest.fixture(scope="module")
def album(bank):
    config = sets.tests(bank, Photos.synthetic())["in style"]
    return draw(bank, Photos.synthetic(), config, count=6, seed=5, device=CPU)


@pytest.fixture(scope="module")
def chains(album, bank):
    return prompts(album, bank, seed=5)


@pytest.fixture(scope="module")
def count(bank):
    return NounCounter(bank.nouns)


@pytest.fixture(scope="module")
def saved(bank, words, tmp_path_factory):
    """A model that has learnt nothing, as a run would save it."""
    torch.manual_seed(3)
    model = CogVLMForConditionalGeneration(model_config(len(words), decoder_layers=1, tower_layers=1))
    initialise(model)
    directory = tmp_path_factory.mktemp("model")
    export.save(model, words, bank.nouns, directory)
    return directory


@pytest.fixture(scope="module")
def model(saved):
    return CogVLMForConditionalGeneration.from_pretrained(saved, dtype=torch.float32).eval()


def answered(chains, answer):
    """A copy of all prompts, each answered by ``answer(prompt)``."""
    asked = [prompt for chain in copy.deepcopy(chains) for prompt in chain]
    for prompt in asked:
        prompt.answer = answer(prompt)
    return asked


def test_every_scene_is_asked_about_in_every_way(album, chains):
    for scene in range(len(album.scenes)):
        assert {prompt.group for chain in chains for prompt in chain if prompt.scene == scene} == GROUPS


def test_the_same_seed_asks_the_same(album, bank, chains):
    def texts(seed):
        return [(p.text(), p.turn.answer) for chain in prompts(album, bank, seed=seed) for p in chain]

    assert texts(5) == texts(5)
    assert texts(5) != texts(6)


def test_later_turns_carry_the_turns_before_them(chains):
    for chain in chains:
        for place, prompt in enumerate(chain):
            assert [id(p) for p in prompt.history] == [id(p) for p in chain[:place]]
    long = next(chain for chain in chains if len(chain) == 4)
    long = copy.deepcopy(long)
    for number, prompt in enumerate(long):
        prompt.answer = f"answer {number}"
    first, second, third, _ = (prompt.turn.question for prompt in long)
    assert long[2].text() == (
        f"Question: {first} Answer: answer 0\nQuestion: {second} Answer: answer 1\nQuestion: {third} Answer:"
    )


def test_pictures_are_drawn_one_a_scene(album):
    assert album.pictures.shape == (6, 3, 224, 224)
    assert album.pictures.dtype == torch.uint8
    assert len({picture.numpy().tobytes() for picture in album.pictures}) == 6


def test_the_truth_scores_a_hundred_everywhere(chains, count):
    figures = measure(answered(chains, lambda prompt: prompt.turn.answer), count)
    assert figures.pop("unparseable boxes") == 0
    assert set(figures.values()) == {100.0}
    assert figures.keys() >= GROUPS


def test_rubbish_scores_nothing(chains, count):
    figures = measure(answered(chains, lambda _: "xyz [[12"), count)
    assert figures.pop("unparseable boxes") == 100
    assert set(figures.values()) == {0.0}


def test_half_the_truth_scores_half(chains, count):
    asked = [p for p in answered(chains, lambda p: p.turn.answer) if p.group == "ground page" and "[[" in p.answer]
    captions = [p for p in answered(chains, lambda p: p.turn.answer) if p.group == "caption"]
    assert len(asked) > 2
    for prompt in asked[1:]:
        prompt.answer = "There is no such thing."
    figures = measure([*asked, *captions], count)
    assert figures["ground page"] == pytest.approx(100 / len(asked))
    assert figures["grounding: answers with all boxes right"] == pytest.approx(100 / len(asked))


def test_the_table_has_a_column_for_each_set_and_a_row_for_each_figure():
    text = table({"in style": {"ground": 99.04, "caption": 98.0}, "photo": {"ground": 95.0}})
    assert text.splitlines() == [
        "| | in style | photo |", "|---|---|---|", "| ground | 99.0 | 95.0 |", "| caption | 98.0 |  |"
    ]  # fmt: skip


def as_the_demo_asks(model, processor, album, prompt):
    """One prompt alone: the picture as a picture, through the processor, to the model's ordinary generate."""
    picture = Image.fromarray(album.pictures[prompt.scene].permute(1, 2, 0).numpy())
    messages = []
    for said in prompt.history:
        messages += [{"role": "user", "content": said.turn.question}, {"role": "assistant", "content": said.answer}]
    messages.append({"role": "user", "content": prompt.turn.question})
    messages[0]["content"] = [{"type": "image", "image": picture}, {"type": "text", "text": messages[0]["content"]}]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    made = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    return processor.tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def test_answers_in_a_batch_are_those_that_the_demo_gets_one_by_one(model, saved, words, album, chains):
    processor = CogVLMProcessor.from_pretrained(saved)
    some = copy.deepcopy([*chains[:3], *(chain for chain in chains if len(chain) == 4)][:5])
    asked = ask_all(some, Answerer(model, words, album, batch=4))
    assert max(len(prompt.history) for prompt in asked) == 3
    for prompt in asked:
        assert prompt.answer == as_the_demo_asks(model, processor, album, prompt)


def test_answers_depend_on_the_picture_they_are_about(model, words, album, chains):
    turn = chains[0][0].turn
    asked = [Prompt(scene, "ground", turn) for scene in range(len(album.scenes))]
    Answerer(model, words, album, batch=6).answer(asked)
    assert len({prompt.answer for prompt in asked}) > 1
