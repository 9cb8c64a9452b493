"""Prompt templates: what a model is asked when a user presses a button instead of typing a question.

Owns the shape of a prompt set and its reading from ``assets/prompts/<set>.json``. Knows nothing of models; a
`ModelSpec` names its set. A set that cannot ask for boxes has an empty ``ground``, one that cannot ask about them an
empty ``describe_region``. What a file's ``verified`` says is for people: where the words are from.

Models without a chat template are asked one question in the words of ``whole``, around ``{question}``; all others have
an empty one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from demo.errors import ConfigError
from demo.types import Message, Picture

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

    def where(self, phrase: str, picture: Picture) -> Message:
        """`ask_where` as a message in which only the template's own words can be structure."""
        text = self.ask_where(phrase)
        begin = self.ground.index("{phrase}")
        end = len(text) - (len(self.ground) - begin - len("{phrase}"))
        return Message("user", text, (picture,), own=((0, begin), (end, len(text))))

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
    )


def _filled(template: str, key: str, text: str) -> str:
    if not template:
        raise ConfigError(
            "This model does not answer questions about boxes",
            remedy="Give the grounding tab a model that does, for example --model grounding=qwen3-vl-4b.",
        )
    # replace, not format: the templates and the user's words may hold braces
    return template.replace("{" + key + "}", text)
