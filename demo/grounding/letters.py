"""The fonts that labels are written in: Pillow's own for plain English, one of the system's for other scripts.

Owns which fonts are looked for. Knows nothing of labels' places or of pictures. A font of each call's own is loaded, as
fonts are not shared between threads.
"""

from __future__ import annotations

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# By the names they have on Linux, macOS and Windows; the first few know Chinese, Japanese and Korean as well.
_SYSTEM = (
    "NotoSansCJK-Regular.ttc", "NotoSansSC-Regular.otf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "PingFang.ttc",
    "Hiragino Sans GB.ttc", "Arial Unicode.ttf", "msyh.ttc", "simhei.ttf", "DejaVuSans.ttf", "arial.ttf",
)  # fmt: skip
_MISSING = "\uffff"  # no font has it


class Letters:
    """Fonts of one height."""

    def __init__(self, height: int) -> None:
        self.height = height
        self._plain: Font = ImageFont.load_default(height)
        self._system: tuple[Font, ...] | None = None  # those there are, once they are needed

    def font_for(self, words: str) -> Font | None:
        """The first font that has all letters, else the one that has most; None where it has less than half of them."""
        if words.isascii():
            return self._plain
        best, num_best = self._plain, _num_written(self._plain, words)
        for font in self._fonts():
            if num_best == len(words):
                break
            if (number := _num_written(font, words)) > num_best:
                best, num_best = font, number
        return best if 2 * num_best >= len(words) else None

    def _fonts(self) -> tuple[Font, ...]:
        if self._system is None:
            self._system = tuple(font for name in _SYSTEM if (font := _loaded(name, self.height)) is not None)
        return self._system


def _loaded(name: str, height: int) -> Font | None:
    try:
        return ImageFont.truetype(name, height)
    except OSError:
        return None


def _num_written(font: Font, words: str) -> int:
    """How many of the characters the font has a shape of their own for."""
    nothing = bytes(font.getmask(_MISSING))  # type: ignore[call-overload]
    return sum(1 for letter in words if letter.isspace() or bytes(font.getmask(letter)) != nothing)  # type: ignore[call-overload]
