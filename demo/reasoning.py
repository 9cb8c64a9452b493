"""Tells the reasoning of a model that thinks aloud apart from its answer, while the text still grows.

Owns the split and the tags that families put around their thoughts. Pure. Knows nothing of models, pages or boxes.
Where a prompt has opened the thought already, whoever runs the model writes the opening tag before the model's words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tags:
    """What stands around a thought, and around the answer after it where a family marks that as well."""

    open: str
    close: str
    answer: tuple[str, str] = ("", "")


THINK = Tags("<think>", "</think>")
THINK_ANSWER = Tags("<think>", "</think>", ("<answer>", "</answer>"))  # GLM-4.1V-Thinking
CHANNEL = Tags("<|channel>thought\n", "<channel|>")  # Gemma 4
BRACKETS = Tags("[THINK]", "[/THINK]")  # Mistral's Magistral


@dataclass(frozen=True, slots=True)
class Reasoned:
    """A text in two. While the model is thinking there is no answer yet."""

    thought: str
    answer: str
    is_thinking: bool = False


def split(text: str, tags: Sequence[Tags], *, is_growing: bool = False) -> Reasoned:
    """The thought at the beginning of a text and the answer after it; all of it is the answer where there is none.

    ``is_growing`` keeps a tag that is half written out of both, so that neither ever takes back what it showed.
    """
    for pair in tags:
        if (found := _parted(text, pair, is_growing=is_growing)) is not None:
            return found
    return Reasoned("", text)


def opened(prompt: str, tags: Sequence[Tags]) -> str:
    """The opening tag with which a prompt ends, so that the model begins within a thought, or nothing."""
    return next((pair.open for pair in tags if prompt.rstrip().endswith(pair.open.rstrip())), "")


def _parted(text: str, pair: Tags, *, is_growing: bool) -> Reasoned | None:
    body = text.lstrip()
    if body.startswith(pair.open):
        thought, close, answer = body[len(pair.open) :].partition(pair.close)
    elif is_growing and body and pair.open.startswith(body):
        return Reasoned("", "", is_thinking=True)
    else:  # servers that leave the prompt to itself send no opening tag; in a sentence about tags it ends no line
        thought, close, answer = text.partition(f"\n{pair.close}")
        if not close:
            return None
    if not close:
        kept = _without_beginning(thought, pair.close) if is_growing else thought
        return Reasoned(kept.strip(), "", is_thinking=True)
    return Reasoned(thought.strip(), _bare(answer, *pair.answer, is_growing=is_growing))


def _bare(answer: str, before: str, after: str, *, is_growing: bool) -> str:
    """The answer without its own tags; blanks before it are the tag's."""
    answer = answer.lstrip()
    if is_growing and answer and before.startswith(answer):
        return ""
    answer = answer.removeprefix(before).lstrip() if before else answer
    if after and after in answer:
        return answer.partition(after)[0].rstrip()
    return _without_beginning(answer, after).rstrip() if is_growing and after else answer


def _without_beginning(text: str, tag: str) -> str:
    """Without the beginning of a tag at its end."""
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:length]):
            return text[:-length]
    return text
