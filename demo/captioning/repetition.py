"""Tells a caption that loops, as a model's does that has lost its way, from one that lists similar things.

Pure; works on words, and on single characters where a script has no blanks between words.
"""

from __future__ import annotations

import re

MOST_WORDS = 80  # of the piece that is repeated; longer ones are looked for in vain
LEAST_COPIES = 3
LEAST_WORDS = 16  # of all copies together: "a cat, a cat and a cat" is no loop

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[^\w\s]")


def loops(text: str) -> bool:
    """Whether somewhere a piece follows upon itself so often that nobody would write it; the last copy may be cut."""
    words = _WORD.findall(text.lower())
    longest = min(MOST_WORDS, len(words) // LEAST_COPIES)
    return any(_repeats(words, period) for period in range(1, longest + 1))


def _repeats(words: list[str], period: int) -> bool:
    needed = max(LEAST_COPIES * period, LEAST_WORDS) - period
    run = 0
    for before, word in zip(words, words[period:]):
        run = run + 1 if before == word else 0
        if run >= needed:
            return True
    return False
