"""From flags to running replicas: plans for pretended cards carried out by real worker processes, and refusals."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from engine_kit import MAIN_MEMORY, READY_S, ask, cards, first, replicas_of, text_of, until

from demo.catalog import resolve
from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import GIB, Device
from demo.engine.events import Done, Token
from demo.engine.footprint import measure
from demo.engine.manager import ModelManager, share_threads
from demo.engine.planner import Flags, plan
from demo.engine.pool import Pool
from demo.engine.replica import ProcessReplica, RestartPolicy
from demo.engine.worker import WorkerJob
from demo.errors import BrokenCheckpoint, DoesNotFit, OutOfMemory

ROOT = Path(__file__).parents[2]
QUICK = RestartPolicy(first_s=0.05)


@pytest.fixture
def start(start_on_cards):
    return start_on_cards


def loads(manager):
    return [(replica.total_loads, replica.deaths) for replica in replicas_of(manager)]


def process_of(replica_id):
    """The process that runs a replica now."""
    (process,) = [each for each in multiprocessing.active_children() if each.name == f"worker-{replica_id}"]
    return process.pid


def in_threads(work, items):
    threads = [threading.Thread(target=work, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(READY_S)


# --- replicas


@pytest.mark.parametrize("count", [2, 4])
def test_each_card_gets_a_replica_in_a_process_of_its_own_that_loads_once(start, count):
    manager = start("fake?parameters=1000000", devices=cards(count), placement="replicate")
    assert manager.capacity == count
    assert [replica.devices for replica in replicas_of(manager)] == [(f"cuda:{index}",) for index in range(count)]
    assert len({process_of(index) for index in range(count)}) == count
    assert loads(manager) == [(1, 0)] * count
    assert all(replica.loads == 1 and replica.load_s > 0 for replica in replicas_of(manager))
    for replica in replicas_of(manager):
        assert list(replica.load_spans_s) == ["imports", "weights", "other"]
        assert sum(replica.load_spans_s.values()) == pytest.approx(replica.load_s)


def test_as_many_requests_as_there_are_replicas_are_answered_at_the_same_time(start):
    manager = start("fake?token_s=0.05&tokens=2000", devices=cards(4), placement="replicate")
    streams = [manager.stream(ask()) for _ in range(4)]
    assert all(first(stream, Token) for stream in streams)
    assert [replica.state for replica in replicas_of(manager)] == ["busy"] * 4
    for stream in streams:
        stream.close()


def test_replicas_load_side_by_side(start):
    manager = start("fake?load_s=600", devices=cards(4), placement="replicate", wait=False)
    assert until(lambda: [replica.detail for replica in replicas_of(manager)] == ["loading weights"] * 4)


@pytest.mark.parametrize(
    ("placement", "count", "groups"),
    [
        ("shard", 2, [("cuda:0", "cuda:1")]),
        ("2x2", 4, [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")]),
        ("auto", 2, [("cuda:0", "cuda:1")]),  # too large for one of them
    ],
)
def test_a_replica_over_several_cards_lies_where_it_was_planned_every_weight_once(start, placement, count, groups):
    manager = start("fake?parameters=6000000000", devices=cards(count), placement=placement)
    replicas = replicas_of(manager)
    assert [replica.devices for replica in replicas] == groups
    for replica in replicas:
        assert replica.resident_bytes == replica.planned_weights
        assert sum(replica.resident_bytes.values()) == 4 * 6_000_000_000
        assert {device: held.allocated for device, held in replica.memory.items()} == replica.resident_bytes
        assert all(replica.planned[device] > replica.planned_weights[device] for device in replica.devices)
        assert all(replica.planned[device] <= 16 * GIB for device in replica.devices)
    assert loads(manager) == [(1, 0)] * len(groups)
    texts = {text_of(manager.stream(ask("Why?"))) for _ in range(2 * len(groups))}
    assert len(texts) == 1
    assert [replica.served for replica in replicas_of(manager)] == [2] * len(groups)


def test_cards_that_others_fill_are_left_alone(start):
    devices = [Device("cuda:0", "pretended card", "cuda", 16 * GIB, GIB // 2), *cards(3)[1:]]
    manager = start("fake?parameters=1000000000", devices=devices, placement="auto")
    assert [replica.devices for replica in replicas_of(manager)] == [("cuda:1",), ("cuda:2",)]


def test_the_memory_follows_the_answers(start):
    manager = start("fake?parameters=1000&answer_bytes=500", devices=cards(1))
    assert replicas_of(manager)[0].memory["cuda:0"].peak == 4000
    assert text_of(manager.stream(ask()))
    held = replicas_of(manager)[0].memory["cuda:0"]
    assert (held.allocated, held.reserved, held.peak) == (4000, 4500, 4500)


def test_nothing_that_is_asked_raises_the_count_of_loads(start):
    manager = start("fake?tokens=2", devices=cards(2), placement="replicate")
    ends = []

    def visit(role):
        for _ in range(10):
            *_, last = manager.stream(ask(role=role))
            ends.append(last)
            left = manager.stream(ask(role=role))
            next(left)
            left.close()
            manager.snapshot()

    in_threads(visit, ["chat", "grounding", "captioning"] * 4)
    assert Counter(type(end) for end in ends) == {Done: 120}
    assert loads(manager) == [(1, 0), (1, 0)]


@pytest.mark.parametrize(
    ("placement", "devices", "cores", "on_cpu", "on_cards"),
    [
        ("cpu", [MAIN_MEMORY], 8, 8, 4),
        ("replicate", cards(2), 8, 6, 4),
        ("replicate", cards(2), 64, 62, 4),
        ("replicate", cards(4), 2, 1, 1),
    ],
)
def test_replicas_share_the_cores(placement, devices, cores, on_cpu, on_cards):
    decision = plan(measure(resolve(ModelChoice("fake"))), devices, Flags(placement=placement))
    assert share_threads([decision], cores=cores) == {True: on_cpu, False: on_cards}


def test_two_replicas_on_the_cpu_leave_each_other_half_of_the_cores():
    decision = plan(measure(resolve(ModelChoice("fake"))), [MAIN_MEMORY], Flags(placement="cpu"))
    assert share_threads([decision, decision], cores=8) == {True: 4, False: 4}


# --- what goes wrong


def test_a_worker_killed_while_it_loads_starts_again_and_the_others_serve_meanwhile(start, tmp_path):
    loading = tmp_path / "loading"
    slow = f"fake?slow_load_s=600&only_on=1&once={loading}"
    manager = start(slow, devices=cards(2), placement="replicate", wait=False)
    assert until(lambda: loading.exists() and replicas_of(manager)[0].state == "idle")
    assert replicas_of(manager)[1].state == "loading"
    assert loads(manager) == [(1, 0), (1, 0)]
    os.kill(process_of(1), signal.SIGKILL)
    assert text_of(manager.stream(ask()))
    assert until(lambda: [replica.state for replica in replicas_of(manager)] == ["idle", "idle"])
    assert loads(manager) == [(1, 0), (2, 1)]


def test_a_failed_load_of_one_replica_leaves_the_others_serving_and_says_so(start, caplog):
    broken = "fake?fail_load=broken_checkpoint&only_on=1"
    manager = start(broken, devices=cards(3), placement="replicate", wait=False)
    assert until(lambda: [replica.state for replica in replicas_of(manager)] == ["idle", "failed", "idle"])
    assert "told not to load" in replicas_of(manager)[1].detail
    assert until(lambda: "2 of 3 replicas of fake still serve" in caplog.text)
    assert manager.wait_ready(0.0)
    for _ in range(4):
        assert text_of(manager.stream(ask()))
    assert [replica.served for replica in replicas_of(manager)] == [2, 0, 2]


def test_where_all_replicas_fail_the_reason_is_told_at_once(start):
    manager = start("fake?fail_load=broken_checkpoint", devices=cards(2), placement="replicate", wait=False)
    with pytest.raises(BrokenCheckpoint):
        list(manager.stream(ask()))


def test_a_load_that_runs_out_of_memory_names_the_plan_and_what_to_change(start):
    manager = start("fake?parameters=6000000000&fail_load=oom", devices=cards(2), placement="shard", wait=False)
    with pytest.raises(
        OutOfMemory, match=r"planned: cuda:0 \d+\.\d GiB, cuda:1 \d+\.\d GiB, float32.*--dtype bfloat16"
    ):
        list(manager.stream(ask()))


# --- several models


def test_a_model_for_each_role_has_its_own_card_where_there_is_one(start):
    big = "fake?parameters=3000000000"
    models = (ModelChoice(big), ModelChoice(f"{big}&box=1,1,2,2", "grounding"))
    manager = start(*models, devices=cards(2), placement="single")
    assert sorted(replica.devices for replica in replicas_of(manager)) == [("cuda:0",), ("cuda:1",)]
    assert "[[1,1,2,2]]" in text_of(manager.stream(ask("Where is it?", role="grounding")))
    assert loads(manager) == [(1, 0), (1, 0)]


def test_models_that_do_not_fit_together_are_refused_with_the_flag_that_helps():
    models = (ModelChoice("fake?parameters=3000000000"), ModelChoice("fake?parameters=3000000001", "grounding"))
    with pytest.raises(DoesNotFit, match="--swap"):
        ModelManager(EngineConfig(models=models, placement="single"), devices=cards(1))


def test_models_that_do_not_fit_together_take_turns_under_load(start, tmp_path):
    options = f"tokens=2&token_s=0.005&moves={tmp_path / 'moves'}"
    models = (
        ModelChoice(f"fake?parameters=3000000000&{options}"),
        ModelChoice(f"fake?parameters=3000000001&box=1,1,2,2&{options}", "grounding"),
    )
    manager = start(*models, devices=cards(1), placement="single", swap=True, wait=False)
    assert manager.wait_ready(READY_S)
    assert manager.capacity > 2
    ends = []

    def visit(role):
        for _ in range(4):
            *_, last = manager.stream(ask("Where is it?", role=role))
            ends.append(last)

    in_threads(visit, ["chat", "grounding", "captioning", "grounding"] * 2)
    assert Counter(type(end) for end in ends) == {Done: 32}
    assert loads(manager) == [(1, 0), (1, 0)]
    assert sorted(replica.state for replica in replicas_of(manager)) == ["idle", "parked"]
    assert all(replica.takes_turns for replica in replicas_of(manager))
    on_card = [replica.memory["cuda:0"].allocated for replica in replicas_of(manager)]
    assert sorted(bytes_ > 0 for bytes_ in on_card) == [False, True]
    moves = Counter(line.split()[0] for line in (tmp_path / "moves").read_text().splitlines())
    assert moves["load"] == 2
    assert moves["resume"] <= moves["park"] <= 12  # 32 answers, grouped


# --- the command line


def launch(*arguments):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DEMO_")}
    command = [sys.executable, str(ROOT / "launch.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=READY_S, check=False)


BIG = ("--model", "fake?parameters=6000000000")
REFUSED = {
    "one card is too small": (*BIG, "--placement", "single", "--plan", "--assume", "2x16GiB"),
    "each card is too small": (*BIG, "--placement", "replicate", "--plan", "--assume", "2x16GiB"),
    "the budgets are too small": (*BIG, "--max-memory", "0=8GiB,1=8GiB", "--plan", "--assume", "2x16GiB"),
    "too few cards for the grid": (*BIG, "--placement", "2x2", "--plan", "--assume", "2x16GiB"),
    "one of two models does not fit": (*BIG, "--model", "grounding=fake", "--plan", "--assume", "1x16GiB"),
    "too big for main memory": ("--model", "fake?parameters=99000000000000", "--placement", "cpu", "--plan"),
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_a_plan_that_does_not_fit_is_exit_code_two_with_the_arithmetic(arguments):
    shown = launch(*arguments)
    assert shown.returncode == 2
    assert "GiB" in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model", "fake?parameters=99000000000000", "--placement", "cpu", "chat", "-q", "Why?"),
        ("--model", "fake?parameters=99000000000000", "--placement", "cpu", "--port", "0"),
        ("--placement", "3by3", "chat", "-q", "Why?"),
        ("--devices", "7", "chat", "-q", "Why?"),
    ],
    ids=["too big, asked once", "too big, the page", "no such placement", "no such card"],
)
def test_nothing_is_started_where_the_plan_is_refused(arguments):
    refused = launch(*arguments)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stdout == ""


# --- a real model


def test_two_replicas_of_the_bundled_model_answer_alike_each_loaded_once():
    spec = resolve(ModelChoice("bundled"))
    decision = plan(measure(spec), [MAIN_MEMORY], Flags(placement="cpu", dtype="float32"))
    job = WorkerJob(spec, decision.placement_of(0, threads=1), decision.replicas[0].devices)
    pool = Pool([ProcessReplica(index, job, restart=QUICK) for index in range(2)])
    for replica in pool.replicas:
        replica.start(on_change=pool.refresh)
    try:
        assert until(lambda: all(replica.is_ready for replica in pool.replicas), timeout_s=4 * READY_S)
        leases = [pool.lease(), pool.lease()]
        answers = []
        for lease in leases:
            lease.__enter__()
            list(lease.wait())
            answers.append(lease.open(ask(max_new_tokens=4)))
        assert text_of(answers[0]) == text_of(answers[1]) != ""
        for snapshot in (replica.snapshot() for replica in pool.replicas):
            assert (snapshot.total_loads, snapshot.loads, snapshot.served) == (1, 1, 1)
            assert snapshot.resident_bytes == {"cpu": decision.weights_bytes}
            assert decision.weights_bytes < snapshot.memory["cpu"].peak <= snapshot.planned["cpu"]
    finally:
        for replica in pool.replicas:
            replica.request_close()
        assert all(replica.join(READY_S) for replica in pool.replicas)
