"""How fast answers come through the engine, beside the bare model: ``python benchmarks/engine.py``.

Asks the questions of the example pictures one after the other: of the bare model's own `generate` in a process of its
own (the ceiling: no engine, no pipe), and of the engine, as a caller of `ModelManager.stream` sees it. Both have the
same placement, threads and pictures, take turns question by question, and have one round that is not counted.
Prints a table and, last, one line of JSON. Times in the JSON are seconds; the table has milliseconds where it says so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the demo is not installed, and this file's own directory is what Python looks in

from benchmarks.circumstances import circumstances  # noqa: E402
from demo.catalog import ModelSpec  # noqa: E402
from demo.config import EngineConfig, ModelChoice  # noqa: E402
from demo.engine.devices import cpu_threads, detect  # noqa: E402
from demo.engine.events import Done, Token  # noqa: E402
from demo.engine.manager import ModelManager, plan_all, resolve_roles  # noqa: E402
from demo.imaging import open_picture, to_pil  # noqa: E402
from demo.prompts import PromptSet, load_prompts  # noqa: E402
from demo.types import GenerateRequest, Message, Picture, Placement, Role, Sampling, Usage  # noqa: E402

EXAMPLES = ROOT / "assets" / "examples"
READY_S = 1800.0  # a large model may be downloaded first


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask about one picture."""

    role: Role
    text: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class Timing:
    """One answer by the caller's clock, which starts with the decoded picture and the question in hand."""

    first_token_s: float
    total_s: float
    tokens: int

    @property
    def tokens_per_s(self) -> float | None:
        """Of the tokens after the first; None where there are none."""
        return Usage(0, self.tokens, self.first_token_s, self.total_s).tokens_per_s or None


