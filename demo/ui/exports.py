"""What was found in a picture as files to take away: the boxes as JSON, as COCO and as YOLO annotations.

Owns the files' names and where they lie. What is in them is made by `demo.grounding.export`. Knows nothing of gradio.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.grounding.export import classes_of, coco, records, yolo
from demo.types import Region, Size

_UNFIT = re.compile(r"[^\w.-]+")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same boxes are the same file
MAX_NAME = 60  # characters


@dataclass(frozen=True, slots=True)
class Exports:
    """Files, or None where there is nothing for one: points are neither COCO nor YOLO."""

    drawn: str | None = None
    boxes: str | None = None
    coco: str | None = None
    yolo: str | None = None

    @property
    def files(self) -> list[str | None]:
        return [self.drawn, self.boxes, self.coco, self.yolo]


def parsed(regions: Sequence[Region], size: Size) -> str:
    """The regions as JSON for people, a line each."""
    lines = (json.dumps(record, ensure_ascii=False) for record in records(regions, size))
    return "[\n  " + ",\n  ".join(lines) + "\n]" if regions else "[]"


def exported(folder: Path, picture: str, drawn: str | None, regions: Sequence[Region], size: Size) -> Exports:
    """Files below the folder, named after the picture that was looked at."""
    if not regions:
        return Exports()
    name, stem = Path(picture).name, _stem(picture)
    boxes = parsed(regions, size)
    place = folder / "exports" / hashlib.sha256(f"{name}\n{drawn}\n{boxes}".encode()).hexdigest()
    place.mkdir(parents=True, exist_ok=True)
    is_real = bool(classes_of(regions))
    dataset = json.dumps(coco(regions, size, name), ensure_ascii=False, indent=1)
    return Exports(
        drawn=named_copy(folder, drawn, picture) if drawn else None,
        boxes=_written(place / f"{stem}-boxes.json", boxes.encode()),
        coco=_written(place / f"{stem}-coco.json", dataset.encode()) if is_real else None,
        yolo=_written(place / f"{stem}-yolo.zip", _zipped(stem, regions, size)) if is_real else None,
    )


def named_copy(folder: Path, drawn: str, picture: str) -> str:
    """A drawn picture under a name that says what it is."""
    source = Path(drawn)
    target = folder / "exports" / source.stem / f"{_stem(picture)}-boxes{source.suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copyfile(source, target)
    return str(target)


def _stem(picture: str) -> str:
    return _UNFIT.sub("_", Path(picture).stem)[:MAX_NAME].strip("._") or "picture"


def _zipped(stem: str, regions: Sequence[Region], size: Size) -> bytes:
    """The layout that YOLO's tools read: a text file a picture, and the names of the classes in order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in (
            (f"labels/{stem}.txt", yolo(regions, size)),
            ("classes.txt", "".join(f"{name}\n" for name in classes_of(regions))),
        ):
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), text)
    return out.getvalue()


def _written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)
