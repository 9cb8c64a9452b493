"""The page's benchmark: what its figures mean, and that it runs to its one line of JSON."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.browser import Seen
from benchmarks.page import Round, crowd_table, growth, seen_table
from benchmarks.pages import Page
from benchmarks.visitors import Tally, survey, visit

ROOT = Path(__file__).parents[2]
SEEN = Seen(100, 14.0, 97.0, 100.0, 0.25, 0.20)
ROUND = Round(600, 0, 900, 12.0, 0.015, 2.0, 4.0, 0.05, 0.2, 2**28)


def test_shares_and_additions_are_the_browsers_beside_the_engines():
    assert SEEN.share == pytest.approx(0.97)
    assert SEEN.added_s == pytest.approx(0.05)
    rows = seen_table([SEEN, SEEN], raw_added_s=0.014).splitlines()
    assert rows[2] == "| tokens/s | 97.0 | 100.0 | 0.970 of it |"
    assert rows[3] == "| first token, ms | 250 | 200 | 50 added, 14 of it by raw HTTP |"


def test_growth_is_the_last_rounds_cost_over_the_firsts():
    rounds = [ROUND, replace(ROUND, cpu_s=0.03)]
    assert growth(rounds) == pytest.approx(2)
    assert crowd_table(rounds).splitlines()[-1] == "| 2 | 600 | 0 | 12.0 | 30.0 | 2.00 | 4.00 | 50 | 200 | 256 |"


def test_visitors_are_answered_and_what_is_lost_is_told():
    async def come(port):
        site, tally = await survey(port), Tally()
        await asyncio.gather(*(visit(site, tally, 2, 0.0) for _ in range(5)))
        await visit(replace(site, ask=10_000), tally, 1, 0.0)  # there is no such function
        return tally

    with Page("fake?tokens=3", "--max-queue", "20") as page:
        tally = asyncio.run(come(page.port))
        assert page.cpu_s() > 0
        assert page.resident_bytes() > 2**20
    assert (tally.asked, tally.answered, len(tally.lost)) == (11, 10, 1)
    assert len(tally.first_s) == len(tally.whole_s) == 10
    assert all(0 < first <= whole for first, whole in zip(tally.first_s, tally.whole_s))
    assert tally.refreshed >= 5


@pytest.mark.browser
@pytest.mark.slow
def test_it_runs_to_its_line_of_json():
    model = "fake?token_s=0.01&first_token_s=0.1&tokens=60"
    arguments = ["--model", model, "--answers", "2", "--visitors", "4", "--rounds", "2", "--pause", "0"]
    command = [sys.executable, "-m", "benchmarks.page", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert [seen["words"] for seen in result["seen"]] == [60, 60]
    assert all(0 < seen["share"] < 1.5 for seen in result["seen"])
    assert all(
        seen["browser_first_s"] > seen["engine_first_s"] == pytest.approx(0.1, abs=0.05) for seen in result["seen"]
    )
    assert [(each["answered"], each["lost"]) for each in result["rounds"]] == [(12, 0), (12, 0)]
    assert {"cpu", "cores", "versions", "commit", "growth", "raw_added_s"} <= result.keys()