Asker = Callable[[Question], Timing]


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians, and how bad the slowest twentieth is."""

    answers: int
    tokens: int
    first_token_s: float
    first_token_p95_s: float
    tokens_per_s: float
    tokens_per_s_p5: float
    total_s: float
    total_p95_s: float

    @staticmethod
    def of(timings: Sequence[Timing]) -> Summary:
        firsts, totals = [t.first_token_s for t in timings], [t.total_s for t in timings]
        speeds = [t.tokens_per_s for t in timings if t.tokens_per_s is not None] or [0.0]
        return Summary(
            answers=len(timings),
            tokens=sum(t.tokens for t in timings),
            first_token_s=statistics.median(firsts),
            first_token_p95_s=percentile(firsts, 95),
            tokens_per_s=statistics.median(speeds),
            tokens_per_s_p5=percentile(speeds, 5),
            total_s=statistics.median(totals),
            total_p95_s=percentile(totals, 95),
        )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` per cent of the values do not exceed."""
    ranked = sorted(values)
    rank = -(-len(ranked) * percent // 100)  # rounded up
    return ranked[max(0, int(rank) - 1)]


def questions(prompts: PromptSet) -> list[Question]:
    """What the page's own examples ask, in the words of the model's prompt set."""
    asked = []
    for entry in json.loads((EXAMPLES / "examples.json").read_text(encoding="utf-8")):
        picture = open_picture(EXAMPLES / entry["file"])
        if entry["tab"] == "chat":
            asked.append(Question("chat", entry["question"], picture))
        elif entry["tab"] == "grounding" and prompts.ground:
            asked.append(Question("grounding", prompts.ask_where(entry["phrase"]), picture))
        elif entry["tab"] == "captioning" and entry["style"] in prompts.caption:
            asked.append(Question("captioning", prompts.caption[entry["style"]], picture))
    return asked


def marked(picture: Picture, number: int) -> Picture:
    """The same with a corner pixel of its own, so that what was read of one is not gone on from."""
    return Picture(picture.size, bytes([number % 256, number // 256 % 256, 127]) + picture.rgb[3:])


# --- through the engine


@contextmanager
def engine_asker(config: EngineConfig) -> Iterator[Asker]:
    with ModelManager(config) as manager:
        manager.start()
        if not manager.wait_ready(READY_S):
            raise SystemExit(f"The model was not ready after {READY_S:.0f} s.")
        yield lambda question: _stream(manager, question)


def _stream(manager: ModelManager, question: Question) -> Timing:
    message = Message("user", question.text, (question.picture,))
    request = GenerateRequest(f"{time.perf_counter_ns()}", question.role, (message,))
    started_s, first_s, tokens = time.perf_counter(), None, 0
    for event in manager.stream(request):
        if isinstance(event, Token) and first_s is None:
            first_s = time.perf_counter()
        elif isinstance(event, Done):
            tokens = event.usage.completion_tokens
    ended_s = time.perf_counter()
    return Timing((first_s or ended_s) - started_s, ended_s - started_s, tokens)


# --- the bare model


@contextmanager
def bare_asker(config: EngineConfig, spec: ModelSpec) -> Iterator[Asker]:
    """The model alone in a process of its own, where the engine's planner would put its first replica."""
    placement = plan_all(config, {"chat": spec}, detect())[spec].placement_of(0, threads=cpu_threads())
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=bare, args=(theirs, spec, placement), daemon=True)
    process.start()
    theirs.close()  # so that the child's end is seen as the end

    def ask(question: Question) -> Timing:
        ours.send(question)
        timing: Timing = ours.recv()
        return timing

    yield ask
    ours.send(None)
    process.join()


def bare(connection: Connection, spec: ModelSpec, placement: Placement) -> None:
    """Answers each question that comes through the pipe by the model's own `generate`, until None comes."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the engine's workers: threads that wait do not spin
    import torch

    from demo.backends import hub, loading

    if placement.threads is not None:
        torch.set_num_threads(placement.threads)
    directory = hub.fetch_model(spec, _quiet)
    words = hub.fetch_tokenizer(spec, _quiet) or directory
    loaded = loading.load(spec, directory, words, placement)
    while (question := connection.recv()) is not None:
        with torch.inference_mode():
            connection.send(_generate(loaded.model, loaded.processor, question))


def _generate(model: Any, processor: Any, question: Question) -> Timing:
    times_s: list[float] = []
    content = [{"type": "image", "image": to_pil(question.picture)}, {"type": "text", "text": question.text}]
    started_s = time.perf_counter()
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    ).to(model.device, dtype=model.dtype)
    limit = Sampling().max_new_tokens
    model.generate(**inputs, do_sample=False, max_new_tokens=limit, streamer=_Clock(times_s))
    ended_s = time.perf_counter()
    answer = times_s[1:]  # the first is the prompt's
    return Timing(answer[0] - started_s, ended_s - started_s, len(answer))


class _Clock:
    """A streamer that only notes when tokens come."""

    def __init__(self, times_s: list[float]) -> None:
        self._times_s = times_s

    def put(self, _value: object) -> None:
        self._times_s.append(time.perf_counter())

    def end(self) -> None:
        pass


def _quiet(_stage: str, _fraction: float | None) -> None:
    """A download's progress is not what is measured."""


# --- both


def measure(askers: dict[str, Asker], asked: Sequence[Question], rounds: int) -> dict[str, Summary]:
    """Every question to each asker in turn, so that a busy moment hits them alike; the first round does not count."""
    timings: dict[str, list[Timing]] = {name: [] for name in askers}
    for number in range(rounds + 1):
        for question in (replace(question, picture=marked(question.picture, number)) for question in asked):
            for name, ask in askers.items():
                timing = ask(question)
                if number > 0:
                    timings[name].append(timing)
    return {name: Summary.of(answers) for name, answers in timings.items()}


# --- what is printed


def table(rows: dict[str, Summary]) -> str:
    lines = [
        "| | first token, ms | p95 | tokens/s | slowest 5 % | whole answer, ms | p95 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row.first_token_s * 1e3:.0f} | {row.first_token_p95_s * 1e3:.0f} | {row.tokens_per_s:.0f} "
            f"| {row.tokens_per_s_p5:.0f} | {row.total_s * 1e3:.0f} | {row.total_p95_s * 1e3:.0f} |"
        )
    if {"engine", "bare"} <= rows.keys():
        lines.append("| engine / bare | {} | | {} | | {} | |".format(*(f"{v:.2f}" for v in ratios(rows).values())))
    return "\n".join(lines)


def ratios(rows: dict[str, Summary]) -> dict[str, float]:
    """Engine over bare, by medians; above 1 is slower for times and faster for tokens/s."""
    engine, alone = rows["engine"], rows["bare"]
    names = ("first_token_s", "tokens_per_s", "total_s")
    return {name: getattr(engine, name) / getattr(alone, name) for name in names}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help="as launch.py takes it")
    parser.add_argument("--rounds", type=int, default=10, help="how often each question is asked")
    parser.add_argument("--no-bare", action="store_true", help="the engine alone, where two copies do not fit")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds has to be at least 1")
    return options


def main() -> None:
    options = parse_args()
    config = EngineConfig(models=(ModelChoice(options.model),))
    spec = next(iter(resolve_roles(config).values()))
    asked = [question for question in questions(load_prompts(spec.prompts)) if question.role in spec.roles]
    facts = circumstances()
    with ExitStack() as stack:
        askers: dict[str, Asker] = {}
        if spec.backend == "hf" and not options.no_bare:  # the fake model has nothing bare
            askers["bare"] = stack.enter_context(bare_asker(config, spec))
        askers["engine"] = stack.enter_context(engine_asker(config))
        rows = measure(askers, asked, options.rounds)
    print(table(rows))
    result: dict[str, object] = {"benchmark": "engine", "model": spec.name, "rounds": options.rounds, **facts}
    result |= {name: asdict(row) for name, row in rows.items()}
    if "bare" in rows:
        result["engine_over_bare"] = ratios(rows)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
