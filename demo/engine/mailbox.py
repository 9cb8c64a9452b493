"""A worker's end of the pipe: the commands that come in, the events that go out, the weights that pass through.

Owns the thread that reads commands and the lock of those that send. Knows nothing of models or of what is done with a
command. Either end of the pipe that is gone ends the process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from multiprocessing.connection import Connection

from demo.engine.events import Cancel, Fed, Generate, Loading, Offered, Park, Resume, Shutdown, WorkerEvent
from demo.engine.handover import Part
from demo.engine.own_cards import OwnCards

Order = Generate | Park | Resume  # what the main thread does, or hands on, one after the other
FEED_S = 600.0  # for the first replica to have the weights; after that they are read beside it


class Inbox:
    """The commands of the parent: requests in their order, and what was cancelled meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._commands: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._cancelled: dict[str, threading.Event] = {}  # of the requests that have not ended
        self._fed: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._is_serving = False

    def start(self) -> None:
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def next(self) -> Order | None:
        """What to do next; None when the process should end."""
        self._is_serving = True
        command = self._commands.get()
        return None if self._stopping.is_set() else command

    def is_cancelled(self, request_id: str) -> bool:
        return self._stopping.is_set() or self._cancelled[request_id].is_set()

    def forget(self, request_id: str) -> None:
        self._cancelled.pop(request_id, None)

    def fed(self) -> bytes | None:
        """Wait for what another replica offers; None where it offers nothing, or takes too long."""
        with contextlib.suppress(queue.Empty):
            return self._fed.get(timeout=FEED_S)
        return None

    def _read(self) -> None:
        while True:
            try:
                command = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)  # the parent is gone; whatever the main thread computes, nobody waits for it
            if isinstance(command, Generate):
                self._cancelled[command.request.request_id] = threading.Event()
                self._commands.put(command)
            elif isinstance(command, Park | Resume):
                self._commands.put(command)
            elif isinstance(command, Cancel):
                flag = self._cancelled.get(command.request_id)
                if flag is not None:  # else it has just ended
                    flag.set()
            elif isinstance(command, Fed):
                self._fed.put(command.weights)
            elif isinstance(command, Shutdown):
                if not self._is_serving:
                    os._exit(0)  # a load looks at no flag
                self._stopping.set()
                self._commands.put(None)


class Sender:
    """The way out, for any thread (downloads report from their own); a parent that is gone ends the process.

    Here, and nowhere else, the process's own names of its cards become the plan's again.
    """

    def __init__(self, connection: Connection, own: OwnCards) -> None:
        self._connection = connection
        self._own = own
        self._lock = threading.Lock()

    def send(self, event: WorkerEvent) -> None:
        try:
            with self._lock:
                self._connection.send(self._own.event(event))
        except OSError:
            os._exit(0)


class PipeFeed:
    """Weights handed from replica to replica, by way of the parent."""

    def __init__(self, part: Part, inbox: Inbox, sender: Sender) -> None:
        self._part = part
        self._inbox = inbox
        self._sender = sender

    def offer(self, weights: bytes | None) -> None:
        if self._part == "gives":
            self._sender.send(Offered(weights))

    def wait(self) -> bytes | None:
        if self._part != "takes":
            return None
        self._sender.send(Loading("waiting for the first replica's weights"))
        return self._inbox.fed()
