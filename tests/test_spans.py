"""The clock of a load's phases."""

import pytest

from demo.spans import PHASES, Stopwatch, in_words, whole


def test_each_phase_lasts_until_the_next_begins_and_may_be_come_back_to():
    times = iter([10.0, 11.0, 13.0, 13.5, 20.0])
    watch = Stopwatch(lambda: next(times))
    for phase in ("processor", "weights", "processor", "checks"):
        watch.begin(phase)
    assert watch.stop() == {"processor": 1.5, "weights": 2.0, "checks": 6.5}


def test_time_between_a_stop_and_the_next_phase_is_nobodys():
    times = iter([0.0, 1.0, 50.0, 52.0])
    watch = Stopwatch(lambda: next(times))
    watch.begin("files")
    watch.stop()
    watch.begin("weights")
    assert watch.stop() == {"files": 1.0, "weights": 2.0}


def test_a_whole_load_is_told_in_its_order_and_adds_up():
    spans_s = whole({"weights": 2.0, "imports": 6.06}, 9.06)
    assert list(spans_s) == ["imports", "weights", "other"] == sorted(spans_s, key=PHASES.index)
    assert spans_s["other"] == pytest.approx(1.0)
    assert in_words(spans_s) == "imports 6.1 s, weights 2.0 s, other 1.0 s"
    assert whole({"weights": 2.0}, 1.9)["other"] == 0.0  # two clocks read one after the other
