"""Where two answers part, and how far apart the scores were there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import checkpoints, gaps
from benchmarks.measuring import question
from benchmarks.placement import all_given, equal_answers
from demo.backends.hf import HFBackend
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.types import Placement
from tests.benchmarks import shapes

ROOT = Path(__file__).parents[2]
TOKENS = 12


@given(st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_two_answers_part_at_their_first_difference(one, other):
    at = gaps.parting(one, other)
    if at is None:
        assert one.startswith(other) or other.startswith(one)
    else:
        assert one[:at] == other[:at]
        assert one[at] != other[at]


@pytest.mark.parametrize(
    ("score", "eps", "distance"),
    [(1.0, 2**-7, 2**-7), (3.1, 2**-7, 2**-6), (-0.3, 2**-7, 2**-9), (0.0, 2**-7, 2**-7), (5.0, 2**-23, 2**-21)],
)
def test_the_distance_of_neighbours_grows_with_the_number(score, eps, distance):
    assert gaps.spacing(score, eps) == distance


def row(full, short):
    asked = {"full": {"letters": 9, "pictures": 2}, "short": {"letters": 0, "pictures": 1}}
    words = {"full": full, "short": short}
    rows = {name: {**asked[name], "answers": words[name], "counts": [1] * len(words[name])} for name in asked}
    return {"model": "m", "outcome": "answered", "answers": [*full, *short], "given": rows}


def test_only_questions_with_different_answers_are_asked_again():
    rows = [row(["aa"], ["bb"]), row(["aa"], ["bc", "bb"])]
    assert equal_answers(rows) == {"m": False}
    (name, asked), *others = json.loads(all_given(rows)).items()
    assert (name, asked["pictures"], asked["answers"], others) == ("short", 1, ["bb", "bc"], [])


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gaps")
    shape = shapes.cogvlm(folder / "shapes")
    checkpoints.write([shape], folder / "models", layers=None, jobs=1)
    return folder / "models" / shape.name


def test_an_answer_that_leaves_the_models_own_is_scored_where_it_does(directory):
    backend = HFBackend()
    backend.load(resolve(ModelChoice(str(directory))), Placement({"": "cpu"}, threads=1), lambda *_: None)
    message = question(3, 1, 56)
    own, scores = gaps.answer(backend, message, TOKENS)
    assert (len(own), len(scores)) == (TOKENS, TOKENS)
    ranked = scores[7].argsort(descending=True).tolist()
    third = backend._tokenizer.convert_ids_to_tokens(ranked[2])
    other = own[:7] + third + own[8:]
    (found,) = gaps.partings(backend, "short", message, [own, other])
    assert (found.question, found.at, found.tokens, found.rank) == ("short", 7, (own[7], third), 2)
    assert found.gap == pytest.approx(float(scores[7][ranked[0]] - scores[7][ranked[2]]))
    assert found.roundings == found.gap / gaps.spacing(found.scores[0], 2**-23)
    backend.close()

    asked = {"short": {"letters": 3, "pictures": 1, "answers": [own, other]}}
    flags = ["--dir", str(directory), "--placement", "cpu", "--picture-px", "56", "--dtype", "float32"]
    command = [sys.executable, "-m", "benchmarks.gaps", *flags, "--given", json.dumps(asked)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert [(each["at"], each["rank"]) for each in result["partings"]] == [(7, 2)]
    lines = gaps.table({"m": result, "n": {"outcome": "crashed", "error": "no | card"}}).splitlines()
    assert lines[2].startswith("| m | short | 7 | ")
    assert "crashed: no / card" in lines[3]
    assert len({line.count("|") for line in lines}) == 1
