"""Conversations that outlive their page: a tab that is reloaded finds its own again.

Owns the tokens by which tabs know theirs, and how many are kept for how long. A token is random, made here, and says
nothing; a tab that shows one gets a copy under a new token, so that two tabs with the same one (browsers copy it when
a tab is duplicated) never write into each other's conversation. Knows nothing of gradio. Seconds end in ``_s``.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from demo.ui.conversation import Conversation

KEPT_S = 6 * 3600.0  # since its last change
MOST_KEPT = 2_000


@dataclass(slots=True)
class Shelf:
    """All visitors' conversations; the one that was changed least recently goes first."""

    most: int = MOST_KEPT
    kept_s: float = KEPT_S
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)  # held for a few lines only
    _kept: OrderedDict[str, tuple[float, Conversation]] = field(default_factory=OrderedDict, repr=False)

    def take(self, token: str) -> tuple[str, Conversation]:
        """A new token, and under it what was kept under the old one: an empty conversation where that is not known.

        An answer that was being written is over, for a page that was not there.
        """
        new = secrets.token_urlsafe(24)
        with self._lock:
            self._forget_old()
            _, conversation = self._kept.get(token, (0.0, Conversation()))
        conversation = Conversation(conversation.stopped().turns)
        self.keep(new, conversation)
        return new, conversation

    def keep(self, token: str, conversation: Conversation) -> None:
        """The newest version, under a token that `take` gave; an empty one needs no place."""
        with self._lock:
            self._kept.pop(token, None)
            if token and conversation.turns:
                self._forget_old()
                self._kept[token] = self.clock(), conversation

    def __len__(self) -> int:
        return len(self._kept)

    def _forget_old(self) -> None:
        oldest_s = self.clock() - self.kept_s
        while self._kept and (len(self._kept) >= self.most or next(iter(self._kept.values()))[0] < oldest_s):
            self._kept.popitem(last=False)
