"""What the devices hold, sampled once for all who look."""

import threading
from dataclasses import dataclass, replace

import pytest
from engine_kit import until

from demo.engine.devices import GIB, Device
from demo.engine.pipeline import RESERVE_BYTES
from demo.engine.snapshots import ReplicaSnapshot
from demo.engine.telemetry import Monitor
from demo.types import DeviceMemory

CARD = Device("cuda:0", "a card", "cuda", 24 * GIB, 20 * GIB)
CPU = Device("cpu", "CPU", "cpu", 16 * GIB, 10 * GIB)
SELDOM_S = 600.0  # no second sample while a test lasts


@dataclass(frozen=True)
class Engine:
    """What the monitor looks at of a manager's snapshot."""

    replicas: tuple = ()
    waiting: int = 0


class Reader:
    """Devices as the test says, one list a reading; the last one stays."""

    def __init__(self, *readings, processes=None):
        self._readings = readings
        self._processes = processes or {}
        self.reads = 0
        self.opens = 0
        self.closes = 0

    def open(self):
        self.opens += 1
        return self

    def read(self):
        self.reads += 1
        return self._readings[min(self.reads, len(self._readings)) - 1]

    def processes(self):
        return self._processes

    def close(self):
        self.closes += 1


@pytest.fixture
def monitor():
    """``monitor(reader, replica, ..., idle_s=...)``; closed at the end."""
    built = []

    def build(reader, *replicas, sample_s=SELDOM_S, **options):
        engine = Engine(replicas)
        built.append(Monitor(lambda: engine, open_reader=reader.open, sample_s=sample_s, **options))
        return built[-1]

    yield build
    for each in built:
        each.close()


def replica(number, *, planned=None, model="tiny", facts=None, **memory):
    held = {name.replace("_", ":"): DeviceMemory(*sizes) for name, sizes in memory.items()}
    snapshot = ReplicaSnapshot(number, model, "idle", "", None, tuple(held), planned=planned or {}, memory=held)
    return replace(snapshot, **(facts or {}))


