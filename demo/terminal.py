"""The demo without its page: chat and grounding in a terminal, through the same engine; captions have their own file.

Owns what is printed where (answers on stdout, progress and errors on stderr), the conversation's commands, and the
files that are written. Knows nothing of the page. Pictures are opened before a model is loaded, so that a wrong name
costs no time. Ctrl-C stops the answer that is being written.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from demo.asking import Asker, StoppedError, harmless, note, ready_to_ask
from demo.captioning.terminal import caption
from demo.catalog import ModelSpec
from demo.cli import Caption, Chat, Ground
from demo.config import EngineConfig
from demo.engine.manager import resolve_roles
from demo.errors import ClipError, ConfigError, DemoError, InvalidInput, PictureError
from demo.grounding.draw import draw
from demo.grounding.export import records
from demo.grounding.phrases import phrases_of
from demo.imaging import open_with_note
from demo.types import Clip, Message, Picture, Region
from demo.video import is_clip, is_video, open_clip

DRAWN_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
_HELP = "Type a question. /open FILE adds a picture, /clear begins anew, /quit ends; Ctrl-C stops an answer."


def run(task: Chat | Ground | Caption, config: EngineConfig) -> int:
    """Carry out one sub-command and return its exit code."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character the terminal does not know ends nothing
    try:
        if isinstance(task, Chat):
            return _chat(task, config)
        return _ground(task, config) if isinstance(task, Ground) else caption(task, config)
    except StoppedError:
        note("\nstopped")
        return 1


# --- chat


def _chat(task: Chat, config: EngineConfig) -> int:
    shown = _all_opened(task.images, resolve_roles(config).get("chat"))
    question = None if task.question is None else _question(task.question)
    with ready_to_ask(config, "chat") as asker:
        _check_count(shown, asker.spec)
        if question is None:
            return _converse(asker, shown)
        asker.ask([_message(question, shown)], _print_piece, show_thought=_thought_printer())
        print()
    return 0


def _message(question: str, shown: Sequence[Picture | Clip]) -> Message:
    pictures = tuple(one for one in shown if isinstance(one, Picture))
    return Message("user", question, pictures, clips=tuple(one for one in shown if isinstance(one, Clip)))


def _converse(asker: Asker, shown: tuple[Picture | Clip, ...]) -> int:
    """Questions from stdin until it ends. An error is said and forgotten with its question; the rest goes on."""
    is_watched = sys.stdin.isatty()
    if is_watched:
        note(_HELP)
    messages: list[Message] = []
    pending = shown
    for line in _lines(is_watched):
        try:
            if line in ("/quit", "/exit"):
                break
            if line == "/clear":
                messages, pending = [], ()
            elif line.startswith("/open "):
                pending = _more(asker, messages, pending, line.removeprefix("/open ").strip())
            elif line:
                messages += _turn(asker, messages, _message(_question(line), pending))
                pending = ()
        except DemoError as error:
            note(f"error: {error}")
    return 0


def _lines(is_watched: bool) -> Iterator[str]:
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            yield input("> " if is_watched else "").strip()


def _more(
    asker: Asker, messages: Sequence[Message], pending: tuple[Picture | Clip, ...], path: str
) -> tuple[Picture | Clip, ...]:
    added = (*pending, *_all_opened([path], asker.spec))
    before: list[Picture | Clip] = []
    for message in messages:
        before += [*message.pictures, *message.clips]
    _check_count([*before, *added], asker.spec, "/clear begins another.")
    return added


def _turn(asker: Asker, before: Sequence[Message], question: Message) -> list[Message]:
    """The question and its answer, also a stopped one; nothing where it was stopped before its first word."""
    try:
        answer = asker.ask([*before, question], _print_piece, show_thought=_thought_printer())
    except StoppedError as stopped:
        answer = stopped.text
        note("\nstopped")
    else:
        print()
    return [question, Message("assistant", answer)] if answer else []


def _print_piece(text: str) -> None:
    print(text, end="", flush=True)


def _thought_printer() -> Callable[[str], None] | None:
    """Reasoning is dimmed on a terminal, and left out of a file or a pipe, which get the answer alone."""
    return _print_dimmed if sys.stdout.isatty() else None


def _print_dimmed(text: str) -> None:
    print(f"\033[2m{text}\033[0m", end="", flush=True)


# --- grounding


