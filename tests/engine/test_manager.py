"""The engine from its front door: real worker processes with the fake model."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from itertools import islice
from multiprocessing import active_children
from pathlib import Path

import pytest
from engine_kit import READY_S, ask, first, text_of, until

from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import GIB, Device
from demo.engine.events import Done, Ping, Token
from demo.engine.manager import ModelManager, resolve_roles
from demo.engine.replica import RestartPolicy
from demo.errors import (
    BrokenCheckpoint,
    ConfigError,
    DemoError,
    DoesNotFit,
    InvalidInput,
    OutOfMemory,
    ReplicaDied,
    ShuttingDown,
)

ROOT = Path(__file__).parents[2]


def test_an_answer_streams_in_pieces_and_ends_with_what_it_cost(start):
    events = list(start(tokens=5).stream(ask("Hello?")))
    tokens = [event for event in events if isinstance(event, Token)]
    assert len(tokens) == 5
    assert events[-1].reason == "stop"
    assert events[-1].usage.completion_tokens == 5


def test_an_answer_depends_on_its_own_question(start):
    manager = start()
    assert "How many dogs?" in text_of(manager.stream(ask("How many dogs?")))
    assert "[[1,2,3,4]]" not in text_of(manager.stream(ask("Where is the cat?")))
    assert text_of(manager.stream(ask("Where is the cat?"))) == "the cat [[100,200,300,400]]"


def test_a_request_is_pinged_with_progress_while_the_model_loads(start):
    manager = start(wait=False, load_s=1.0)
    events = list(manager.stream(ask()))
    loading = [event for event in events if isinstance(event, Ping) and event.state == "loading"]
    assert any(event.detail == "loading weights" and event.fraction for event in loading)
    assert isinstance(events[-1], Done)


def test_a_request_is_pinged_while_it_is_worked_on(start):
    assert first(start(first_token_s=30).stream(ask()), Ping).state == "working"


def test_a_stream_that_is_closed_ends_within_two_tokens_and_the_next_request_works(start, tmp_path):
    journal = tmp_path / "journal"
    manager = start(token_s=0.25, tokens=2000, journal=journal)
    stream = manager.stream(ask(request_id="left"))
    first(stream, Token)
    stream.close()
    assert first(manager.stream(ask(request_id="next")), Token)
    ended = [line.split() for line in journal.read_text().splitlines() if line.startswith("end left")]
    assert int(ended[0][2]) <= 1 + 2  # the one that was seen, and two more


@pytest.mark.parametrize("prefill", ["first_token_s", "deaf_s"])
def test_closing_a_stream_in_the_middle_of_the_prefill_returns_at_once(start, prefill):
    stream = start(**{prefill: 1.0}).stream(ask())
    first(stream, Ping)
    started_s = time.perf_counter()
    stream.close()
    assert time.perf_counter() - started_s < 0.05


def test_a_cancelled_request_keeps_its_slot_until_the_worker_is_done_with_it(start):
    manager = start(deaf_s=1.0)
    stream = manager.stream(ask())
    first(stream, Ping)
    stream.close()
    successor = manager.stream(ask())
    assert first(successor, Ping).state == "queued"  # not sent to the worker yet
    assert manager.snapshot().waiting == 1
    assert first(successor, Done).reason == "stop"
    assert manager.snapshot().waiting == 0


def test_requests_at_the_same_time_never_overlap_in_one_replica(start, tmp_path):
    journal = tmp_path / "journal"
    manager = start(tokens=5, token_s=0.02, journal=journal)
    threads = [threading.Thread(target=lambda: list(manager.stream(ask()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(READY_S)
    lines = [line.split() for line in journal.read_text().splitlines()]
    assert [what for what, _, _ in lines] == ["begin", "end"] * 6
    assert all(begin[1] == end[1] for begin, end in zip(lines[::2], lines[1::2], strict=True))


def test_those_who_wait_are_served_in_their_order(start):
    manager = start(first_token_s=600)  # nobody ends by themselves: a slot is free when its holder leaves

    def is_served(stream):
        return any(isinstance(event, Ping) and event.state == "working" for event in islice(stream, 40))

    holder = manager.stream(ask())
    assert is_served(holder)
    waiters = [manager.stream(ask()) for _ in range(3)]
    pings = [first(waiter, Ping) for waiter in waiters]
    assert [ping.detail for ping in pings] == ["next", "1 ahead", "2 ahead"]
    waiters[1].close()
    assert manager.snapshot().waiting == 2
    holder.close()
    assert is_served(waiters[0])
    assert first(waiters[2], Ping).state == "queued"
    waiters[0].close()
    assert is_served(waiters[2])
    waiters[2].close()


def test_a_worker_that_dies_in_the_middle_says_so_and_the_next_request_works(start, tmp_path):
    manager = start(die_at=2, once=tmp_path / "died")
    stream = manager.stream(ask())
    with pytest.raises(ReplicaDied, match=r"signal 9.*system running out of memory"):
        list(stream)
    assert text_of(manager.stream(ask("And now?")))
    assert manager.snapshot().replicas[0].deaths == 1
    assert manager.snapshot().replicas[0].loads == 1


def test_a_request_whose_worker_dies_before_the_first_token_is_asked_again(start, tmp_path):
    manager = start(die_at=0, once=tmp_path / "died")
    assert "You asked" in text_of(manager.stream(ask()))
    assert manager.snapshot().replicas[0].deaths == 1


def test_a_request_that_kills_its_worker_twice_is_not_asked_a_third_time(start):
    manager = start(die_at=0)
    with pytest.raises(ReplicaDied):
        list(manager.stream(ask()))
    assert until(lambda: manager.snapshot().replicas[0].deaths == 2)


def test_a_worker_killed_from_outside_is_replaced(start):
    manager = start(token_s=0.05, tokens=2000)
    stream = manager.stream(ask())
    first(stream, Token)
    os.kill(only_worker(), signal.SIGKILL)
    with pytest.raises(ReplicaDied, match="signal 9"):
        list(stream)
    assert manager.wait_ready(READY_S)
    assert first(manager.stream(ask()), Token)


def test_a_load_that_fails_for_good_is_reported_and_not_tried_again(start):
    manager = start(wait=False, fail_load="broken_checkpoint")
    with pytest.raises(BrokenCheckpoint, match="told not to load"):
        list(manager.stream(ask()))
    with pytest.raises(BrokenCheckpoint):
        manager.wait_ready(READY_S)
    assert until(lambda: manager.snapshot().replicas[0].state == "failed")
    assert "told not to load" in manager.snapshot().replicas[0].detail
    assert manager.snapshot().replicas[0].deaths == 0


@pytest.mark.parametrize(("how", "reason"), [("exit", "exit code 3"), ("error", "failed while loading")])
def test_a_crash_loop_ends_in_a_failed_state_with_the_reason(start, how, reason):
    manager = start(wait=False, fail_load=how, restart=RestartPolicy(first_s=0.01, max_failed_loads=3))
    with pytest.raises(DemoError, match=reason):
        list(manager.stream(ask()))
    snapshot = manager.snapshot().replicas[0]
    assert snapshot.deaths == 3
    started_s = time.monotonic()
    with pytest.raises(DemoError, match="3 times"):
        list(manager.stream(ask()))
    assert time.monotonic() - started_s < 1.0  # nobody waits for a model that will not come


def test_requests_that_kill_their_worker_do_not_end_the_service_for_others(start):
    manager = start(die_at=1, restart=RestartPolicy(first_s=0.01, cap_s=0.02, max_failed_loads=2))
    for _ in range(4):
        with pytest.raises(ReplicaDied, match="being restarted"):
            list(manager.stream(ask()))
    assert manager.wait_ready(READY_S)


def test_a_load_that_crashes_once_is_tried_again(start, tmp_path):
    manager = start(fail_load="exit", once=tmp_path / "crashed")
    assert text_of(manager.stream(ask()))


def test_running_out_of_memory_fails_one_request_and_the_process_goes_on(start, tmp_path):
    manager = start(oom_at=3, once=tmp_path / "full")
    with pytest.raises(OutOfMemory, match="smaller picture"):
        list(manager.stream(ask()))
    assert text_of(manager.stream(ask()))
    assert manager.snapshot().replicas[0].deaths == 0


def test_an_unknown_error_is_told_without_its_details_and_the_process_goes_on(start, tmp_path, caplog):
    manager = start(fail_at=1, once=tmp_path / "failed")
    with pytest.raises(DemoError, match=r"failed on this request \(ValueError\)") as caught:
        list(manager.stream(ask()))
    assert caught.value.kind == "internal"
    assert "the fake was told to fail" in caplog.text  # the log has them
    assert text_of(manager.stream(ask()))
    assert manager.snapshot().replicas[0].deaths == 0


def test_a_generation_that_hangs_is_ended_by_the_watchdog(start, tmp_path):
    manager = start(hang_at=1, stall_s=1.5, once=tmp_path / "hung")
    with pytest.raises(ReplicaDied, match=r"no progress for 1\.5 s"):
        list(manager.stream(ask()))
    assert text_of(manager.stream(ask()))


def test_a_cancelled_request_that_hangs_does_not_hold_the_slot_for_ever(start, tmp_path):
    manager = start(hang_at=1, stall_s=1.5, once=tmp_path / "hung")
    stream = manager.stream(ask())
    first(stream, Token)
    first(stream, Ping)  # by now it hangs
    stream.close()
    assert text_of(manager.stream(ask()))


def test_an_idle_worker_is_left_alone_by_the_watchdog(start):
    manager = start(stall_s=0.2)
    time.sleep(0.6)
    assert manager.snapshot().replicas[0].state == "idle"
    assert manager.snapshot().replicas[0].deaths == 0


def test_the_snapshot_follows_a_request(start):
    manager = start(parameters=1000, token_s=0.01, tokens=10)
    replica = manager.snapshot().replicas[0]
    assert (replica.state, replica.loads, replica.served) == ("idle", 1, 0)
    assert replica.resident_bytes == {"cpu": 4000}
    stream = manager.stream(ask())
    first(stream, Token)
    assert manager.snapshot().replicas[0].state == "busy"
    list(stream)
    replica = manager.snapshot().replicas[0]
    assert (replica.state, replica.loads, replica.served) == ("idle", 1, 1)
    assert 0 < replica.tokens_per_s <= 100
    assert manager.capacity == 1


def test_a_second_manager_in_one_process_is_refused_while_the_first_lives(start):
    manager = start(wait=False)
    with pytest.raises(ConfigError, match="already"):
        ModelManager(EngineConfig(models=(ModelChoice("fake"),)))
    manager.close()
    ModelManager(EngineConfig(models=(ModelChoice("fake"),))).close()


def test_a_plan_that_does_not_fit_starts_nothing_and_leaves_room_for_another_manager(start):
    tight = Device("cpu", "CPU", "cpu", GIB, GIB)
    with pytest.raises(DoesNotFit, match="short"):
        ModelManager(EngineConfig(models=(ModelChoice("fake?parameters=1000000000"),)), devices=[tight])
    assert text_of(start().stream(ask()))


def test_closing_ends_open_streams_and_refuses_new_ones(start):
    manager = start(token_s=0.05, tokens=2000)
    stream, waiting = manager.stream(ask()), manager.stream(ask())
    first(stream, Token)
    first(waiting, Ping)
    started_s = time.monotonic()
    manager.close()
    manager.close()
    assert time.monotonic() - started_s < 4.0
    assert manager.snapshot().replicas[0].state == "closed"
    for left in (stream, waiting, manager.stream(ask())):
        with pytest.raises(ShuttingDown):
            list(left)


@pytest.mark.parametrize("options", [{"load_s": 60, "wait": False}, {"deaf_s": 60}], ids=["loading", "deaf"])
def test_closing_leaves_no_process_whatever_the_worker_does(start, options):
    manager = start(**options)
    stream = manager.stream(ask())
    first(stream, Ping)
    pid = only_worker()
    manager.close()
    assert until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_manager_that_was_never_started_closes(start):
    ModelManager(EngineConfig(models=(ModelChoice("fake"),))).close()
    assert text_of(start().stream(ask()))


def test_each_role_gets_the_model_that_was_named_for_it():
    models = (ModelChoice("fake?tokens=1"), ModelChoice("fake?tokens=2", role="grounding"))
    specs = resolve_roles(EngineConfig(models=models))
    assert {role: spec.options for role, spec in specs.items()} == {
        "chat": (("tokens", "1"),),
        "captioning": (("tokens", "1"),),
        "grounding": (("tokens", "2"),),
    }


def test_a_role_without_a_model_is_refused():
    with ModelManager(EngineConfig(models=(ModelChoice("fake", role="chat"),))) as manager:
        assert set(manager.specs) == {"chat"}
        with pytest.raises(InvalidInput, match="grounding"):
            next(manager.stream(ask(role="grounding")))


def test_two_models_run_side_by_side():
    models = (ModelChoice("fake?box=1,1,2,2"), ModelChoice("fake?box=3,3,4,4", role="grounding"))
    with ModelManager(EngineConfig(models=models)) as manager:
        manager.start()
        assert manager.capacity == 2
        assert "[[1,1,2,2]]" in text_of(manager.stream(ask("Where is it?")))
        assert "[[3,3,4,4]]" in text_of(manager.stream(ask("Where is it?", role="grounding")))
        assert [replica.loads for replica in manager.snapshot().replicas] == [1, 1]


def run_script(tmp_path, body):
    """A program of its own that uses the engine, as launch.py does."""
    script = tmp_path / "script.py"
    head = """
        import os, signal, sys, time
        from demo.config import EngineConfig, ModelChoice
        from demo.engine.manager import ModelManager
        from demo.types import GenerateRequest, Message
        def ask():
            return GenerateRequest("r", "chat", (Message("user", "What is this?"),))
    """
    script.write_text(
        textwrap.dedent(head) + 'if __name__ == "__main__":\n' + textwrap.indent(textwrap.dedent(body), "    ")
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize("option", ["token_s=0.05&tokens=8000", "deaf_s=600", "load_s=600"])
def test_workers_end_when_the_parent_is_killed(tmp_path, option):
    body = f"""
        manager = ModelManager(EngineConfig(models=(ModelChoice("fake?{option}"),)))
        manager.start()
        for event in manager.stream(ask()):
            import multiprocessing
            print(multiprocessing.active_children()[0].pid, flush=True)
    """
    with run_script(tmp_path, body) as parent:
        worker = int(parent.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        parent.kill()
        assert until(lambda: not is_running(worker), timeout_s=3.0)


@pytest.mark.parametrize("wait", ["", "manager.wait_ready(60)"], ids=["at once", "when it is ready"])
def test_ctrl_c_reaches_the_program_and_not_its_workers(tmp_path, wait):
    body = f"""
        manager = ModelManager(EngineConfig(models=(ModelChoice("fake"),)))
        manager.start()
        {wait}
        try:
            print("press", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            print(list(manager.stream(ask()))[-1].reason, manager.snapshot().replicas[0].deaths)
    """
    with run_script(tmp_path, body) as program:
        assert program.stdout.readline() == "press\n"
        os.killpg(program.pid, signal.SIGINT)
        output, _ = program.communicate(timeout=READY_S)
    assert output.split() == ["stop", "0"]


def test_a_program_that_forgets_to_close_ends_without_leaving_a_worker(tmp_path):
    body = """
        import multiprocessing
        manager = ModelManager(EngineConfig(models=(ModelChoice("fake"),)))
        manager.start()
        print(list(manager.stream(ask()))[-1].reason, multiprocessing.active_children()[0].pid)
    """
    with run_script(tmp_path, body) as program:
        output, _ = program.communicate(timeout=READY_S)
    reason, worker = output.split()
    assert reason == "stop"
    assert program.returncode == 0
    assert not is_running(int(worker))


def test_the_process_that_serves_imports_no_framework(tmp_path):
    body = """
        with ModelManager(EngineConfig(models=(ModelChoice("fake"),))) as manager:
            manager.start()
            list(manager.stream(ask()))
        print(sorted({"torch", "transformers", "gradio", "fastapi", "numpy"} & set(sys.modules)))
    """
    with run_script(tmp_path, body) as program:
        output, _ = program.communicate(timeout=READY_S)
    assert output.strip() == "[]"


def only_worker() -> int:
    (process,) = active_children()
    return process.pid


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie; who adopts orphans here may never reap them."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(("able", "is_told"), [(1, True), (3, False)])
def test_a_model_that_answers_one_at_a_time_although_more_were_planned_is_told_of(able, is_told, caplog):
    config = EngineConfig(models=(ModelChoice(f"fake?slots={able}"),), slots=3)
    with caplog.at_level("WARNING", "demo.engine.bulletin"), ModelManager(config) as manager:
        manager.start()
        assert manager.wait_ready(READY_S)
        assert [replica.slots for replica in manager.snapshot().replicas] == [able]
    assert ("answers one at a time" in caplog.text) is is_told
