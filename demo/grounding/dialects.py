"""The box dialects by name. A dialect is a module with the same three names in each: ``name``, ``parse``, ``format``.

Knows nothing of how a dialect works or of which model speaks it (see `demo.catalog`).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Protocol, cast

from demo.errors import ConfigError
from demo.grounding import cogvlm
from demo.types import Box, Region, Size


class Dialect(Protocol):
    @property
    def name(self) -> str: ...

    def parse(self, text: str, size: Size) -> list[Region]:
        """Boxes in pixels, clipped to the picture, in the text's order. Never raises; [] when there are none."""
        ...

    def format(self, box: Box, size: Size) -> str:
        """The box as the model's own prompts write it."""
        ...


_DIALECTS = MappingProxyType({module.name: cast(Dialect, module) for module in (cogvlm,)})


def names() -> tuple[str, ...]:
    return tuple(sorted(_DIALECTS))


def get(name: str) -> Dialect:
    if name not in _DIALECTS:
        raise ConfigError("Unknown box dialect", value=name, remedy=f"Known are: {', '.join(names())}.")
    return _DIALECTS[name]
