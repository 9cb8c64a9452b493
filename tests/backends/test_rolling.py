"""Answers that join and leave a running batch, on tiny real models: each is what it would be alone."""

from __future__ import annotations

import random
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from demo.backends.base import Finish
from demo.backends.hf import HFBackend
from demo.backends.streaming import Outlet
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.errors import BrokenCheckpoint
from demo.types import GenerateRequest, Message, Placement, Sampling
from tests.backends.test_hf import picture
from tests.tinymodels import save_cogvlm, save_llava, save_qwen

SLOTS = 4
MAKERS = {"cogvlm": save_cogvlm, "llava": save_llava, "qwen2_5_vl": save_qwen}


@pytest.fixture(scope="module", params=MAKERS, ids=str)
def backend(request, tmp_path_factory):
    directory = MAKERS[request.param](tmp_path_factory.mktemp("checkpoint") / "model")
    backend = HFBackend()
    facts = backend.load(resolve(ModelChoice(str(directory))), Placement({"": "cpu"}, threads=1, slots=SLOTS), _ignore)
    assert facts.slots == SLOTS
    yield backend
    backend.close()


@pytest.fixture(autouse=True)
def empty_slots(backend):
    backend._rolling.forget()


def _ignore(*_):
    pass


def never() -> bool:
    return False


def asked(question: str, shade: int = 90, **sampling) -> GenerateRequest:
    message = Message("user", question, (picture(shade),))
    return GenerateRequest(question, "chat", (message,), Sampling(**{"max_new_tokens": 24, **sampling}))


def answered(backend, request, cancelled=never) -> tuple[str, Finish]:
    *pieces, finish = backend.stream(request, cancelled)
    return "".join(pieces), finish


def alone(backend, request) -> str:
    """The same through the model's own `generate()`."""
    rolling, backend._rolling = backend._rolling, None
    try:
        return answered(backend, request)[0]
    finally:
        backend._rolling = rolling


class Gate:
    """Holds the forwards of a model back until it is opened, so that requests meet."""

    def __init__(self, backend):
        self.sizes: list[tuple[int, int]] = []  # rows and tokens of each forward
        self.before = lambda: None  # called before each
        self._opened = threading.Event()
        self.reached = threading.Event()
        layer = backend._model.get_input_embeddings()
        self._hook = layer.register_forward_pre_hook(self._pass)

    def _pass(self, _module, inputs):
        self.reached.set()
        self._opened.wait()
        self.sizes.append(tuple(inputs[0].shape))
        self.before()

    def open(self):
        self._opened.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.open()
        self._hook.remove()


def together(backend, requests, gate, cancelled=never):
    """The outcome of each request, a text or an error, when all of them are there before the first forward."""

    def one(request):
        try:
            return answered(backend, request, cancelled)[0]
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            return error

    with ThreadPoolExecutor(len(requests)) as pool:
        jobs = []
        for count, request in enumerate(requests):
            jobs.append(pool.submit(one, request))
            gate.reached.wait()  # the first one is taken out of the queue before the others come, and held back
            while len(backend._rolling._waiting) < count:
                pass
        gate.open()
        return [job.result() for job in jobs]


@pytest.mark.parametrize("seed", range(3))
def test_answers_that_come_and_go_are_each_what_they_would_be_alone(backend, seed):
    chance = random.Random(seed)
    requests = [
        asked(
            "What is this?" * chance.randint(1, 3) + str(number % 3),
            chance.choice((90, 200)),
            max_new_tokens=chance.randint(1, 30),
            **chance.choice(({}, {}, {"temperature": 1.0, "seed": number}, {"repetition_penalty": 1.3})),
        )
        for number in range(12)
    ]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda request: answered(backend, request)[0], requests))
    assert found == [alone(backend, request) for request in requests]


def test_answers_share_their_steps(backend):
    with Gate(backend) as gate:
        together(backend, [asked(f"{number}?", max_new_tokens=20) for number in range(SLOTS)], gate)
    assert max(rows for rows, _ in gate.sizes) == SLOTS
    steps = [rows for rows, tokens in gate.sizes if tokens == 1]
    assert len(steps) < 20 * SLOTS / 2
    assert sum(steps) == 19 * SLOTS


def test_those_for_whom_there_is_no_slot_wait_for_one(backend):
    requests = [asked(f"{number}?", max_new_tokens=6) for number in range(2 * SLOTS)]
    with Gate(backend) as gate:
        found = together(backend, requests, gate)
    assert max(rows for rows, _ in gate.sizes) == SLOTS
    assert found == [alone(backend, request) for request in requests]


