"""Prompts that are read at once, on tiny real models: each answer is what it would be alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from demo.backends.forwards import Forwards
from demo.backends.hf import WARM_UP_QUESTIONS, WARM_UP_TOKENS, HFBackend
from demo.backends.joining import ALONE, Together, alike, joined, positions_of_all
from demo.backends.rehearsing import Ability, read_at_once
from demo.backends.rolling import PATIENCE_S, Rolling
from demo.backends.slots import SlotCache
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.types import Placement
from tests import tinyfamilies
from tests.backends.test_hf import picture
from tests.backends.test_rolling import Gate, alone, answered, asked, together
from tests.tinymodels import save_cogvlm, save_llava, save_paligemma, save_qwen

SLOTS = 4
ALL = Together(tokens=4096, pictures=SLOTS)
MAKERS = {"cogvlm": save_cogvlm, "llava": save_llava, "qwen2_5_vl": save_qwen}


def load(make, directory, slots=SLOTS):
    backend = HFBackend()
    spec = resolve(ModelChoice(str(make(directory / "model"))))
    backend.load(spec, Placement({"": "cpu"}, threads=1, slots=slots), lambda *_: None)
    return backend


@pytest.fixture(scope="module", params=MAKERS, ids=str)
def backend(request, tmp_path_factory):
    backend = load(MAKERS[request.param], tmp_path_factory.mktemp("checkpoint"))
    yield backend
    backend.close()


@pytest.fixture(autouse=True)
def joining(request):
    """The backend's own batch, empty, told to read at once what it can."""
    if "backend" not in request.fixturenames:
        return
    rolling = request.getfixturevalue("backend")._rolling
    rolling.forget()
    rolling.together, rolling.num_joined = ALL, 0
    rolling._clock = lambda: 0.0  # nothing tries anybody's patience


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """One with twice as many slots, so that a few are fewer than one in four."""
    backend = load(save_llava, tmp_path_factory.mktemp("wide"), slots=2 * SLOTS)
    backend._rolling.together = ALL
    backend._rolling._clock = lambda: 0.0
    yield backend
    backend.close()


def rolling_of(backend, **how):
    return Rolling(Forwards(backend._model, cache := SlotCache(SLOTS, None)), cache, backend._thread,
                   end_tokens=frozenset(), **how)  # fmt: skip


def several(count=5, **sampling):
    """Questions of several lengths about pictures of their own: none goes on from what another left."""
    return [asked(words, shade, **sampling) for words, shade in zip(LENGTHS[:count], (90, 200, 40, 120, 250))]


LENGTHS = ("What?", "What is this, and where is it? " * 3, "Where?", "A dog or a cat? " * 2, "What is that?")


def test_prompts_that_wait_are_read_at_once_and_answered_as_alone(backend):
    requests = several(max_new_tokens=12)
    with Gate(backend) as gate:
        found = together(backend, requests, gate)
    assert backend._rolling.num_joined >= 3
    assert max(rows for rows, tokens in gate.sizes if tokens > 1) == 3  # the first is alone, the last has no slot
    assert found == [alone(backend, request) for request in requests]


def test_pictures_of_other_sizes_are_read_at_once_where_a_model_takes_any(backend):
    sizes = ((40, 30), (120, 60), (30, 90), (60, 60))
    requests = [
        replace(one, messages=(replace(one.messages[0], pictures=(picture(number, *size),)),))
        for number, (one, size) in enumerate(zip(several(4, max_new_tokens=8), sizes))
    ]
    with Gate(backend) as gate:
        found = together(backend, requests, gate)
    assert backend._rolling.num_joined == 3
    assert found == [alone(backend, request) for request in requests]


def test_prompts_without_pictures_count_as_one_each(backend):
    rolling = backend._rolling
    rows = [replace(backend._truth(words, (picture(),)).make_row(), pictures=()) for words in LENGTHS[:3]]
    for most, joins in ((3, True), (2, False)):
        rolling.together = Together(tokens=4096, pictures=most)
        assert rolling._joins(rows[2], rows[:2]) is joins


def test_their_next_turns_go_on_from_what_was_read(backend):
    requests = several(3, max_new_tokens=6)
    with Gate(backend) as gate:
        together(backend, requests, gate)
    assert backend._rolling.num_joined == 2
    with Gate(backend) as gate:
        gate.open()
        found = answered(backend, requests[1])[0]
    assert all(tokens < 5 for _, tokens in gate.sizes)
    assert found == alone(backend, requests[1])


def test_the_patient_wait_for_a_few_free_slots_and_are_read_at_once(wide):
    lengths = (4, 8, *[30] * 8)  # of eight that begin, the first ends four tokens before the second
    requests = [asked(f"{number}?", 10 * number, max_new_tokens=length) for number, length in enumerate(lengths)]
    with Gate(wide) as gate:
        found = together(wide, [replace(one, is_patient=True) for one in requests], gate)
    assert [rows for rows, tokens in gate.sizes if tokens > 1][-1] == 2
    assert gate.sizes.count((7, 1)) == 4  # steps that seven make while the ninth waits for the tenth's slot
    assert found == [alone(wide, request) for request in requests]


