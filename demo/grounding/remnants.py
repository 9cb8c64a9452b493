"""What of a dialect's syntax people should not see where no box was made of it: half-written boxes, tags left over.

Owns what dialects' patterns are made of. ``unfinished`` matches the beginning of a box at the end of a text that is
still being written, ``marks`` a tag or token anywhere. Both are for texts whose boxes are gone already. Whoever uses
``unfinished`` looks at the last `TAIL` characters only, so that no text takes long.
"""

from __future__ import annotations

import re

TAIL = 300  # characters; no box with its name is longer

NOTHING = re.compile(r"(?!)")
_TAG = r"<[|/]{0,2}[a-z_]{0,32}\d{0,6}[/|]?"  # the beginning of any tag


def open_tag(*beginnings: str) -> re.Pattern[str]:
    """The beginning of a tag, or one of these beginnings of a box with no more than numbers and a tag's start after."""
    boxes = "".join(rf"|(?:{beginning})[\d\s.,;()\[\]<>-]*(?:{_TAG})?" for beginning in beginnings)
    return re.compile(rf"\s*(?:{_TAG}{boxes})\Z", re.ASCII | re.IGNORECASE)


def tags(*names: str) -> re.Pattern[str]:
    return re.compile(rf"</?(?:{'|'.join(names)})>", re.ASCII)


# A fence, or a bracket after which there are only strings and numbers; how an object goes on after its box; a tag.
_JSON = r"""(?:[\s\[{\d.,:+-]|"[^"\n]{0,80}(?:"|\Z))*"""
_MEMBER = r"""(?:"\w{0,20}(?:"\s*(?::\s*(?:"[^"\n]{0,80}"?)?)?)?)?"""
OPEN_JSON = re.compile(
    rf"""\s*(?:`{{1,3}}\w{{0,8}}|(?:```\w{{0,8}}\s*)?[\[{{]{_JSON}|,\s*{_MEMBER}|{_TAG})\Z""", re.ASCII | re.IGNORECASE
)