@pytest.mark.parametrize(
    ("prompt_s", "expected"),
    [
        (0.05, "PPPP4444"),  # all four within the patience
        (0.1, "PP2PP444"),  # a third would end later than that
        (0.2, "P1P2P3P4"),  # one is read however long it takes
        (9.0, "P1P2P3P4"),
    ],
)
def test_prompts_that_are_quick_to_read_are_read_before_the_next_step(backend, monkeypatch, prompt_s, expected):
    now_s = 0.0

    def pass_time():
        nonlocal now_s
        now_s += prompt_s if gate.sizes[-1][1] > 1 else 0.01

    monkeypatch.setattr(backend._rolling, "_clock", lambda: now_s)
    requests = [asked(f"{number}?", max_new_tokens=9) for number in range(SLOTS)]
    with Gate(backend) as gate:
        gate.before = pass_time
        found = together(backend, requests, gate)
    assert "".join("P" if tokens > 1 else str(rows) for rows, tokens in gate.sizes)[:8] == expected
    assert found == [alone(backend, request) for request in requests]


def test_one_that_is_cancelled_leaves_and_the_others_go_on(backend):
    stop = threading.Event()
    with ThreadPoolExecutor(3) as pool, Gate(backend) as gate:
        gate.before = lambda: stop.set() if len(gate.sizes) == 9 else None
        gate.open()
        leaver = pool.submit(answered, backend, asked("Long?", max_new_tokens=200), stop.is_set)
        others = [pool.submit(answered, backend, asked(f"{number}?", max_new_tokens=60)) for number in range(2)]
        text, finish = leaver.result()
        assert finish.reason == "cancelled"
        assert finish.usage.completion_tokens < 20
        assert [job.result()[1].usage.completion_tokens for job in others] == [60, 60]
    assert alone(backend, asked("Long?", max_new_tokens=200)).startswith(text)


def test_one_that_is_cancelled_while_it_waits_for_a_slot_leaves_at_once(backend):
    stop, is_gone = threading.Event(), threading.Event()

    def before():
        if len(gate.sizes) == 12:
            stop.set()
        if len(gate.sizes) == 16:
            assert is_gone.wait(30)

    with ThreadPoolExecutor(SLOTS + 1) as pool, Gate(backend) as gate:
        gate.before = before
        others = [pool.submit(answered, backend, asked(f"{number}?", max_new_tokens=40)) for number in range(SLOTS)]
        gate.reached.wait()  # the first one is taken out of the queue
        while len(backend._rolling._waiting) < SLOTS - 1:
            pass
        leaver = pool.submit(answered, backend, asked("Late?"), stop.is_set)
        while len(backend._rolling._waiting) < SLOTS:
            pass
        gate.open()
        text, finish = leaver.result()
        is_gone.set()
        assert (text, finish.reason, finish.usage.completion_tokens) == ("", "cancelled", 0)
        assert [job.result()[1].usage.completion_tokens for job in others] == [40] * SLOTS


def test_those_for_whom_nobody_waits_let_the_others_go_first(backend):
    ended = []

    def one(request):
        answered(backend, request)
        ended.append(request.request_id)

    fillers = [asked(f"{number}?", max_new_tokens=9 if number == 0 else 200) for number in range(SLOTS)]
    patient = [replace(asked(f"patient {number}"), is_patient=True) for number in range(2)]
    with ThreadPoolExecutor(SLOTS + 3) as pool, Gate(backend) as gate:
        for count, request in enumerate([*fillers, *patient, asked("urgent")]):
            pool.submit(one, request)
            gate.reached.wait()
            while len(backend._rolling._waiting) < count:
                pass
        gate.open()
    assert ended[:4] == ["0?", "urgent", "patient 0", "patient 1"]


@pytest.mark.parametrize(("is_patient", "most"), [(True, 1), (False, 3)])
def test_prompts_of_the_patient_are_prepared_one_by_one(backend, monkeypatch, is_patient, most):
    prepare, all_there, at_work, found = backend._prompter.prepare, threading.Barrier(most), [], []

    def counted(messages):
        at_work.append(messages)
        all_there.wait(timeout=20)
        found.append(len(at_work))
        inputs = prepare(messages)
        at_work.remove(messages)
        return inputs

    monkeypatch.setattr(backend._prompter, "prepare", counted)
    requests = [replace(asked(f"{number}?", max_new_tokens=2), is_patient=is_patient) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda request: answered(backend, request), requests))
    assert max(found) == most


def test_where_answers_are_made_one_by_one_none_is_begun_that_was_cancelled_while_it_waited(backend, monkeypatch):
    monkeypatch.setattr(backend, "_rolling", None)
    go_on, stop = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool, Gate(backend) as gate:
        gate.open()
        backend._thread.submit(go_on.wait)
        leaver = pool.submit(answered, backend, asked("Late?"), stop.is_set)
        stop.set()
        go_on.set()
        assert leaver.result()[1].reason == "cancelled"
    assert gate.sizes == []


