"""Steps of fixed shapes: the same answers, few shapes, nothing overwritten. On a CPU a recording computes again."""

from __future__ import annotations

import gc
import itertools
import random
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from demo.backends import hf
from demo.backends.forwards import Forwards
from demo.backends.hf import HFBackend
from demo.backends.recorded import on_cards
from demo.backends.rolling import LEAST_SHARED, Rolling
from demo.backends.slots import SlotCache
from demo.backends.streaming import Outlet, end_tokens
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.steps import all_shapes
from demo.types import Placement
from tests.backends.test_rolling import Gate, alone, answered, asked, together, turns
from tests.tinymodels import save_cogvlm, save_llava, save_qwen

SLOTS = 5
MAKERS = {"cogvlm": save_cogvlm, "llava": save_llava, "qwen2_5_vl": save_qwen}


class Recorder:
    """Records what is to be computed; a replay computes it from the same tensors."""

    def __init__(self):
        self.shapes = []
        self.replays = 0
        self.before = lambda: None  # called before each

    def __call__(self, run):
        self.shapes.append(tuple(run().shape))

        def replay():
            self.replays += 1
            self.before()
            return run()

        return replay


@pytest.fixture(scope="module", params=MAKERS, ids=str)
def backend(request, tmp_path_factory):
    directory = MAKERS[request.param](tmp_path_factory.mktemp("checkpoint") / "model")
    backend = HFBackend()
    backend.load(resolve(ModelChoice(str(directory))), Placement({"": "cpu"}, threads=1, slots=SLOTS), lambda *_: None)
    yield backend
    backend.close()


@pytest.fixture
def recorder(backend):
    """Has the backend's steps recorded, in empty slots."""
    record = Recorder()
    cache = SlotCache(SLOTS, None)
    forwards = Forwards(backend._model, cache, recorder=lambda: record)
    how = {"end_tokens": end_tokens(backend._settings), "least_shared": LEAST_SHARED}
    backend._rolling = Rolling(forwards, cache, backend._thread, **how)
    return record


@pytest.mark.parametrize("seed", range(2))
def test_answers_are_the_same_and_the_shapes_few(backend, recorder, seed):
    chance = random.Random(seed)
    requests = [
        asked(f"What is this? {number % 3}", chance.choice((90, 200)), max_new_tokens=chance.randint(1, 30))
        for number in range(12)
    ]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda request: answered(backend, request)[0], requests))
    assert found == [alone(backend, request) for request in requests]
    assert {rows for rows, _ in recorder.shapes} <= {1, 2, 4, SLOTS}
    assert len(recorder.shapes) == len(set(recorder.shapes))
    assert recorder.replays > 3 * len(recorder.shapes)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_only_recorded_steps_are_given_to_what_plans_for_each_shape(backend, recorder, is_recorded):
    if not is_recorded:
        cache = SlotCache(SLOTS, None)
        forwards = Forwards(backend._model, cache)
        backend._rolling = Rolling(forwards, cache, backend._thread, end_tokens=end_tokens(backend._settings))
    planned = []
    torch.backends.cuda.enable_cudnn_sdp(not is_recorded)  # as another replica of this process may have left it
    hook = backend._model.register_forward_pre_hook(lambda *_: planned.append(torch.backends.cuda.cudnn_sdp_enabled()))
    try:
        answered(backend, asked("What is this?", max_new_tokens=4))
    finally:
        hook.remove()
    assert len(planned) > 3
    assert planned == [False, *[is_recorded] * (len(planned) - 1)]


def test_what_a_recording_reads_from_stays_where_it_is(backend):
    """A CUDA graph reads from memory, and keeps no tensor of it alive."""
    seen = []
    cache = SlotCache(SLOTS, 2048)  # which does not grow

    def record(run):
        scores = run()
        seen.extend(weakref.ref(tensor) for one in (cache.window.rows, cache.window.lengths) for tensor in one.values())
        return lambda: scores

    forwards = Forwards(backend._model, cache, recorder=lambda: record)
    backend._rolling = Rolling(forwards, cache, backend._thread, end_tokens=end_tokens(backend._settings))
    answered(backend, asked("What is this?", max_new_tokens=3))
    forwards.record_all(lambda _: None, limit_s=60)
    gc.collect()
    assert len(seen) >= 4
    assert all(ref() is not None for ref in seen)


