"""Many users at a time: tokens a second in all, and how long each waits for the first, beside other designs.

Owns the load. Each user talks about pictures that nobody else has, a turn as soon as the answer before has ended. Knows
nothing of pages. A table stands first, one line of JSON last. Times are seconds; the table has milliseconds where it
says so.

    python -m benchmarks.serve [--model bundled] [--users 1 2 4 8] [--slots 1 8] [--placement auto] [--rounds 3]
                               [--peers 1 2] [--served] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.circumstances import circumstances, save
from benchmarks.engine import EXAMPLES, READY_S, marked, percentile
from benchmarks.peers import peer
from benchmarks.served import serving
from demo.config import EngineConfig, ModelChoice
from demo.engine.events import Done, Token
from demo.engine.manager import ModelManager, resolve_roles
from demo.imaging import open_picture
from demo.types import GenerateRequest, Message, Picture, Sampling

TURNS = (
    "Describe the picture in detail.",
    "How many things are in the picture?",
    "Describe the picture and include the coordinates [[x0,y0,x1,y1]] for each mentioned object.",
)
MOST_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Said:
    """One answer by its user's clock."""

    turn: int
    text: str
    tokens: int
    first_token_s: float


Ask = Callable[[tuple[Message, ...]], tuple[str, int, float]]  # a conversation -> text, tokens, first token


@dataclass(frozen=True, slots=True)
class Load:
    """What so many users got. ``tokens_per_s`` is of them all, over the whole time, reading of prompts included."""

    users: int
    tokens: int
    tokens_per_s: float
    first_token_s: float  # median of the first turns
    later_first_token_s: float  # and of the others
    first_token_p95_s: float  # of all
    differing: int = 0  # answers that are not word for word those that a single user got

    @staticmethod
    def of(users: int, said: Sequence[Said], total_s: float) -> Load:
        first = [answer.first_token_s for answer in said if answer.turn == 0]
        later = [answer.first_token_s for answer in said if answer.turn > 0]
        tokens = sum(answer.tokens for answer in said)
        return Load(
            users,
            tokens,
            tokens / total_s,
            statistics.median(first),
            statistics.median(later or first),
            percentile([*first, *later], 95),
        )


def own_picture(number: int) -> Picture:
    """An example picture that no two conversations share."""
    files = sorted(EXAMPLES.glob("*.png"))
    return marked(open_picture(files[number % len(files)]), number)


def talk(ask: Ask, picture: Picture) -> list[Said]:
    """One conversation."""
    messages: list[Message] = []
    said = []
    for turn, question in enumerate(TURNS):
        messages.append(Message("user", question, () if messages else (picture,)))
        text, tokens, first_token_s = ask(tuple(messages))
        said.append(Said(turn, text, tokens, first_token_s))
        messages.append(Message("assistant", text))
    return said


def under_load(ask: Ask, users: int, num: int) -> tuple[Load, list[str]]:
    """``num`` conversations, so many at a time; with all answers in the order of their pictures."""
    pictures = [own_picture(number) for number in range(num)]
    talk(ask, own_picture(65_535))  # a warm-up
    started_s = time.perf_counter()
    with ThreadPoolExecutor(users) as pool:
        conversations = list(pool.map(lambda picture: talk(ask, picture), pictures))
    total_s = time.perf_counter() - started_s
    said = [answer for talked in conversations for answer in talked]
    return Load.of(users, said, total_s), [answer.text for answer in said]


@contextmanager
def engine(config: EngineConfig) -> Iterator[Ask]:
    """A fresh engine: nothing is remembered of an earlier load."""
    with ModelManager(config) as manager:
        manager.start()
        if not manager.wait_ready(READY_S):
            raise SystemExit(f"The model was not ready after {READY_S:.0f} s.")
        yield lambda messages: _stream(manager, messages)


def _stream(manager: ModelManager, messages: tuple[Message, ...]) -> tuple[str, int, float]:
    request = GenerateRequest(f"{time.perf_counter_ns()}", "chat", messages, Sampling(max_new_tokens=MOST_TOKENS))
    started_s, first_s, text, tokens = time.perf_counter(), None, "", 0
    for event in manager.stream(request):
        if isinstance(event, Token):
            first_s = first_s or time.perf_counter()
            text += event.text
        elif isinstance(event, Done):
            tokens = event.usage.completion_tokens
    return text, tokens, (first_s or time.perf_counter()) - started_s


