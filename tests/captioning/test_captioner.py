"""One caption of a model that thinks aloud."""

import pytest

from demo.captioning.captioner import Captioner, Wishes
from demo.catalog import resolve
from demo.config import EngineConfig, ModelChoice
from demo.engine.manager import ModelManager
from demo.prompts import load_prompts
from demo.types import Picture, Sampling, Size

PICTURE = Picture(Size(100, 50), bytes(15000))
THINKING = ModelChoice("fake?thought_tokens=7")


@pytest.fixture(scope="module")
def engine():
    with ModelManager(EngineConfig(models=(THINKING,))) as manager:
        manager.start()
        yield manager


def caption(engine, style, **sampling):
    wishes = Wishes(style, sampling=Sampling(**sampling))
    spec = resolve(THINKING)
    return Captioner(engine, spec, load_prompts(spec.prompts), wishes).caption(PICTURE, lambda: False)


def test_a_caption_is_the_answer_without_the_reasoning(engine):
    told = caption(engine, "grounded")
    assert told.text == "A small thing in front of a plain background."
    assert len(told.regions) == 1


def test_a_caption_that_was_never_begun_says_why(engine):
    told = caption(engine, "short", max_new_tokens=5)
    assert told.text == ""
    assert told.note == "cut off after 5 tokens while it was still thinking"


def test_nobody_waits_for_a_caption_of_a_job(engine):
    asked = []

    class Listening:
        def stream(self, request):
            asked.append(request)
            return engine.stream(request)

    caption(Listening(), "short")
    assert [request.is_patient for request in asked] == [True]
