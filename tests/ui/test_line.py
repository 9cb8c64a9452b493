"""Places in gradio's queue, read from a queue of gradio's own that is filled by hand."""

from types import SimpleNamespace

import pytest
from gradio.queueing import EventQueue, ProcessTime

from demo.ui.app import build_app
from demo.ui.language import load_languages
from demo.ui.line import Line
from demo.ui.widgets import MODEL_EVENTS, not_taken

# gradio's queue makes an event loop for its locks and never closes it
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


class Waiter:
    def __init__(self, session_hash, function=None):
        self.session_hash, self.fn = session_hash, SimpleNamespace(fn=function)


@pytest.fixture
def page(make):
    return build_app(make())


def fill(page, *sessions, limit=1):
    line = page._queue.event_queue_per_concurrency_id[MODEL_EVENTS] = EventQueue(MODEL_EVENTS, limit)
    line.queue += [Waiter(session) for session in sessions]


def test_a_place_is_that_of_the_last_of_a_visitors_questions(page):
    line = Line(page)
    assert (line(), line.ahead("a")) == (0, None)
    fill(page, "a", "b", "a", "c")
    assert line() == 4
    assert [line.ahead(session) for session in ("a", "b", "c", "d", None)] == [2, 1, 3, None, None]


def test_an_event_is_found_by_its_visitor_and_what_it_runs(page):
    line = Line(page)
    assert not line.waits("a", str.strip)
    fill(page)
    page._queue.event_queue_per_concurrency_id[MODEL_EVENTS].queue += [Waiter("a", str.strip), Waiter("b", str.lower)]
    asked = [("a", str.strip), ("b", str.lower), ("a", str.lower), ("b", str.strip), ("c", str.strip)]
    assert [line.waits(*each) for each in asked] == [True, True, False, False, False]


def test_the_wait_is_reckoned_from_how_long_the_model_took_so_far(page):
    line = Line(page)
    assert line.wait_s(0) is None
    fill(page, limit=2)
    assert line.wait_s(0) is None  # nobody was answered yet
    of_the_model, other = ([each for each in page.fns.values() if each.fn and each.queue is it] for it in (True, False))
    for function, times in ((of_the_model[0], (2.0, 4.0)), (of_the_model[1], (3.0,)), (other[0], (100.0,))):
        page._queue.process_time_per_fn[function] = ProcessTime()
        for time_s in times:
            page._queue.process_time_per_fn[function].add(time_s)
    assert [line.wait_s(ahead) for ahead in (0, 1, 2, 5)] == [3.0, 3.0, 6.0, 9.0]


@pytest.mark.parametrize(
    ("wait_s", "words"),
    [(0.01, "in about 1 s."), (3.2, "in about 4 s."), (130.0, "in about 2 minutes."), (None, "in a moment.")],
)
def test_a_full_queue_says_how_long_it_may_take(make, wait_s, words):
    context = make()
    for say in load_languages().texts.values():
        assert not_taken(say, context, 31, wait_s) == say("queue.not_taken")
    assert words in not_taken(load_languages().english, context, 32, wait_s)