@contextmanager
def other(config: EngineConfig, copies: int) -> Iterator[Ask]:
    spec = next(iter(resolve_roles(config).values()))
    with peer(config, spec, copies=copies) as process:

        def ask(messages: tuple[Message, ...]) -> tuple[str, int, float]:
            answered = process.ask(messages, MOST_TOKENS)
            return answered.text, answered.tokens, answered.first_token_s

        yield ask


@contextmanager
def server(config: EngineConfig, slots: int) -> Iterator[Ask]:
    spec = next(iter(resolve_roles(config).values()))
    with serving(config, spec, slots=slots) as remote, engine(remote) as ask:
        yield ask


def designs(config: EngineConfig, options: argparse.Namespace) -> dict[str, Callable[[], AbstractContextManager[Ask]]]:
    """What is measured, by name; each is started anew for each load."""
    made = {}
    for slots in options.slots or [None]:
        made[f"engine, slots {slots or 'auto'}"] = partial(engine, replace(config, slots=slots))
    for copies in options.peers:
        name = "generate(), one copy" if copies == 1 else f"generate(), {copies} copies in threads"
        made[name] = partial(other, config, copies)
    if options.served:
        made["transformers serve"] = partial(server, config, max(options.users))
    return made


Rows = dict[str, list[Load]]


def measure(config: EngineConfig, options: argparse.Namespace, told: Callable[[Rows], None]) -> Rows:
    """Each design under each load; the first load of the first says what the answers are. ``told`` hears after each."""
    right: list[str] | None = None
    rows: Rows = {}
    for name, make in designs(config, options).items():
        is_peer = "engine" not in name
        num = options.conversations or max(options.users) * options.rounds
        num = (is_peer and options.peer_conversations) or num
        for users in (is_peer and options.peer_users) or options.users:
            with make() as ask:
                load, texts = under_load(ask, users, max(num, users))
            right = right or texts
            load = replace(load, differing=sum(a != b for a, b in zip(texts, right)))
            rows.setdefault(name, []).append(load)
            print(line_of(name, load), flush=True)
            told(rows)
    return rows


HEAD = "| | users | tokens/s | first token, ms: turn 1 | later turns | p95 | differing |\n|---|---|---|---|---|---|---|"


def line_of(name: str, load: Load) -> str:
    times = (load.first_token_s, load.later_first_token_s, load.first_token_p95_s)
    shown = " | ".join(f"{time_s * 1e3:.0f}" for time_s in times)
    return f"| {name} | {load.users} | {load.tokens_per_s:.0f} | {shown} | {load.differing} |"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help="as launch.py takes it")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 8], help="at a time")
    parser.add_argument("--slots", type=int, nargs="+", default=[], help="of each replica; default: as many as fit")
    parser.add_argument("--placement", default="auto", help="as launch.py takes it")
    parser.add_argument("--devices", type=int, nargs="+", help="cards; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="conversations for each of the most users")
    parser.add_argument("--conversations", type=int, help="in all, but no fewer than users; default: see --rounds")
    parser.add_argument("--compile", default="auto", help="as launch.py takes it")
    parser.add_argument("--peer-users", type=int, nargs="+", default=[], help="of the other designs; default: the same")
    parser.add_argument("--peer-conversations", type=int, help="of theirs; default: the same")
    parser.add_argument("--peers", type=int, nargs="*", default=[], help="copies of the other designs, in one process")
    parser.add_argument("--served", action="store_true", help="beside `transformers serve` with the same directory")
    parser.add_argument("--commit", help="where git does not say it")
    parser.add_argument("--json", type=Path, help="also write the result here")
    return parser.parse_args()


def main() -> None:
    options = parse_args()
    cards = None if options.devices is None else tuple(options.devices)
    how = {"placement": options.placement, "devices": cards, "compile": options.compile}
    config = EngineConfig((ModelChoice(options.model),), **how)
    facts = circumstances(options.commit)
    print(HEAD)
    asked = {
        "model": options.model,
        "placement": options.placement,
        "rounds": options.rounds,
        "compile": options.compile,
    }

    def result(rows: Rows) -> dict[str, Any]:
        loads = {name: [asdict(load) for load in loads] for name, loads in rows.items()}
        return {"benchmark": "serve", **asked, **facts, "loads": loads}

    print(json.dumps(result(measure(config, options, lambda rows: save(options.json, result(rows))))))


if __name__ == "__main__":
    main()
