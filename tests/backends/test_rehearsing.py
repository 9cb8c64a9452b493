"""What a load finds out about answering several at a time, and what it does with a model that cannot."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from demo.backends import rehearsing
from demo.backends.forwards import Forwards
from demo.backends.hf import WARM_UP_QUESTIONS, WARM_UP_TOKENS, HFBackend
from demo.backends.rehearsing import Ability, rehearse
from demo.backends.rolling import Rolling
from demo.backends.rounding import noise_of, rounded_otherwise
from demo.backends.slots import SlotCache
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.types import GenerateRequest, Message, Placement, Sampling
from tests import tinyfamilies
from tests.backends.test_hf import picture
from tests.tinymodels import save_cogvlm, save_llava, save_paligemma

SLOTS = 3


@pytest.fixture
def load(tmp_path):
    backends = []

    def build(make, **placement):
        backends.append(HFBackend())
        directory = make(tmp_path / "model")
        chosen = Placement({"": "cpu"}, threads=1, slots=SLOTS, **placement)
        backends[-1].spec = resolve(ModelChoice(str(directory)))
        backends[-1].facts = backends[-1].load(backends[-1].spec, chosen, lambda *_: None)
        return backends[-1]

    yield build
    for backend in backends:
        backend.close()


def answers(backend, count=SLOTS):
    def one(number):
        question = Message("user", "caption en" + "!" * number, (picture(),))
        *pieces, finish = backend.stream(
            GenerateRequest(str(number), "chat", (question,), Sampling(max_new_tokens=9)), lambda: False
        )
        return "".join(pieces), finish.usage.completion_tokens

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.parametrize("make", [save_llava, save_paligemma], ids=["llava", "paligemma"])
def test_steps_are_compared_although_the_model_would_end_at_once(load, make):
    backend = load(make)
    first = backend._truth(WARM_UP_QUESTIONS[0], (picture(),))
    backend._settings.eos_token_id = int(first.tokens[0])
    truth = backend._truth(WARM_UP_QUESTIONS[0], (picture(),))
    assert len(truth.tokens) == WARM_UP_TOKENS
    assert torch.equal(truth.scores[0], first.scores[0])


def test_the_warm_up_is_the_first_question_of_the_rehearsal_and_is_asked_once(tmp_path):
    class Counting(HFBackend):
        asked = 0

        def _generated(self, inputs):
            self.asked += 1
            return super()._generated(inputs)

    backend = Counting()
    spec = resolve(ModelChoice(str(save_llava(tmp_path / "model"))))
    facts = backend.load(spec, Placement({"": "cpu"}, threads=1, slots=SLOTS), lambda *_: None)
    backend.close()
    assert facts.slots == SLOTS
    assert backend.asked == len(WARM_UP_QUESTIONS)


@pytest.mark.parametrize("make", [tinyfamilies.save_florence2, tinyfamilies.save_kosmos2], ids=["florence2", "kosmos2"])
def test_a_model_that_cannot_answer_several_at_a_time_says_so_and_answers_one_after_the_other(load, make):
    backend = load(make)
    assert backend.facts.slots == 1
    assert [tokens for _, tokens in answers(backend)] == [9] * SLOTS


def test_a_model_whose_pictures_look_at_the_question_shares_steps_but_no_prompts(load):
    backend = load(save_paligemma)
    assert backend.facts.slots == SLOTS
    assert len(set(answers(backend))) > 1
    assert backend._rolling.num_reused == 0


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_proof_holds_in_each_dtype_and_way_to_attend(load, attn, dtype):
    backend = load(save_llava, attn=attn, dtype=dtype)
    assert backend.facts.slots == SLOTS
    assert backend._rolling._memory._least_shared is not None


class Shortsighted(Forwards):
    """Each answer looks at one token too few, as in a model that counts its positions in a way of its own."""

    def _mask(self, lengths, width):
        return super()._mask(lengths - 1, width)


@pytest.mark.parametrize(("forwards", "can"), [(Forwards, True), (Shortsighted, False)])
def test_a_forward_that_is_wrong_in_a_batch_is_found_out(load, forwards, can):
    backend = load(save_llava)
    cache = SlotCache(SLOTS, None)

    make = partial(Rolling, forwards(backend._model, cache), cache, backend._thread, end_tokens=frozenset())

    truths = [backend._truth(words, (picture(),)) for words in WARM_UP_QUESTIONS]
    noise = partial(noise_of, backend._model, truths[0].scores, lambda: asked_again(backend).scores)
    assert rehearse(make, truths, torch.float32, noise) == Ability(can, reuses=can)
    assert 0 < noise() < 1e-5


def hooks(backend):
    return [hook for module in backend._model.modules() for hook in module._forward_hooks.values()]


def asked_again(backend):
    return backend._truth(WARM_UP_QUESTIONS[0], (picture(),))


def save_noisy(directory):
    """A model so deep that it carries roundings of bfloat16 far, as those with random weights do."""
    return save_cogvlm(directory, num_hidden_layers=48, hidden_size=256, intermediate_size=512)


def test_a_model_that_rounding_moves_far_may_be_further_from_the_truth_in_slots(load):
    """On a card other kernels read a prompt than take a step, each with its own order of additions."""
    backend = load(save_noisy, dtype="bfloat16")
    assert backend.facts.slots == SLOTS
    cache = SlotCache(SLOTS, None)

    make = partial(Rolling, Forwards(backend._model, cache), cache, backend._thread, end_tokens=frozenset())
    with sdpa_kernel(SDPBackend.MATH):
        truths = [backend._truth(words, (picture(),)) for words in WARM_UP_QUESTIONS]
    assert not rehearse(make, truths, torch.bfloat16, lambda: 0.0).in_batch
    noise = partial(noise_of, backend._model, truths[0].scores, lambda: asked_again(backend).scores)
    assert rehearse(make, truths, torch.bfloat16, noise).in_batch


@pytest.mark.parametrize(
    ("apart", "noise", "can"), [(0.04, 0, True), (0.06, 0, False), (0.3, 0.2, True), (0.3, 0.1, False), (0.8, 2, False)]
)
def test_no_noise_excuses_scores_that_have_little_in_common(load, monkeypatch, apart, noise, can):
    backend = load(save_llava)
    monkeypatch.setattr(rehearsing, "_apart", lambda rolling, truths: apart)
    assert rehearse(lambda least_shared: backend._rolling, [], torch.bfloat16, lambda: noise).in_batch is can


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_other_number_of_a_linear_layer_is_the_next_one(dtype):
    layer, given = torch.nn.Linear(6, 7, dtype=dtype), torch.randn(3, 6, dtype=dtype)
    before = layer(given)
    with torch.inference_mode(), rounded_otherwise(layer):
        after = layer(given)
    assert torch.equal(after[:, ::2], before[:, ::2])
    moved, was = after[:, 1::2], before[:, 1::2]
    assert torch.equal(moved, torch.nextafter(was, was * 2))
    assert torch.equal(layer(given), before)


def test_a_trial_of_rounding_that_fails_excuses_nothing(load):
    backend = load(save_llava)
    before = hooks(backend)

    def fails():
        assert len(hooks(backend)) > len(before)
        raise torch.OutOfMemoryError("no room")

    assert noise_of(backend._model, torch.ones(1, 4), fails) == 0.0
    assert hooks(backend) == before


def test_a_way_to_attend_that_takes_no_mask_is_not_tried(load):
    backend = load(save_llava)
    assert Forwards.suit(backend._model)
    backend._model.config.get_text_config()._attn_implementation = "flash_attention_2"
    assert not Forwards.suit(backend._model)


def test_nothing_of_the_rehearsal_is_left_in_the_slots(load):
    backend = load(save_llava)
    assert not backend._rolling._cache.layers
    assert backend._rolling._cache.num_slots == SLOTS
    assert torch.is_grad_enabled()
