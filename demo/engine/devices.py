"""What this machine has to put a model on: its NVIDIA cards and its main memory.

Owns the reading of both, without a framework and without opening a CUDA context, and the sizes people write ("20GiB",
"2x24GiB"). Knows nothing of models. Bytes are integers; a card's number is the one that torch would give it here.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from demo.errors import ConfigError

GIB = 2**30
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
UNITS |= {"kib": 2**10, "mib": 2**20, "gib": GIB, "tib": 2**40, "k": 2**10, "m": 2**20, "g": GIB, "t": 2**40}
CGROUP = Path("/sys/fs/cgroup")
NO_LIMIT = 2**60  # cgroup v1 says "no limit" with a number near 2**63


@dataclass(frozen=True, slots=True)
class Device:
    """A place for weights: ``id`` is torch's name for it ("cuda:0", "cpu")."""

    id: str
    name: str
    kind: Literal["cuda", "cpu"]
    total_bytes: int
    free_bytes: int

    @property
    def index(self) -> int | None:
        """The card's number; None for the CPU."""
        return int(self.id.partition(":")[2]) if self.kind == "cuda" else None


def detect(environ: Mapping[str, str] = os.environ) -> tuple[Device, ...]:
    """The visible cards in torch's order, then the CPU."""
    with contextlib.closing(DeviceReader(environ)) as reader:
        return reader.read()


class DeviceReader:
    """Reads the same devices again and again; the driver's library stays open in between, which opening makes slow."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._nvml = _open_nvml()
        visible = environ.get("CUDA_VISIBLE_DEVICES")
        self._handles = _visible(list(_handles(self._nvml)), visible) if self._nvml else []

    def read(self) -> tuple[Device, ...]:
        """The cards in torch's order, without those whose driver says nothing, then the CPU."""
        cards = []
        for index, (_, handle) in enumerate(self._handles):
            with contextlib.suppress(self._nvml.NVMLError):  # lost since, or one that shares the main memory
                cards.append(_card(self._nvml, index, handle))
        return (*cards, _cpu())

    def processes(self) -> dict[str, dict[int, int]]:
        """Card -> process id -> the bytes that it holds there, its context among them; only what the driver tells.

        In a container the driver may know processes by other ids than they have there, or not speak of them at all.
        """
        found: dict[str, dict[int, int]] = {}
        for index, (_, handle) in enumerate(self._handles):
            with contextlib.suppress(self._nvml.NVMLError):
                found[f"cuda:{index}"] = _by_process(self._nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        return found

    def close(self) -> None:
        nvml, self._nvml, self._handles = self._nvml, None, []
        if nvml is not None:
            nvml.nvmlShutdown()


def cpu_threads() -> int:
    """How many threads of this process can run at once: its cores, or what a container grants of them."""
    cores = os.cpu_count() or 1
    with contextlib.suppress(AttributeError):  # only Linux has it
        cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # "max 100000" raises: no limit
        quota, period = (int(word) for word in (CGROUP / "cpu.max").read_text(encoding="ascii").split())
        return max(1, min(cores, math.ceil(quota / period)))
    return cores


def parse_bytes(text: str) -> int:
    """ "20GiB", "500 MB", "1.5g" or a plain number of bytes."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text, re.ASCII | re.IGNORECASE)
    if found is None or found[2].lower() not in UNITS:
        raise ConfigError("This is not a size", value=text, remedy="Write it like 20GiB, 500MB or 24g.")
    return int(Fraction(found[1]) * UNITS[found[2].lower()])


def parse_assumed(text: str) -> tuple[Device, ...]:
    """Cards that need not be there, all of them free: "24GiB", "2x24GiB", "2x24GiB,80GiB"."""
    cards: list[Device] = []
    for part in text.split(","):
        count, times, size = part.strip().lower().rpartition("x")
        if times and not re.fullmatch(r"[1-9]\d{0,2}", count.strip(), re.ASCII):
            remedy = "Write it like 2x24GiB, with commas between different cards."
            raise ConfigError("These are not cards to plan for", value=text, remedy=remedy)
        total = parse_bytes(size)
        for _ in range(int(count) if times else 1):
            cards.append(Device(f"cuda:{len(cards)}", "assumed card", "cuda", total, total))
    return tuple(cards)


def _open_nvml() -> Any:
    """The driver's library, which counts how often it is opened; None where there is none, hence no card."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml


def _handles(nvml: Any) -> Iterator[tuple[str, Any]]:
    """Every card's UUID and handle, in the order of the bus, as workers are shown them (CUDA_DEVICE_ORDER)."""
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        yield _text(nvml.nvmlDeviceGetUUID(handle)), handle


def _visible(handles: list[tuple[str, Any]], visible: str | None) -> list[tuple[str, Any]]:
    """What CUDA_VISIBLE_DEVICES leaves, in its order; as in CUDA, the first entry that names no card ends the list."""
    if visible is None:
        return handles
    chosen = []
    for entry in (part.strip() for part in visible.split(",")):
        if entry.isdecimal():
            matches = handles[int(entry) : int(entry) + 1]
        else:
            matches = [pair for pair in handles if entry and pair[0].startswith(entry)]
        if len(matches) != 1:
            break
        chosen += matches
    return chosen


def _card(nvml: Any, index: int, handle: Any) -> Device:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = _text(nvml.nvmlDeviceGetName(handle))
    return Device(f"cuda:{index}", name, "cuda", int(memory.total), int(memory.free))


def _by_process(entries: Iterable[Any]) -> dict[int, int]:
    """Bytes by process id; a process may have several entries, and one of unknown size says nothing."""
    sizes: dict[int, int] = {}
    for entry in entries:
        if entry.usedGpuMemory:
            sizes[int(entry.pid)] = sizes.get(int(entry.pid), 0) + int(entry.usedGpuMemory)
    return sizes


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _cpu() -> Device:
    total, free = _main_memory()
    limit, used = _cgroup_memory()
    if limit < total:
        total, free = limit, min(free, max(0, limit - used))
    return Device("cpu", "CPU", "cpu", total, free)


def _main_memory() -> tuple[int, int]:
    """Total bytes, and those that a program can have without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        return fields["MemTotal"], fields["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total, total // 2  # how much of it is free is not known here


def _cgroup_memory() -> tuple[int, int]:
    """The limit that a container sets, and what is used of it that cannot be given up; v2 first, then v1."""
    for limit_file, used_file, reclaimable in (
        (CGROUP / "memory.max", CGROUP / "memory.current", "inactive_file"),
        (CGROUP / "memory/memory.limit_in_bytes", CGROUP / "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):
            limit = int(limit_file.read_text(encoding="ascii"))
            used = int(used_file.read_text(encoding="ascii"))
            stat = (limit_file.parent / "memory.stat").read_text(encoding="ascii")
            cached = dict(line.split() for line in stat.splitlines()).get(reclaimable, "0")
            return limit, max(0, used - int(cached))
    return NO_LIMIT, 0