def test_slots_that_were_never_filled_are_not_waited_for(wide):
    first = [replace(asked(f"{number}?", max_new_tokens=60), is_patient=True) for number in range(2 * SLOTS - 1)]
    late = replace(asked("late?", max_new_tokens=3), is_patient=True)
    are_running = threading.Event()
    with ThreadPoolExecutor(1) as pool, Gate(wide) as gate:
        gate.before = lambda: are_running.set() if (2 * SLOTS - 1, 1) in gate.sizes else None
        others = pool.submit(together, wide, first, gate)
        are_running.wait()
        answered(wide, late)
        assert not others.done()


def test_the_patient_do_not_wait_for_those_who_are_not(wide):
    ended = []

    def one(request):
        answered(wide, request)
        ended.append(request.request_id)

    chats = [asked(f"chat {number}", max_new_tokens=60) for number in range(2 * SLOTS - 1)]
    captions = [replace(asked(f"caption {number}", max_new_tokens=5), is_patient=True) for number in range(3)]
    with ThreadPoolExecutor(10) as pool, Gate(wide) as gate:
        for count, request in enumerate([*chats, *captions]):
            pool.submit(one, request)
            gate.reached.wait()
            while len(wide._rolling._waiting) < count:
                pass
        gate.open()
    assert ended[:3] == ["caption 0", "caption 1", "caption 2"]


def test_what_a_slot_held_is_kept_when_several_come(backend):
    earlier = asked("What was this?", 60, max_new_tokens=4)
    answered(backend, earlier)
    with Gate(backend) as gate:
        together(backend, several(3, max_new_tokens=6), gate)
    assert backend._rolling.num_joined == 2
    with Gate(backend) as gate:
        gate.open()
        found = answered(backend, earlier)[0]
    assert all(tokens < 5 for _, tokens in gate.sizes)
    assert found == alone(backend, earlier)


@pytest.mark.parametrize("most", [Together(tokens=40, pictures=9), Together(tokens=4096, pictures=1), ALONE], ids=str)
def test_no_more_is_read_at_once_than_memory_is_planned_for(backend, most):
    backend._rolling.together = most
    requests = several(max_new_tokens=4)
    with Gate(backend) as gate:
        found = together(backend, requests, gate)
    assert max(rows for rows, tokens in gate.sizes if tokens > 1) == 1
    assert found == [alone(backend, request) for request in requests]


def test_what_cannot_be_read_at_once_is_read_alone_ever_after(backend):
    requests = several(4, max_new_tokens=6)
    with Gate(backend) as gate:

        def refuse_several():
            rows, tokens = gate.sizes[-1]
            if rows > 1 and tokens > 1:
                raise torch.OutOfMemoryError("no room")

        gate.before = refuse_several
        found = together(backend, requests, gate)
    assert found == [alone(backend, request) for request in requests]
    assert backend._rolling.together == ALONE
    assert sum(rows > 1 and tokens > 1 for rows, tokens in gate.sizes) == 1


def test_whoever_has_gone_is_not_read(backend):
    requests = several(4, max_new_tokens=5)
    with Gate(backend) as gate:
        together(backend, requests, gate, cancelled=lambda: bool(gate.sizes))
    assert max(tokens for _, tokens in gate.sizes) > 1
    assert len([tokens for _, tokens in gate.sizes if tokens > 1]) == 1  # who was taken before the gate


def test_running_answers_wait_for_as_many_prompts_as_their_patience_is_worth(backend):
    rolling = backend._rolling
    rows = [backend._truth(words, (picture(),)).make_row() for words in WARM_UP_QUESTIONS]
    longest = max(row.num_tokens for row in rows)
    rolling._running = ["somebody"]
    try:
        for pace, joins in ((2 * longest / PATIENCE_S + 1, True), (2 * longest / PATIENCE_S - 1, False)):
            rolling._pace = pace
            assert rolling._joins(rows[1], rows[:1]) is joins
        rolling._running = []
        rolling._pace = 0.0
        assert rolling._joins(rows[1], rows[:1])
    finally:
        rolling._running = []


@pytest.mark.parametrize("make", [save_llava, save_qwen, save_cogvlm, tinyfamilies.save_glm4v, save_paligemma])
def test_a_load_finds_out_whether_prompts_may_be_read_at_once(make, tmp_path):
    backend = load(make, tmp_path)
    try:
        truths = [backend._truth(words, (picture(),)) for words in WARM_UP_QUESTIONS]
        rolling = rolling_of(backend, least_shared=None, together=ALL)
        looks_ahead = make is save_paligemma
        assert read_at_once(rolling, rolling._forwards, truths, Ability(True)) == (ALONE if looks_ahead else ALL)
    finally:
        backend.close()


