"""The demo without its page: chat, grounding and captioning in a terminal, through the same engine.

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
from dataclasses import dataclass
from pathlib import Path

from demo.asking import Asker, StoppedError, harmless, note, ready_to_ask
from demo.catalog import ModelSpec
from demo.cli import Caption, Chat, Ground
from demo.config import EngineConfig
from demo.errors import ConfigError, DemoError, InvalidInput, OutOfMemory, PictureError, ReplicaDied
from demo.grounding.draw import draw
from demo.grounding.export import records
from demo.grounding.highlight import plain
from demo.imaging import open_with_note
from demo.types import Message, Picture, Region

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
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
        return _ground(task, config) if isinstance(task, Ground) else _caption(task, config)
    except StoppedError:
        note("\nstopped")
        return 1


# --- chat


def _chat(task: Chat, config: EngineConfig) -> int:
    pictures = tuple(_open(path) for path in task.images)
    question = None if task.question is None else _question(task.question)
    with ready_to_ask(config, "chat") as asker:
        _check_count(pictures, asker.spec)
        if question is None:
            return _converse(asker, pictures)
        asker.ask([Message("user", question, pictures)], _print_piece)
        print()
    return 0


def _converse(asker: Asker, pictures: tuple[Picture, ...]) -> int:
    """Questions from stdin until it ends. An error is said and forgotten with its question; the rest goes on."""
    is_watched = sys.stdin.isatty()
    if is_watched:
        note(_HELP)
    messages: list[Message] = []
    pending = pictures
    for line in _lines(is_watched):
        try:
            if line in ("/quit", "/exit"):
                break
            if line == "/clear":
                messages, pending = [], ()
            elif line.startswith("/open "):
                pending = _more(asker, messages, pending, line.removeprefix("/open ").strip())
            elif line:
                messages += _turn(asker, messages, Message("user", _question(line), pending))
                pending = ()
        except DemoError as error:
            note(f"error: {error}")
    return 0


def _lines(is_watched: bool) -> Iterator[str]:
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            yield input("> " if is_watched else "").strip()


def _more(asker: Asker, messages: Sequence[Message], pending: tuple[Picture, ...], path: str) -> tuple[Picture, ...]:
    added = (*pending, _open(path))
    shown = tuple(picture for message in messages for picture in message.pictures)
    _check_count((*shown, *added), asker.spec, "/clear begins another.")
    return added


def _turn(asker: Asker, before: Sequence[Message], question: Message) -> list[Message]:
    """The question and its answer, also a stopped one; nothing where it was stopped before its first word."""
    try:
        answer = asker.ask([*before, question], _print_piece)
    except StoppedError as stopped:
        answer = stopped.text
        note("\nstopped")
    else:
        print()
    return [question, Message("assistant", answer)] if answer else []


def _print_piece(text: str) -> None:
    print(text, end="", flush=True)


# --- grounding


def _ground(task: Ground, config: EngineConfig) -> int:
    out = None if task.out is None else _drawn_file(task.out, task.image)
    picture = _open(task.image)
    phrase = _question(task.phrase, "phrase")
    with ready_to_ask(config, "grounding") as asker:
        answer = asker.ask([asker.prompts.where(phrase, picture)]).strip()
        regions = asker.regions(answer, picture, unnamed=phrase)
    if task.json:
        print(json.dumps({"phrase": phrase, "answer": answer, "regions": records(regions, picture.size)}))
    else:
        _print_regions(regions)
        if not regions:
            print(harmless(answer))
            note("(no box in this answer)")
    if out is not None:
        _write(out, lambda: draw(picture, regions).save(out))
    return 0


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
        print(f"{harmless(region.label)}: {box.x0:.0f} {box.y0:.0f} {box.x1:.0f} {box.y1:.0f}")


# --- captions


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to be captioned; ``name`` is its path below the folder that was named, or its own."""

    path: Path
    name: Path


def _caption(task: Caption, config: EngineConfig) -> int:
    items = [item for path in task.paths for item in _items(Path(path))]
    if not items:
        remedy = f"Endings looked for: {', '.join(sorted(PICTURE_SUFFIXES))}."
        raise ConfigError("There are no pictures in this folder", value=", ".join(task.paths), remedy=remedy)
    texts = _text_files(items, Path(task.out)) if task.out else {}
    if len(items) == 1:
        _open(items[0].path)  # when the only picture is broken, no model is loaded
    with ready_to_ask(config, "captioning") as asker:
        done = [_caption_one(task, asker, item, texts.get(item), is_alone=len(items) == 1) for item in items]
    return 0 if all(done) else 1


def _caption_one(task: Caption, asker: Asker, item: Item, text_file: Path | None, *, is_alone: bool) -> bool:
    """Whether it went well; an error that is this picture's alone is said, and the next one may be fine."""
    try:
        picture = _open(item.path)
        answer = asker.ask([asker.prompts.caption_of(task.style, picture)]).strip()
    except (InvalidInput, OutOfMemory, ReplicaDied) as error:
        note(f"error: {error}")
        return False
    regions = asker.regions(answer, picture)
    caption = plain(answer, regions)
    if task.json:
        found = {"caption": caption, "regions": records(regions, picture.size)}
        print(json.dumps({"file": str(item.path), "style": task.style, **found}), flush=True)
    else:
        print(harmless(caption if is_alone else f"{item.path}: {caption}"), flush=True)
        _print_regions(regions)
    if text_file is not None:
        _write_caption(text_file, caption)
    return True


def _items(path: Path) -> list[Item]:
    """A file is taken at its word; in a folder and below it, files are chosen by their endings, hidden ones not."""
    if not path.is_dir():
        if not path.is_file():
            raise ConfigError("There is no such file or folder", value=str(path), remedy="Check its name.")
        return [Item(path, Path(path.name))]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file())
    items = [Item(file, file.relative_to(path)) for file in found]
    return [item for item in items if not any(part.startswith(".") for part in item.name.parts)]


def _text_files(items: Sequence[Item], folder: Path) -> dict[Item, Path]:
    """Where each caption goes: the picture's name with .txt, and its ending kept where two would meet."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError("--out is not a folder", value=str(folder), remedy="Name a folder, which may be new.")
    files: dict[Item, Path] = {}
    taken: set[Path] = set()
    for item in dict.fromkeys(items):
        stems = [item.name.with_suffix(""), item.name, *(Path(f"{item.name}-{number}") for number in range(2, 10_000))]
        names = (folder / f"{stem}.txt" for stem in stems)
        files[item] = next(name for name in names if name not in taken)
        taken.add(files[item])
    return files


def _write_caption(file: Path, caption: str) -> None:
    def write() -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(caption + "\n", encoding="utf-8")

    _write(file, write)


# --- input and output


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
        raise InvalidInput(f"The {name} is empty", remedy=f"Type a {name}.")
    return cleaned


def _check_count(pictures: Sequence[Picture], spec: ModelSpec, remedy: str = "Name fewer.") -> None:
    if len(pictures) > spec.max_pictures:
        remedy = f"This model takes {spec.max_pictures} in one conversation. {remedy}"
        raise InvalidInput("Too many pictures", value=len(pictures), remedy=remedy)


def _write(file: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise ConfigError(
            "The file cannot be written", value=file.name, remedy=f"{error.strerror or error}."
        ) from error
