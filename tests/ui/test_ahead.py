"""Work that is begun before it is asked for: who gets it, and when it ends."""

import threading
import time

import pytest
from page_kit import until

from demo.ui.ahead import HeadStart, HeadStarts


class Work:
    """Counts until it is left; each step is allowed by ``go``."""

    def __init__(self, most=1000):
        self.made, self.is_left, self.go, self._most = 0, False, threading.Semaphore(0), most

    def steps(self):
        try:
            while self.made < self._most:
                self.go.acquire()
                self.made += 1
                yield self.made
        finally:
            self.is_left = True

    def may(self, steps=1):
        self.go.release(steps)


@pytest.fixture
def work():
    work = Work()
    yield work
    work.may(work._most)  # whatever is still waiting ends with the test


def begun(work, is_wanted=lambda: True, **options):
    return HeadStart(work.steps(), is_wanted, **options)


def test_what_was_made_before_somebody_came_is_not_lost_and_the_rest_follows():
    work = Work(most=5)
    start = begun(work)
    work.may(3)
    assert until(lambda: work.made == 3)
    taken = start.take()
    assert [next(taken) for _ in range(3)] == [1, 2, 3]
    work.may(2)
    assert list(taken) == [4, 5]
    assert work.is_left


def test_it_is_given_once(work):
    start = begun(work)
    assert start.take() is not None
    assert start.take() is None


def test_whoever_leaves_it_ends_it(work):
    start = begun(work)
    taken = start.take()
    work.may()
    assert next(taken) == 1
    taken.close()  # at once, though the work is in the middle of a step
    work.may()
    assert until(lambda: work.is_left)
    assert work.made == 2


def test_it_ends_when_it_is_not_wanted_any_more(work):
    stopped = threading.Event()
    start = begun(work, lambda: not stopped.is_set())
    work.may()
    assert until(lambda: work.made == 1)
    stopped.set()
    work.may()
    assert until(lambda: work.is_left)
    assert start.take() is None


def test_what_nobody_comes_for_ends(work):
    start = begun(work, untaken_s=0.05)
    time.sleep(0.1)
    work.may()
    assert until(lambda: work.is_left)
    assert start.take() is None


def test_what_was_taken_may_take_its_time(work):
    start = begun(work, untaken_s=0.05)
    taken = start.take()
    time.sleep(0.1)
    work.may(2)
    assert [next(taken), next(taken)] == [1, 2]
    assert not work.is_left


def test_an_error_ends_it_for_who_waits():
    def breaks():
        yield 1
        raise ValueError("broken")

    raised = []
    before, threading.excepthook = threading.excepthook, lambda args: raised.append(args.exc_value)
    try:
        assert list(HeadStart(breaks(), lambda: True).take()) == [1]
        assert until(lambda: raised)
    finally:
        threading.excepthook = before


def test_no_more_begin_than_there_are_free_places():
    starts, works = HeadStarts(), [Work() for _ in range(4)]

    def begin(work, free):
        return starts.begin(work.steps(), lambda: True, free=lambda: free)

    assert begin(works[0], free=0) is None  # somebody waits, or all places are taken
    first = begin(works[1], free=1)
    assert first is not None
    assert begin(works[2], free=1) is None  # the place is for the first one, who is on the way
    assert first.take() is not None  # and has it now, as gradio's queue says
    assert begin(works[2], free=0) is None
    assert begin(works[3], free=1) is not None
    for work in works:
        work.may(1000)
