"""One calm colour per label: same words, same colour, in the picture, the text and the table.

Owns a fixed palette of hex colours of middling brightness, at least 3:1 in contrast on white and on near-black
pages alike. Knows nothing of pictures or pages.
"""

from __future__ import annotations

from collections.abc import Iterable

# Ordered so that the first few, which nearly all pictures need, are the furthest apart.
COLOURS = (
    "#2b78d6",  # blue
    "#c46a00",  # orange
    "#2c9445",  # green
    "#d13d93",  # pink
    "#8048cc",  # violet
    "#0d8f95",  # teal
    "#d9453b",  # red
    "#7a8200",  # olive
    "#a3623a",  # brown
    "#6c7a89",  # slate
    "#4f6df0",  # indigo
    "#4da07c",  # sage
)


def colour_of(labels: Iterable[str]) -> dict[str, str]:
    """Each label as it is written -> hex colour, the same for labels of one group."""
    return {label: COLOURS[group % len(COLOURS)] for label, group in groups_of(labels).items()}


def groups_of(labels: Iterable[str]) -> dict[str, int]:
    """Each label as it is written -> its group, from 0; labels that differ in case or spacing only share one."""
    by_words: dict[str, int] = {}
    return {label: by_words.setdefault(" ".join(label.casefold().split()), len(by_words)) for label in labels}


def rgb(colour: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers, 0..255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it, 0 (black) .. 1 (white)."""
    red, green, blue = (_linear(channel / 255) for channel in rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ink_on(colour: str) -> str:
    """White wherever it stands out enough for bold words (3:1), which is on all of `COLOURS`; black elsewhere."""
    return "#ffffff" if 1.05 / (luminance(colour) + 0.05) >= 3 else "#000000"


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
