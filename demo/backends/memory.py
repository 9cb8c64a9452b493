"""What this process holds of each device, the most it may take, and the words for when that is not enough.

Owns the figures of the framework's allocators (cards) and of the operating system (main memory), and the hard caps.
Knows nothing of models. Devices go by the plan's names ("cuda:0", "cpu", "mps"); sizes are bytes.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # accelerate brings it
import torch

from demo.errors import OutOfMemory
from demo.types import DeviceMemory, Placement

GIB = 2**30
# A card's share that no allocator sees: the CUDA context with the kernels of torch and its libraries.
CONTEXT_BYTES = 512 * 2**20
# As torch words it for the CPU, where it raises no class of its own.
OUT_OF_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory")

log = logging.getLogger(__name__)


def devices_of(placement: Placement) -> tuple[str, ...]:
    """The devices that a placement uses, each once, in its order."""
    return tuple(dict.fromkeys(device_name(device) for device in placement.device_map.values()))


def device_name(name: str | torch.device) -> str:
    """A device by the plan's name for it: cards are numbered, the others are not."""
    device = torch.device(name)
    return f"{device.type}:{device.index or 0}" if device.type == "cuda" else device.type


def held(devices: Iterable[str]) -> dict[str, DeviceMemory]:
    """What this process holds of each of these devices."""
    return {name: _held(torch.device(name)) for name in devices}


def enforce(caps: Mapping[str, int]) -> None:
    """Make the allocator refuse what is beyond the caps; to be called before anything is allocated."""
    for name, cap in caps.items():
        device = torch.device(name)
        if device.type != "cuda":
            continue  # main memory has no allocator of torch's that would listen
        total = torch.cuda.get_device_properties(device).total_memory
        share = min(1.0, max(0, cap - CONTEXT_BYTES) / total)
        torch.cuda.set_per_process_memory_fraction(share, device)
        log.info("%s: this process may take %s", name, _shown(cap))


def release() -> None:
    """Let whoever comes next have what has become free."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def refusals_explained(placement: Placement) -> Iterator[None]:
    """Turn an allocator's refusal during a load into `OutOfMemory`, with what was planned and what is allowed."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_little(placement) from error
    except RuntimeError as error:
        if not any(words in str(error) for words in OUT_OF_MEMORY_WORDS):
            raise
        raise _too_little(placement) from error


def _too_little(placement: Placement) -> OutOfMemory:
    remedy = "Raise --max-memory where it is set, stop what else uses the device, or try --quantize or a smaller model."
    value = "; ".join(_sentence(name, placement) for name in devices_of(placement))
    return OutOfMemory("The model does not fit the memory that it may take", value=value, remedy=remedy)


def _sentence(name: str, placement: Placement) -> str:
    parts = [f"{_shown(placement.planned[name])} of weights planned"] if name in placement.planned else []
    parts += [f"at most {_shown(placement.caps[name])} allowed"] if name in placement.caps else []
    device = torch.device(name)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        parts.append(f"{_shown(free)} of {_shown(total)} free")
    return f"{name}: {', '.join(parts) or 'no plan'}"


def _held(device: torch.device) -> DeviceMemory:
    if device.type == "cuda":
        cuda = torch.cuda
        return DeviceMemory(
            cuda.memory_allocated(device), cuda.memory_reserved(device), cuda.max_memory_reserved(device)
        )
    if device.type == "mps":  # it keeps no high-water mark
        reserved = torch.mps.driver_allocated_memory()
        return DeviceMemory(torch.mps.current_allocated_memory(), reserved, reserved)
    resident, peak = _resident()
    return DeviceMemory(resident, resident, peak)


def _resident() -> tuple[int, int]:
    """The process's pages in main memory, now and at most; weights read straight from their file are among them."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        resident = psutil.Process().memory_info().rss
        return resident, resident
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    resident = 1024 * int(fields["VmRSS"].split()[0])  # the kernel says kB and means 1024 bytes
    return resident, max(resident, 1024 * int(fields["VmHWM"].split()[0]))


def _shown(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB / 100 else f"{size / 2**20:.2f} MiB"
