"""How long loads take and what main memory they take: replicas of the engine beside plain `from_pretrained`.

Owns the clock on a whole load and the reading of processes' own memory: what is theirs alone, the page cache left out.
What each phase takes the workers tell themselves (`demo.spans`); of several replicas the slowest counts in each.
Two tables stand first, one line of JSON last. Times are seconds, sizes bytes; the table has GiB.

    python -m benchmarks.load --model DIR [--placement WHERE ...] [--rounds 3] [--engine-only] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.circumstances import circumstances, save
from demo.catalog import ModelSpec
from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import cpu_threads, detect
from demo.engine.manager import ModelManager, plan_all, resolve_roles
from demo.engine.snapshots import ReplicaSnapshot
from demo.spans import PHASES, Phase
from demo.types import Placement

GIB = 2**30
POLL_S = 0.005
READY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Load:
    """One way to load. ``weights_s`` is `from_pretrained` alone, ``ready_s`` all from the start of a process."""

    replicas: int
    ready_s: float
    weights_s: float
    anonymous_bytes: int  # the most that one process had of its own at any moment
    spans_s: dict[Phase, float] = field(default_factory=dict)


def median_of(loads: Sequence[Load]) -> Load:
    names = ("ready_s", "weights_s", "anonymous_bytes")
    ready_s, weights_s, anonymous = (statistics.median(getattr(load, name) for load in loads) for name in names)
    spans_s = {phase: statistics.median(load.spans_s[phase] for load in loads) for phase in loads[0].spans_s}
    return Load(loads[0].replicas, ready_s, weights_s, int(anonymous), spans_s)


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
        replicas = _loaded(manager)
        ready_s = time.perf_counter() - started_s
        spans_s = slowest([replica.load_spans_s for replica in replicas])
        return Load(len(replicas), ready_s, spans_s.get("weights", 0.0), watch.most_bytes, spans_s)


def slowest(spans_s: Sequence[Mapping[Phase, float]]) -> dict[Phase, float]:
    """Phase by phase, of the replica that took longest."""
    return {
        phase: max(each.get(phase, 0.0) for each in spans_s) for phase in PHASES if any(phase in s for s in spans_s)
    }


def _loaded(manager: ModelManager) -> Sequence[ReplicaSnapshot]:
    """Wait for all replicas."""
    end_s = time.monotonic() + READY_S
    while True:
        replicas = manager.snapshot().replicas
        for replica in replicas:
            if replica.state == "failed" or time.monotonic() > end_s:
                raise SystemExit(f"A replica did not load: {replica.detail}")
        if all(replica.state == "idle" for replica in replicas):
            return replicas
        time.sleep(POLL_S)


# --- plain from_pretrained


def by_hand(config: EngineConfig, spec: ModelSpec) -> Load:
    """In a process of its own, onto the devices of the plan's first replica, in the dtype that the engine loads in."""
    placement = plan_all(config, {spec.roles[0]: spec}, detect())[spec].placement_of(0, threads=cpu_threads())
    placement = replace(placement, dtype=_dtype(spec, placement))
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_from_pretrained, args=(theirs, spec, placement), daemon=True)
    with Watch(lambda: [process.pid] if process.pid else []) as watch:
        started_s = time.perf_counter()
        process.start()
        theirs.close()
        spans_s: dict[Phase, float] = ours.recv()
        ready_s = time.perf_counter() - started_s
        ours.send(None)
        process.join()
    return Load(1, ready_s, spans_s["weights"], watch.most_bytes, spans_s)


def _dtype(spec: ModelSpec, placement: Placement) -> str:
    from demo.backends.checkpoint import check_weights
    from demo.backends.loading import dtype_for

    if not spec.is_directory:
        return placement.dtype
    return str(dtype_for(placement, check_weights(Path(spec.source)))).removeprefix("torch.")


