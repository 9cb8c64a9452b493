"""One answer on its way from a worker to whoever asked.

Owns the queue between the replica's thread and the caller's. Knows nothing of processes. Whoever iterates gets a
`Ping` at least every 0.25 s, so that Stop and a closed tab are noticed while nothing else comes.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

from demo.engine.events import Done, Ping, Token
from demo.errors import DemoError
from demo.types import GenerateRequest

PING_S = 0.25


class Answer:
    """An iterator of `Ping`, `Token` and one last `Done`; raises the error that ended the answer.

    `close` asks the worker to stop and returns at once. ``on_end`` is called once, from the thread that learned that
    the worker is done with the request: only then is the slot free, however early the caller left.
    """

    def __init__(self, request: GenerateRequest, *, cancel: Callable[[str], None], on_end: Callable[[], None]) -> None:
        self.request = request
        self.has_text = False  # the worker produced some; such an answer is not begun again
        self.is_lost = False  # the worker died, and not because of this request as far as can be told
        self._cancel = cancel
        self._on_end = on_end
        self._events: queue.SimpleQueue[Token | Done | DemoError] = queue.SimpleQueue()
        self._ended = False

    def __iter__(self) -> Iterator[Ping | Token | Done]:
        while True:
            try:
                event = self._events.get(timeout=PING_S)
            except queue.Empty:
                yield Ping("working")
                continue
            if isinstance(event, DemoError):
                raise event
            yield event
            if isinstance(event, Done):
                return

    def add(self, token: Token) -> None:
        self.has_text = True
        self._events.put(token)

    def end(self, event: Done | DemoError, *, is_lost: bool = False) -> None:
        self.is_lost = is_lost
        self._ended = True
        self._events.put(event)
        self._on_end()

    def close(self) -> None:
        if not self._ended:
            self._cancel(self.request.request_id)
