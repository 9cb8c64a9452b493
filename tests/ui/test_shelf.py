"""What a reloaded tab finds again, and what it does not."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from demo.ui.conversation import Conversation
from demo.ui.shelf import Shelf


def talk(*questions):
    made = Conversation()
    for question in questions:
        made = made.asked(question, ())
    return made


def done(made):
    return made.with_last(replace(made.last, state="done", answer="yes"))


def test_a_conversation_is_found_again_under_a_new_token():
    shelf = Shelf()
    token, nothing = shelf.take("")
    assert nothing == Conversation()
    shelf.keep(token, done(talk("a")))
    new, found = shelf.take(token)
    assert new != token
    assert found == done(talk("a"))


def test_two_tabs_that_begin_with_one_token_go_different_ways():
    shelf = Shelf()
    first, _ = shelf.take("")
    shelf.keep(first, done(talk("a")))
    second, found = shelf.take(first)  # a duplicate of the tab
    shelf.keep(second, done(found.asked("b", ())))
    shelf.keep(first, done(talk("c")))
    assert [len(shelf.take(token)[1].turns) for token in (first, second)] == [1, 2]
    assert shelf.take(first)[1].last.question == "c"


def test_an_answer_that_was_being_written_is_found_as_stopped_and_goes_on_in_the_tab_it_is_of():
    shelf = Shelf()
    token, _ = shelf.take("")
    writing = talk("a").with_last(replace(talk("a").last, state="answering", answer="half"))
    shelf.keep(token, writing)
    _, found = shelf.take(token)
    assert (found.last.state, found.last.answer, found.is_open) == ("stopped", "half", False)
    assert writing.is_open


def test_a_cleared_conversation_and_a_guess_find_nothing():
    shelf = Shelf()
    token, _ = shelf.take("")
    shelf.keep(token, talk("a"))
    shelf.keep(token, Conversation())
    assert len(shelf) == 0
    shelf.keep("", talk("a"))
    for guess in ("", "../../etc/passwd", token):
        assert shelf.take(guess)[1] == Conversation()
    assert len(shelf) == 0  # and pages that are only looked at take no place


def test_old_ones_are_forgotten():
    now = [0.0]
    shelf = Shelf(kept_s=10, clock=lambda: now[0])
    token, _ = shelf.take("")
    shelf.keep(token, talk("a"))
    now[0] = 9.0
    assert shelf.take(token)[1].turns
    now[0] = 10.5
    assert not shelf.take(token)[1].turns


@given(st.lists(st.integers(0, 9), max_size=60))
def test_however_many_come_no_more_than_that_are_kept_and_the_newest_are_among_them(order):
    shelf = Shelf(most=4)
    tokens = [shelf.take("")[0] for _ in range(10)]
    for index in order:
        shelf.keep(tokens[index], talk(str(index)))
    newest = list(dict.fromkeys(reversed(order)))[:4]
    assert len(shelf) == len(newest)
    for index in newest[:1]:
        assert shelf.take(tokens[index])[1].last.question == str(index)
