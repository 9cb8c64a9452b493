"""The only opener of clips: a video or an animation in, a few evenly spaced frames out, or one clear `ClipError`.

Owns what counts as a clip, the limits, and the choice of frames. Animations (GIF, WebP, PNG, AVIF) are read with
Pillow, videos with PyAV where that is installed. Single pictures are `demo.imaging`'s. Files are told by their
content, never by their name, and no file makes another one be opened. Seconds end in ``_s``, sides are pixels.
"""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

from demo.errors import ClipError, PictureError
from demo.imaging import BROKEN, from_pil, identify
from demo.types import Clip, Picture

if TYPE_CHECKING:
    import av

MAX_FILE_BYTES = 200_000_000
MAX_SECONDS = 900.0
MAX_PIXELS = 16_000_000  # of one frame
MAX_ANIMATION_FRAMES = 2_000
MAX_ANIMATION_PIXELS = 4_000_000_000  # of all frames, which all have to be decoded
DEFAULT_FRAME_S = 0.1  # of an animation that does not say

_ACCEPTED = "Use an MP4, MOV, WebM, MKV or AVI video, or an animated GIF, WebP or PNG."
_HEAD_BYTES = 64
# PyAV is told the format, so that no playlist can make it open files or addresses of its own.
_FORMATS = ((b"\x1a\x45\xdf\xa3", 0, "matroska"), (b"AVI ", 8, "avi"), (b"OggS", 0, "ogg"), (b"FLV", 0, "flv"))
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")  # of files that are built like MP4s

Source = bytes | str | os.PathLike[str]


def is_clip(source: Source) -> bool:
    """Whether a file moves: a video, or a picture file with several frames. False for what cannot be read."""
    try:
        with _file(source) as file:
            return _video_format(file) is not None or _is_animation(file)
    except ClipError:
        return False


def is_video(source: Source) -> bool:
    """Whether a file is a video, which no opener of pictures takes; an animation is none."""
    try:
        with _file(source) as file:
            return _video_format(file) is not None
    except ClipError:
        return False


def open_clip(source: Source, *, most: int, side: int) -> Clip:
    """At most so many frames, evenly spaced, each reduced to ``side``; raises `ClipError` and nothing else."""
    with _file(source) as file:
        format_ = _video_format(file)
        frames = _animation(file, most) if format_ is None else _video(file, format_, most)
        shown = [(at_s, _reduced(image, side)) for at_s, image in frames]
    if not shown:
        raise ClipError("The video has no frames", remedy=_ACCEPTED)
    return Clip(tuple(picture for _, picture in shown), tuple(at_s for at_s, _ in shown))