def _ground(task: Ground, config: EngineConfig) -> int:
    out = None if task.out is None else _drawn_file(task.out, task.image)
    picture = _open(task.image)
    phrases = phrases_of(_question(task.phrase, "phrase"))
    found: list[Region] = []
    with ready_to_ask(config, "grounding") as asker:
        for phrase in phrases:
            answer = asker.ask([asker.prompts.where(phrase, picture)]).strip()
            regions = asker.regions(answer, picture, unnamed=phrase)
            if len(phrases) > 1:  # as on the page: told apart by what was asked, whatever words the model has for it
                regions = [replace(region, label=phrase) for region in regions]
            _print_found(task, phrase, answer, regions, picture)
            found += regions
    if out is not None:
        _write(out, lambda: draw(picture, found).save(out))
    return 0


def _print_found(task: Ground, phrase: str, answer: str, regions: Sequence[Region], picture: Picture) -> None:
    """At once, so that it stays when the next one is stopped; as JSON, an object a line for each phrase."""
    if task.json:
        said = {"phrase": phrase, "answer": answer, "regions": records(regions, picture.size)}
        print(json.dumps(said), flush=True)
        return
    _print_regions(regions)
    if not regions:
        print(harmless(answer))
        note("(no box in this answer)")


def _drawn_file(out: str, image: str) -> Path:
    path = Path(out)
    if path.suffix.lower() not in DRAWN_SUFFIXES:
        raise ConfigError("--out is not a picture file", value=path.name, remedy="End its name with .png or .jpg.")
    if path.resolve() == Path(image).resolve():
        raise ConfigError("--out is the picture itself", value=path.name, remedy="Name another file.")
    if not path.resolve().parent.is_dir():
        raise ConfigError("--out is in no existing folder", value=out, remedy="Make the folder first.")
    return path


def _print_regions(regions: Sequence[Region]) -> None:
    for region in regions:
        box = region.box
        print(f"{harmless(region.label)}: {box.x0:.0f} {box.y0:.0f} {box.x1:.0f} {box.y1:.0f}", flush=True)


# --- input and output


def _all_opened(paths: Sequence[str], spec: ModelSpec | None) -> tuple[Picture | Clip, ...]:
    """Pictures, and clips as many frames of them as the model is shown."""
    most = spec.max_frames if spec else 0
    return tuple(_open_clip(path, most, spec) if _moves(path, most) else _open(path) for path in paths)


def _moves(path: str, most: int) -> bool:
    return is_clip(path) if most else is_video(path)


def _open_clip(path: str, most: int, spec: ModelSpec | None) -> Clip:
    name = Path(path).name
    if spec is None or not most:
        raise ClipError(f"{name}: This model looks at pictures only", remedy="Name a picture instead of the video.")
    try:
        clip = open_clip(path, most=most, side=spec.traits.frame_side)
    except ClipError as error:
        raise ClipError(f"{name}: {error.what}", value=error.value, remedy=error.remedy) from error
    note(f"{name}: {len(clip.frames)} frames of it are shown to the model, up to {clip.times_s[-1]:.1f} s.")
    return clip


def _open(path: str | Path) -> Picture:
    try:
        opened = open_with_note(path)
    except PictureError as error:
        raise PictureError(f"{Path(path).name}: {error.what}", value=error.value, remedy=error.remedy) from error
    if opened.note:
        note(f"{Path(path).name}: {opened.note}")
    return opened.picture


def _question(text: str, name: str = "question") -> str:
    cleaned = text.encode("utf-8", "replace").decode("utf-8").strip()  # half characters from a terminal
    if not cleaned:
        raise InvalidInput(f"The {name} is empty", remedy=f"Type a {name} first.")
    return cleaned


def _check_count(shown: Sequence[Picture | Clip], spec: ModelSpec, remedy: str = "Name fewer.") -> None:
    num_clips = sum(1 for one in shown if isinstance(one, Clip))
    for name, count, most in (("pictures", len(shown) - num_clips, spec.max_pictures), ("clips", num_clips, 1)):
        if count > most:
            told = f"This model takes {most} in one conversation. {remedy}"
            raise InvalidInput(f"Too many {name}", value=count, remedy=told)


def _write(file: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise ConfigError(
            "The file cannot be written", value=file.name, remedy=f"{error.strerror or error}."
        ) from error