def _from_pretrained(connection: Connection, spec: ModelSpec, placement: Placement) -> None:
    started_s = time.perf_counter()
    import torch
    from transformers import AutoModelForImageTextToText

    from demo.models.cogvlm import CogVLMForConditionalGeneration

    cls = CogVLMForConditionalGeneration if spec.is_cogvlm else AutoModelForImageTextToText
    dtype = "auto" if placement.dtype == "auto" else getattr(torch, placement.dtype)
    imported_s = time.perf_counter()
    cards = [device for device in placement.device_map.values() if device.startswith("cuda")]
    if cards:
        torch.cuda.set_device(cards[0])
    opened_s = time.perf_counter()
    model = cls.from_pretrained(spec.source, device_map=dict(placement.device_map), dtype=dtype)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    loaded_s = time.perf_counter()
    spans_s = {"imports": imported_s - started_s, "devices": opened_s - imported_s, "weights": loaded_s - opened_s}
    connection.send(spans_s)
    connection.recv()
    del model


# --- both


def measure(config: EngineConfig, spec: ModelSpec, rounds: int, *, is_plain_too: bool) -> dict[str, Load]:
    """Medians of both, in turns, so that a busy moment hits them alike.

    The first round fills the page cache, and compiles kernels where none are stored: it stands by itself.
    """
    ways: dict[str, Callable[[], Load]] = {"engine": lambda: by_engine(config)}
    if is_plain_too:
        ways = {"from_pretrained": lambda: by_hand(config, spec), **ways}
    loads = [{name: way() for name, way in ways.items()} for _ in range(rounds + 1)]
    first, *others = loads
    return {f"{name}, first": first[name] for name in ways} | {
        name: median_of([load[name] for load in others]) for name in ways
    }


def line_of(placement: str, name: str, load: Load) -> str:
    own = f"{load.anonymous_bytes / GIB:.2f}"
    return f"| {placement} | {name} | {load.replicas} | {load.weights_s:.2f} | {load.ready_s:.2f} | {own} |"


def phases_table(found: Mapping[str, Mapping[str, Load]]) -> str:
    """A column for each phase that any load had; "start" is what came before the first, a process and its code."""
    rows = [(placement, name, load) for placement, loads in found.items() for name, load in loads.items()]
    phases = [phase for phase in PHASES if any(phase in load.spans_s for _, _, load in rows)]
    lines = [f"| placement | | start | {' | '.join(phases).replace('_', ' ')} |", "|---" * (3 + len(phases)) + "|"]
    for placement, name, load in rows:
        start_s = max(0.0, load.ready_s - sum(load.spans_s.values()))
        cells = (f"{load.spans_s[phase]:.2f}" if phase in load.spans_s else "" for phase in phases)
        lines.append(f"| {placement} | {name} | {start_s:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


HEAD = "| placement | | replicas | weights, s | ready, s | own memory, GiB |\n|---|---|---|---|---|---|"


def _as_json(loads: Mapping[str, Load]) -> dict[str, object]:
    found: dict[str, object] = {name: asdict(load) for name, load in loads.items()}
    if plain := loads.get("from_pretrained"):
        found["engine_over_plain"] = loads["engine"].weights_s / plain.weights_s
        found["ready_over_plain"] = loads["engine"].ready_s / plain.ready_s
    return found


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a directory, as launch.py takes it")
    parser.add_argument("--placement", nargs="+", default=["auto"], help="as launch.py takes it")
    parser.add_argument("--rounds", type=int, default=3, help="loads that count")
    parser.add_argument("--engine-only", action="store_true", help="not beside plain from_pretrained")
    parser.add_argument("--json", type=Path, help="also write the result here")
    return parser.parse_args()


def main() -> None:
    options = parse_args()
    facts = circumstances()
    found: dict[str, dict[str, Load]] = {}
    print(HEAD)
    for placement in options.placement:
        config = EngineConfig(models=(ModelChoice(options.model),), placement=placement)
        spec = next(iter(resolve_roles(config).values()))
        loads = measure(config, spec, options.rounds, is_plain_too=not options.engine_only)
        for name, load in loads.items():
            print(line_of(placement, name, load), flush=True)
        found[placement] = loads
    print()
    print(phases_table(found))
    asked = {"benchmark": "load", "model": Path(options.model).name, "rounds": options.rounds}
    result = {**asked, **facts, "loads": {placement: _as_json(loads) for placement, loads in found.items()}}
    save(options.json, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