def test_a_model_that_looks_ahead_is_told_by_what_fills_up(backend):
    """Every prompt is alike but for its filler; one layer that adds the mean of all tokens is enough to tell."""
    truths = [backend._truth(words, (picture(),)) for words in WARM_UP_QUESTIONS]
    layer = backend._model.get_decoder().layers[0]

    def look_ahead(_module, _given, output):
        hidden = output[0] if isinstance(output, tuple) else output
        hidden += 1e-3 * hidden.mean(dim=1, keepdim=True)

    rolling = rolling_of(backend, least_shared=None, together=ALL)
    hook = layer.register_forward_hook(look_ahead)
    try:
        assert read_at_once(rolling, rolling._forwards, truths, Ability(True)) == ALONE
    finally:
        hook.remove()


def test_a_model_that_fails_at_the_trial_is_read_alone_and_loads(backend):
    truths = [backend._truth(words, (picture(),)) for words in WARM_UP_QUESTIONS]
    rolling = rolling_of(backend, least_shared=None, together=ALL)
    fills = []

    class Failing(Forwards):
        def read_together(self, prompts, slot, *, filler=None):
            fills.append(filler)
            if filler is not None:
                raise RuntimeError("no such token")
            return super().read_together(prompts, slot)

    rolling._forwards.__class__ = Failing
    assert read_at_once(rolling, rolling._forwards, truths, Ability(True)) == ALONE
    assert fills[0] is None
    assert fills[-1] is not None


@pytest.mark.parametrize(("apart", "allowed"), [(0.0, ALONE), (5e-4, ALONE), (1e-3, ALL)])
def test_a_model_that_rounding_moves_far_may_be_moved_so_far_by_reading_at_once(backend, apart, allowed):
    class Noisy(Forwards):
        def read_together(self, prompts, slot, *, filler=None):
            reads = super().read_together(prompts, slot, filler=filler)
            return [replace(read, scores=read.scores * (1 + 2e-3 * WARM_UP_TOKENS**0.5)) for read in reads]

    truths = [backend._truth(words, (picture(),)) for words in WARM_UP_QUESTIONS]
    rolling = rolling_of(backend, least_shared=None, together=ALL)
    rolling._forwards.__class__ = Noisy
    assert read_at_once(rolling, rolling._forwards, truths, Ability(True, apart=apart)) == allowed


def test_nothing_is_tried_where_memory_is_planned_for_one_picture(backend):
    slots = []

    class Counting(Forwards):
        def read(self, inputs, slot, start=0):
            slots.append(slot)
            return super().read(inputs, slot, start)

    truths = [backend._truth(words, (picture(),)) for words in WARM_UP_QUESTIONS]
    rolling = rolling_of(backend, least_shared=None, together=Together(tokens=4096, pictures=1))
    rolling._forwards.__class__ = Counting
    assert read_at_once(rolling, rolling._forwards, truths, Ability(True)) == ALONE
    assert slots == []


# --- batches of tensors


def prompt(*ids, **rest):
    ids = torch.tensor([ids])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **rest}


def test_shorter_prompts_are_filled_up_behind_their_last_token():
    batch = joined([prompt(5, 6), prompt(7, 8, 9), prompt(4)])
    assert batch["input_ids"].tolist() == [[5, 6, 6], [7, 8, 9], [4, 4, 4]]
    assert batch["attention_mask"].tolist() == [[1] * 3] * 3
    assert joined([prompt(5, 6), prompt(7, 8, 9)], filler=1)["input_ids"].tolist() == [[5, 6, 1], [7, 8, 9]]


def test_pictures_stand_behind_each_other_and_types_of_fillers_are_words():
    one = prompt(1, 2, pixel_values=torch.zeros(3, 4), mm_token_type_ids=torch.tensor([[1, 0]]))
    other = prompt(1, 2, 3, pixel_values=torch.ones(5, 4), mm_token_type_ids=torch.tensor([[1, 1, 0]]))
    assert alike(one, other)
    batch = joined([one, other])
    assert batch["pixel_values"].shape == (8, 4)
    assert batch["mm_token_type_ids"].tolist() == [[1, 0, 0], [1, 1, 0]]


@pytest.mark.parametrize(
    "other",
    [
        prompt(1, 2, pixel_values=torch.zeros(3, 5)),  # pictures of another width
        prompt(1, 2),  # none
        prompt(1, 2, pixel_values=[torch.zeros(3, 4)]),  # not a tensor
        prompt(1, 2, 3, pixel_values=torch.zeros(1, 3)),  # taken for one number a token
    ],
)
def test_prompts_of_other_inputs_are_not_alike(other):
    assert not alike(prompt(1, 2, pixel_values=torch.zeros(3, 4)), other)


def test_positions_count_on_where_a_prompt_ends():
    one, other = torch.tensor([[[0, 1]], [[0, 4]]]), torch.tensor([[[0, 1, 2]], [[3, 3, 9]]])  # two axes
    assert positions_of_all([one, other]).tolist() == [[[0, 1, 2], [0, 1, 2]], [[0, 4, 5], [3, 3, 9]]]
