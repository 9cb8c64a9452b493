"""The only opener of pictures: bytes or a file in, an upright 8-bit RGB `Picture` out, or one clear `PictureError`.

Owns which formats are accepted, the limits, and how every colour mode becomes RGB: rotated as EXIF says, 16-bit and
float scaled (not clipped), transparency on white, the first frame of an animation, embedded colour profiles ignored.
Knows nothing of pages, models or boxes, and never shows a path. Limits are checked on the header, before decoding.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal

from PIL import Image, ImageChops, features

from demo.errors import PictureError
from demo.types import Picture, Size

MAX_PIXELS = 40_000_000
MAX_ASPECT = 200
MAX_SIDE_PX = 65_500  # what a JPEG can hold
MAX_FILE_BYTES = 200_000_000

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_ACCEPTED = "Use a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF picture."

# What Pillow's parsers raise on hostile bytes, found by fuzzing; anything else is a defect of ours.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
    zlib.error,
    Image.DecompressionBombError,
    Warning,  # where warnings are turned into errors
)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_STRIP_PIXELS = 1 << 20  # colours are converted in strips, so that a large picture is never held three times

Source = bytes | str | os.PathLike[str]
Convert = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True, slots=True)
class Opened:
    """A picture and what was left out of it: ``note`` is a sentence for people, or empty."""

    picture: Picture
    note: str = ""


def open_picture(source: Source) -> Picture:
    """Open bytes or a file whatever its name claims; raises `PictureError` and nothing else."""
    return open_with_note(source).picture


def open_with_note(source: Source) -> Opened:
    """`open_picture` for callers that also tell the user that only the first frame or page was taken."""
    if isinstance(source, bytes | bytearray | memoryview):
        return _open(io.BytesIO(source), len(source))
    try:
        if not os.path.isfile(source):  # a pipe or a device would block
            raise PictureError("There is no such file", remedy="Check the name of the picture.")
        with open(source, "rb") as file:
            return _open(file, os.fstat(file.fileno()).st_size)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise PictureError("The file cannot be read", remedy="Check its name and permissions.") from error


def to_pil(picture: Picture) -> Image.Image:
    """A Pillow copy, which may be drawn on."""
    return Image.frombytes("RGB", (picture.size.width, picture.size.height), picture.rgb)


def reduced(picture: Picture, max_side: int | None) -> Image.Image:
    """A copy whose longer side is at most so many pixels, of the size that `Size.within` says."""
    image = to_pil(picture)
    size = picture.size.within(max_side)
    return image if size == picture.size else image.resize((size.width, size.height), Image.Resampling.BICUBIC)


def from_pil(image: Image.Image) -> Picture:
    """Any Pillow image, under the same limits and conversions as a file."""
    _check_size(image)
    try:
        image.load()
        return _picture(image)
    except BROKEN as error:
        raise _damaged() from error


def encode(picture: Picture, format: Literal["PNG", "JPEG"]) -> bytes:
    """The picture as a file without any metadata. PNG is exact; JPEG is for showing."""
    out = io.BytesIO()
    if format == "PNG":
        to_pil(picture).save(out, "PNG", compress_level=3)
    else:
        to_pil(picture).save(out, "JPEG", quality=92, subsampling=0)
    return out.getvalue()


def _open(file: io.BytesIO | io.BufferedReader, num_bytes: int) -> Opened:
    if num_bytes == 0:
        raise PictureError("The file is empty", remedy=_ACCEPTED)
    if num_bytes > MAX_FILE_BYTES:
        limit = f"At most {MAX_FILE_BYTES // 10**6} MB are accepted."
        raise PictureError("The file is too large", value=f"{num_bytes / 1e6:.0f} MB", remedy=limit)
    with identify(file) as image:
        _check_size(image)
        try:
            image.load()
            picture = _picture(image)
        except BROKEN as error:
            raise _damaged() from error
        return Opened(picture, _note(image))


def identify(file: BinaryIO) -> Image.Image:
    """The picture that a file begins with, its pixels not yet read; whoever closes it has checked its size first."""
    formats = [name for name in _FORMATS if name != "AVIF" or features.check("avif")]
    try:
        return Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise _too_large("over 40 megapixels") from error
    except BROKEN as error:
        raise PictureError("The file is not a picture that can be opened", remedy=_ACCEPTED) from error


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    shown = f"{width} x {height} pixels"
    if width < 1 or height < 1:
        raise PictureError("The picture has no pixels", value=shown, remedy="Use another picture.")
    if width * height > MAX_PIXELS:
        raise _too_large(f"{shown}, {width * height / 1e6:.1f} megapixels")
    if max(width, height) > MAX_ASPECT * min(width, height) or max(width, height) > MAX_SIDE_PX:
        limit = f"Its longer side may be at most {MAX_ASPECT} times its shorter one and {MAX_SIDE_PX} pixels."
        raise PictureError("The picture is too long and thin", value=shown, remedy=limit)


def _too_large(shown: str) -> PictureError:
    limit = f"At most {MAX_PIXELS // 10**6} megapixels are accepted; make it smaller and try again."
    return PictureError("The picture is too large", value=shown, remedy=limit)


def _damaged() -> PictureError:
    return PictureError("The picture is damaged or cut short", remedy="Save or send it again.")


def _note(image: Image.Image) -> str:
    """Looked at last: it reads on in the file, and what follows the first frame may be broken without harm."""
    try:
        several = bool(getattr(image, "is_animated", False))
    except BROKEN:
        several = False
    if several and image.format in _ANIMATED:
        return "The picture is animated; only its first frame is used."
    if several and image.format == "TIFF":
        return "The file has several pages; only the first is used."
    return ""


def _picture(image: Image.Image) -> Picture:
    convert = _converter(image)
    upright = _upright(image)
    width, height = upright.size
    out = io.BytesIO()  # its getvalue() hands the buffer over without a copy
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = upright.crop((0, top, width, min(top + rows, height)))
        out.write(convert(strip).tobytes())
    return Picture(Size(width, height), out.getvalue())


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except BROKEN:  # a broken EXIF block does not make the picture unreadable
        turn = None
    return image if turn is None else image.transpose(turn)


# --- colour modes: each function returns how to turn a strip of the picture into RGB


def _converter(image: Image.Image) -> Convert:
    mode = image.mode
    if mode.startswith("I;16"):
        return _scaler(0.0, 65535.0)
    if mode in ("I", "F"):
        return _scaler(*_range(image))
    if mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow undoes Adobe's inversion in every CMYK JPEG, also where the marker that announces it is missing.
        return lambda strip: ImageChops.invert(strip).convert("RGB")
    if mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        return _on_white
    return lambda strip: strip.convert("RGB")


def _on_white(strip: Image.Image) -> Image.Image:
    colours = strip.convert("RGBA")
    paper = Image.new("RGB", strip.size, (255, 255, 255))
    paper.paste(colours, mask=colours.getchannel("A"))
    return paper


def _range(image: Image.Image) -> tuple[float, float]:
    """Which values are black and white: the usual range that holds all of them, or else the picture's own."""
    import numpy as np

    values = np.asarray(image)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    for top in usual:
        if low >= 0 and high <= top:
            return 0.0, top
    return low, high


def _scaler(black: float, white: float) -> Convert:
    import numpy as np

    def scale(strip: Image.Image) -> Image.Image:
        values = np.nan_to_num(np.asarray(strip).astype(np.float64), nan=black, posinf=white, neginf=black)
        span = max(white - black, 1e-300)
        grey = np.rint((values - black) * (255.0 / span)).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")

    return scale
