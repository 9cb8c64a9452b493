"""The page's pictures as files: which uploads may be opened, and where copies for showing are kept.

Owns the check that a path a client names lies in the upload folder, upright copies for the conversation and drawn
results. Knows nothing of gradio, models or boxes. The files a user uploaded are never changed.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from demo.errors import ClipError, PictureError
from demo.imaging import open_with_note, to_pil
from demo.types import Clip, Picture, Size
from demo.video import is_clip, is_video, open_clip

SHOWN_SIDE_PX = 1280  # of a copy in the conversation; drawn results keep every pixel
PNG_PIXELS = 600_000  # up to here a lossless file is small and quick to write


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture or clip of a conversation: the file as uploaded, and an upright copy any browser can show."""

    path: str
    shown: str
    size: Size  # of the uploaded picture, upright
    note: str = ""  # what was left out of it, for people
    frames: int = 0  # that a model is shown of a clip; 0: it is a picture


@dataclass(frozen=True, slots=True)
class PictureStore:
    """Files under one folder, which also receives the uploads."""

    folder: Path  # absolute, resolved

    def checked(self, path: str) -> Path:
        """The real path of an upload; anything outside the folder is refused without a word about what is there."""
        try:
            real = Path(path).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            raise _gone() from None
        if not real.is_file() or self.folder not in real.parents:
            raise _gone()
        return real

    def open(self, path: str) -> Picture:
        return open_with_note(self.checked(path)).picture

    def open_clip(self, path: str, *, most: int, side: int) -> Clip:
        return open_clip(self.checked(path), most=most, side=side)

    def adopt(self, path: str, *, frames: int = 0, side: int = SHOWN_SIDE_PX) -> StoredPicture:
        """Open an upload to see that it is a picture, and keep a copy for showing.

        Where ``frames`` of a clip are wanted, a clip is taken too, and its middle frame is the copy.
        """
        if is_video(self.checked(path)) or (frames and is_clip(self.checked(path))):
            return self._adopt_clip(path, frames, side)
        opened = open_with_note(self.checked(path))
        copy = to_pil(opened.picture)
        copy.thumbnail((SHOWN_SIDE_PX, SHOWN_SIDE_PX))
        return StoredPicture(path, self.save(copy), opened.picture.size, opened.note)

    def _adopt_clip(self, path: str, frames: int, side: int) -> StoredPicture:
        if not frames:
            raise ClipError("This model looks at pictures only", remedy="Add a picture instead of the video.")
        clip = self.open_clip(path, most=frames, side=side)
        shown = clip.frames[len(clip.frames) // 2]
        note = f"A clip; the model is shown {len(clip.frames)} frames of it, up to {clip.times_s[-1]:.1f} s."
        return StoredPicture(path, self.save(to_pil(shown)), shown.size, note, len(clip.frames))

    def save(self, image: Image.Image) -> str:
        """Keep a picture; the same picture twice is one file. Its name tells its size, for a page to keep a place."""
        data, suffix = _encoded(image)
        return self.keep(data, "shown", f"-{image.width}x{image.height}.{suffix}")

    def keep(self, data: bytes, place: str, suffix: str = "") -> str:
        """Keep a file in a folder of this name, under the name of its content."""
        target = self.folder / place / f"{hashlib.sha256(data).hexdigest()}{suffix}"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.{os.urandom(4).hex()}.part")
            part.write_bytes(data)
            part.replace(target)
        return str(target)


def _encoded(image: Image.Image) -> tuple[bytes, str]:
    out = io.BytesIO()
    if image.width * image.height <= PNG_PIXELS:
        image.save(out, "PNG", compress_level=3)
        return out.getvalue(), "png"
    image.save(out, "JPEG", quality=92, subsampling=0)  # else thin coloured lines run into what is around them
    return out.getvalue(), "jpg"


def _gone() -> PictureError:
    return PictureError("The picture is not on the server (any more)", remedy="Add it again.")