@contextmanager
def _file(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        if not os.path.isfile(source):
            raise ClipError("There is no such file", remedy="Check the name of the video.")
        with open(source, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                limit = f"At most {MAX_FILE_BYTES // 10**6} MB are accepted."
                raise ClipError("The file is too large", value=f"{size / 1e6:.0f} MB", remedy=limit)
            yield file
    except (OSError, ValueError) as error:
        raise ClipError("The file cannot be read", remedy="Check its name and permissions.") from error


def _video_format(file: BinaryIO) -> str | None:
    """PyAV's name for the format of a video; None for anything else."""
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _PICTURE_BRANDS else "mp4"
    return next((name for magic, at, name in _FORMATS if head[at : at + len(magic)] == magic), None)


def _reduced(image: Image.Image, side: int) -> Picture:
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    try:
        return from_pil(image)
    except PictureError as error:
        raise ClipError("The video cannot be shown", remedy=str(error)) from error


def spaced(num_frames: int, most: int) -> list[int]:
    """The indices of at most so many frames of all, evenly spaced, the first and the last among them."""
    if num_frames <= most:
        return list(range(num_frames))
    if most == 1:
        return [num_frames // 2]
    return [round(index * (num_frames - 1) / (most - 1)) for index in range(most)]


# --- animations


def _is_animation(file: BinaryIO) -> bool:
    try:
        with identify(file) as image:
            return bool(getattr(image, "is_animated", False))
    except PictureError:
        return False
    except BROKEN:  # what follows the first frame may be broken
        return False


def _animation(file: BinaryIO, most: int) -> list[tuple[float, Image.Image]]:
    try:
        with identify(file) as image:
            num_frames = getattr(image, "n_frames", 1)
            _check_animation(image, num_frames)
            chosen = set(spaced(num_frames, most))
            return list(_frames(image, num_frames, chosen))
    except PictureError as error:
        raise ClipError("The file is no video that can be opened", remedy=_ACCEPTED) from error
    except BROKEN as error:
        raise _damaged() from error


def _frames(image: Image.Image, num_frames: int, chosen: set[int]) -> Iterator[tuple[float, Image.Image]]:
    at_s = 0.0
    for index in range(num_frames):
        image.seek(index)
        if index in chosen:
            yield at_s, image.convert("RGBA")
        at_s += (float(image.info.get("duration") or 0) / 1000) or DEFAULT_FRAME_S


def _check_animation(image: Image.Image, num_frames: int) -> None:
    if num_frames > MAX_ANIMATION_FRAMES:
        limit = f"At most {MAX_ANIMATION_FRAMES} are accepted."
        raise ClipError("The animation has too many frames", value=num_frames, remedy=limit)
    _check_size(image.width, image.height)
    if image.width * image.height * num_frames > MAX_ANIMATION_PIXELS:
        raise ClipError(
            "The animation is too large", value=f"{num_frames} frames", remedy="Make it smaller or shorter."
        )


# --- videos


def _video(file: BinaryIO, format_: str, most: int) -> list[tuple[float, Image.Image]]:
    if importlib.util.find_spec("av") is None:
        remedy = "Install it with pip install -r requirements-video.txt, or use an animated GIF or WebP."
        raise ClipError("Videos are read with PyAV, which is not installed", remedy=remedy)
    import av

    try:
        with av.open(file, format=format_, metadata_errors="ignore") as container:
            return _sampled(container, most)
    except (av.FFmpegError, OSError, ValueError, MemoryError, EOFError) as error:
        raise _damaged() from error


def _sampled(container: av.container.InputContainer, most: int) -> list[tuple[float, Image.Image]]:
    stream = next(iter(container.streams.video), None)
    if stream is None:
        raise ClipError("The file has no pictures, only sound", remedy=_ACCEPTED)
    _check_size(stream.width, stream.height)
    duration_s = _duration_s(container, stream)
    if duration_s is None:  # as browsers record them
        return _chosen_while_reading(container, stream, most)
    if duration_s > MAX_SECONDS:
        limit = f"At most {MAX_SECONDS / 60:.0f} minutes are accepted; cut it."
        raise ClipError("The video is too long", value=f"{duration_s / 60:.0f} minutes", remedy=limit)
    start_s = float((stream.start_time or 0) * (stream.time_base or Fraction(1)))
    wanted = [start_s + duration_s * (index + 0.5) / most for index in range(most)]
    found = (_frame_at(container, stream, at_s) for at_s in wanted)
    return _without_repeats([(at_s - start_s, frame) for at_s, frame in found if frame is not None])


def _duration_s(container: av.container.InputContainer, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration else None


def _frame_at(container: av.container.InputContainer, stream: Any, at_s: float) -> tuple[float, Image.Image | None]:
    """The frame that is shown at a time: the last one that does not come after it."""
    container.seek(int(at_s / stream.time_base), stream=stream, backward=True)
    last = None
    for frame in container.decode(stream):
        if last is not None and frame.time is not None and frame.time > at_s:
            break
        last = frame
    if last is None:
        return at_s, None
    return at_s if last.time is None else last.time, _upright(last)


def _chosen_while_reading(
    container: av.container.InputContainer, stream: Any, most: int
) -> list[tuple[float, Image.Image]]:
    """Of a video whose length is not known: every frame, then every second one, and so on, as it goes on and on."""
    kept: list[tuple[float, Image.Image]] = []
    step = 1
    for index, frame in enumerate(container.decode(stream)):
        at_s = frame.time if frame.time is not None else index / 25
        if at_s > MAX_SECONDS:
            break
        if index % step == 0:
            kept.append((at_s, _upright(frame)))
        if len(kept) > 2 * most:
            kept, step = kept[::2], 2 * step
    return [kept[index] for index in spaced(len(kept), most)]


def _upright(frame: Any) -> Image.Image:
    image: Image.Image = frame.to_image()
    turn = int(getattr(frame, "rotation", 0) or 0)  # counterclockwise, as Pillow counts
    return image.rotate(turn, expand=True) if turn else image


def _without_repeats(frames: Sequence[tuple[float, Image.Image]]) -> list[tuple[float, Image.Image]]:
    """A short video has fewer frames than are wanted."""
    return [frame for index, frame in enumerate(frames) if index == 0 or frame[0] > frames[index - 1][0]]


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        limit = f"At most {MAX_PIXELS // 10**6} megapixels are accepted."
        raise ClipError("The video's frames are too large", value=f"{width} x {height} pixels", remedy=limit)


def _damaged() -> ClipError:
    return ClipError("The video is damaged or cut short", remedy="Save or send it again.")
