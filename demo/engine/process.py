"""One worker process as its parent sees it: started, spoken to, listened to, ended.

Owns the process, the pipe and the thread that writes to it. Knows nothing of requests or of restarts.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from multiprocessing.connection import Connection, wait
from pathlib import Path

from demo.engine import worker
from demo.engine.events import Command, WorkerEvent
from demo.engine.worker import WorkerJob

REAP_S = 1.0  # for a process whose pipe has ended to end as well
SHARED_MEMORY = Path("/dev/shm")  # where Linux has it
TERMINATE_S = 0.5  # for a process that was told to end, before it is told louder


class WorkerProcess:
    """Starts the process in the constructor (raises `OSError`). Only the thread that starts it may listen or end it."""

    def __init__(self, job: WorkerJob, *, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=worker.main, args=(theirs, job, os.getpid()), name=name, daemon=True)
        try:
            self._process.start()
        except OSError:
            self._connection.close()
            raise
        finally:
            theirs.close()  # so that the pipe ends when the worker does
        self._outbox = _Outbox(self._connection)

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def send(self, command: Command) -> None:
        """Never waits, and says nothing of a worker that is gone: `listen` does."""
        self._outbox.put(command)

    def listen(self, interrupt: Connection, *, timeout_s: float) -> WorkerEvent | None:
        """The next event; None after the time, or when ``interrupt`` has something. Raises `EOFError` at the end."""
        ready = wait([self._connection, self._process.sentinel, interrupt], timeout=timeout_s)
        if self._connection in ready:
            return self._receive()
        if self._process.sentinel in ready:
            raise EOFError
        return None

    def end(self, *, at_once: bool) -> str:
        """See the process to its end, by force where it takes too long, and say in a few words how it ended."""
        if at_once:
            self._process.kill()
        self._process.join(REAP_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(TERMINATE_S)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        _sweep(self.pid)
        code = self._process.exitcode
        self._process.close()
        self._outbox.close()
        self._connection.close()
        return _how_it_ended(code)

    def _receive(self) -> WorkerEvent:
        try:
            event: WorkerEvent = self._connection.recv()
        except OSError as error:
            raise EOFError from error
        return event


class _Outbox:
    """Sends commands from a thread of its own, so that nobody who asks or cancels waits for a full pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        threading.Thread(target=self._send, name="outbox", daemon=True).start()

    def put(self, command: Command) -> None:
        self._commands.put(command)

    def close(self) -> None:
        self._commands.put(None)

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # the worker is gone; whoever listens knows
            while (command := self._commands.get()) is not None:
                self._connection.send(command)


def _sweep(pid: int) -> None:
    """Remove what torch and CUDA share with other processes by name, and unlink only where a process ends by itself."""
    for names in (f"torch_{pid}_*", f"cuda.shm.*.{pid:x}.*"):
        for left in SHARED_MEMORY.glob(names):
            with contextlib.suppress(OSError):
                left.unlink()


def _how_it_ended(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "killed (signal 9), most often by the system running out of memory"
    if code is not None and code < 0:
        return f"killed by signal {-code}"
    return f"exit code {code}"
