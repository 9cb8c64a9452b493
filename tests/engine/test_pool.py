"""Leases over several replicas, each a real worker process with the fake model."""

from dataclasses import replace

import pytest
from engine_kit import READY_S, ask, first, text_of, until

from demo.catalog import resolve
from demo.config import ModelChoice
from demo.engine.events import Ping, Token
from demo.engine.pool import Pool
from demo.engine.replica import ProcessReplica, RestartPolicy
from demo.engine.worker import WorkerJob
from demo.errors import BrokenCheckpoint, ShuttingDown
from demo.types import Placement

QUICK = RestartPolicy(first_s=0.05)


@pytest.fixture
def start():
    """Builds and starts a pool with one replica for each of the fakes named."""
    replicas = []

    def build(*names, **how):
        jobs = [WorkerJob(resolve(ModelChoice(name)), Placement({"": "cpu"}, **how)) for name in names]
        pool = Pool([ProcessReplica(index, job, restart=QUICK) for index, job in enumerate(jobs)])
        replicas.extend(pool.replicas)
        for replica in pool.replicas:
            replica.start(on_change=pool.refresh)
        return pool

    yield build
    for replica in replicas:
        replica.request_close()
    assert all(replica.join(READY_S) for replica in replicas)


def stream(pool, *, is_patient=False):
    """One answer of a pool, as the manager takes it."""
    with pool.lease(is_patient=is_patient) as lease:
        yield from lease.wait()
        answer = lease.open(replace(ask(), is_patient=is_patient))
        try:
            yield from answer
        finally:
            answer.close()


def ready(pool):
    return until(lambda: all(replica.is_ready for replica in pool.replicas))


def states(pool):
    return [replica.snapshot().state for replica in pool.replicas]


def test_requests_at_the_same_time_go_to_different_replicas(start):
    pool = start("fake?token_s=0.05&tokens=2000", "fake?token_s=0.05&tokens=2000")
    assert ready(pool)
    streams = [stream(pool), stream(pool)]
    assert all(first(each, Token) for each in streams)
    assert states(pool) == ["busy", "busy"]
    assert first(stream(pool), Ping).state == "queued"
    for each in streams:
        each.close()


def test_equally_busy_replicas_take_turns(start):
    pool = start("fake", "fake", "fake")
    assert ready(pool)
    for _ in range(6):
        assert text_of(stream(pool))
    assert [replica.snapshot().served for replica in pool.replicas] == [2, 2, 2]


def test_a_request_does_not_wait_for_a_replica_that_still_loads(start):
    pool = start("fake?load_s=60", "fake")
    assert text_of(stream(pool))
    assert text_of(stream(pool))
    assert states(pool)[0] in ("starting", "loading")


def test_a_replica_that_failed_for_good_leaves_the_others_serving(start):
    pool = start("fake?fail_load=broken_checkpoint", "fake")
    assert until(lambda: states(pool) == ["failed", "idle"])
    assert pool.failure() is None
    assert text_of(stream(pool))
    assert text_of(stream(pool))


def test_those_who_wait_are_told_when_the_last_replica_has_failed(start):
    pool = start("fake?load_s=0.5&fail_load=broken_checkpoint", "fake?load_s=1&fail_load=disk_full")
    with pytest.raises(BrokenCheckpoint):
        list(stream(pool))


def test_a_replica_with_two_slots_answers_two_requests_at_a_time(start):
    pool = start("fake?token_s=0.05&tokens=2000", slots=2)
    assert ready(pool)
    assert pool.capacity == 2
    one, two, three = stream(pool), stream(pool), stream(pool)
    assert first(one, Token)
    assert first(two, Token)
    assert first(one, Token)
    assert first(three, Ping).state == "queued"
    assert pool.replicas[0].snapshot().running == 2
    one.close()
    assert first(three, Token)
    assert first(two, Token)
    for each in (two, three):
        each.close()
    assert until(lambda: states(pool) == ["idle"])


def test_a_replica_takes_more_than_it_answers_where_it_prepares_ahead(start):
    pool = start("fake?token_s=0.05&tokens=2000", slots=2, prepares_ahead=True)
    assert ready(pool)
    assert (pool.capacity, pool.places) == (2, 4)
    begun = [stream(pool, is_patient=True) for _ in range(3)]
    assert all(first(each, Token) for each in begun)
    urgent = [stream(pool) for _ in range(2)]
    assert all(first(each, Token) for each in urgent)  # the worker lets them go before those who are patient
    waiting = [stream(pool), stream(pool, is_patient=True)]
    assert [first(each, Ping).state for each in waiting] == ["queued"] * 2
    for each in (*begun, *urgent, *waiting):
        each.close()


def test_nobody_is_bound_to_a_replica_that_has_no_slot_but_before_those_who_are_patient(start):
    pool = start("fake?token_s=0.05&tokens=2000", slots=2, prepares_ahead=True)
    assert ready(pool)
    begun = [stream(pool) for _ in range(2)]
    assert all(first(each, Token) for each in begun)
    urgent, patient = stream(pool), stream(pool, is_patient=True)
    assert first(urgent, Ping).state == "queued"
    begun[0].close()
    assert first(urgent, Token)
    assert first(patient, Token)
    for each in (*begun, urgent, patient):
        each.close()


def test_a_lease_that_is_left_unused_frees_its_slot(start):
    pool = start("fake")
    assert ready(pool)
    with pool.lease() as lease:
        list(lease.wait())
    assert text_of(stream(pool))


def test_a_request_that_goes_first_overtakes_those_who_wait(start):
    pool = start("fake?deaf_s=1&tokens=1")
    assert ready(pool)
    holder = stream(pool)
    first(holder, Ping)
    with pool.lease() as patient, pool.lease(first=True) as urgent:
        assert pool.ping(urgent).detail == "next"
        assert pool.ping(patient).detail == "1 ahead"
        list(holder)
        list(urgent.wait())
        assert pool.waiting == 1


def test_a_closed_pool_turns_everyone_away(start):
    pool = start("fake?load_s=60")
    waiting = stream(pool)
    first(waiting, Ping)
    pool.close()
    for each in (waiting, stream(pool)):
        with pytest.raises(ShuttingDown):
            list(each)
