"""Names for the columns of a parameter array, so that the sampler and the renderer agree on one layout.

Owns nothing but the arithmetic of the layout; knows neither numpy nor torch, and serves both.
"""

from __future__ import annotations


class Columns:
    """``Columns(lod=1, inverse=6)["inverse"]`` is ``slice(1, 7)``; one wide columns are plain integers."""

    def __init__(self, **widths: int) -> None:
        self._places: dict[str, int | slice] = {}
        self.width = 0
        for name, width in widths.items():
            self._places[name] = self.width if width == 1 else slice(self.width, self.width + width)
            self.width += width

    def __getitem__(self, name: str) -> int | slice:
        return self._places[name]

    def start(self, name: str) -> int:
        """First column of ``name``."""
        place = self._places[name]
        return place if isinstance(place, int) else place.start
