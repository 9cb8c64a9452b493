"""The order in which prompts are read."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from demo.backends.rows import Row
from demo.backends.streaming import Outlet, TextDecoder
from demo.backends.waiting import Waiting
from tests.tinymodels import tokenizer

WORDS = tokenizer()


def row(length, *, is_patient):
    outlet = Outlet(TextDecoder(WORDS, frozenset()), lambda: False)
    prompt = {"input_ids": torch.zeros(1, length, dtype=torch.long)}
    return Row(prompt, lambda _: None, 1, outlet, is_patient=is_patient)


def taken(waiting, most, joins=lambda *_: True):
    """The lengths of all groups, until nobody waits."""
    groups = []
    while group := waiting.take(most, joins):
        groups.append([one.num_tokens for one in group])
    return groups


def test_the_patient_are_read_with_others_of_about_their_length():
    waiting = Waiting()
    waiting.add([row(length, is_patient=True) for length in (30, 900, 31, 860, 29, 905)])
    assert taken(waiting, 3) == [[30, 31, 29], [900, 905, 860]]


def test_others_are_read_in_the_order_in_which_they_came():
    waiting = Waiting()
    waiting.add([row(length, is_patient=False) for length in (30, 900, 31)])
    assert taken(waiting, 2) == [[30, 900], [31]]


def test_a_group_ends_with_who_does_not_join_it():
    waiting = Waiting()
    waiting.add([row(length, is_patient=True) for length in (30, 90, 31, 32)])
    assert taken(waiting, 4, lambda one, group: sum(other.num_tokens for other in (*group, one)) < 70) == [
        [30, 31],
        [90],
        [32],
    ]


@given(
    people=st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=12),
    most=st.integers(1, 5),
)
def test_whoever_waits_longest_is_read_next_and_everybody_once(people, most):
    waiting = Waiting()
    rows = [row(length, is_patient=is_patient) for length, is_patient in people]
    waiting.add(rows)
    left = sorted(rows, key=lambda one: one.is_patient)  # the patient last, each in the order of coming
    while left:
        group = waiting.take(most, lambda *_: True)
        assert group[0] is left[0]
        assert len({id(one) for one in group}) == len(group) <= most
        left = [one for one in left if all(one is not other for other in group)]
    assert len(waiting) == 0
