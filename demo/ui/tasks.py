"""Questions at the press of a button: the templates of a model's family, and general ones for models made for photos.

Owns the reading of ``assets/tasks.json`` and the choice of what suits a model. Pure. The questions are in the words of
`assets/prompts`, which no page translates; only the names of the general ones are ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from demo.catalog import ModelSpec
from demo.config import BUNDLED_MODEL
from demo.prompts import PromptSet

TASKS = Path(__file__).resolve().parents[2] / "assets" / "tasks.json"
SLOT = "{task}"  # where the user's own words go
MOST_CHARS = 34  # of a question on a button, where it has no name


@dataclass(frozen=True, slots=True)
class Task:
    """``name`` is what its button says, unless ``key`` names a text of ours."""

    text: str
    name: str = ""
    key: str = ""

    def filled(self, words: str) -> str:
        """With the words that are in the box already; the place stays to be filled where there are none."""
        return self.text.replace(SLOT, words.strip()) if SLOT in self.text and words.strip() else self.text


def tasks_for(spec: ModelSpec | None, prompts: PromptSet | None, source: Path = TASKS) -> tuple[Task, ...]:
    """What a model's family was taught comes first; one that knows few questions is offered those, and none of ours."""
    if spec is None or prompts is None:
        return ()
    own = tuple(Task(template.text, template.name) for template in prompts.templates)
    if spec.max_turns == 1 or spec.name == BUNDLED_MODEL:
        return (*own, *(Task(question, _short(question)) for question in prompts.chat_examples))
    listed = json.loads(source.read_text(encoding="utf-8"))
    fit = (entry for entry in listed if entry.get("pictures", 1) <= spec.max_pictures)
    return (*own, *(Task(entry["text"], key=entry["key"]) for entry in fit))


def _short(question: str) -> str:
    return question if len(question) <= MOST_CHARS else question[: MOST_CHARS - 1].rstrip() + "…"
