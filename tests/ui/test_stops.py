"""Which of gradio's reports of failed runs is that of a stop; gradio's side of it is played by the tests."""

from collections import deque
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.ui.stops import Stops


@pytest.fixture
def at_work():
    """Begins the run that was asked for; it is left when the test ends, or by closing what this returns."""
    with ExitStack() as stack:

        def begin(stops):
            own = stack.enter_context(ExitStack())
            run = own.enter_context(stops.run())
            assert run.may_begin
            return run, own

        yield begin


def reported(stops, known=None, *, waits=False):
    """Of the newest run, unless the page knew of an earlier one only."""
    return stops.takes_report(stops.number if known is None else known, waits=waits)


def stopped_at_work(at_work):
    stops = Stops()
    stops.asked()
    at_work(stops)
    stops.stopped()
    return stops


def test_the_late_report_of_a_stop_is_not_taken_for_a_refusal_of_the_next_run(at_work):
    stops = stopped_at_work(at_work)
    stops.asked()
    assert reported(stops)
    assert stops.is_open  # the page goes on waiting for the second run
    assert not reported(stops)  # that one is its own: it was refused
    assert not stops.is_open


def test_a_report_that_comes_at_once_is_passed_over_and_the_next_refusal_is_told(at_work):
    stops = stopped_at_work(at_work)
    assert reported(stops)
    stops.asked()
    assert not reported(stops)


def test_two_stops_in_a_row_are_owed_two_reports(at_work):
    stops = stopped_at_work(at_work)
    stops.asked()
    at_work(stops)
    stops.stopped()
    stops.asked()
    assert [reported(stops) for _ in range(3)] == [True, True, False]


def test_a_second_report_of_one_stop_does_not_end_the_run_that_works_since(at_work):
    stops = stopped_at_work(at_work)
    stops.asked()
    run, _ = at_work(stops)
    assert [reported(stops) for _ in range(2)] == [True, True]
    assert run.is_current


@pytest.mark.parametrize("place", ["on its way to the page", "in the queue"])
def test_a_second_report_of_one_stop_does_not_refuse_the_run_that_was_asked_for_since(at_work, place):
    stops = stopped_at_work(at_work)
    before = stops.number
    assert reported(stops)
    stops.asked()
    assert reported(stops, before) if place == "on its way to the page" else reported(stops, waits=True)
    assert stops.is_open
    assert not reported(stops)  # that one is its own


def test_a_second_report_that_comes_when_the_next_run_is_over_does_not_say_that_it_was_refused(at_work):
    stops = stopped_at_work(at_work)
    before = stops.number
    assert reported(stops)
    stops.asked()
    at_work(stops)[1].close()
    assert reported(stops, before)


def test_a_run_that_left_by_itself_when_it_was_stopped_is_owed_nothing(at_work):
    """It was over before gradio's page could ask for its end, which then tells of a success."""
    stops = Stops()
    stops.asked()
    _, work = at_work(stops)
    stops.stopped()
    work.close()
    stops.asked()
    assert not reported(stops)  # the next one was refused


def test_what_one_run_is_owed_is_not_another_ones(at_work):
    stops = Stops()
    stops.asked()
    _, first = at_work(stops)
    stops.stopped()
    assert reported(stops)
    stops.asked()
    at_work(stops)
    stops.stopped()
    first.close()
    stops.asked()
    assert [reported(stops) for _ in range(2)] == [True, False]


def test_a_run_has_a_number_that_its_page_did_not_know_also_where_the_server_forgot_all_earlier_ones():
    stops = Stops()
    for known in (0, 1, 7.0, 2):
        stops.asked(known)
        assert stops.number > known
    assert stops.number == 9


def test_a_stop_that_comes_when_all_is_written_is_no_failure(at_work):
    stops = Stops()
    stops.asked()
    _, work = at_work(stops)
    work.close()
    assert not stops.is_open
    stops.stopped()
    assert not stops.owed
    assert reported(stops)
    stops.asked()
    assert not reported(stops)


def test_a_run_that_was_stopped_before_gradio_knew_of_it_does_not_begin_and_is_owed_nothing():
    stops = Stops()
    stops.asked()
    stops.stopped()
    with stops.run() as run:
        assert not run.may_begin
        assert not run.was_stopped
    stops.asked()
    assert not reported(stops)


def test_a_run_goes_on_only_while_it_is_the_newest_and_not_stopped(at_work):
    stops = Stops()
    stops.asked()
    first, _ = at_work(stops)
    assert first.is_current
    stops.asked()
    second, _ = at_work(stops)
    assert (first.is_current, first.was_stopped, second.is_current) == (False, False, True)
    stops.stopped()
    assert (first.was_stopped, second.is_current, second.was_stopped) == (False, False, True)


def test_a_run_that_gradio_breaks_off_unasked_is_reported():
    stops = Stops()
    stops.asked()
    with pytest.raises(GeneratorExit), stops.run():
        raise GeneratorExit
    assert not reported(stops)


@given(st.lists(st.sampled_from(["run", "end", "cancel", "stop", "report", "refuse"])))
def test_however_late_the_reports_come_a_run_is_called_refused_when_it_was(steps):
    """gradio reports each run that it cancelled once, some time later, and none that left by itself.

    Reports come in the order of what they are about.
    """
    stops, reports, work, at_work = Stops(), deque(), ExitStack(), []

    def tell():
        assert reported(stops) is (reports.popleft() != "refusal")

    def leave():
        work.close()
        if at_work and stops.number in reports:  # it was stopped, and left before its page asked for its end
            reports.remove(stops.number)
        at_work.clear()

    def cancel():
        at_work.clear()
        with suppress(GeneratorExit):
            work.__exit__(GeneratorExit, GeneratorExit(), None)

    for step in steps:
        if step == "run" and not stops.is_open:
            cancel()
            stops.asked()
            work.enter_context(stops.run())
            at_work.append(stops.number)
        elif step == "end":
            leave()
        elif step == "cancel" and not stops.is_open:
            cancel()
        elif step == "stop" and stops.is_open:
            stops.stopped()
            reports.append(stops.number)
        elif step == "report" and reports:
            tell()
        elif step == "refuse" and not stops.is_open:
            cancel()
            stops.asked()
            reports.append("refusal")
            while reports:
                tell()
    assert stops.owed == list(reports)


def test_a_second_event_of_the_same_question_does_not_end_the_run_that_works():
    """As a double click on Send makes one."""
    stops = Stops()
    stops.asked()
    with stops.run() as working:
        with stops.run() as second:
            assert not second.may_begin
        assert working.is_current
        assert stops.is_open
    assert not stops.is_open
