"""Models of several families through the whole engine: streaming, Stop, several answers at a time, fewer bits.

    python -m benchmarks.families --dir DIR [--model NAME ...] [--quantize none int8 int4] [--compile off graphs]

Owns the questions and what is asked of the answers; each model in each way runs in a process of its own, on one card or
on the CPU. The checkpoints are those of `benchmarks.placement write`: an answer is as long as it may be, its letters
say nothing, only whether two are alike matters. A table stands first, one line of JSON last. Times are seconds, bytes
are integers; the table has GiB and milliseconds where it says so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.children import Child, Row
from benchmarks.circumstances import circumstances, save
from benchmarks.measuring import ProcessMemory, question
from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import GIB
from demo.engine.events import Done, Token
from demo.engine.manager import ModelManager
from demo.errors import DemoError
from demo.types import GenerateRequest, Sampling

TOKENS = 128
LONG_ANSWER = 512  # what a stopped answer was allowed
STOP_AFTER = 16  # pieces
PICTURE_PX = 448
QUESTIONS = ("What is this?", "Where was it taken, and by whom?", "Which colours are there?", "How many people?")


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer by the clock of who asked."""

    text: str
    pieces: int
    tokens: int
    first_token_s: float
    tokens_per_s: float  # after the first


def measure_one(options: argparse.Namespace) -> None:
    """In the child: measure, and print the outcome as one line."""
    flags = {"quantize": options.quantize[0], "compile": options.compile[0], "slots": options.slots}
    cards = None if options.card is None else (options.card,)
    config = EngineConfig((ModelChoice(str(options.dir)),), placement=options.placement, devices=cards, **flags)
    try:
        with ModelManager(config) as manager, ProcessMemory() as watched:
            row: Row = {"outcome": "answered", **_use(manager, options.limit_s), "taken": dict(watched.peaks)}
    except DemoError as error:
        row = {"outcome": "refused" if error.exit_code == 2 else "failed", "error": str(error)}
    print(json.dumps(row))


def _use(manager: ModelManager, ready_s: float) -> Row:
    manager.start()
    if not manager.wait_ready(ready_s):
        raise SystemExit("not ready in time")
    slots = manager.capacity
    hear(manager, QUESTIONS[0])  # a warm-up
    alone = [hear(manager, question) for question in QUESTIONS]
    stopped = stop_one(manager)
    crowd = [QUESTIONS[number % len(QUESTIONS)] for number in range(slots)]
    started_s = time.perf_counter()
    with ThreadPoolExecutor(slots) as pool:
        together = list(pool.map(lambda question: hear(manager, question), crowd))
    total_s = time.perf_counter() - started_s
    replica = manager.snapshot().replicas[0]
    plan = manager.snapshot().plan
    same = [a.text == alone[number % len(alone)].text for number, a in enumerate(together)]
    return {
        "slots": slots,
        "context": plan.context,
        "load_s": replica.load_s,
        "loads": replica.total_loads,
        "tokens_per_s": statistics.median(one.tokens_per_s for one in alone),
        "first_token_s": statistics.median(one.first_token_s for one in alone),
        "pieces_per_token": sum(one.pieces for one in alone) / sum(one.tokens for one in alone),
        "together_tokens_per_s": sum(one.tokens for one in together) / total_s,
        "together_alike": sum(same),
        "together_begin_alike": statistics.median(
            _alike(a.text, alone[number % len(alone)].text) for number, a in enumerate(together)
        ),
        **stopped,
        "planned": {device: load.total for one in plan.replicas for device, load in one.loads.items()},
        "resident": dict(replica.resident_bytes),
        "allocator_peak": {device: memory.peak for device, memory in replica.memory.items()},
    }


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin alike with; a token is one."""
    return next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def hear(manager: ModelManager, asked: str) -> Heard:
    """A whole answer about a picture."""
    started_s, first_s, text, pieces = time.perf_counter(), 0.0, "", 0
    for event in manager.stream(_request(asked, TOKENS)):
        if isinstance(event, Token):
            first_s = first_s or time.perf_counter() - started_s
            text, pieces = text + event.text, pieces + 1
        elif isinstance(event, Done):
            return Heard(text, pieces, event.usage.completion_tokens, first_s, event.usage.tokens_per_s)
    raise SystemExit("an answer ended without an end")


def stop_one(manager: ModelManager) -> Row:
    """Leave an answer after some pieces, as a visitor's Stop does; how soon the replica is free for the next."""
    with closing(manager.stream(_request(QUESTIONS[0], LONG_ANSWER))) as events:
        pieces = 0
        for event in events:
            pieces += isinstance(event, Token)
            if pieces == STOP_AFTER:
                break
    stopped_s = time.perf_counter()
    while any(replica.running for replica in manager.snapshot().replicas):
        time.sleep(0.001)
    return {"stop_s": time.perf_counter() - stopped_s}