def test_all_shapes_are_recorded_before_they_are_needed(backend, recorder):
    answered(backend, asked("What is this?", max_new_tokens=2))
    told = []
    backend._rolling._forwards.record_all(told.append, limit_s=60)
    room = {"slots": SLOTS, "context": backend._rolling._cache.num_columns}
    assert sorted(rows for rows, _ in recorder.shapes) == sorted(rows for rows, _ in all_shapes(**room))
    assert told == sorted(told)
    assert 0 <= told[0] <= told[-1] < 1
    count = len(recorder.shapes)
    requests = [asked(f"What is this? {number}", max_new_tokens=20) for number in range(SLOTS)]
    with ThreadPoolExecutor(SLOTS) as pool:
        found = list(pool.map(lambda request: answered(backend, request)[0], requests))
    assert len(recorder.shapes) == count
    assert found == [alone(backend, request) for request in requests]


def test_recording_ends_when_its_time_is_over(backend, recorder):
    answered(backend, asked("What is this?", max_new_tokens=2))
    count = len(recorder.shapes)
    backend._rolling._forwards.record_all(lambda _: None, limit_s=-1)
    assert len(recorder.shapes) == count


def test_rows_that_fill_up_a_shape_write_over_nothing_that_is_held(backend, recorder):
    conversations = [asked("What is this?", shade) for shade in (90, 200, 7, 60, 30)]
    said = [answered(backend, first)[0] for first in conversations]
    with ThreadPoolExecutor(3) as pool:  # of three the shape is filled up with one of those that wait
        again = [asked("And what is it here, tell me?", shade) for shade in (91, 92, 93)]
        list(pool.map(lambda request: answered(backend, request), again))
    for first, text in zip(conversations, said):
        second = turns(first, text, "How many?")
        assert answered(backend, second)[0] == alone(backend, second)


def test_recordings_are_made_anew_where_memory_is_other_memory(backend, recorder):
    first = asked("What is this?")
    said = answered(backend, first)[0]
    before = len(recorder.shapes)
    backend.park()
    backend.resume()
    assert answered(backend, first)[0] == said
    assert len(recorder.shapes) == 2 * before


@pytest.mark.parametrize("count", range(3))
def test_where_recording_fails_steps_are_computed_and_no_more_are_recorded(backend, recorder, count, monkeypatch):
    """In the middle of an answer, too, for which memory may be short; what is recorded already is replayed."""
    seconds = itertools.count()
    monkeypatch.setattr(backend._rolling, "_clock", lambda: next(seconds))  # slow prompts: a step follows each

    def record(run):
        if len(recorder.shapes) >= count:
            run()
            raise torch.OutOfMemoryError("no room")
        return recorder(run)

    backend._rolling._forwards._recorded._record = record
    requests = [asked(f"What is this? {number}", max_new_tokens=20) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda request: answered(backend, request)[0], requests))
    assert found == [alone(backend, request) for request in requests]
    assert len(recorder.shapes) == count
    told = []
    backend._rolling._forwards.record_all(told.append, limit_s=60)
    assert (len(recorder.shapes), told) == (count, [])


def test_a_model_that_comes_back_to_its_card_records_anew_what_it_needs(backend, recorder):
    question = asked("What is this?", max_new_tokens=9)
    said, before = answered(backend, question)[0], list(recorder.shapes)
    assert before
    backend.park()
    assert not backend._rolling._forwards._recorded._recordings
    backend.resume()
    replays = recorder.replays
    assert answered(backend, question)[0] == said
    assert recorder.shapes == before * 2
    assert recorder.replays > replays


@pytest.mark.parametrize("takes_turns", [False, True])
def test_steps_are_recorded_at_the_load_unless_the_model_is_to_leave_its_card(tmp_path, monkeypatch, takes_turns):
    monkeypatch.setattr(hf, "_ways_to_record", lambda placement: iter([lambda: Recorder(), None]))
    backend, stages = HFBackend(), []
    placement = Placement({"": "cpu"}, threads=1, slots=SLOTS, context=300, takes_turns=takes_turns)
    spec = resolve(ModelChoice(str(save_llava(tmp_path / "model"))))
    facts = backend.load(spec, placement, lambda stage, fraction: stages.append(stage))
    backend.close()
    assert facts.slots == SLOTS
    assert ("recording steps" in stages) is ("recording" in facts.spans_s) is not takes_turns


def test_slots_grow_under_recorded_steps(backend, recorder):
    """Where it is not known how long conversations get, an answer may be what makes them longer."""
    cache = backend._rolling._cache
    question = asked("What is this?", max_new_tokens=40)
    assert answered(backend, question)[0] == alone(backend, question)
    held = cache._first_columns = cache.num_columns = (
        max(len(held.tokens) for held in backend._rolling._memory.slots) - 20
    )
    backend._rolling.forget()
    assert answered(backend, question)[0] == alone(backend, question)
    assert cache.num_columns == 2 * held


