"""Tokens are counted as they pass by, in steps of time of which the oldest are forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.engine.events import Done, Ping, Token
from demo.engine.throughput import Throughput
from demo.types import Usage


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def done(tokens):
    return Done("r", "stop", Usage(1, tokens, 0.1, 1.0))


def test_a_step_that_is_over_shows_its_tokens_per_second(clock):
    throughput = Throughput(step_s=5.0, num_steps=4, clock=clock)
    throughput.add(20)
    assert throughput.history().rates == (0, 0, 0, 0)  # it is not over
    clock.now_s += 5
    assert throughput.history().rates == (0, 0, 0, 4)
    throughput.add(5)
    clock.now_s += 10
    assert throughput.history().rates == (0, 4, 1, 0)


def test_what_is_old_is_forgotten_but_not_in_the_total(clock):
    throughput = Throughput(step_s=1.0, num_steps=3, clock=clock)
    for _ in range(100):
        throughput.add(2)
        clock.now_s += 1
    history = throughput.history()
    assert (history.rates, history.total) == ((2, 2, 2), 200)
    assert len(throughput._counts) <= 5  # bounded, however long it runs
    clock.now_s += 1000
    assert throughput.history().rates == (0, 0, 0)


@given(st.integers(0, 20), st.integers(0, 30))
def test_pieces_of_text_count_until_the_end_tells_how_many_tokens_there_were(num_pieces, num_tokens):
    throughput = Throughput()
    events = [Ping("working"), *[Token("r", "word ")] * num_pieces, done(num_tokens)]
    assert list(throughput.counted(events)) == events
    assert throughput.history().total == max(num_pieces, num_tokens)


def test_an_answer_that_is_left_counts_as_far_as_it_came():
    throughput = Throughput()
    events = throughput.counted([Token("r", "a"), Token("r", "b"), done(9)])
    next(events)
    events.close()
    assert throughput.history().total == 1
