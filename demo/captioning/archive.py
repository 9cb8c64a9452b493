"""Zip archives from strangers: which members they have, and one member's bytes. Nothing is ever unpacked onto the disk.

Owns the limits, checked on the archive's own list before anything is unpacked: the size of that list, the number of
members, bytes of each and of all. A member whose name leads out of the archive, that is encrypted or packed in a rare
way is refused by name. Knows nothing of pictures. Bytes are integers.
"""

from __future__ import annotations

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from demo.errors import InvalidInput, PictureError
from demo.imaging import MAX_FILE_BYTES

LIST_BYTES = 8_000_000  # of the archive's list of members, which is read at once
NAME_BYTES = 200  # of a file or folder; a text file is named after it
_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"
_END_BYTES, _LOCATOR_64_BYTES, _END_64_BYTES, _COMMENT_BYTES = 22, 20, 56, 65_535
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others, one takes as much memory as the file says
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    members: int = 100_000
    member_bytes: int = MAX_FILE_BYTES  # unpacked
    total_bytes: int = 200_000_000_000  # unpacked; one member at a time is


@dataclass(frozen=True, slots=True)
class Listed:
    """``found``: a safe name, the archive's own name, and a mark of the content; ``refused``: a name and the reason."""

    found: tuple[tuple[str, str, str], ...]
    refused: tuple[tuple[str, str], ...]


def is_archive(path: Path) -> bool:
    """By content, whatever the name is."""
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", _END)
    except OSError:
        return False


def members(path: Path, limits: ArchiveLimits) -> Listed:
    """The files of an archive in its own order. Raises `InvalidInput` for one that is broken or over the limits."""
    _check_list(path)
    try:
        with zipfile.ZipFile(path) as opened:
            infos = [info for info in opened.infolist() if not info.filename.endswith("/")]
    except _BROKEN as error:
        raise _damaged() from error
    _check_totals(infos, limits)
    found: list[tuple[str, str, str]] = []
    refused: list[tuple[str, str]] = []
    for info in infos:
        name = info.filename.replace("\\", "/")
        if reason := _objection(info, name, limits):
            refused.append((PurePosixPath(name).name, reason))
        else:
            found.append((name, info.filename, f"{info.CRC:08x}-{info.file_size}"))
    return Listed(tuple(found), tuple(refused))


def read(path: Path, member: str) -> bytes:
    """One member, unpacked in memory; raises `PictureError`, as the file of a broken picture does."""
    try:
        with zipfile.ZipFile(path) as opened, opened.open(member) as file:
            data = file.read(MAX_FILE_BYTES + 1)  # what the list says of its size need not be true
    except (*_BROKEN, KeyError) as error:
        raise PictureError("The file cannot be unpacked", remedy="Pack the archive again.") from error
    if len(data) > MAX_FILE_BYTES:
        raise PictureError("The file is too large", remedy=f"At most {MAX_FILE_BYTES // 10**6} MB are accepted.")
    return data


def beginnings(path: Path, names: Iterable[str], num_bytes: int) -> dict[str, bytes]:
    """So many bytes of each of several members, at most; those that cannot be unpacked are left out."""
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as opened:
            for name in names:
                with contextlib.suppress(*_BROKEN, KeyError), opened.open(name) as file:
                    found[name] = file.read(num_bytes)
    except _BROKEN:  # it was whole when it was listed
        return found
    return found


def _check_list(path: Path) -> None:
    """Python reads the whole list of members into objects; a list made to fill the memory is not begun."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _COMMENT_BYTES - _END_BYTES - _LOCATOR_64_BYTES - _END_64_BYTES))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise _damaged()
    claimed = int.from_bytes(tail[at + 12 : at + 16], "little")
    locator = at - _LOCATOR_64_BYTES
    if locator >= 0 and tail[locator : locator + 4] == _LOCATOR_64:  # then the size is in another record before it
        end = locator - _END_64_BYTES
        if end < 0 or tail[end : end + 4] != _END_64:
            raise _damaged()
        claimed = int.from_bytes(tail[end + 40 : end + 48], "little")
    if claimed > LIST_BYTES:
        raise InvalidInput("The archive has too many files", remedy="Send it in several parts.")


def _check_totals(infos: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    if len(infos) > limits.members:
        remedy = f"At most {limits.members:,} are taken at once; send it in several parts."
        raise InvalidInput("The archive has too many files", value=f"{len(infos):,}", remedy=remedy)
    total = sum(info.file_size for info in infos)
    if total > limits.total_bytes:
        remedy = f"Unpacked, at most {_in_mb(limits.total_bytes)} are taken at once; send it in several parts."
        raise InvalidInput("The archive is too large", value=_in_mb(total), remedy=remedy)


def _objection(info: zipfile.ZipInfo, name: str, limits: ArchiveLimits) -> str:
    parts = name.split("/")
    if ".." in parts or name.startswith("/") or ":" in parts[0] or "\0" in name:
        return "Its name leads out of the archive."
    if any(len(part.encode("utf-8", "replace")) > NAME_BYTES for part in parts):
        return "Its name is too long."
    if info.flag_bits & 0x1:
        return "It is encrypted."
    if info.compress_type not in _PACKINGS:
        return "It is packed in a way that is not read here."
    if info.file_size > limits.member_bytes:
        return f"Unpacked it has {_in_mb(info.file_size)}; at most {_in_mb(limits.member_bytes)} are accepted."
    return ""


def _in_mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f} MB"


def _damaged() -> InvalidInput:
    return InvalidInput("The archive is damaged or cut short", remedy="Pack or send it again.")
