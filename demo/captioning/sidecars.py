"""Captions that are there already: what is done about them, and those that pictures bring along, each as a text file.

Owns the two rules that a job in a folder and one of the page share, how a text finds its picture, and how much of it is
read. Its name is the one that an export gives it; it lies beside the picture, or among the files that were given with
it. A text from a stranger is UTF-8 and short; another one is refused by name, and its picture has none. Bytes are
integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from demo.captioning import archive, export
from demo.captioning.archive import ArchiveLimits
from demo.captioning.journal import Entry
from demo.captioning.worklist import Item, Refused, WorkList, is_named_as_text
from demo.errors import InvalidInput
from demo.flags import Existing

CHOICES: tuple[Existing, ...] = get_args(Existing)
TEXT_BYTES = 20_000  # of one caption
_NONE_REMEDY = "Its picture counts as one without a caption."


def existing_of(name: object) -> Existing:
    """One of the choices. Raises `InvalidInput` for what is none."""
    found = next((choice for choice in CHOICES if choice == name), None)
    if found is None:
        remedy = f"Choose one of: {', '.join(CHOICES)}."
        raise InvalidInput("There is no such choice about captions that are there", value=str(name)[:20], remedy=remedy)
    return found


def is_left_alone(before: str | None, existing: Existing) -> bool:
    """Whether a picture is not asked about; ``before`` is the caption that is there, also an empty one, or None."""
    return existing == "skip" and before is not None


def text_of(caption: str, before: str | None, existing: Existing) -> str:
    """What the text file of a picture that was asked about holds."""
    return f"{before}\n{caption}" if existing == "append" and before else caption


def left_alone(items: Iterable[Item], existing: Existing) -> dict[str, Entry]:
    """What is known of pictures without asking about them, by key."""
    return {
        item.key: Entry(str(item.name), "", item.before, note="there already", text=item.before, key=item.key)
        for item in items
        if item.before is not None and is_left_alone(item.before, existing)
    }


# --- what came with pictures


@dataclass(frozen=True, slots=True)
class _Text:
    name: str  # where it lies in its archive, or its own
    shown: str
    path: Path
    member: str = ""


_Shelf = dict[str, _Text]  # by name, whose case tells nothing, as in the names of an export


def is_text(path: Path) -> bool:
    """A file that is no picture, but may be the caption of one."""
    return is_named_as_text(path.name) and not archive.is_archive(path)


def with_captions(listed: WorkList, paths: Sequence[Path], *, names: Sequence[str], limits: ArchiveLimits) -> WorkList:
    """The list of the pictures among the paths with their captions, and with the texts that are none."""
    refused: list[Refused] = []
    beside: dict[Path, _Shelf] = {item.path: {} for item in listed.items if item.member}
    loose: _Shelf = {}
    for path, shown in zip(paths, names, strict=True):
        if is_text(path):
            _shelve([_Text(Path(shown).name, shown, path)], loose, refused)
        elif archive.is_archive(path):
            _shelve(_in_archive(path, shown, limits, refused), beside.get(path, loose), refused)
    found = _matched(listed.items, beside, loose)
    used = set(found.values())
    unused = [text for text in loose.values() if not text.member and text not in used]
    refused += [Refused(text.shown, "There is no picture of this name.") for text in unused]
    texts = _read(found, refused)
    items = tuple(replace(item, before=texts.get(item.key)) for item in listed.items)
    return WorkList(items, (*listed.refused, *refused))


def _in_archive(path: Path, shown: str, limits: ArchiveLimits, refused: list[Refused]) -> Iterator[_Text]:
    try:
        listed = archive.members(path, limits)
    except InvalidInput:  # the list of pictures tells of it
        return
    refused += [Refused(f"{shown}/{name}", reason) for name, reason in listed.refused if is_named_as_text(name)]
    for name, member, _ in listed.found:
        if is_named_as_text(name):
            yield _Text(name, f"{shown}/{name}", path, member)


def _shelve(texts: Iterable[_Text], shelf: _Shelf, refused: list[Refused]) -> None:
    others = [text for text in texts if shelf.setdefault(text.name.casefold(), text) is not text]
    refused += [Refused(text.shown, "There is another text of this name.") for text in others]


def _matched(items: Sequence[Item], beside: dict[Path, _Shelf], loose: _Shelf) -> dict[str, _Text]:
    """By the picture's key: the text in its own archive, else one that was given with it, as an export was."""
    packed: dict[Path, list[Item]] = {}
    for item in items:
        packed.setdefault(item.path, []).append(item)
    found: dict[str, _Text] = {}
    for path, shelf in beside.items():
        found |= _named(packed[path], shelf)
    return _named(sorted(items, key=lambda item: bool(item.member)), loose) | found


def _named(items: Sequence[Item], shelf: _Shelf) -> dict[str, _Text]:
    names = export.text_files(items, {})
    return {key: shelf[name.casefold()] for key, name in names.items() if name.casefold() in shelf}


def _read(found: dict[str, _Text], refused: list[Refused]) -> dict[str, str]:
    """By the picture's key."""
    members: dict[Path, list[str]] = {}
    for text in found.values():
        members.setdefault(text.path, []).append(text.member)
    data = {path: _bytes(path, names) for path, names in members.items()}
    texts: dict[str, str] = {}
    for key, text in found.items():
        read = _decoded(data[text.path].get(text.member))
        if isinstance(read, str):
            texts[key] = read
        else:
            refused.append(Refused(text.shown, str(read)))
    return texts


def _bytes(path: Path, members: Sequence[str]) -> dict[str, bytes]:
    """Of each text one more than are taken, at most; "" is the file itself."""
    if any(members):
        return archive.beginnings(path, members, TEXT_BYTES + 1)
    try:
        with path.open("rb") as file:
            return {"": file.read(TEXT_BYTES + 1)}
    except OSError:
        return {}


def _decoded(data: bytes | None) -> str | InvalidInput:
    """With the ends of lines that a text file has when it is read; or what is wrong with it."""
    if data is None:
        return InvalidInput("The text cannot be read", remedy=_NONE_REMEDY)
    if len(data) > TEXT_BYTES:
        return InvalidInput("The text is too long for a caption", remedy=_NONE_REMEDY)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return InvalidInput("The text is not in UTF-8", remedy=_NONE_REMEDY)
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
