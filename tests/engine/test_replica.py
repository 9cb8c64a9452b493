"""One replica's process: restarts, and what they leave behind."""

import logging
import multiprocessing
import sys
from pathlib import Path

import pytest
from engine_kit import READY_S, ask, until

from demo.catalog import resolve
from demo.config import ModelChoice
from demo.engine.process import SHARED_MEMORY
from demo.engine.replica import ProcessReplica, RestartPolicy
from demo.engine.worker import WorkerJob
from demo.errors import ContextTooLong, DemoError, InvalidInput, ReplicaDied
from demo.types import Placement


@pytest.fixture
def start():
    replicas = []

    def build(name, **options):
        job = WorkerJob(resolve(ModelChoice(name)), Placement({"": "cpu"}))
        replicas.append(ProcessReplica(0, job, **options))
        replicas[-1].start()
        return replicas[-1]

    yield build
    for replica in replicas:
        replica.request_close()
        assert replica.join(READY_S)


@pytest.mark.parametrize(("deaths", "delay_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (7, 30.0), (50, 30.0)])
def test_each_restart_waits_longer_up_to_a_cap(deaths, delay_s):
    assert RestartPolicy().delay_s(deaths) == delay_s


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_restarts_leave_no_open_files(start):
    replica = start("fake?die_at=0", restart=RestartPolicy(first_s=0.01, cap_s=0.01))
    counts = []
    for _ in range(5):
        assert until(lambda: replica.is_ready)
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
        with pytest.raises(ReplicaDied):
            list(replica.open(ask(), on_end=lambda: None))
        assert until(lambda: not replica.is_ready)
    assert counts[-1] == counts[1]


def test_a_replica_tells_the_id_of_its_process_while_there_is_one(start):
    replica = start("fake?die_at=0", restart=RestartPolicy(first_s=30.0))
    assert until(lambda: replica.is_ready)
    (child,) = (process.pid for process in multiprocessing.active_children())
    assert replica.snapshot().pid == child
    with pytest.raises(ReplicaDied):
        list(replica.open(ask(), on_end=lambda: None))
    assert until(lambda: replica.snapshot().pid == 0)


def test_two_requests_with_one_id_are_refused(start):
    replica = start("fake?first_token_s=30")
    assert until(lambda: replica.is_ready)
    replica.open(ask(request_id="same"), on_end=lambda: None)
    with pytest.raises(InvalidInput, match="same"):
        replica.open(ask(request_id="same"), on_end=lambda: None)


def test_a_request_to_a_replica_that_is_not_there_ends_at_once_as_lost(start):
    replica = start("fake?load_s=60")
    ends = []
    answer = replica.open(ask(), on_end=lambda: ends.append("end"))
    with pytest.raises(ReplicaDied):
        list(answer)
    assert answer.is_lost
    assert ends == ["end"]


def test_the_slot_is_freed_once_whatever_ends_the_answer(start):
    replica = start("fake?tokens=3")
    assert until(lambda: replica.is_ready)
    ends = []
    answer = replica.open(ask(), on_end=lambda: ends.append("end"))
    list(answer)
    answer.close()
    replica.request_close()
    assert replica.join(READY_S)
    assert ends == ["end"]


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="where shared memory has no names")
def test_what_a_process_shared_by_name_goes_with_it(start):
    replica = start("fake?die_at=0", restart=RestartPolicy(first_s=30.0))
    assert until(lambda: replica.is_ready)
    pid = replica.snapshot().pid
    names = [f"torch_{pid}_1_0", f"cuda.shm.0.{pid:x}.1", f"torch_{pid}0_1_0", f"cuda.shm.0.{pid:x}0.1"]
    *left, one_others, another_others = (SHARED_MEMORY / name for name in names)
    try:
        for each in (*left, one_others, another_others):
            each.write_bytes(b"counters")
        with pytest.raises(ReplicaDied):
            list(replica.open(ask(), on_end=lambda: None))
        assert until(lambda: not any(each.exists() for each in left))
        assert one_others.exists()
        assert another_others.exists()
    finally:
        for each in (*left, one_others, another_others):
            each.unlink(missing_ok=True)


def test_a_question_that_is_too_long_is_one_line_in_the_log_and_no_error(start, caplog):
    replica = start("fake?context=3")
    assert until(lambda: replica.is_ready)
    with caplog.at_level(logging.INFO, "demo"), pytest.raises(ContextTooLong):
        list(replica.open(ask("one two three four"), on_end=lambda: None))
    (said,) = (record for record in caplog.records if "too long" in record.getMessage())
    assert said.levelno == logging.INFO
    assert said.getMessage().count("\n") == 0


def test_what_fails_in_the_demo_itself_is_an_error_in_the_log_with_its_trace(start, caplog):
    replica = start("fake?fail_at=0")
    assert until(lambda: replica.is_ready)
    with caplog.at_level(logging.INFO, "demo"), pytest.raises(DemoError):
        list(replica.open(ask(), on_end=lambda: None))
    (said,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert said.levelno == logging.ERROR
    assert "Traceback" in said.getMessage()
