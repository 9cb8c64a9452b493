"""The caption command: captions on stdout as they come, progress and errors on stderr, results in a folder if wanted.

Owns what is printed, and the order of checks: what is wrong with the paths is told before a model is loaded. One broken
file ends nothing; the exit code tells of it. Ctrl-C ends the job; with a folder, the same command goes on with it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from demo.asking import Asker, harmless, note, ready_to_ask
from demo.captioning.captioner import Captioner, Wishes, follows_wishes
from demo.captioning.export import check_parquet
from demo.captioning.folder import JOURNAL, ResultFolder, Todo
from demo.captioning.journal import Entry, Journal, entry_of
from demo.captioning.progress import Progress
from demo.captioning.room import Room
from demo.captioning.work import Result, work
from demo.captioning.worklist import NO_PICTURES, Item, WorkList, endings, work_list
from demo.catalog import ModelSpec
from demo.cli import Caption
from demo.config import EngineConfig
from demo.engine.manager import resolve_roles
from demo.errors import ConfigError, DemoError, InvalidInput, PictureError


def caption(task: Caption, config: EngineConfig) -> int:
    _check_exports(task)
    listed = _listed(task)
    wishes = Wishes(task.style, task.instruction.strip(), task.words, task.prefix, task.suffix)
    spec = resolve_roles(config).get("captioning")
    with ExitStack() as stack:
        folder = stack.enter_context(_folder(task, listed.items, wishes, spec)) if task.out else None
        todo = folder.todo() if folder else Todo(listed.items, (), ())
        shown = _Shown(task, Progress(len(listed.items), done=len(todo.done) + len(todo.kept)), len(listed.items) == 1)
        shown.start(listed, todo)
        if todo.left:
            asker = stack.enter_context(ready_to_ask(config, "captioning"))
            _work(asker, wishes, todo.left, folder, shown)
        if folder:
            folder.finish(task.export)
    return 1 if listed.refused or shown.progress.failed else 0


def _check_exports(task: Caption) -> None:
    if task.export and not task.out:
        raise ConfigError("--export goes with --out", remedy="Name the folder, like --out captions.")
    if "parquet" in task.export:
        check_parquet()


def _listed(task: Caption) -> WorkList:
    listed = work_list([Path(path) for path in task.paths])
    if not listed.items:
        raise _nothing(task, listed)
    if len(listed.items) == 1:
        _check(listed.items[0])  # when the only picture is broken, no model is loaded
    return listed


def _nothing(task: Caption, listed: WorkList) -> DemoError:
    others = [refused for refused in listed.refused if refused.reason != NO_PICTURES]
    if others:
        return InvalidInput(f"{others[0].shown}: {others[0].reason}")
    place = "these" if len(task.paths) > 1 else "this folder" if Path(task.paths[0]).is_dir() else "this archive"
    remedy = f"Endings looked for: {', '.join(endings())}."
    return ConfigError(f"There are no pictures in {place}", value=", ".join(task.paths), remedy=remedy)


def _check(item: Item) -> None:
    try:
        item.open()
    except PictureError as error:
        raise PictureError(f"{item.name}: {error.what}", value=error.value, remedy=error.remedy) from error


@contextmanager
def _folder(task: Caption, items: Sequence[Item], wishes: Wishes, spec: ModelSpec | None) -> Iterator[ResultFolder]:
    out = Path(task.out or "")
    if out.exists() and not out.is_dir():
        raise ConfigError("--out is not a folder", value=str(out), remedy="Name a folder, which may be new.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with Journal(out / JOURNAL) as journal:
            yield ResultFolder(out, journal, items, wishes, spec.name if spec else "", task.existing)
    except OSError as error:
        name = Path(error.filename or out).name
        raise ConfigError("The file cannot be written", value=name, remedy=f"{error.strerror or error}.") from error


def _work(asker: Asker, wishes: Wishes, items: Sequence[Item], folder: ResultFolder | None, shown: _Shown) -> None:
    if wishes.are_special and not follows_wishes(asker.spec, asker.prompts):
        note(f"({asker.spec.name} knows fixed questions only; it may not heed the instruction or the number of words)")
    captioner = Captioner(asker.manager, asker.spec, asker.prompts, wishes)
    room = Room(asker.manager.places)
    with closing(work(items, captioner, room=room)) as results:
        for result in results:
            shown.room(room)
            if result is None:
                shown.tick(asker)
            else:
                shown.result(result, folder.add(result) if folder else entry_of(result, wishes.style))


class _Shown:
    """What the terminal is told of the job."""

    def __init__(self, task: Caption, progress: Progress, is_alone: bool) -> None:
        self._task = task
        self._is_alone = is_alone
        self._is_watched = sys.stderr.isatty()
        self._begun_s = time.monotonic()
        self._limit = 0  # pictures at a time
        self.progress = progress

    def start(self, listed: WorkList, todo: Todo) -> None:
        for refused in listed.refused:
            note(f"error: {refused.shown}: {refused.reason}")
        for item, entry in todo.done:
            self._print(item, entry)
        if todo.kept:
            note(f"({len(todo.kept)} with a caption already are left alone; --existing tells what else can be done)")

    def room(self, room: Room) -> None:
        """Tell when memory makes a difference to how many are asked about at a time."""
        limit = room.limit
        if limit < (self._limit or room.places):  # what ran out before the first look is told too
            self._line("")
            note(f"(memory ran out; from now on at most {limit} at a time)")
        self._limit = limit

    def tick(self, asker: Asker) -> None:
        if self._is_watched and not self.progress.made:
            loading = [each for each in asker.manager.snapshot().replicas if each.state == "loading"]
            share = "" if not loading or loading[0].fraction is None else f" {loading[0].fraction:.0%}"
            self._line(f"{loading[0].detail or 'loading'}{share}" if loading else str(self.progress))
            self._begun_s = time.monotonic() if loading else self._begun_s  # a load is no part of the pace

    def result(self, result: Result, entry: Entry) -> None:
        worked_s = time.monotonic() - self._begun_s
        self.progress = self.progress.after(is_error=bool(entry.error), worked_s=worked_s)
        self._line("")
        if entry.error:
            note(f"error: {result.item.name}: {entry.error}")
        else:
            self._print(result.item, entry)
            if entry.note:
                note(f"({result.item.name}: {entry.note})")
        self._line(str(self.progress) if self.progress.left else "")

    def _print(self, item: Item, entry: Entry) -> None:
        if self._task.json:
            found = {"caption": entry.caption, "regions": entry.regions}
            print(json.dumps({"file": item.shown, "style": self._task.style, **found}), flush=True)
            return
        print(harmless(entry.caption if self._is_alone else f"{item.shown}: {entry.caption}"), flush=True)
        for region in entry.regions:
            box = " ".join(f"{number:.0f}" for number in region["box"])
            print(f"{harmless(region['label'])}: {box}", flush=True)

    def _line(self, text: str) -> None:
        """One line on stderr that overwrites itself, where somebody watches."""
        if self._is_watched:
            sys.stderr.write("\r\033[K" + harmless(text))
            sys.stderr.flush()
