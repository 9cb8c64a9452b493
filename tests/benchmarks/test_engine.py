"""The engine's benchmark: what its figures mean, and that it runs to its one line of JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.engine import Question, Summary, Timing, measure, percentile, questions, ratios, table
from demo.catalog import BUNDLED
from demo.prompts import load_prompts
from demo.types import Picture, Size

ROOT = Path(__file__).parents[2]


def benchmark(*arguments):
    run = subprocess.run(
        [sys.executable, "benchmarks/engine.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([7], 95, 7), ([2, 1], 95, 2), (range(1, 101), 95, 95), (range(1, 101), 5, 5), (range(1, 21), 5, 1)],
)
def test_percentiles_are_values_that_occurred(values, percent, expected):
    assert percentile(list(values), percent) == expected


def test_speed_counts_the_tokens_after_the_first():
    assert Timing(first_token_s=0.5, total_s=1.5, tokens=11).tokens_per_s == pytest.approx(10)
    assert Timing(first_token_s=0.5, total_s=0.5, tokens=1).tokens_per_s is None


def test_a_summary_has_medians_and_the_slowest():
    timings = [Timing(first / 10, first / 10 + 1, tokens) for first, tokens in ((1, 11), (2, 21), (9, 31))]
    summary = Summary.of(timings)
    assert (summary.answers, summary.tokens) == (3, 63)
    assert (summary.first_token_s, summary.first_token_p95_s) == (0.2, 0.9)
    assert summary.tokens_per_s == pytest.approx(20)
    assert summary.tokens_per_s_p5 == pytest.approx(10)
    assert (summary.total_s, summary.total_p95_s) == (1.2, 1.9)


def test_the_first_round_does_not_count_and_askers_take_turns():
    asked = []

    def asker(name):
        def ask(question):
            asked.append((name, question.text, question.picture.rgb))
            return Timing(0.1, 0.2, 2)

        return ask

    questions = [Question("chat", text, Picture(Size(1, 1), b"abc")) for text in "pq"]
    rows = measure({"bare": asker("bare"), "engine": asker("engine")}, questions, rounds=2)
    order = [(name, text) for _ in range(3) for text in "pq" for name in ("bare", "engine")]
    assert [(name, text) for name, text, _ in asked] == order
    assert len({rgb for _, _, rgb in asked}) == 3  # another picture each round, and the same for both
    assert rows["bare"].answers == rows["engine"].answers == 4


def test_the_ratio_is_engine_over_bare():
    rows = {"bare": Summary.of([Timing(0.1, 1.1, 11)]), "engine": Summary.of([Timing(0.2, 2.2, 11)])}
    assert ratios(rows) == pytest.approx({"first_token_s": 2, "tokens_per_s": 0.5, "total_s": 2})
    lines = table(rows).splitlines()
    assert lines[2] == "| bare | 100 | 100 | 10 | 10 | 1100 | 1100 |"
    assert lines[-1] == "| engine / bare | 2.00 | | 0.50 | | 2.00 | |"


def test_the_questions_are_those_of_the_examples_in_the_models_words():
    asked = questions(load_prompts("cogvlm"))
    assert {question.role for question in asked} == {"chat", "grounding", "captioning"}
    assert any(question.text.startswith("Where is the apples?") for question in asked)
    assert not any("{" in question.text for question in asked)


def test_the_fake_model_is_measured_through_the_engine_alone():
    *printed, last = benchmark("--model", "fake?tokens=5", "--rounds", "2")
    result = json.loads(last)
    assert any(line.startswith("| engine |") for line in printed)
    assert result["engine"]["answers"] == 2 * len(questions(load_prompts("cogvlm")))
    assert result["engine"]["tokens"] == 5 * result["engine"]["answers"]
    assert 0 < result["engine"]["first_token_s"] <= result["engine"]["total_s"]
    assert result["cores"] >= 1
    assert {"cpu", "versions", "commit", "rounds", "model"} <= result.keys()
    assert "bare" not in result


@pytest.mark.slow
@pytest.mark.skipif(not (BUNDLED / "config.json").is_file(), reason="the bundled model is not here")
def test_the_engine_and_the_bare_model_give_answers_of_the_same_length():
    result = json.loads(benchmark("--rounds", "1")[-1])
    assert result["engine"]["tokens"] == result["bare"]["tokens"] > 0
    assert result["engine_over_bare"].keys() == {"first_token_s", "tokens_per_s", "total_s"}
