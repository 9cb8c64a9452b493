"""Answers in the form of the OpenAI chat API: what a stream of pieces says in all is what the whole answer says."""

from __future__ import annotations

import json

import pytest

from demo.api.completions import Completion
from demo.api.protocol import Call
from demo.catalog import resolve_remote
from demo.config import ModelChoice
from demo.engine.events import Done
from demo.types import GenerateRequest, Message, Usage

SPEC = resolve_remote(ModelChoice("x?family=qwen3_vl"))
DONE = Done("r", "stop", Usage(1, 1, 0.0, 0.0))


def completion(**how):
    return Completion(Call(GenerateRequest("r", "chat", (Message("user", "q"),)), "x", **how), SPEC)


def streamed(pieces):
    answer = completion(streams=True)
    raw = b"".join([*map(answer.chunk, pieces), answer.last_chunks(DONE)]).decode()
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in raw.split("\n\n") if line.startswith("data: {")]
    return {name: "".join(delta.get(name, "") for delta in deltas) for name in ("content", "reasoning_content")}


def whole(text):
    answer = completion()
    answer.text = text
    return answer.whole(DONE)["choices"][0]["message"]


@pytest.mark.parametrize(
    "pieces",
    [
        ["Two cats."],
        ["<think>", "I count.", "</think>", "\n\nTwo ", "cats."],
        ["<think>I count.</think>\n\nTwo cats."],
    ],
)
def test_a_stream_says_what_the_whole_answer_says(pieces):
    told = whole("".join(pieces))
    assert streamed(pieces) == {"content": "Two cats.", "reasoning_content": told.get("reasoning_content") or ""}
    assert told["content"] == "Two cats."


@pytest.mark.parametrize("end", [["</think>", "\n\nTwo cats, no more."], ["</think>\n\nTwo cats, no more."]])
def test_of_an_answer_that_turns_out_to_have_been_a_thought_nothing_is_lost(end):
    pieces = ["I count ", "them.\n", *end]
    found = streamed(pieces)
    assert found["reasoning_content"] == whole("".join(pieces))["reasoning_content"] == "I count them."
    assert found["content"].endswith("Two cats, no more.")
