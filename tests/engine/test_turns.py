"""Models that take turns on a card: whose turn it is, and what happens to those who wait or die meanwhile."""

import os
import signal
import threading
from itertools import islice

import pytest
from engine_kit import READY_S, ask, first, text_of, until

from demo.catalog import resolve
from demo.config import ModelChoice
from demo.engine.events import Done, Ping, Token
from demo.engine.pool import Pool
from demo.engine.replica import ProcessReplica, RestartPolicy
from demo.engine.turns import Turnstile, rivals
from demo.engine.worker import WorkerJob
from demo.errors import BrokenCheckpoint, ReplicaDied
from demo.types import Placement

QUICK = RestartPolicy(first_s=0.05)
MANY = 10_000


@pytest.fixture
def start(tmp_path):
    """Builds pools of one replica each on one pretended card, and starts them with a turnstile."""
    built = []

    def build(*options, answers=MANY, patience_s=600.0, replicas=1, wait=True):
        names = ("&".join(filter(None, (f"fake?moves={tmp_path / 'moves'}", option))) for option in options)
        pools = [pool_of(name, replicas) for name in names]
        turns = Turnstile(pools, answers=answers, patience_s=patience_s)
        built.append((turns, pools))
        for pool in pools:
            for replica in pool.replicas:
                replica.start(on_change=pool.refresh)
        turns.start()
        if wait:
            assert until(lambda: all(replica.is_loaded for pool in pools for replica in pool.replicas))
        return pools

    yield build
    for turns, pools in built:
        turns.close()
        for pool in pools:
            pool.close()
        replicas = [replica for pool in pools for replica in pool.replicas]
        for replica in replicas:
            replica.request_close()
        assert all(replica.join(READY_S) for replica in replicas)


def pool_of(name, replicas):
    job = WorkerJob(resolve(ModelChoice(name)), Placement({"": "cuda:0"}))
    return Pool([ProcessReplica(index, job, restart=QUICK) for index in range(replicas)])


def stream(pool, request_id=None, **sampling):
    """One answer of a pool, as the manager takes it."""
    with pool.lease() as lease:
        yield from lease.wait()
        answer = lease.open(ask(request_id=request_id, **sampling))
        try:
            yield from answer
        finally:
            answer.close()


def queue_up(holder, request_ids, pools):
    """Have requests of one token wait, in their order, behind a long answer that ends when all are there; serve all."""
    long_answer = stream(holder, "long")
    first(long_answer, Token)
    threads = []
    for request_id, pool in zip(request_ids, pools, strict=True):
        before = pool.waiting
        ask_one = stream(pool, request_id, max_new_tokens=1)
        threads.append(threading.Thread(target=list, args=(ask_one,)))
        threads[-1].start()
        assert until(lambda p=pool, b=before: p.waiting > b)
    long_answer.close()
    for thread in threads:
        thread.join(READY_S)


def begun(tmp_path):
    """The ids of the requests that were taken up, in their order."""
    return [words[1] for words in lines(tmp_path, "answers") if words[0] == "begin"]


def lines(tmp_path, name="moves"):
    return [line.split() for line in (tmp_path / name).read_text().splitlines()]


def pid_of(tmp_path, index):
    """The process of the index-th load."""
    return [int(words[1]) for words in lines(tmp_path) if words[0] == "load"][index]


def state(pool):
    return pool.replicas[0].snapshot().state


def on_card_of(moves):
    """How many processes are on the card after each move."""
    there = set()
    for what, pid in moves:
        (there.discard if what == "park" else there.add)(pid)
        yield len(there)


@pytest.mark.parametrize(
    ("takers", "groups"),
    [
        ([("a", {"cuda:0"}), ("b", {"cuda:0"})], [["a", "b"]]),
        ([("a", {"cuda:0"}), ("b", {"cuda:1"})], []),
        ([("a", {"cuda:0"}), ("b", {"cuda:1"}), ("c", {"cuda:1"}), ("d", {"cuda:0"})], [["b", "c"], ["a", "d"]]),
        ([("a", {"cuda:0"}), ("b", {"cuda:1"}), ("c", {"cuda:0", "cuda:1"})], [["a", "b", "c"]]),
    ],
    ids=["one card", "a card each", "two cards with two models each", "one model over both cards"],
)
def test_models_that_share_a_card_take_turns_with_each_other(takers, groups):
    assert sorted(rivals(takers)) == sorted(groups)


