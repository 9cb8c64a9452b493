"""One answer on its way from a worker to whoever asked.

Owns the queue between the replica's thread and the caller's, and the list of what a worker has yet to end. Knows
nothing of processes. Whoever iterates gets a `Ping` at least every 0.25 s, so that Stop and a closed tab are noticed
while nothing else comes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from demo.engine.events import Done, Ping, Token
from demo.errors import DemoError, InvalidInput
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


class OpenAnswers:
    """All that a worker has not yet reported the end of. Each is ended once, whoever asks for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held for a few lines only, never while waiting
        self._by_id: dict[str, Answer] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, answer: Answer) -> None:
        request_id = answer.request.request_id
        with self._lock:
            if request_id in self._by_id:
                raise InvalidInput("A request with this id is running already", value=request_id)
            self._by_id[request_id] = answer

    def pass_on(self, token: Token) -> None:
        if (answer := self._by_id.get(token.request_id)) is not None:
            answer.add(token)

    def end(self, request_id: str, event: Done | DemoError, *, is_lost: bool = False) -> None:
        with self._lock:
            answer = self._by_id.pop(request_id, None)
        if answer is not None:
            answer.end(event, is_lost=is_lost)

    def end_all(self, error: Callable[[], DemoError], *, is_lost: bool = False) -> None:
        for request_id in list(self._by_id):
            self.end(request_id, error(), is_lost=is_lost)