def test_nothing_is_recorded_before_it_is_known_what_a_step_reads(backend, recorder):
    backend._rolling._forwards.record_all(lambda _: None, limit_s=60)
    assert recorder.shapes == []


def ending_early(backend, monkeypatch, count):
    """Have answers end at tokens that the model likes, as often as not before they are as long as they may be."""
    said: list[int] = []
    for number in range(count):
        answered(backend, asked(f"What is this? {number}"))
        (slot, *_) = sorted(backend._rolling._memory.slots, key=lambda held: -len(held.tokens))
        said += slot.tokens[-12:]
    ends = [token for token, _ in Counter(said).most_common(3)]
    monkeypatch.setattr(backend._settings, "eos_token_id", ends)
    backend._rolling._end_tokens = frozenset(ends)
    backend._rolling.forget()


@pytest.mark.parametrize("seed", range(3))
def test_steps_begun_for_answers_that_then_end_or_are_cancelled_disturb_nobody(backend, recorder, monkeypatch, seed):
    ending_early(backend, monkeypatch, 4)
    answered(backend, asked("What is this?", max_new_tokens=2))
    backend._rolling._forwards.record_all(lambda _: None, limit_s=60)  # the next step is begun early from now on
    chance = random.Random(seed)
    jobs = [
        (asked(f"What is this? {number}", chance.choice((90, 200)), max_new_tokens=40), chance.choice((1, 5, 99, 99)))
        for number in range(12)
    ]

    def ask(job):
        request, patience = job
        asked_for = itertools.count()
        return answered(backend, request, lambda: next(asked_for) > patience)

    with ThreadPoolExecutor(SLOTS + 1) as pool:
        found = list(pool.map(ask, jobs))
    reasons = Counter(finish.reason for _, finish in found)
    assert reasons["stop"] > 2
    for (request, _), (text, finish) in zip(jobs, found):
        whole = alone(backend, request)
        assert whole.startswith(text) if finish.reason == "cancelled" else text == whole, (finish, text, whole)
    for (request, _), (text, _) in zip(jobs[-SLOTS:], found[-SLOTS:]):  # what slots hold is what was said
        second = turns(request, text or "A dog.", "How many?")
        assert answered(backend, second)[0] == alone(backend, second)


def test_a_step_is_begun_before_the_last_tokens_are_told(backend, recorder, monkeypatch):
    question = asked("What is this?", max_new_tokens=9)
    answered(backend, question)  # which records its steps
    backend._rolling._memory.forget()
    events = []
    recorder.before = lambda: events.append("begun")
    monkeypatch.setattr(Outlet, "add", lambda self, token, add=Outlet.add: (events.append("told"), add(self, token)))
    answered(backend, question)
    assert events == [*("begun", "told") * 8, "told"]  # what the ninth token would lead to is not asked for


def test_nobody_who_waits_for_a_slot_keeps_a_step_from_being_begun_and_whoever_has_one_goes_first(backend, recorder):
    rolling = backend._rolling
    answered(backend, asked("What is this?", max_new_tokens=2))
    rolling._forwards.record_all(lambda _: None, limit_s=60)
    begun, begin = [], rolling._forwards.can_go_ahead

    def can_go_ahead(count, lengths):
        begun.append((count, len(rolling._waiting)))
        return begin(count, lengths)

    rolling._forwards.can_go_ahead = can_go_ahead
    requests = [asked(f"What is this? {number}", max_new_tokens=20) for number in range(SLOTS + 2)]
    with Gate(backend) as gate:
        found = together(backend, requests, gate)
    assert found == [alone(backend, request) for request in requests]
    assert (SLOTS, 2) in begun
    assert not [count for count, waiting in begun if waiting and count < SLOTS]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_a_graph_replays_what_it_recorded_from_what_its_tensors_hold_now():
    given = torch.ones(4, device="cuda")
    replay = on_cards(["cuda:0"])()(lambda: given * 2)
    given.fill_(3)
    assert replay().tolist() == [6, 6, 6, 6]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_a_recording_that_fails_leaves_the_streams_as_they_were():
    given, record = torch.ones(4, device="cuda"), on_cards(["cuda:0"])()
    before = torch.cuda.current_stream()
    with pytest.raises(RuntimeError):
        record(lambda: given * given.sum().item())  # which would have to wait for the card
    assert torch.cuda.current_stream() == before
    assert on_cards(["cuda:0"])()(lambda: given * 2)().tolist() == [2, 2, 2, 2]