def test_all_models_are_loaded_after_the_start_and_one_is_on_the_card(start, tmp_path):
    pools = start("", "", "")
    assert until(lambda: sorted(map(state, pools)) == ["idle", "parked", "parked"])
    assert [pool.replicas[0].snapshot().total_loads for pool in pools] == [1, 1, 1]
    assert max(on_card_of(lines(tmp_path))) == 1


def test_a_model_that_waits_for_its_first_turn_is_starting_and_not_parked(start):
    loading, waiting = start("load_s=600", "", wait=False)
    assert until(lambda: state(loading) == "loading")
    assert state(waiting) == "starting"
    assert waiting.replicas[0].snapshot().detail == "waiting for its turn on the card"
    assert waiting.replicas[0].snapshot().total_loads == 0


def test_a_parked_model_comes_back_for_its_request_and_is_not_loaded_again(start, tmp_path):
    pools = start("", "")
    for pool in (*pools, *pools, *pools):
        assert text_of(stream(pool))
    assert [pool.replicas[0].snapshot().total_loads for pool in pools] == [1, 1]
    assert [words[0] for words in lines(tmp_path)].count("load") == 2
    assert max(on_card_of(lines(tmp_path))) == 1


def test_a_model_keeps_its_turn_while_nobody_else_waits(start, tmp_path):
    pool, _ = start("", "")
    assert text_of(stream(pool))
    moves = len(lines(tmp_path))
    for _ in range(5):
        assert text_of(stream(pool))
    assert len(lines(tmp_path)) == moves


def test_who_waits_is_told_what_for(start):
    holder, other = start("first_token_s=600", "resume_s=1&tokens=1")
    answer = stream(holder)
    assert any(isinstance(event, Ping) and event.state == "working" for event in answer)
    waiting = stream(other)
    assert first(waiting, Ping) == Ping("loading", "waiting for its turn on the card")
    answer.close()
    details = [event.detail for event in waiting if isinstance(event, Ping)]
    assert "taking its turn on the card" in details


def test_no_model_leaves_in_the_middle_of_an_answer(start, tmp_path):
    both = f"journal={tmp_path / 'moves'}&tokens=4&token_s=0.02"
    pools = start(both, both, answers=2)
    threads = [threading.Thread(target=lambda p=pool: list(stream(p))) for pool in pools for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(READY_S)
    told = lines(tmp_path)
    begins = [index for index, words in enumerate(told) if words[0] == "begin"]
    assert len(begins) == 20
    assert all(told[index + 1] == ["end", told[index][1], "4"] for index in begins)  # nothing moved in between
    assert max(on_card_of(words for words in told if words[0] in ("load", "park", "resume"))) == 1


def test_requests_are_grouped_by_their_model(start, tmp_path):
    both = f"journal={tmp_path / 'answers'}&tokens=2000&token_s=0.01"
    holder, other = start(both, both)
    queue_up(holder, [f"{letter}{index}" for index in range(6) for letter in "ab"], [holder, other] * 6)
    assert begun(tmp_path) == ["long", *(f"a{index}" for index in range(6)), *(f"b{index}" for index in range(6))]


def test_a_waiting_model_gets_its_turn_after_so_many_answers_and_so_does_the_next(start, tmp_path):
    both = f"journal={tmp_path / 'answers'}&tokens=2000&token_s=0.01"
    holder, other = start(both, both, answers=3)
    queue_up(holder, [f"{letter}{index}" for letter in "ba" for index in range(5)], [other] * 5 + [holder] * 5)
    assert begun(tmp_path) == ["long", "a0", "a1", "a2", "b0", "b1", "b2", "a3", "a4", "b3", "b4"]


def test_a_waiting_model_gets_its_turn_after_so_long(start, tmp_path):
    both = f"journal={tmp_path / 'answers'}&tokens=2000&token_s=0.01"
    holder, other = start(f"{both}&first_token_s=0.2", both, patience_s=0.5)
    queue_up(holder, [*(f"a{index}" for index in range(12)), "b"], [holder] * 12 + [other])
    order = begun(tmp_path)
    assert len(order) == 14
    assert order.index("b") < 13


def test_a_request_that_gives_up_waiting_leaves_the_model_on_the_card_where_it_is(start, tmp_path):
    holder, other = start("token_s=0.05&tokens=2000", "", answers=0)
    answer = stream(holder)
    first(answer, Token)
    moves = len(lines(tmp_path))
    waiting = stream(other)
    first(waiting, Ping)
    waiting.close()
    answer.close()
    assert first(stream(holder), Token)
    assert len(lines(tmp_path)) == moves


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_model_whose_process_is_killed_while_it_is_parked_loads_again_in_its_turn(start, tmp_path, replicas):
    pool, other = start("", "", replicas=replicas)
    assert text_of(stream(other))
    assert until(lambda: all(replica.snapshot().state == "parked" for replica in pool.replicas))
    os.kill(pid_of(tmp_path, 0), signal.SIGKILL)
    assert until(lambda: sum(replica.snapshot().deaths for replica in pool.replicas) == 1)
    assert text_of(stream(pool))
    assert text_of(stream(other))
    assert until(lambda: all(replica.is_loaded for replica in pool.replicas))
    counts = [(replica.snapshot().total_loads, replica.snapshot().deaths) for replica in pool.replicas]
    assert sorted(counts) == [(1, 0)] * (replicas - 1) + [(2, 1)]


def test_a_model_whose_process_is_killed_while_it_returns_loads_again_and_answers(start, tmp_path):
    pool, other = start("resume_s=2", "")
    assert text_of(stream(other))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(text_of(stream(pool))))
    thread.start()
    assert until(lambda: pool.replicas[0].snapshot().detail == "taking its turn on the card")
    os.kill(pid_of(tmp_path, 0), signal.SIGKILL)
    thread.join(READY_S)
    assert "You asked" in answers[0]
    assert (pool.replicas[0].snapshot().total_loads, pool.replicas[0].snapshot().deaths) == (2, 1)
    assert text_of(stream(other))


