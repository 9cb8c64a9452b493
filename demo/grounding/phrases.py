"""What a visitor or a command wants found: one phrase, or several in one text.

Owns how several phrases are told apart. Pure, so that the page and the terminal read the same words alike.
"""

from __future__ import annotations

import re

from demo.errors import InvalidInput

_BETWEEN = re.compile(r"[;；\n]+")


def phrases_of(text: str) -> list[str]:
    """One a line, or parted by semicolons; the same one twice is one. Raises where there is nothing to look for."""
    phrases = (part.strip() for part in _BETWEEN.split(text))
    different = {phrase.casefold(): phrase for phrase in phrases if phrase}
    if not different:
        raise InvalidInput("The phrase is empty", remedy="Type a phrase first.")
    return list(different.values())
