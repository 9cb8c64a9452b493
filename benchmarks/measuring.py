"""One model in one placement, measured through the real engine: what was planned, and what its processes took.

Owns the questions that fill the planned context, the reading of the bytes that the worker processes hold (NVML by
process, so that other programs on a card do not count; the resident set on a CPU) and the comparison. Knows nothing of
the table. Meant for a process of its own: there may be one model manager in a process. Bytes are integers.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import multiprocessing
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.residence import resident_bytes
from demo.config import EngineConfig
from demo.engine.events import Done, Token
from demo.engine.footprint import measure
from demo.engine.manager import ManagerSnapshot, ModelManager, resolve_roles
from demo.errors import ContextTooLong, DemoError
from demo.types import GenerateRequest, Message, Picture, Sampling, Size, Usage

FULL_ANSWER = 64  # tokens, the last of the planned context
SHORT_ANSWER = 128
QUESTION = "What is this?"
LETTERS = " How quickly do daft jumping zebras vex?"  # a letter is a token of the benchmark's checkpoints
SAMPLE_S = 0.05
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure."""

    config: EngineConfig
    pictures: int | None  # in the longest conversation; None: as many as are planned for
    picture_px: int
    rounds: int
    ready_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; its words say nothing, only whether two are alike matters."""

    words: str
    usage: Usage

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.words.encode()).hexdigest()[:12]


def measure_placement(wanted: Wanted) -> dict[str, object]:
    """The measurement as plain data; a refusal and a failure are data too."""
    config = wanted.config
    asked = {"model": Path(config.models[0].name).name, "asked": config.placement, "quantize": config.quantize}
    try:
        with ModelManager(config) as manager, ProcessMemory() as watched:
            return {**asked, "outcome": "answered", **_use(manager, watched, wanted)}
    except DemoError as error:
        outcome = "refused" if error.exit_code == 2 else "failed"
        return {**asked, "outcome": outcome, "exit_code": error.exit_code, "error": str(error)}


def _use(manager: ModelManager, watched: ProcessMemory, wanted: Wanted) -> dict[str, object]:
    started_s = time.perf_counter()
    manager.start()
    _wait_for_all(manager, wanted.ready_s)
    ready_s = time.perf_counter() - started_s
    count = len(manager.snapshot().replicas)
    context = manager.snapshot().plan.context
    picture = _picture(wanted.picture_px)
    held = {"loaded": _held(manager)}
    pictures, used = _most_pictures(manager, count, picture, wanted.pictures or planned_pictures(wanted.config))
    held["pictures"] = _held(manager)
    letters = max(0, context - FULL_ANSWER - used)
    full = _ask_each(manager, count, _text(letters), pictures, tokens=FULL_ANSWER)
    held["full"] = _held(manager)
    short = [
        answer
        for number in range(wanted.rounds)
        for answer in _ask_each(manager, count, _short(number), (picture,), tokens=SHORT_ANSWER)
    ]
    return {
        "ready_s": ready_s,
        "context": context,
        "pictures": len(pictures),
        "prompt_tokens": full[0].usage.prompt_tokens,
        "total_tokens": full[0].usage.prompt_tokens + full[0].usage.completion_tokens,
        "prefill_s": statistics.median(answer.usage.first_token_s for answer in full),
        "tokens_per_s_full": statistics.median(answer.usage.tokens_per_s for answer in full),
        "tokens_per_s": statistics.median(answer.usage.tokens_per_s for answer in short) if short else 0.0,
        "answers": sorted({answer.digest for answer in full}) + sorted({answer.digest for answer in short[:count]}),
        "given": {"full": _given(full, letters, len(pictures)), "short": _given(short[:count], 0, 1)},
        "held": held,
        **_placed(manager.snapshot(), watched),
    }


def planned_pictures(config: EngineConfig) -> int:
    """How many pictures the longest conversation of the plan holds."""
    footprint = measure(next(iter(resolve_roles(config).values())))
    return 1 if isinstance(footprint, str) else footprint.shape.pictures


def _most_pictures(manager: ModelManager, count: int, picture: Picture, most: int) -> tuple[tuple[Picture, ...], int]:
    """As many pictures as leave room for words, and the tokens that a short question about them takes."""
    for number in range(most, 1, -1):
        with contextlib.suppress(ContextTooLong):
            asked = (picture,) * number
            return asked, _ask_each(manager, count, QUESTION, asked, tokens=1)[0].usage.prompt_tokens
    return (picture,), _ask_each(manager, count, QUESTION, (picture,), tokens=1)[0].usage.prompt_tokens


def _held(manager: ModelManager) -> list[dict[str, dict[str, int]]]:
    """What each replica's framework says that it holds of its devices; it says so before an answer ends."""
    time.sleep(2 * SAMPLE_S)  # for the other view, the driver's, to be taken as well
    replicas = manager.snapshot().replicas
    return [{device: asdict(memory) for device, memory in replica.memory.items()} for replica in replicas]