def _request(asked: str, tokens: int) -> GenerateRequest:
    name = f"{threading.get_ident()}-{time.perf_counter_ns()}"
    message = replace(question(0, 1, PICTURE_PX), text=asked)
    return GenerateRequest(name, "chat", (message,), Sampling(max_new_tokens=tokens))


# --- all of them


def run(options: argparse.Namespace) -> Row:
    """Every model in every way, one after the other; the file is written anew after each."""
    models = options.model or sorted(path.name for path in options.dir.iterdir() if (path / "config.json").exists())
    result = {"benchmark": "families", "placement": options.placement, **circumstances(options.commit)}
    rows: list[Row] = []
    print(HEAD, flush=True)
    for model in models:
        for quantize in options.quantize:
            for way in options.compile:
                row = {"model": model, "quantize": quantize, "compile": way}
                rows.append(row | child(options, model, quantize, way).run())
                print(line_of(rows[-1]), flush=True)
                save(options.json, {**result, "rows": rows})
    return {**result, "rows": rows}


def child(options: argparse.Namespace, model: str, quantize: str, way: str) -> Child:
    arguments = ["-m", "benchmarks.families", "--one", "--dir", str(options.dir / model), "--quantize", quantize]
    arguments += ["--compile", way, "--placement", options.placement, "--limit-s", str(options.limit_s)]
    for name in ("slots", "card"):
        if (value := getattr(options, name)) is not None:
            arguments += [f"--{name}", str(value)]
    return Child(arguments, options.limit_s)


NAMES = (
    *("model", "bits", "graphs", "slots", "load, s", "first token, ms", "tokens/s", "together", "alike", "stop, ms"),
    *("weights, GiB", "planned", "taken", "error"),
)
HEAD = f"| {' | '.join(NAMES)} |\n{'|---' * len(NAMES)}|"


def line_of(row: Row) -> str:
    begin = [row["model"], row["quantize"], row["compile"]]
    if row["outcome"] != "answered":
        return f"| {' | '.join(begin)} | {row['outcome']}: {row.get('error', '')} |"
    alike = f"{row['together_alike']} of {row['slots']} ({row['together_begin_alike']:.0f})"
    cells = [row["slots"], f"{row['load_s']:.1f}", f"{row['first_token_s'] * 1e3:.0f}", f"{row['tokens_per_s']:.1f}"]
    cells += [f"{row['together_tokens_per_s']:.0f}", alike, f"{row['stop_s'] * 1e3:.0f}"]
    device, planned = next(iter(row["planned"].items()))
    taken = row["taken"].get(device) or row["allocator_peak"].get(device, 0)
    sizes = [row["resident"].get(device, 0), planned, taken]
    cells += [f"{size / GIB:.2f}" for size in sizes] + [f"{100 * (planned - taken) / taken:+.1f} %"]
    return f"| {' | '.join(map(str, begin + cells))} |"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="where the models are")
    parser.add_argument("--model", nargs="*", help="names of directories below --dir; all by default")
    parser.add_argument("--quantize", nargs="+", default=["none"], choices=("none", "int8", "int4"))
    parser.add_argument("--compile", nargs="+", default=["auto"], help="as launch.py takes it")
    parser.add_argument("--placement", default="single", help="as launch.py takes it")
    parser.add_argument("--slots", type=int, help="default: as many as fit")
    parser.add_argument("--card", type=int, help="its number; default: the one with the most free memory")
    parser.add_argument("--limit-s", type=float, default=240.0, help="most that one measurement may take")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # what is started for each
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--commit", help="what is measured, where git does not say it")
    return parser.parse_args()


def main() -> None:
    options = parse_args()
    if options.one:
        measure_one(options)
        return
    result = run(options)
    save(options.json, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
