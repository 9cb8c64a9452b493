"""What the way to the page costs: ``python -m benchmarks.page``.

First one visitor in headless Chromium: tokens per second as the browser paints them beside the engine's own, the time
that is added to the first token (and how much of that without a browser, by raw HTTP), updates per second. Then many
visitors at once by raw HTTP, round after round on one page, each with an open tab's heartbeat and refreshes: how many
answers are lost, and what one costs the page's process in its first and in its last round. The fake model answers, so
that nothing but the way is measured; ``--model`` names another for the browser's part. Prints two tables and, last, one
line of JSON. Times in the JSON are seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.browser import Seen, ask, opened
from benchmarks.circumstances import circumstances
from benchmarks.engine import percentile
from benchmarks.pages import Page
from benchmarks.visitors import Site, Tally, answer, survey, visit

STREAM = "fake?token_s=0.01&first_token_s=0.2&tokens=400"
QUICK = "fake?tokens=20"
QUESTION = "What do you see, and where is it?"
TARGETS = {"share": 0.97, "added_s": 0.040, "updates_per_s": (10, 20), "lost": 0}


@dataclass(frozen=True, slots=True)
class Round:
    """One round of all visitors. ``cpu_s`` is the processor time of the page's process for one answer, all included."""

    answered: int
    lost: int
    refreshed: int
    seconds_s: float
    cpu_s: float
    first_s: float
    first_p95_s: float
    refresh_s: float
    refresh_p95_s: float
    resident_bytes: int


def watch(model: str, answers: int) -> tuple[list[Seen], float]:
    """One visitor, who asks one question that is not counted and then so many that are.

    Also the time that raw HTTP to the same page adds to the first token, without a browser.
    """
    with Page(model) as page:
        with opened(page) as tab:
            seen = [ask(tab, page, QUESTION, number) for number in range(1, answers + 2)][1:]
        firsts_s = asyncio.run(_firsts(page.port, answers))
        return seen, statistics.median(firsts_s) - statistics.median(each.engine_first_s for each in seen)


async def _firsts(port: int, answers: int) -> list[float]:
    site = await survey(port)
    return [(await answer(site, "raw"))[0] for _ in range(answers + 1)][1:]


def crowd(visitors: int, rounds: int, questions: int, pause_s: float) -> list[Round]:
    with Page(QUICK, "--max-queue", str(2 * visitors)) as page:
        site = asyncio.run(survey(page.port))
        return [_round(page, site, visitors, questions, pause_s) for _ in range(rounds)]


def _round(page: Page, site: Site, visitors: int, questions: int, pause_s: float) -> Round:
    tally = Tally()
    cpu_s, started_s = page.cpu_s(), time.perf_counter()
    asyncio.run(_all(site, tally, visitors, questions, pause_s))
    took_s, cost_s = time.perf_counter() - started_s, page.cpu_s() - cpu_s
    return Round(
        answered=tally.answered,
        lost=len(tally.lost),
        refreshed=tally.refreshed,
        seconds_s=took_s,
        cpu_s=cost_s / max(1, tally.asked),
        first_s=statistics.median(tally.first_s),
        first_p95_s=percentile(tally.first_s, 95),
        refresh_s=statistics.median(tally.refresh_s),
        refresh_p95_s=percentile(tally.refresh_s, 95),
        resident_bytes=page.resident_bytes(),
    )


async def _all(site: Site, tally: Tally, visitors: int, questions: int, pause_s: float) -> None:
    await asyncio.gather(*(visit(site, tally, questions, pause_s) for _ in range(visitors)))


def seen_table(seen: Sequence[Seen], raw_added_s: float) -> str:
    lines = ["| | browser | engine | |", "|---|---|---|---|"]
    of = {
        name: statistics.median(getattr(each, name) for each in seen) for name in (*Seen.__slots__, "share", "added_s")
    }
    lines.append(
        f"| tokens/s | {of['browser_tokens_per_s']:.1f} | {of['engine_tokens_per_s']:.1f} | {of['share']:.3f} of it |"
    )
    lines.append(
        f"| first token, ms | {of['browser_first_s'] * 1e3:.0f} | {of['engine_first_s'] * 1e3:.0f} "
        f"| {of['added_s'] * 1e3:.0f} added, {raw_added_s * 1e3:.0f} of it by raw HTTP |"
    )
    return "\n".join([*lines, f"| updates/s | {of['updates_per_s']:.1f} | | |"])


def crowd_table(rounds: Sequence[Round]) -> str:
    lines = [
        "| round | answers | lost | seconds | cpu for an answer, ms | first words, s | p95 | refresh, ms | p95 | MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for number, row in enumerate(rounds, 1):
        lines.append(
            f"| {number} | {row.answered} | {row.lost} | {row.seconds_s:.1f} | {row.cpu_s * 1e3:.1f} "
            f"| {row.first_s:.2f} | {row.first_p95_s:.2f} | {row.refresh_s * 1e3:.0f} | {row.refresh_p95_s * 1e3:.0f} "
            f"| {row.resident_bytes / 2**20:.0f} |"
        )
    return "\n".join(lines)


def growth(rounds: Sequence[Round]) -> float:
    """What an answer costs in the last round over what it cost in the first."""
    return rounds[-1].cpu_s / rounds[0].cpu_s


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=STREAM, help="for the browser's part, as launch.py takes it")
    parser.add_argument("--answers", type=int, default=5, help="that the browser watches")
    parser.add_argument("--visitors", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--questions", type=int, default=3, help="of each visitor in a round")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between a visitor's questions")
    return parser.parse_args()


def main() -> None:
    options = parse_args()
    facts = circumstances()
    seen, raw_added_s = watch(options.model, options.answers)
    print(seen_table(seen, raw_added_s), "\n", sep="")
    rounds = crowd(options.visitors, options.rounds, options.questions, options.pause)
    print(crowd_table(rounds))
    result: dict[str, object] = {"benchmark": "page", "model": options.model, "visitors": options.visitors, **facts}
    result |= {"targets": TARGETS, "raw_added_s": raw_added_s, "growth": growth(rounds)}
    result |= {"seen": [{**asdict(each), "share": each.share, "added_s": each.added_s} for each in seen]}
    result |= {"rounds": [asdict(each) for each in rounds]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
