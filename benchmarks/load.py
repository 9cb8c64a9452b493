"""How long loads take and what main memory they take: replicas of the engine beside plain `from_pretrained`.

Owns the clock on a worker's stages and the reading of processes' own memory: what is theirs alone, the page cache left
out. A table stands first, one line of JSON last. Times are seconds, sizes bytes; the table has GiB.

    python -m benchmarks.load --model DIR [--placement WHERE ...] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.circumstances import circumstances, save
from demo.catalog import ModelSpec
from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import cpu_threads, detect
from demo.engine.manager import ModelManager, plan_all, resolve_roles
from demo.types import Placement

GIB = 2**30
POLL_S = 0.005
READY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Load:
    """One way to load. ``weights_s`` is the reading alone, ``ready_s`` all from the start of a process."""

    replicas: int
    ready_s: float
    weights_s: float
    anonymous_bytes: int  # the most that one process had of its own at any moment


def median_of(loads: Sequence[Load]) -> Load:
    names = ("ready_s", "weights_s", "anonymous_bytes")
    ready_s, weights_s, anonymous = (statistics.median(getattr(load, name) for load in loads) for name in names)
    return Load(loads[0].replicas, ready_s, weights_s, int(anonymous))


class Watch:
    """The most that any of some processes had of its own, looked at all the time."""

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        self._pids = pids
        self.most_bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(POLL_S):
            self.most_bytes = max(self.most_bytes, *map(anonymous_bytes, self._pids()), 0)


def anonymous_bytes(pid: int) -> int:
    """What a process holds that no file does; 0 where it has ended, or the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return 1024 * int(sizes[0]) if sizes else 0


# --- the engine


def by_engine(config: EngineConfig) -> Load:
    with ModelManager(config) as manager, Watch(lambda: [r.pid for r in manager.snapshot().replicas if r.pid]) as watch:
        started_s = time.perf_counter()
        manager.start()
        weights_s = _follow(manager)
        return Load(len(weights_s), time.perf_counter() - started_s, max(weights_s), watch.most_bytes)


def _follow(manager: ModelManager) -> list[float]:
    """Wait for all replicas; how long each read weights."""
    begun_s: dict[int, float] = {}
    took_s: dict[int, float] = {}
    end_s = time.monotonic() + READY_S
    while True:
        replicas = manager.snapshot().replicas
        for replica in replicas:
            number, is_reading = replica.replica_id, replica.detail == "loading weights"
            if is_reading:
                begun_s.setdefault(number, time.perf_counter())
            elif number in begun_s:
                took_s.setdefault(number, time.perf_counter() - begun_s[number])
            if replica.state == "failed" or time.monotonic() > end_s:
                raise SystemExit(f"A replica did not load: {replica.detail}")
        if all(replica.state == "idle" for replica in replicas):
            return [took_s.get(replica.replica_id, 0.0) for replica in replicas]
        time.sleep(POLL_S)


# --- plain from_pretrained


def by_hand(config: EngineConfig, spec: ModelSpec) -> Load:
    """In a process of its own, onto the devices of the plan's first replica."""
    placement = plan_all(config, {spec.roles[0]: spec}, detect())[spec].placement_of(0, threads=cpu_threads())
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_from_pretrained, args=(theirs, spec, placement), daemon=True)
    with Watch(lambda: [process.pid] if process.pid else []) as watch:
        started_s = time.perf_counter()
        process.start()
        theirs.close()
        weights_s: float = ours.recv()
        ready_s = time.perf_counter() - started_s
        ours.send(None)
        process.join()
    return Load(1, ready_s, weights_s, watch.most_bytes)


def _from_pretrained(connection: Connection, spec: ModelSpec, placement: Placement) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    from demo.models.cogvlm import CogVLMForConditionalGeneration

    cls = CogVLMForConditionalGeneration if spec.is_cogvlm else AutoModelForImageTextToText
    dtype = "auto" if placement.dtype == "auto" else getattr(torch, placement.dtype)
    started_s = time.perf_counter()
    model = cls.from_pretrained(spec.source, device_map=dict(placement.device_map), dtype=dtype)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    connection.send(time.perf_counter() - started_s)
    connection.recv()
    del model


# --- both


def measure(config: EngineConfig, spec: ModelSpec, rounds: int) -> dict[str, Load]:
    """Medians of both, in turns, so that a busy moment hits them alike; the first round fills the page cache."""
    hand, engine = [], []
    for _ in range(rounds + 1):
        hand.append(by_hand(config, spec))
        engine.append(by_engine(config))
    return {"from_pretrained": median_of(hand[1:]), "engine": median_of(engine[1:])}


def line_of(placement: str, name: str, load: Load) -> str:
    own = f"{load.anonymous_bytes / GIB:.2f}"
    return f"| {placement} | {name} | {load.replicas} | {load.weights_s:.2f} | {load.ready_s:.2f} | {own} |"


HEAD = "| placement | | replicas | weights, s | ready, s | own memory, GiB |\n|---|---|---|---|---|---|"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a directory, as launch.py takes it")
    parser.add_argument("--placement", nargs="+", default=["auto"], help="as launch.py takes it")
    parser.add_argument("--rounds", type=int, default=3, help="loads that count")
    parser.add_argument("--json", type=Path, help="also write the result here")
    return parser.parse_args()


def main() -> None:
    options = parse_args()
    facts = circumstances()
    found: dict[str, object] = {}
    print(HEAD)
    for placement in options.placement:
        config = EngineConfig(models=(ModelChoice(options.model),), placement=placement)
        spec = next(iter(resolve_roles(config).values()))
        loads = measure(config, spec, options.rounds)
        for name, load in loads.items():
            print(line_of(placement, name, load), flush=True)
        ratio = loads["engine"].weights_s / loads["from_pretrained"].weights_s
        found[placement] = {**{name: asdict(load) for name, load in loads.items()}, "engine_over_plain": ratio}
    asked = {"benchmark": "load", "model": Path(options.model).name, "rounds": options.rounds}
    result = {**asked, **facts, "loads": found}
    save(options.json, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
