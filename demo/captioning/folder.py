"""A job whose results lie in a folder: text files, the journal and a table; begun again, it goes on where it was.

Owns which pictures are left to do, and the order of writing: the journal first, which holds the whole text, and then
the text file, which a crash between the two leaves to the next start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from demo.captioning import export, sidecars
from demo.captioning.captioner import Wishes
from demo.captioning.journal import Entry, Journal, Resumed, entry_of, resumed
from demo.captioning.work import Result
from demo.captioning.worklist import Item
from demo.flags import Existing, Export

JOURNAL = "captions.jsonl"
TABLE = export.FORMATS["csv"].file


@dataclass(frozen=True, slots=True)
class Todo:
    """``left`` is to be captioned, ``done`` was by an earlier start, ``kept`` has a caption that is none of ours."""

    left: tuple[Item, ...]
    done: tuple[tuple[Item, Entry], ...]
    kept: tuple[Item, ...]


class ResultFolder:
    """One job's folder, its journal being open."""

    def __init__(
        self, folder: Path, journal: Journal, items: Sequence[Item], wishes: Wishes, model: str, existing: Existing
    ) -> None:
        self._folder = folder
        self._journal = journal
        self._style = wishes.style
        self._existing = existing
        self._items = tuple(items)
        self._resumed: Resumed = resumed(journal.entries, items, wishes, model, existing)
        self._files = export.text_files(items, {entry.key: entry.text_file for entry in journal.entries})
        self._entries = list(journal.entries)

    def todo(self) -> Todo:
        """Also writes the text files that a crash left out."""
        done = [(item, self._resumed.done[item.key]) for item in self._items if item.key in self._resumed.done]
        for _, entry in done:
            if export.read_text(self._folder, entry.text_file) != entry.text.rstrip("\n"):
                export.write_text(self._folder, entry.text_file, entry.text)
        others = [item for item in self._items if item.key not in self._resumed.done]
        is_kept = {item.key: sidecars.is_left_alone(self._before(item), self._existing) for item in others}
        left = tuple(item for item in others if not is_kept[item.key])
        return Todo(left, tuple(done), tuple(item for item in others if is_kept[item.key]))

    def add(self, result: Result) -> Entry:
        """Keep a result; returns it as it is kept."""
        entry = replace(entry_of(result, self._style), run=self._resumed.run)
        if not entry.error:
            entry = replace(entry, text=self._text(result.item, entry.caption), text_file=self._files[result.item.key])
        self._journal.add(entry)
        self._entries.append(entry)
        if not entry.error:
            export.write_text(self._folder, entry.text_file, entry.text)
        return entry

    def finish(self, exports: Sequence[Export] = ()) -> None:
        """Write the table of all that the journal knows, and what else is wanted of it."""
        entries = export.newest(self._entries)
        for made in (export.FORMATS[name] for name in ("csv", *exports)):
            export.replace_file(self._folder / made.file, made.write(entries))

    def _before(self, item: Item) -> str | None:
        return export.read_text(self._folder, self._files[item.key])

    def _text(self, item: Item, caption: str) -> str:
        return sidecars.text_of(caption, self._before(item), self._existing)
