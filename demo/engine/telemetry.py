"""What the devices hold at one moment, who holds it, and how high it ever stood: for the status tab and the metrics.

Owns the sampling: one thread, about once a second and only while somebody looks, makes one frozen `Status` that all
who look share, so that a visitor more costs no sample more. Reads the driver and what the workers report; opens no
CUDA context and knows nothing of pages or routes. Bytes are integers, seconds end in ``_s``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from demo.engine.devices import Device, DeviceReader
from demo.engine.pipeline import RESERVE_BYTES

if TYPE_CHECKING:
    from demo.engine.manager import ManagerSnapshot
    from demo.engine.snapshots import ReplicaSnapshot

SAMPLE_S = 1.0
IDLE_S = 30.0  # without a look the thread ends; the next look starts another
STALE_S = 2.0  # an older status is not shown, a new one is waited for
PATIENCE_S = 1.0  # but no longer than this: a driver may hang


class Reader(Protocol):
    """What the monitor needs of a `DeviceReader`."""

    def read(self) -> tuple[Device, ...]: ...

    def processes(self) -> dict[str, dict[int, int]]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Holding:
    """What one replica's process holds of a device: as the driver says, its context among it, where it says so.

    Else as the process's framework counts, which may be slightly stale.
    """

    replica_id: int
    model: str
    held_bytes: int


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device. ``total_bytes`` is None where only the workers tell of it (ROCm without NVML, MPS)."""

    id: str
    name: str
    total_bytes: int | None
    used_bytes: int  # by everyone
    high_water_bytes: int  # the most that was seen in use
    planned_bytes: int  # by all replicas that are there together, everything counted
    holdings: tuple[Holding, ...]

    @property
    def other_bytes(self) -> int:
        """What no replica holds: other programs, the driver, and contexts where it does not tell whose they are."""
        return max(0, self.used_bytes - sum(holding.held_bytes for holding in self.holdings))


@dataclass(frozen=True, slots=True)
class Status:
    """One sample. ``uptime_s`` counts from the monitor's own start."""

    manager: ManagerSnapshot
    devices: tuple[DeviceStatus, ...]
    uptime_s: float


class Monitor:
    """Samples while somebody looks. Its thread needs no start, and ends by itself or with `close`."""

    def __init__(
        self,
        snapshot: Callable[[], ManagerSnapshot],
        *,
        open_reader: Callable[[], Reader] = DeviceReader,
        sample_s: float = SAMPLE_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._snapshot = snapshot
        self._open_reader = open_reader
        self._sample_s = sample_s
        self._idle_s = idle_s
        self._started_s = time.monotonic()
        self._changed = threading.Condition()  # guards all below
        self._status: Status | None = None
        self._sampled_s = 0.0
        self._looked_s = 0.0
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def look(self) -> Status:
        """The status all share, not older than `STALE_S` unless the driver hangs."""
        with self._changed:
            self._looked_s = time.monotonic()
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
                self._thread.start()
            self._changed.wait_for(self._is_fresh, timeout=PATIENCE_S)
            status = self._status
        return status or _status(self._snapshot(), (), {}, {}, 0.0)

    def close(self) -> None:
        self._closing.set()
        with self._changed:
            thread = self._thread
        if thread is not None:
            thread.join(PATIENCE_S)

    def _is_fresh(self) -> bool:
        return self._closing.is_set() or (
            self._status is not None and time.monotonic() - self._sampled_s < max(STALE_S, 2 * self._sample_s)
        )

    def _run(self) -> None:
        try:
            with closing(self._open_reader()) as reader:
                while self._is_watched():
                    self._sample(reader)
                    self._closing.wait(self._sample_s)
        finally:
            with self._changed:
                if self._thread is threading.current_thread():  # ended by a fault; the next look tries again
                    self._thread = None

    def _is_watched(self) -> bool:
        """Asked by the thread, which ends on no: a look that comes a moment later finds none and starts another."""
        with self._changed:
            is_watched = not self._closing.is_set() and time.monotonic() - self._looked_s < self._idle_s
            if not is_watched:
                self._thread = None
            return is_watched

    def _sample(self, reader: Reader) -> None:
        devices, processes = reader.read(), reader.processes()
        last = self._status
        high = {device.id: device.high_water_bytes for device in last.devices} if last else {}
        status = _status(self._snapshot(), devices, processes, high, time.monotonic() - self._started_s)
        with self._changed:
            self._status, self._sampled_s = status, time.monotonic()
            self._changed.notify_all()


def _status(
    manager: ManagerSnapshot,
    devices: Sequence[Device],
    processes: Mapping[str, Mapping[int, int]],
    high: Mapping[str, int],
    uptime_s: float,
) -> Status:
    """Devices the driver knows, then those that only the workers and the plan name."""
    replicas = manager.replicas
    known = {device.id for device in devices}
    named = (name for replica in replicas for name in (*replica.memory, *replica.planned, *replica.devices))
    unknown = sorted(set(named) - known)
    shown = [_of_driver(device, processes.get(device.id, {}), replicas, high.get(device.id, 0)) for device in devices]
    shown += [_of_workers(name, replicas, high.get(name, 0)) for name in unknown]
    return Status(manager, tuple(shown), uptime_s)


def _of_driver(
    device: Device, processes: Mapping[int, int], replicas: Sequence[ReplicaSnapshot], high: int
) -> DeviceStatus:
    used = max(0, device.total_bytes - device.free_bytes)
    most = min(max(high, used, _peak(device.id, replicas)), device.total_bytes)
    planned, holdings = _planned(device.id, replicas), _holdings(device.id, processes, replicas)
    return DeviceStatus(device.id, device.name, device.total_bytes, used, most, planned, holdings)


def _of_workers(name: str, replicas: Sequence[ReplicaSnapshot], high: int) -> DeviceStatus:
    holdings = _holdings(name, {}, replicas)
    used = sum(holding.held_bytes for holding in holdings)
    most = max(high, used, _peak(name, replicas))
    return DeviceStatus(name, "", None, used, most, _planned(name, replicas), holdings)


def _planned(device: str, replicas: Sequence[ReplicaSnapshot]) -> int:
    """Of those that take turns on a card the largest, for one is there at a time; the others leave their contexts."""
    sizes = [(replica.planned.get(device, 0), replica.takes_turns and device != "cpu") for replica in replicas]
    turns = [size for size, takes_turns in sizes if takes_turns and size]
    contexts = RESERVE_BYTES["cuda"] * max(0, len(turns) - 1)
    return sum(size for size, takes_turns in sizes if not takes_turns) + max(turns, default=0) + contexts


def _peak(device: str, replicas: Sequence[ReplicaSnapshot]) -> int:
    """The most that a single replica ever held; seen by its worker also while nobody looks."""
    return max((replica.memory[device].peak for replica in replicas if device in replica.memory), default=0)


def _holdings(device: str, processes: Mapping[int, int], replicas: Sequence[ReplicaSnapshot]) -> tuple[Holding, ...]:
    sizes = [(replica, processes.get(replica.pid) or _reserved(device, replica)) for replica in replicas]
    return tuple(Holding(replica.replica_id, replica.model, size) for replica, size in sizes if size)


def _reserved(device: str, replica: ReplicaSnapshot) -> int:
    return replica.memory[device].reserved if device in replica.memory else 0
