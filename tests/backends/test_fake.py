"""The fake backend by itself, without a process around it."""

import itertools
from dataclasses import replace

import pytest

from demo.backends.base import Finish
from demo.backends.fake import FakeBackend, OutOfMemoryError
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.errors import BrokenCheckpoint, ConfigError, DiskFull
from demo.types import DeviceMemory, GenerateRequest, Message, Picture, Placement, Sampling, Size

CPU = Placement({"": "cpu"})


def loaded(placement=CPU, **options):
    query = "&".join(f"{name}={value}" for name, value in options.items())
    backend = FakeBackend()
    backend.load(resolve(ModelChoice(f"fake?{query}" if query else "fake")), placement, lambda stage, fraction: None)
    return backend


def request(text, *pictures, **sampling):
    return GenerateRequest("r", "chat", (Message("user", text, pictures),), Sampling(**sampling))


def run(backend, asked, cancelled=lambda: False):
    *pieces, finish = backend.stream(asked, cancelled)
    assert isinstance(finish, Finish)
    return "".join(pieces), finish


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Where is the red ball? Answer in [[x0,y0,x1,y1]] format.", "the red ball [[1,2,3,4]]"),
        ("where are the dogs?", "the dogs [[1,2,3,4]]"),
        ("Describe it with coordinates.", "A small thing [[1,2,3,4]] in front of a plain background."),
        ("What is it?", "You asked: What is it? I see no picture, and this is turn 1."),
    ],
)
def test_the_answer_depends_on_the_question(question, answer):
    assert run(loaded(box="1,2,3,4"), request(question))[0] == answer


def test_the_answer_tells_the_size_of_the_last_picture():
    pictures = [Picture(Size(width, 1), bytes(3 * width)) for width in (1, 2)]
    assert "2 x 1 pixels" in run(loaded(), request("What?", *pictures))[0]


def test_memory_runs_out_with_too_many_answers_at_a_time_and_at_a_picture_that_is_too_wide():
    backend = loaded(most_at_once=1, most_width=8)
    first = backend.stream(request("Why?"), lambda: False)
    next(first)
    with pytest.raises(OutOfMemoryError):
        run(backend, replace(request("What?"), request_id="other"))
    first.close()
    assert run(backend, request("Why?"))
    with pytest.raises(OutOfMemoryError):
        run(backend, request("What?", Picture(Size(9, 1), bytes(27))))


def test_the_same_request_gets_the_same_answer():
    backend = loaded()
    assert run(backend, request("Why?"))[0] == run(backend, request("Why?"))[0]


@pytest.mark.parametrize(
    ("tokens", "limit", "count", "reason"), [(7, 512, 7, "stop"), (700, 512, 512, "length"), (50, 3, 3, "length")]
)
def test_an_answer_has_the_length_it_was_told_within_the_requests_limit(tokens, limit, count, reason):
    text, finish = run(loaded(tokens=tokens), request("Go on?", max_new_tokens=limit))
    assert len(text.split()) == finish.usage.completion_tokens == count
    assert finish.reason == reason


@pytest.mark.parametrize("options", [{"first_token_s": 60}, {"token_s": 60}], ids=["prefill", "between tokens"])
def test_a_cancel_is_seen_during_a_wait(options):
    asked = itertools.count()
    _, finish = run(loaded(**options), request("What?"), cancelled=lambda: next(asked) > 5)
    assert finish.reason == "cancelled"


@pytest.mark.parametrize(("fault", "error"), [("fail_at", ValueError), ("oom_at", OutOfMemoryError)])
def test_a_fault_comes_instead_of_the_token_it_was_set_for(fault, error):
    stream = loaded(**{fault: 2}).stream(request("What is this?"), lambda: False)
    assert [next(stream), next(stream)] == ["You ", "asked: "]
    with pytest.raises(error):
        next(stream)


def test_a_fault_that_is_set_for_once_does_not_come_again(tmp_path):
    backend = loaded(fail_at=0, once=tmp_path / "marker")
    with pytest.raises(ValueError, match="told to fail"):
        run(backend, request("What?"))
    assert run(backend, request("What?"))[0]


def test_a_load_reports_its_progress_and_what_is_resident():
    seen = []
    backend = FakeBackend()
    spec = resolve(ModelChoice("fake?parameters=10"))
    facts = backend.load(spec, Placement({"": "cuda:1"}), lambda stage, fraction: seen.append(fraction))
    assert seen == sorted(seen)
    assert facts.resident_bytes == {"cuda:1": 40}


def test_a_load_fails_with_the_kind_it_was_told():
    with pytest.raises(DiskFull):
        loaded(fail_load="disk_full")


@pytest.mark.parametrize(
    ("option", "words"), [("speed=1", "speed.*Known: load_s"), ("tokens=many", "not a number.*many")]
)
def test_an_option_that_is_wrong_is_refused(option, words):
    backend = FakeBackend()
    with pytest.raises(ConfigError, match=words):
        backend.load(resolve(ModelChoice(f"fake?{option}")), CPU, lambda stage, fraction: None)


def test_the_weights_lie_where_they_were_placed_each_once():
    parts = {f"layers.{index}": f"cuda:{index // 5}" for index in range(11)}
    held = loaded(Placement(parts, dtype="bfloat16"), parameters=1000).memory()
    assert {device: memory.allocated for device, memory in held.items()} == {
        "cuda:0": 2 * (100 + 4 * 90),  # what is left over of the division lies with the first
        "cuda:1": 2 * 5 * 90,
        "cuda:2": 2 * 90,
    }
    assert sum(memory.allocated for memory in held.values()) == 2000


def test_an_answer_takes_memory_that_stays_reserved():
    backend = loaded(parameters=10, answer_bytes=100)
    assert backend.memory() == {"cpu": DeviceMemory(40, 40, 40)}
    run(backend, request("What?"))
    run(backend, request("What?"))
    assert backend.memory() == {"cpu": DeviceMemory(40, 140, 140)}


def test_a_parked_model_holds_nothing_of_the_card_and_comes_back_whole():
    backend = loaded(Placement({"": "cuda:0"}), parameters=10)
    backend.park()
    assert backend.memory() == {"cuda:0": DeviceMemory(0, 0, 40), "cpu": DeviceMemory(40, 40, 40)}
    backend.resume()
    assert backend.memory() == {"cuda:0": DeviceMemory(40, 40, 40)}


def test_a_fault_may_belong_to_the_process_that_sees_a_card(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "11,GPU-bb")
    assert loaded(Placement({"": "cuda:0"}), fail_load="broken_checkpoint", only_on="1")
    for card in ("11", "GPU-bb"):
        with pytest.raises(BrokenCheckpoint):
            loaded(Placement({"": "cuda:0"}), fail_load="broken_checkpoint", only_on=card)