def _placed(snapshot: ManagerSnapshot, watched: ProcessMemory) -> dict[str, object]:
    plan = snapshot.plan
    parts: dict[str, dict[str, int]] = {}
    for replica in plan.replicas:
        for device, load in replica.loads.items():
            there = parts.setdefault(device, dict.fromkeys(asdict(load), 0))
            parts[device] = {name: there[name] + size for name, size in asdict(load).items()}
    return {
        "placement": plan.placement,
        "dtype": plan.dtype,
        "plan": plan.to_json(),
        "planned": {device: sum(sizes.values()) for device, sizes in parts.items()},
        "planned_parts": parts,
        "process_peak": dict(watched.peaks),
        "card_growth": watched.growth(),
        "replicas": [
            {
                "planned": replica.planned,
                "planned_weights": replica.planned_weights,
                "resident": replica.resident_bytes,
                "allocator": {device: asdict(held) for device, held in replica.memory.items()},
                "loads": replica.loads,
                "total_loads": replica.total_loads,
                "deaths": replica.deaths,
                "load_s": replica.load_s,
                "slots": replica.slots,
                "served": replica.served,
            }
            for replica in snapshot.replicas
        ],
    }


def _wait_for_all(manager: ModelManager, ready_s: float) -> None:
    end_s = time.monotonic() + ready_s
    while any(replica.state not in ("idle", "busy") for replica in manager.snapshot().replicas):
        manager.wait_ready(0)  # raises the reason why one never will be
        broken = [replica.detail for replica in manager.snapshot().replicas if replica.state == "failed"]
        if broken or time.monotonic() > end_s:
            raise DemoError("A replica was not ready in time", value=broken[0] if broken else f"{ready_s:.0f} s")
        time.sleep(POLL_S)


def _ask_each(
    manager: ModelManager, count: int, text: str, pictures: tuple[Picture, ...], *, tokens: int
) -> list[Answer]:
    """The same question to every replica at once: the queue gives each the next that is free."""
    message = Message("user", text, pictures)

    def ask(number: int) -> Answer:
        name = f"{time.perf_counter_ns()}-{number}"
        request = GenerateRequest(name, "chat", (message,), Sampling(max_new_tokens=tokens))
        pieces: list[str] = []
        for event in manager.stream(request):
            if isinstance(event, Token):
                pieces.append(event.text)
            elif isinstance(event, Done):
                return Answer("".join(pieces), event.usage)
        raise DemoError("An answer ended without an end")

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, range(count)))


def question(letters: int, pictures: int, picture_px: int) -> Message:
    """A question of the benchmark's, for whoever asks it again."""
    return Message("user", _text(letters), (_picture(picture_px),) * pictures)


def _short(number: int) -> str:
    """A question of its own for each round: one that was asked before would be read from what a slot holds."""
    return QUESTION + "?" * number


def _text(letters: int) -> str:
    return QUESTION + "".join(islice(cycle(LETTERS), letters))


def _given(answers: Sequence[Answer], letters: int, pictures: int) -> dict[str, object]:
    """What was asked, and the different answers to it with how often each was given."""
    counts = Counter(answer.words for answer in answers)
    return {"letters": letters, "pictures": pictures, "answers": list(counts), "counts": list(counts.values())}


def _picture(side_px: int) -> Picture:
    """A picture of every shade."""
    rows = (bytes((x * 7 + y * 13 + 5 * (x // 16) * (y // 16)) % 256 for x in range(3 * side_px)) for y in range(16))
    band = b"".join(rows)
    num_bytes = 3 * side_px * side_px
    return Picture(Size(side_px, side_px), (band * (num_bytes // len(band) + 1))[:num_bytes])


class ProcessMemory:
    """The most that this process's children ever held of each device, looked at twenty times a second."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self._nvml, self._cards = _nvml_cards()
        self._used_before = self._used()
        self._used_most = dict(self._used_before)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="process-memory", daemon=True)

    def __enter__(self) -> ProcessMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def growth(self) -> dict[str, int]:
        """How much more of each card was used at most than before, by whomever."""
        return {card: most - self._used_before[card] for card, most in self._used_most.items()}

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            children = {child.pid for child in multiprocessing.active_children() if child.pid is not None}
            _raise_to(self.peaks, {card: size for card, size in self._held(children) if size})
            _raise_to(self.peaks, _resident(children))
            _raise_to(self._used_most, self._used())

    def _held(self, children: set[int]) -> Iterator[tuple[str, int]]:
        for card, handle in self._cards.items():
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            # the size is None where the driver does not say it
            yield card, sum(process.usedGpuMemory or 0 for process in processes if process.pid in children)

    def _used(self) -> dict[str, int]:
        return {card: int(self._nvml.nvmlDeviceGetMemoryInfo(handle).used) for card, handle in self._cards.items()}


def _raise_to(peaks: dict[str, int], now: Mapping[str, int]) -> None:
    for device, size in now.items():
        peaks[device] = max(peaks.get(device, 0), size)


def _nvml_cards() -> tuple[Any, dict[str, Any]]:
    """NVML and every card's handle by torch's name for it, in the order of the bus, which is the workers' order."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None, {}
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver, hence no card
        return None, {}
    return nvml, {f"cuda:{i}": nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())}


def _resident(children: set[int]) -> dict[str, int]:
    """The sum of the most main memory that each process that lives ever had."""
    total = 0
    for pid in children:
        with contextlib.suppress(OSError):
            total += resident_bytes(pid, most=True)
    return {"cpu": total} if total else {}
