"""Whether memory grows with the answers that were given: ``python -m benchmarks.soak``.

Owns the load: conversations about pictures of all sizes that nobody else has, several at a time, of which some are left
half-way, round after round of the same engine. Prints what this process and the workers hold of main memory after each
round, and, last, one line of JSON. Linux alone says what a process holds.

    python -m benchmarks.soak [--model bundled] [--rounds 10] [--conversations 200] [--at-once 6] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.circumstances import circumstances, save
from benchmarks.engine import READY_S
from benchmarks.residence import resident_bytes
from demo.config import EngineConfig, ModelChoice
from demo.engine.events import Token
from demo.engine.manager import ModelManager
from demo.types import GenerateRequest, Message, Picture, Sampling, Size

SIDES = (50, 1400)  # pixels
MOST_TOKENS = 40
LEFT_AFTER = 5  # pieces of an answer that nobody waits for the rest of
QUESTIONS = ("What is in the picture?", "And how many things are there?")


@dataclass(frozen=True, slots=True)
class Round:
    """``own_bytes`` are those of the process that asks, ``workers_bytes`` those of all workers."""

    conversations: int
    seconds_s: float
    own_bytes: int
    workers_bytes: int


def converse(manager: ModelManager, number: int) -> None:
    """Two turns; every third conversation is left in the second one."""
    chance = random.Random(number)
    messages: list[Message] = []
    for turn, question in enumerate(QUESTIONS):
        messages.append(Message("user", question, () if turn else (noise(chance),)))
        sampling = Sampling(max_new_tokens=chance.randint(LEFT_AFTER + 1, MOST_TOKENS))
        request = GenerateRequest(f"{number}-{turn}", "chat", tuple(messages), sampling)
        pieces: list[str] = []
        with closing(manager.stream(request)) as events:
            for event in events:
                pieces += [event.text] if isinstance(event, Token) else []
                if turn and number % 3 == 0 and len(pieces) == LEFT_AFTER:
                    return
        messages.append(Message("assistant", "".join(pieces)))


def noise(chance: random.Random) -> Picture:
    size = Size(chance.randint(*SIDES), chance.randint(*SIDES))
    return Picture(size, chance.randbytes(3 * size.pixels))


def measure(manager: ModelManager, rounds: int, conversations: int, at_once: int) -> list[Round]:
    found = []
    print(HEAD)
    for index in range(rounds):
        began_s = time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            list(
                pool.map(
                    lambda number: converse(manager, number), range(index * conversations, (index + 1) * conversations)
                )
            )
        workers = sum(resident_bytes(child.pid) for child in multiprocessing.active_children() if child.pid is not None)
        found.append(Round(conversations, time.perf_counter() - began_s, resident_bytes(os.getpid()), workers))
        print(line_of(index, found[-1]), flush=True)
    return found


HEAD = "| round | conversations | seconds | asking process, MiB | workers, MiB |\n|---|---|---|---|---|"


def line_of(index: int, row: Round) -> str:
    sizes = " | ".join(f"{size / 2**20:.0f}" for size in (row.own_bytes, row.workers_bytes))
    return f"| {index + 1} | {row.conversations} | {row.seconds_s:.0f} | {sizes} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help="as launch.py takes it")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--conversations", type=int, default=200, help="in a round")
    parser.add_argument("--at-once", type=int, default=6)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    facts = circumstances()
    with ModelManager(EngineConfig((ModelChoice(options.model),))) as manager:
        manager.start()
        if not manager.wait_ready(READY_S):
            raise SystemExit(f"The model was not ready after {READY_S:.0f} s.")
        rows = measure(manager, options.rounds, options.conversations, options.at_once)
    result = {"benchmark": "soak", "model": options.model, **facts, "rounds": [asdict(row) for row in rows]}
    save(options.json, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