def test_a_reader_that_leaves_frees_its_slot(backend):
    stream = backend.stream(asked("Long?", max_new_tokens=200), never)
    next(stream)
    stream.close()
    assert not backend._rolling._running
    assert answered(backend, asked("Next?"))[1].reason == "length"


# --- going on from what a slot holds


def turns(first: GenerateRequest, said: str, question: str) -> GenerateRequest:
    messages = (*first.messages, Message("assistant", said), Message("user", question))
    return replace(first, request_id=question, messages=messages)


def test_a_second_turn_reads_only_what_is_new(backend):
    first = asked("What is this?")
    second = turns(first, answered(backend, first)[0], "How many?")
    with Gate(backend) as gate:
        gate.open()
        found, finish = answered(backend, second)
    prompt = gate.sizes[0][1]
    assert prompt < finish.usage.prompt_tokens - 30
    assert found == alone(backend, second)


def test_the_conversation_before_last_is_still_held(backend):
    conversations = [asked("What is this?", seed) for seed in (90, 200, 7)]
    said = [answered(backend, first)[0] for first in conversations]
    for first, text in zip(conversations, said):
        before = backend._rolling.num_reused
        second = turns(first, text, "How many?")
        assert answered(backend, second)[0] == alone(backend, second)
        assert backend._rolling.num_reused > before + 30


def test_captions_of_a_job_leave_nothing_and_push_no_conversation_out(backend):
    first = asked("What is this?", 90)
    said = answered(backend, first)[0]
    captions = [asked(f"Caption {number}", number, max_new_tokens=4 + number) for number in range(2 * SLOTS - 2)]
    found = []
    for some in (captions[: SLOTS - 1], captions[SLOTS - 1 :]):  # a slot is left each time
        with Gate(backend) as gate:
            found += together(backend, [replace(one, is_patient=True) for one in some], gate)
    assert [len(held.tokens) > 0 for held in backend._rolling._memory.slots].count(True) == 1
    before, second = backend._rolling.num_reused, turns(first, said, "How many?")
    assert answered(backend, second)[0] == alone(backend, second)
    assert backend._rolling.num_reused > before + 30
    assert found == [alone(backend, one) for one in captions]


def test_nobody_is_moved_for_those_who_end_at_the_same_time(backend, monkeypatch):
    moved = []
    cache = backend._rolling._cache
    for name in ("copy", "swap"):
        monkeypatch.setattr(cache, name, lambda *told: moved.append(told))
    shades = range(0, 60 * SLOTS, 60)  # else what one has read is copied for the next
    questions = [replace(asked("What is this?", shade, max_new_tokens=4), is_patient=True) for shade in shades]
    with Gate(backend) as gate:
        outcomes = together(backend, questions, gate)
        assert (SLOTS, 1) in gate.sizes
    assert all(isinstance(outcome, str) for outcome in outcomes)
    assert not moved


def test_the_same_words_about_another_picture_are_read_anew(backend):
    answered(backend, asked("What is this?", 90))
    before = backend._rolling.num_reused
    found = answered(backend, asked("What is this?", 200))[0]
    assert backend._rolling.num_reused == before
    assert found == alone(backend, asked("What is this?", 200))


def test_what_a_running_answer_has_read_is_copied_for_another(backend):
    requests = [asked("What is this?", max_new_tokens=40), asked("What is this? Where?", max_new_tokens=40)]
    before = backend._rolling.num_reused
    with Gate(backend) as gate:
        found = together(backend, requests, gate)
    assert backend._rolling.num_reused > before
    assert found == [alone(backend, request) for request in requests]


def test_a_parked_model_forgets(backend):
    first = asked("What is this?")
    said = answered(backend, first)[0]
    backend.park()
    backend.resume()
    before = backend._rolling.num_reused
    second = turns(first, said, "How many?")
    assert answered(backend, second)[0] == alone(backend, second)
    assert backend._rolling.num_reused == before


# --- what goes wrong


def test_a_prompt_that_cannot_be_read_fails_alone(backend):
    requests = [asked(f"{number}?", max_new_tokens=10) for number in range(3)]

    def fail():
        if gate.sizes[-1][1] > 1 and sum(tokens > 1 for _, tokens in gate.sizes) == 2:
            raise ValueError("the second prompt")

    with Gate(backend) as gate:
        gate.before = fail
        found = together(backend, requests, gate)
    assert [str(text) for text in found if isinstance(text, ValueError)] == ["the second prompt"]
    right = [alone(backend, request) for request in requests]
    assert [(a == b) for a, b in zip(found, right)].count(True) == 2


