"""When a worker is started again, and when it is given up."""

from __future__ import annotations

from demo.engine.restarts import RestartPolicy, Restarts


def test_only_loads_that_fail_in_a_row_count_towards_giving_up():
    restarts = Restarts(RestartPolicy(max_failed_loads=2))
    for _ in range(4):
        restarts.has_died("exit code 1")
        assert restarts.failure is None
        restarts.has_loaded()
        restarts.has_died("killed")  # while it served: its load was a good one
        assert restarts.failure is None
        restarts.has_loaded()
    restarts.has_died("killed")
    restarts.has_died("exit code 1")
    assert restarts.failure is None
    restarts.has_died("exit code 1")
    assert "2 times in a row" in str(restarts.failure)


def test_one_failed_load_may_be_enough():
    restarts = Restarts(RestartPolicy(max_failed_loads=1))
    restarts.has_loaded()
    restarts.has_died("killed")
    assert restarts.failure is None
    restarts.has_died("exit code 1")
    assert restarts.failure is not None