@pytest.mark.parametrize("move", ["park", "resume"])
def test_a_model_that_is_stuck_half_way_frees_the_card_and_loads_again(start, tmp_path, move):
    pool, other = start(f"fail_move={move}&once={tmp_path / 'stuck'}", "", wait=False)
    for each in (pool, other, pool):
        assert text_of(stream(each))
    assert (tmp_path / "stuck").exists()
    assert (pool.replicas[0].snapshot().total_loads, pool.replicas[0].snapshot().deaths) == (2, 1)


def test_a_model_that_hangs_while_it_returns_is_ended_by_the_watchdog(tmp_path):
    job = WorkerJob(resolve(ModelChoice("fake?resume_s=600")), Placement({"": "cuda:0"}))
    replica = ProcessReplica(0, job, restart=QUICK, stall_s=1.0)
    replica.start()
    assert until(lambda: replica.is_ready)
    replica.end_turn()
    assert until(lambda: not replica.is_on_card)
    replica.take_turn()
    assert until(lambda: replica.snapshot().deaths == 1)
    assert until(lambda: replica.is_ready)
    replica.request_close()
    assert replica.join(READY_S)


def test_a_model_that_cannot_be_loaded_gives_its_turn_away(start):
    broken, sound = start("fail_load=broken_checkpoint", "", wait=False)
    assert text_of(stream(sound))
    with pytest.raises(BrokenCheckpoint):
        list(stream(broken))
    assert text_of(stream(sound))


def test_a_model_that_dies_again_and_again_does_not_keep_the_card(start):
    dying, sound = start("die_at=0", "", wait=False)
    for _ in range(3):
        with pytest.raises(ReplicaDied):
            list(stream(dying))
        assert text_of(stream(sound))


def test_the_memory_tells_what_is_on_the_card_and_what_is_parked(start):
    pool, other = start("parameters=1000", "parameters=500")
    assert text_of(stream(other))
    assert until(lambda: state(pool) == "parked")
    parked, there = pool.replicas[0].snapshot().memory, other.replicas[0].snapshot().memory
    assert (parked["cuda:0"].allocated, parked["cuda:0"].peak, parked["cpu"].allocated) == (0, 4000, 4000)
    assert there["cuda:0"].allocated == 2000
    assert "cpu" not in there


def test_several_models_under_load_all_answer_everything(start, tmp_path):
    options = ["tokens=2&token_s=0.005", "tokens=3&token_s=0.005&park_s=0.02", "tokens=1&resume_s=0.02"]
    pools = start(*options, answers=3, patience_s=5.0)
    ends = []

    def visit(pool):
        for _ in range(5):
            *_, last = stream(pool)
            ends.append(isinstance(last, Done))

    threads = [threading.Thread(target=visit, args=(pool,)) for pool in pools for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(READY_S)
    assert ends == [True] * 45
    assert [pool.replicas[0].snapshot().total_loads for pool in pools] == [1, 1, 1]
    assert max(on_card_of(lines(tmp_path))) == 1


@pytest.mark.parametrize("options", [("load_s=60", ""), ("park_s=60", ""), ("", "load_s=60")])
def test_closing_waits_for_nobody(start, options):
    first_pool, _ = start(*options, wait=False)
    list(islice(stream(first_pool), 1))  # the fixture closes, and asserts that everything ends
