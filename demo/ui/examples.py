"""The example pictures: what ``assets/examples/examples.json`` lists, for the tab it is meant for.

Owns the reading of that file. Where it is missing the page simply shows no examples. A picture that is used is copied
into the page's own folder, because nothing outside it is ever opened for a visitor.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"


@dataclass(frozen=True, slots=True)
class Example:
    """A picture and what to ask about it: a question, a phrase to find, or a caption style."""

    picture: str
    text: str

    def copied(self, folder: Path) -> str:
        """The picture as if it had been uploaded."""
        source = Path(self.picture)
        target = folder / "examples" / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copyfile(source, target)
        return str(target)


def load_examples(tab: str, source: Path = EXAMPLES) -> tuple[Example, ...]:
    """The examples of one tab: chat, grounding or captioning."""
    listed = source / "examples.json"
    if not listed.is_file():
        return ()
    entries = json.loads(listed.read_text(encoding="utf-8"))
    return tuple(Example(str(source / entry["file"]), _text(entry)) for entry in entries if entry["tab"] == tab)


def _text(entry: dict[str, str]) -> str:
    return entry.get("question") or entry.get("phrase") or entry.get("style") or ""
