"""The box dialects by name. Each is a module with the same five names; see `Dialect`.

Knows nothing of how a dialect works or of which model speaks it (see `demo.catalog`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, cast

from demo.errors import ConfigError
from demo.grounding import (
    cogagent,
    cogvlm,
    deepseek,
    florence2,
    glm,
    internvl,
    kosmos2,
    minicpm,
    molmo,
    paligemma,
    plain_json,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_vl,
)
from demo.types import Box, Region, Size


class Dialect(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def unfinished(self) -> re.Pattern[str]:
        """The beginning of a box at the end of a text; see `demo.grounding.remnants`."""
        ...

    @property
    def marks(self) -> re.Pattern[str]:
        """A tag or token of the syntax, which says nothing to people."""
        ...

    def parse(self, text: str, size: Size, *, seen: Size | None = None) -> list[Region]:
        """Boxes in pixels, clipped to the picture, in the text's order. Never raises; [] when there are none.

        ``seen`` is the size of the picture after the model's own processor resized it. Dialects whose numbers are
        pixels of that need it to be exact; all others are relative to the picture and pass over it.
        """
        ...

    def format(self, box: Box, size: Size, *, seen: Size | None = None) -> str:
        """The box as the model's own prompts write it."""
        ...


class _Relative(Protocol):
    """A module whose numbers do not depend on what the model's processor made of the picture."""

    @property
    def name(self) -> str: ...
    @property
    def unfinished(self) -> re.Pattern[str]: ...
    @property
    def marks(self) -> re.Pattern[str]: ...
    def parse(self, text: str, size: Size) -> list[Region]: ...
    def format(self, box: Box, size: Size) -> str: ...


@dataclass(frozen=True, slots=True)
class _Adapted:
    module: _Relative

    @property
    def name(self) -> str:
        return self.module.name

    @property
    def unfinished(self) -> re.Pattern[str]:
        return self.module.unfinished

    @property
    def marks(self) -> re.Pattern[str]:
        return self.module.marks

    def parse(self, text: str, size: Size, *, seen: Size | None = None) -> list[Region]:  # noqa: ARG002
        return self.module.parse(text, size)

    def format(self, box: Box, size: Size, *, seen: Size | None = None) -> str:  # noqa: ARG002
        return self.module.format(box, size)


_RELATIVE = (
    cogagent,
    cogvlm,
    deepseek,
    florence2,
    glm,
    internvl,
    kosmos2,
    minicpm,
    molmo,
    paligemma,
    qwen2_vl,
    qwen3_vl,
)
_IN_PIXELS = (plain_json, qwen2_5_vl)

_DIALECTS = MappingProxyType(
    {
        **{module.name: cast(Dialect, _Adapted(cast(_Relative, module))) for module in _RELATIVE},
        **{module.name: cast(Dialect, module) for module in _IN_PIXELS},
    }
)


def names() -> tuple[str, ...]:
    return tuple(sorted(_DIALECTS))


def get(name: str) -> Dialect:
    if name not in _DIALECTS:
        raise ConfigError("Unknown box dialect", value=name, remedy=f"Known are: {', '.join(names())}.")
    return _DIALECTS[name]
