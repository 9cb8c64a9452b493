"""Choosing tokens for several answers at a time, each by its own settings."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from demo.backends.choosing import Chooser, choose_all
from demo.backends.streaming import settings_for
from demo.errors import BrokenCheckpoint
from demo.types import Sampling

WORDS = 12
PROMPT = torch.tensor([[1, 2, 3]])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, eos_token_id=0, **sizes)).eval()


def chooser(model, neutral=None, **sampling) -> Chooser:
    sampling = Sampling(**sampling)
    neutral = neutral or GenerationConfig(eos_token_id=0, pad_token_id=0)
    return Chooser(model, settings_for(sampling, neutral, max_new_tokens=8), PROMPT, sampling.seed)


def scores(seed: int, rows: int = 1) -> torch.Tensor:
    return torch.randn(rows, WORDS, generator=torch.Generator().manual_seed(seed))


def test_the_likeliest_token_is_chosen_where_nothing_else_is_asked_for(model):
    plain = chooser(model)
    assert plain.is_plain
    assert plain.choose(scores(1)).item() == scores(1).argmax().item()


def test_a_batch_chooses_for_each_as_it_would_alone(model):
    settings = [
        {},
        {"temperature": 1.0, "seed": 5},
        {"repetition_penalty": 1.9},
        {"temperature": 0.7, "top_k": 3, "seed": 1},
    ]
    together, alone = ([chooser(model, **setting) for setting in settings] for _ in range(2))
    for step in range(6):
        drawn = scores(step, rows=len(settings))
        choice = choose_all(together, drawn)
        assert choice.told() == choice.tokens.tolist()
        assert choice.told() == [one.choose(drawn[row : row + 1]).item() for row, one in enumerate(alone)]


def test_a_seed_means_what_it_means_to_generate(model):
    torch.manual_seed(11)
    settings = settings_for(Sampling(temperature=1.0, seed=11), GenerationConfig(eos_token_id=0), max_new_tokens=6)
    expected = model.generate(PROMPT, generation_config=settings, output_logits=True, return_dict_in_generate=True)
    mine = chooser(model, temperature=1.0, seed=11)
    assert [mine.choose(step).item() for step in expected.logits] == expected.sequences[0, PROMPT.shape[1] :].tolist()


def test_answers_without_a_seed_differ(model):
    drawn = [
        tuple(one.choose(scores(0) * 0).item() for _ in range(8))
        for one in (chooser(model, temperature=1.0) for _ in range(4))
    ]
    assert len(set(drawn)) == 4


def test_a_penalty_counts_what_the_answer_has_said_so_far(model):
    penalised = chooser(model, repetition_penalty=2.0)
    level = torch.ones(1, WORDS)
    level[0, 4] = 1.5
    assert penalised.choose(level).item() == 4
    assert penalised.choose(level).item() != 4


def test_tokens_that_a_model_must_not_say_are_not_chosen(model):
    quiet = chooser(model, GenerationConfig(eos_token_id=0, pad_token_id=0, suppress_tokens=[4]))
    level = torch.zeros(1, WORDS)
    level[0, 4], level[0, 7] = 9.0, 1.0
    assert not quiet.is_plain
    assert quiet.choose(level).item() == 7


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_numbers_are_no_fault_of_the_process(model, spoilt):
    """On a card it could not go on after one."""
    drawn = scores(1)
    drawn[0, 3] = spoilt
    assert 0 <= chooser(model, temperature=0.7).choose(drawn).item() < WORDS
    assert 0 <= chooser(model, temperature=0.7).choose(torch.full_like(drawn, spoilt)).item() < WORDS


def test_one_that_cannot_choose_stands_in_no_other_ones_way(model):
    class Broken:
        is_plain = False

        def choose(self, scores):
            raise ValueError("no token")

    drawn = scores(2, rows=3)
    told = choose_all([chooser(model), Broken(), chooser(model)], drawn).told()
    assert told[::2] == drawn.argmax(dim=-1).tolist()[::2]
    assert str(told[1]) == "no token"


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_an_answer_whose_scores_are_not_numbers_ends_by_that_alone(model, spoilt):
    drawn = scores(2, rows=2)
    drawn[0, 3] = spoilt
    told = choose_all([chooser(model), chooser(model)], drawn).told()
    assert isinstance(told[0], BrokenCheckpoint)
    assert told[1] == drawn[1].argmax().item()


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 5e-324}, {"temperature": 1e-40}, {"temperature": 2, "top_p": 1}, {"repetition_penalty": 2}],
)
def test_settings_that_transformers_would_refuse_or_fail_at_are_taken_as_they_are_meant(model, settings):
    mine = chooser(model, **settings, seed=4)
    for step in range(4):
        assert 0 <= mine.choose(scores(step)).item() < WORDS
    assert settings.get("temperature", 1) > 1 or settings.get("repetition_penalty") or mine.is_plain