def test_a_visitor_more_costs_no_sample_more(monitor):
    reader = Reader((CARD, CPU))
    watched = monitor(reader)
    seen = []
    visitors = [threading.Thread(target=lambda: seen.append(watched.look())) for _ in range(50)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert reader.reads == 1
    assert len({id(status) for status in seen}) == 1


def test_nothing_is_read_before_somebody_looks_and_after_they_have_gone(monitor):
    reader = Reader((CPU,))
    watched = monitor(reader, sample_s=0.01, idle_s=0.2)
    assert reader.opens == 0
    watched.look()
    assert until(lambda: reader.reads > 2)
    assert until(lambda: reader.closes == 1)
    reads = reader.reads
    assert watched.look().devices[0].id == "cpu"
    assert until(lambda: reader.reads > reads)
    assert reader.opens == 2


def test_a_device_shows_what_each_replica_holds_and_the_rest_as_others(monitor):
    first = replica(0, planned={"cuda:0": 3 * GIB}, cuda_0=(1 * GIB, 2 * GIB, 2 * GIB))
    second = replica(1, planned={"cuda:0": GIB}, cuda_0=(0, GIB // 2, GIB // 2))
    card, cpu = monitor(Reader((CARD, CPU)), first, second).look().devices
    assert (card.total_bytes, card.used_bytes, card.planned_bytes) == (24 * GIB, 4 * GIB, 4 * GIB)
    assert [(held.replica_id, held.held_bytes) for held in card.holdings] == [(0, 2 * GIB), (1, GIB // 2)]
    assert card.other_bytes == 3 * GIB // 2
    assert (cpu.used_bytes, cpu.planned_bytes, cpu.holdings, cpu.other_bytes) == (6 * GIB, 0, (), 6 * GIB)


def test_what_the_driver_says_of_a_process_counts_its_context_among_what_it_holds(monitor):
    told = replica(0, facts={"pid": 71}, cuda_0=(GIB, GIB, GIB))
    parked = replica(1, facts={"pid": 72}, cuda_0=(0, 0, GIB))
    untold = replica(2, facts={"pid": 73}, cuda_0=(GIB // 4, GIB // 2, GIB))
    unstarted = replica(3)
    processes = {"cuda:0": {71: 3 * GIB // 2, 72: GIB // 2, 99: GIB}}
    reader = Reader((CARD,), processes=processes)
    (card,) = monitor(reader, told, parked, untold, unstarted).look().devices
    held = [(holding.replica_id, holding.held_bytes) for holding in card.holdings]
    assert held == [(0, 3 * GIB // 2), (1, GIB // 2), (2, GIB // 2)]
    assert card.other_bytes == 4 * GIB - 5 * GIB // 2


def test_of_models_that_take_turns_the_largest_is_planned_beside_the_contexts_of_the_others(monitor):
    def taker(number, model, size, device="cuda:0"):
        return replica(number, model=model, planned={device: size}, facts={"takes_turns": True})

    steady = replica(0, planned={"cuda:0": GIB})
    replicas = steady, taker(1, "large", 7 * GIB), taker(2, "small", 3 * GIB), taker(3, "small", 5 * GIB, "cuda:1")
    second = Device("cuda:1", "a card", "cuda", 24 * GIB, 20 * GIB)
    first, second = monitor(Reader((CARD, second)), *replicas).look().devices
    assert (first.planned_bytes, second.planned_bytes) == (8 * GIB + RESERVE_BYTES["cuda"], 5 * GIB)


def test_the_high_water_mark_stays_when_the_water_falls(monitor):
    readings = [(Device("cpu", "CPU", "cpu", 100, free),) for free in (40, 5, 60)]
    reader = Reader(*readings)
    watched = monitor(reader, sample_s=0.01)
    assert until(lambda: watched.look().devices[0].used_bytes == 40)
    assert watched.look().devices[0].high_water_bytes == 95


def test_a_peak_that_only_the_worker_saw_counts(monitor):
    (card,) = monitor(Reader((CARD,)), replica(0, cuda_0=(GIB, GIB, 9 * GIB))).look().devices
    assert (card.used_bytes, card.high_water_bytes) == (4 * GIB, 9 * GIB)


def test_a_device_without_a_driver_shows_what_its_workers_tell(monitor):
    held = replica(0, planned={"mps": 5 * GIB}, mps=(GIB, 2 * GIB, 3 * GIB))
    cpu, mps = monitor(Reader((CPU,)), held).look().devices
    assert cpu.id == "cpu"
    assert (mps.id, mps.total_bytes, mps.used_bytes, mps.high_water_bytes) == ("mps", None, 2 * GIB, 3 * GIB)
    assert (mps.planned_bytes, mps.other_bytes) == (5 * GIB, 0)


def test_a_worker_that_tells_more_than_the_driver_leaves_nothing_to_others(monitor):
    (card,) = monitor(Reader((CARD,)), replica(0, cuda_0=(0, 5 * GIB, 99 * GIB))).look().devices
    assert card.other_bytes == 0
    assert card.high_water_bytes == card.total_bytes


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_a_fault_the_next_look_tries_again(monitor):
    class Faulty(Reader):
        def read(self):
            devices = super().read()
            if self.reads == 1:
                raise OSError("the driver is being replaced")
            return devices

    reader = Faulty((CPU,))
    watched = monitor(reader)
    assert watched.look().devices == ()
    assert until(lambda: reader.closes == 1)
    assert watched.look().devices[0].id == "cpu"


def test_a_closed_monitor_still_answers_and_reads_nothing_more(monitor):
    reader = Reader((CPU,))
    watched = monitor(reader, sample_s=0.01)
    watched.look()
    watched.close()
    reads = reader.reads
    assert watched.look().devices[0].id == "cpu"
    assert (reader.reads, reader.closes) == (reads, 1)