def test_a_prompt_for_which_memory_is_short_holds_none_while_the_next_is_read(backend):
    """What its frames hold would be missing there, until its reader has heard of it."""
    requests, held = [asked(f"{number}?", max_new_tokens=6) for number in range(SLOTS)], []

    def refuse():
        if gate.sizes[-1][1] > 1 and (not held or held[0]() is not None):
            block = torch.zeros(1)
            held.append(weakref.ref(block))
            raise torch.OutOfMemoryError("full")

    with Gate(backend) as gate:
        gate.before = refuse
        found = together(backend, requests, gate)
    assert [type(each) for each in found].count(torch.OutOfMemoryError) == 1
    right = [alone(backend, request) for request in requests]
    assert [(a == b) for a, b in zip(found, right)].count(True) == SLOTS - 1


def test_what_slots_hold_is_not_believed_where_memory_ran_out_amid_their_exchange(backend, monkeypatch):
    first = asked("What is this?")
    second = turns(first, answered(backend, first)[0], "How many?")
    answered(backend, asked("Where?", 200))  # its slot is the one that the second turn goes on in

    def refuse(*_):
        raise torch.OutOfMemoryError("full")

    with monkeypatch.context() as short:
        short.setattr(backend._rolling._cache.layers[1], "swap", refuse)
        with pytest.raises(torch.OutOfMemoryError):
            answered(backend, second)
    assert answered(backend, second)[0] == alone(backend, second)


def test_where_memory_runs_out_the_youngest_answer_ends_and_the_others_are_whole(backend):
    requests = [asked(f"{number}?", max_new_tokens=12) for number in range(3)]
    refused = []

    def refuse():
        if gate.sizes[-1] == (3, 1) and not refused:
            refused.append(True)
            raise torch.OutOfMemoryError("full")

    with Gate(backend) as gate:
        gate.before = refuse
        found = together(backend, requests, gate)
    assert [type(each) for each in found].count(torch.OutOfMemoryError) == 1
    right = [alone(backend, request) for request in requests]
    assert [(a == b) for a, b in zip(found, right)].count(True) == 2


def test_what_fails_for_all_is_told_to_all_and_the_next_is_served(backend):
    def fail():
        if gate.sizes[-1] == (2, 1):
            raise RuntimeError("a kernel failed")

    with Gate(backend) as gate:
        gate.before = fail
        found = together(backend, [asked("1?"), asked("2?")], gate)
    assert [str(each) for each in found] == ["a kernel failed"] * 2
    assert answered(backend, asked("3?"))[0] == alone(backend, asked("3?"))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_scores_that_are_not_numbers_end_their_answer_and_no_other(backend, temperature):
    requests = [asked(words, max_new_tokens=12, temperature=temperature, seed=3) for words in ("1?", "2?")]

    def spoil(_module, _inputs, logits):
        if logits.shape[0] == 2:
            logits[1] = float("nan")
        return logits

    hook = backend._model.get_output_embeddings().register_forward_hook(spoil)
    with Gate(backend) as gate:
        found = together(backend, requests, gate)
    hook.remove()
    spoilt = [each for each in found if isinstance(each, BrokenCheckpoint)]
    assert len(spoilt) == 1
    assert "not numbers" in str(spoilt[0])
    assert [each for each in found if each == alone(backend, requests[found.index(each)])]


def test_who_cannot_choose_ends_its_answer_and_no_other(backend):
    class Broken:
        is_plain = False

        def choose(self, scores):
            raise ValueError("no token")

    row = backend._row
    backend._row = lambda *args: (
        replace(made, make_chooser=lambda _: Broken()) if (made := row(*args)).room == 9 else made
    )
    requests = [asked("1?", max_new_tokens=12), asked("2?", max_new_tokens=9)]
    try:
        with Gate(backend) as gate:
            found = together(backend, requests, gate)
    finally:
        del backend._row
    assert found[0] == alone(backend, requests[0])
    assert str(found[1]) == "no token"


def test_an_outlet_whose_answer_failed_tells_it_after_its_text(backend):
    outlet = Outlet(backend._outlet(never)._decoder, never)
    outlet.add(backend._tokenizer.encode("a", add_special_tokens=False)[0])
    outlet.finish(ValueError("late"))
    pieces = iter(outlet)
    assert next(pieces) == "a"
    with pytest.raises(ValueError, match="late"):
        next(pieces)


def test_what_a_prompt_takes_on_a_card_is_not_held_by_whoever_asks(backend, monkeypatch):
    inputs = backend._prompter.prepare(asked("What is this?").messages)
    monkeypatch.setattr(backend._rolling._forwards, "_device", torch.device("meta"))
    placed = backend._rolling._forwards.placed(inputs)
    assert {tensor.device.type for tensor in placed.values()} == {"meta"}
    assert {tensor.device.type for tensor in inputs.values()} == {"cpu"}
