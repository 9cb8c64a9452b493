"""The work list: which pictures are to be captioned, out of files, folders and zip archives.

Owns what counts as a candidate, its name and its key. A file that was named or uploaded is taken at its word; in a
folder and in an archive, and below them, candidates are chosen by their endings, hidden ones and archives not. Whether
a candidate is a picture is decided by opening it (`demo.imaging`). Knows nothing of models or captions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from demo.captioning import archive
from demo.captioning.archive import ArchiveLimits
from demo.errors import ConfigError, InvalidInput
from demo.imaging import Opened, open_with_note

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
NO_PICTURES = "There are no pictures in it."
_NO_LIMITS = ArchiveLimits()


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to be captioned.

    ``name`` is its path below the folder or archive that was named, or its own name: relative, without "..", and so fit
    for a name of a file of ours. ``shown`` is how the user called it. ``key`` changes when the file does.
    """

    name: PurePosixPath
    shown: str
    path: Path
    key: str
    member: str = ""  # of the archive that ``path`` is
    before: str | None = None  # the caption that came with it

    def open(self) -> Opened:
        """Raises `PictureError`."""
        return open_with_note(archive.read(self.path, self.member) if self.member else self.path)


@dataclass(frozen=True, slots=True)
class Refused:
    """What was named and cannot be on the list, with the reason for people."""

    shown: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkList:
    items: tuple[Item, ...] = ()
    refused: tuple[Refused, ...] = ()


def work_list(
    paths: Sequence[Path],
    *,
    names: Sequence[str] = (),
    limits: ArchiveLimits = _NO_LIMITS,
    may_be_texts: bool = False,
) -> WorkList:
    """The candidates of all paths in their order, each once; ``names`` are what to call the paths, if not so.

    A folder or an archive without any is refused, but for an archive of texts where these are looked at too. Raises
    `ConfigError` for a path that is not there.
    """
    items: dict[str, Item] = {}
    refused: list[Refused] = []
    for path, shown in zip(paths, names or map(str, paths), strict=True):
        listed = _listed(path, shown, limits)
        refused.extend(listed.refused)
        if not listed.items and not listed.refused and not (may_be_texts and _holds_texts(path, limits)):
            refused.append(Refused(shown, NO_PICTURES))
        for item in listed.items:
            items.setdefault(item.key, item)
    return WorkList(tuple(items.values()), tuple(refused))


def _listed(path: Path, shown: str, limits: ArchiveLimits) -> WorkList:
    if path.is_dir():
        return WorkList(tuple(_in_folder(path)))
    if not path.is_file():
        raise ConfigError("There is no such file or folder", value=shown, remedy="Check its name.")
    if not archive.is_archive(path):
        return WorkList((Item(PurePosixPath(Path(shown).name), shown, path, _key_of_file(path)),))
    try:
        listed = archive.members(path, limits)
    except InvalidInput as error:
        return WorkList(refused=(Refused(shown, str(error)),))
    refused = (Refused(f"{shown}/{name}", reason) for name, reason in listed.refused if _is_candidate(name))
    found = (
        Item(PurePosixPath(name), f"{shown}/{name}", path, _key(str(path.resolve()), member, mark), member)
        for name, member, mark in listed.found
        if _is_candidate(name)
    )
    return WorkList(tuple(found), tuple(refused))


def _holds_texts(path: Path, limits: ArchiveLimits) -> bool:
    return archive.is_archive(path) and any(
        is_named_as_text(name) for name, _, _ in archive.members(path, limits).found
    )


def _in_folder(folder: Path) -> list[Item]:
    files = ((file, file.relative_to(folder).as_posix()) for file in sorted(folder.rglob("*")) if file.is_file())
    return [
        Item(PurePosixPath(name), str(file), file, _key_of_file(file)) for file, name in files if _is_candidate(name)
    ]


def _is_candidate(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not is_hidden(name)


def is_named_as_text(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() == ".txt" and not is_hidden(name)


def is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _key_of_file(file: Path) -> str:
    stat = file.stat()
    return _key(str(file.resolve()), stat.st_size, stat.st_mtime_ns)


def _key(*facts: object) -> str:
    """A name for one state of one file that tells nothing of where it is."""
    return hashlib.sha256("\0".join(map(str, facts)).encode("utf-8", "surrogatepass")).hexdigest()[:20]


def endings() -> Iterable[str]:
    """The endings looked for, for people."""
    return sorted(SUFFIXES)
