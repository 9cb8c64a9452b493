"""Prompt templates: what a model is asked when a user presses a button instead of typing a question.

Owns the shape of a prompt set and its reading from ``assets/prompts/<set>.json``. Knows nothing of models; a
`ModelSpec` names its set. A set that cannot ask for boxes has an empty ``ground``, one whose words for a place already
mean all of them an empty ``ground_all``, one that cannot ask about boxes an empty ``describe_region``. What a file's
``verified`` says is for people: where the words are from.

Models without a chat template are asked one question in the words of ``whole``, around ``{question}``; all others have
an empty one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from demo.errors import ConfigError
from demo.types import Message, Picture

_HOLE = re.compile(r"\{(phrase|box|question)\}")
PROMPTS = Path(__file__).resolve().parent.parent / "assets" / "prompts"


@dataclass(frozen=True, slots=True)
class Template:
    """A question that a user completes; ``text`` holds {task} once, where the user's own words go."""

    name: str  # what it does, for a menu
    text: str


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The wording one family of models understands."""

    caption: Mapping[str, str]  # style -> prompt; the styles are short, detailed and, where boxes are known, grounded
    ground: str  # holds {phrase}; empty when the model draws no boxes
    describe_region: str  # holds {box}; empty when it cannot be asked about one
    chat_examples: tuple[str, ...]
    templates: tuple[Template, ...] = ()  # questions of a fixed form that the family was taught, as agents' tasks are
    verified: str = ""  # where the words are from, and which of them no public source shows; for people
    whole: str = ""  # holds {question}; what a model without a chat template is told
    ground_all: str = ""  # holds {phrase}; asks for every instance, where the family is told so in other words
    ask_region: str = ""  # holds {box} and {question}; empty when it only names what is in a box
    nothing: str = ""  # what it says of a box with nothing in it, where it was taught such an answer

    def ask_where(self, phrase: str) -> str:
        """The question that makes the model answer with the boxes of ``phrase``."""
        return _filled(self.ground, "phrase", phrase)

    def ask_what(self, box: str) -> str:
        """The question about one box, which is already written in the model's own syntax."""
        return _filled(self.describe_region, "box", box)

    def ask_caption(self, style: str) -> str:
        """The request for a caption in one of this set's styles."""
        if style not in self.caption:
            known = ", ".join(self.caption)
            raise ConfigError("This model has no such caption style", value=style, remedy=f"Choose one of: {known}.")
        return self.caption[style]

    def where(self, phrase: str, picture: Picture, *, every: bool = False) -> Message:
        """`ask_where` as a message in which only the template's own words can be structure; ``every`` instance, where
        the family tells that from one."""
        return _message(self.ground_all if every and self.ground_all else self.ground, picture, phrase=phrase)

    def what(self, box: str, picture: Picture) -> Message:
        """`ask_what` as a message; the box is written by a dialect, so all of it is the template's."""
        return _message(self.describe_region, picture, box=box)

    def about(self, question: str, box: str, picture: Picture) -> Message:
        """A user's own question about one box."""
        return _message(self.ask_region, picture, box=box, question=question)

    def caption_of(self, style: str, picture: Picture) -> Message:
        """`ask_caption` as a message; all of it is the template's."""
        text = self.ask_caption(style)
        return Message("user", text, (picture,), own=((0, len(text)),))


def prompt_sets() -> tuple[str, ...]:
    """The names of the sets in ``assets/prompts``."""
    return tuple(sorted(path.stem for path in PROMPTS.glob("*.json")))


def load_prompts(name: str) -> PromptSet:
    """Read one set; an unknown name lists the known ones."""
    if name not in prompt_sets():
        raise ConfigError("There is no such prompt set", value=name, remedy=f"Known sets: {', '.join(prompt_sets())}.")
    data = json.loads((PROMPTS / f"{name}.json").read_text(encoding="utf-8"))
    return PromptSet(
        caption=MappingProxyType(data["caption"]),
        ground=data["ground"],
        describe_region=data["describe_region"],
        chat_examples=tuple(data["chat_examples"]),
        templates=tuple(Template(**template) for template in data.get("templates", ())),
        verified=data.get("verified", ""),
        whole=data.get("whole", ""),
        ground_all=data.get("ground_all", ""),
        ask_region=data.get("ask_region", ""),
        nothing=data.get("nothing", ""),
    )


def _message(template: str, picture: Picture, *, phrase: str = "", box: str = "", question: str = "") -> Message:
    """The filled template; what is the user's is not among its own words."""
    _check(template)
    words = {"phrase": phrase, "box": box, "question": question}
    text, own = "", []
    for index, piece in enumerate(_HOLE.split(template)):  # what is between the holes, and in turn their names
        begin, text = len(text), text + (words[piece] if index % 2 else piece)
        if not index % 2 or piece == "box":
            own.append((begin, len(text)))
    return Message("user", text, (picture,), own=_joined(own))


def _joined(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Neighbours as one."""
    joined: list[tuple[int, int]] = []
    for begin, end in ranges:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return tuple(joined)


def _filled(template: str, key: str, text: str) -> str:
    _check(template)
    # replace, not format: the templates and the user's words may hold braces
    return template.replace("{" + key + "}", text)


def _check(template: str) -> None:
    if not template:
        raise ConfigError(
            "This model does not answer questions about boxes",
            remedy="Give the grounding tab a model that does, for example --model grounding=qwen3-vl-4b.",
        )
