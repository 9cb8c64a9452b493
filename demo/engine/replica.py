"""One copy of a model in a process of its own, and the thread that looks after it.

Owns the process's life (start, watch, restart with a growing delay, give up, close), its pipe, and the requests it
holds. Knows nothing of queues of users, plans or pages. Seconds end in ``_s``.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Literal

from demo.engine import worker
from demo.engine.answer import Answer
from demo.engine.events import Cancel, Command, Done, Failed, Generate, Loading, Ready, Shutdown, Token, WorkerEvent
from demo.engine.worker import WorkerJob
from demo.errors import DemoError, InvalidInput, ReplicaDied, ShuttingDown, from_kind
from demo.types import GenerateRequest

State = Literal["starting", "loading", "idle", "busy", "failed", "closed"]

REAP_S = 1.0  # for a process whose pipe has ended to end as well
TERMINATE_S = 0.5  # for a process that was told to end, before it is told louder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """A worker that died starts again after ``first_s``, 2 x, 4 x ... until ``limit`` deaths within ``window_s``."""

    first_s: float = 0.5
    cap_s: float = 30.0
    limit: int = 5
    window_s: float = 300.0

    def delay_s(self, deaths: int) -> float:
        return min(self.cap_s, self.first_s * 2.0 ** (deaths - 1))


DEFAULT_RESTART = RestartPolicy()


@dataclass(frozen=True, slots=True)
class ReplicaSnapshot:
    """What a replica is doing, for people and metrics."""

    replica_id: int
    model: str
    state: State
    detail: str  # the stage of a load, or the reason of a failure
    fraction: float | None
    devices: tuple[str, ...]
    resident_bytes: dict[str, int] = field(default_factory=dict)
    parameters: int = 0
    loads: int = 0  # by the process that runs now; anything but 1 once it is ready is a defect
    deaths: int = 0  # of earlier processes
    served: int = 0
    tokens_per_s: float = 0.0  # of the last answer that had any speed


class ProcessReplica:
    """Hosts one worker process and restarts it when it dies. `start` returns at once."""

    def __init__(
        self,
        replica_id: int,
        job: WorkerJob,
        *,
        stall_s: float = 300.0,
        restart: RestartPolicy = DEFAULT_RESTART,
    ) -> None:
        self._job = job
        self._on_change: Callable[[], None] = lambda: None
        self._stall_s = stall_s
        self._restart = restart
        devices = tuple(sorted(set(job.placement.device_map.values())))
        self._snapshot = ReplicaSnapshot(replica_id, job.spec.name, "starting", "", None, devices)
        self._failure: DemoError | None = None
        self._load_error = ""  # of the process that runs now, where a restart might help
        self._lock = threading.Lock()  # guards the two below; held for a few lines only, never while waiting
        self._answers: dict[str, Answer] = {}  # all that the worker has not yet reported the end of
        self._outbox: _Outbox | None = None  # there while the worker is ready
        self._last_event_s = 0.0
        self._closing = threading.Event()
        self._wake_reader, self._wake_writer = multiprocessing.Pipe(duplex=False)
        self._thread = threading.Thread(target=self._supervise, name=f"replica-{replica_id}", daemon=True)

    def start(self, *, on_change: Callable[[], None] = lambda: None) -> None:
        """Start the worker; ``on_change`` is called whenever the state changes, from the replica's own thread."""
        self._on_change = on_change
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        return self._outbox is not None

    @property
    def failure(self) -> DemoError | None:
        """Why it gave up for good; a fresh exception each time, since a raised one collects its tracebacks."""
        failure = self._failure
        return None if failure is None else from_kind(failure.kind, str(failure))

    def snapshot(self) -> ReplicaSnapshot:
        snapshot = self._snapshot
        return replace(snapshot, state="busy") if snapshot.state == "idle" and self._answers else snapshot

    def open(self, request: GenerateRequest, *, on_end: Callable[[], None]) -> Answer:
        """Send a request to the worker; never waits for it."""
        answer = Answer(request, cancel=self._cancel, on_end=on_end)
        with self._lock:
            if request.request_id in self._answers:
                raise InvalidInput("A request with this id is running already", value=request.request_id)
            outbox = self._outbox
            if outbox is not None:
                if not self._answers:
                    self._last_event_s = time.monotonic()
                self._answers[request.request_id] = answer
                outbox.put(Generate(request))
        if outbox is None:  # it died between the lease and now
            answer.end(_died("the process is being restarted"), is_lost=True)
        return answer

    def request_close(self) -> None:
        """Begin to close; `join` waits for it."""
        self._closing.set()
        if self._thread.ident is None:  # never started
            self._set(state="closed")
            return
        with contextlib.suppress(OSError):  # the thread has ended
            self._wake_writer.send_bytes(b"c")

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the process and its thread."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _cancel(self, request_id: str) -> None:
        outbox = self._outbox
        if outbox is not None:
            outbox.put(Cancel(request_id))

    # --- the supervising thread. It lives as long as the replica does: Linux ends a worker with the thread that started
    # it (PR_SET_PDEATHSIG), not with the process.

    def _supervise(self) -> None:
        if hasattr(signal, "pthread_sigmask"):  # inherited: Ctrl-C must not reach a worker before it can ignore it
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        deaths: deque[float] = deque()
        while not self._closing.is_set():
            reason = self._run_worker()
            if self._closing.is_set() or self._failure is not None:
                break
            self._mourn(deaths, reason)
            if self._failure is not None:
                break
            self._set(state="starting", detail=f"restarting: {reason}", fraction=None, loads=0, resident_bytes={})
            self._closing.wait(self._restart.delay_s(len(deaths)))
        if self._failure is None:
            self._set(state="closed", detail="", resident_bytes={})
        else:
            self._set(state="failed", detail=str(self._failure), fraction=None, resident_bytes={})
        self._wake_reader.close()
        self._wake_writer.close()

    def _mourn(self, deaths: deque[float], reason: str) -> None:
        """Count a death, and give up where there were too many."""
        now_s = time.monotonic()
        deaths.append(now_s)
        while deaths[0] < now_s - self._restart.window_s:
            deaths.popleft()
        log.warning("replica %d of %s: %s", self._snapshot.replica_id, self._job.spec.name, reason)
        self._set(deaths=self._snapshot.deaths + 1)
        if len(deaths) >= self._restart.limit:
            self._failure = ReplicaDied(
                f"The model's process ended {len(deaths)} times in a short while, so it is not started again",
                value=reason,
                remedy="The server's log says more; restart the demo once the cause is gone.",
            )

    def _run_worker(self) -> str:
        """Start a process, serve with it until it ends, and say in a few words why it did."""
        context = multiprocessing.get_context("spawn")
        connection, theirs = context.Pipe()
        name = f"worker-{self._snapshot.replica_id}"
        process = context.Process(target=worker.main, args=(theirs, self._job, os.getpid()), name=name, daemon=True)
        try:
            process.start()
        except OSError as error:
            connection.close()
            return f"it could not be started ({error.strerror})"
        finally:
            theirs.close()  # so that the pipe ends when the worker does
        self._set(state="starting", detail="starting the model's process")
        outbox = _Outbox(connection)
        stalled = self._watch(process, connection, outbox)
        with self._lock:
            self._outbox = None
        if self._closing.is_set():
            self._end_answers(lambda: ShuttingDown("The demo is stopping", remedy="Ask again once it is back."))
            outbox.put(Shutdown())
        reason = _reap(process, at_once=stalled)
        reason, self._load_error = self._load_error or reason, ""
        outbox.close()
        connection.close()
        if stalled:
            reason = f"it made no progress for {self._stall_s:g} s"
        self._end_answers(lambda: _died(reason), is_lost=not stalled)
        return reason

    def _watch(self, process: SpawnProcess, connection: Connection, outbox: _Outbox) -> bool:
        """Pass on what the worker says until it ends or the replica closes; True when it had to be given up."""
        while not self._closing.is_set():
            ready = wait([connection, process.sentinel, self._wake_reader], timeout=self._patience_s())
            if connection in ready:
                try:
                    event = connection.recv()
                except (EOFError, OSError):
                    return False
                self._last_event_s = time.monotonic()
                self._take(event, outbox)
            elif process.sentinel in ready:
                return False
            elif not ready and self._patience_s() == 0.0:
                return True
        return False

    def _patience_s(self) -> float:
        """Until when to wait for the next event; looked at again now and then, as a request may come meanwhile."""
        if not self._answers:
            return self._stall_s
        return max(0.0, min(self._last_event_s + self._stall_s - time.monotonic(), self._stall_s))

    def _take(self, event: WorkerEvent, outbox: _Outbox) -> None:
        if isinstance(event, Token):
            if (answer := self._answers.get(event.request_id)) is not None:
                answer.add(event)
        elif isinstance(event, Done):
            speed = event.usage.tokens_per_s or self._snapshot.tokens_per_s
            self._set(served=self._snapshot.served + 1, tokens_per_s=speed)
            self._end_answer(event.request_id, event)
        elif isinstance(event, Failed):
            self._take_failure(event)
        elif isinstance(event, Loading):
            self._set(state="loading", detail=event.stage, fraction=event.fraction)
        elif isinstance(event, Ready):
            with self._lock:
                self._outbox = outbox
            report = event.report
            facts = {"resident_bytes": report.resident_bytes, "parameters": report.parameters, "loads": report.loads}
            self._set(state="idle", detail="", fraction=None, **facts)

    def _take_failure(self, event: Failed) -> None:
        error = from_kind(event.kind, event.message)
        log.error("replica %d: %s\n%s", self._snapshot.replica_id, event.message, event.trace)
        if event.request_id:
            self._end_answer(event.request_id, error)
        elif event.kind != DemoError.kind:  # one of ours while loading: a restart would meet it again
            self._failure = error
        else:
            self._load_error = event.message

    def _end_answer(self, request_id: str, event: Done | DemoError) -> None:
        with self._lock:
            answer = self._answers.pop(request_id, None)
        if answer is not None:
            answer.end(event)

    def _end_answers(self, error: Callable[[], DemoError], *, is_lost: bool = False) -> None:
        with self._lock:
            answers = list(self._answers.values())
            self._answers.clear()
        for answer in answers:
            answer.end(error(), is_lost=is_lost)

    def _set(self, **changes: object) -> None:
        self._snapshot = replace(self._snapshot, **changes)  # type: ignore[arg-type]
        self._on_change()


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
        with contextlib.suppress(OSError):  # the worker is gone; the supervising thread knows
            while (command := self._commands.get()) is not None:
                self._connection.send(command)


def _died(reason: str) -> ReplicaDied:
    remedy = "It is being restarted; try again in a moment."
    return ReplicaDied("The process that was answering ended", value=reason, remedy=remedy)


def _reap(process: SpawnProcess, *, at_once: bool) -> str:
    """See a process to its end, by force where it takes too long, and say how it ended."""
    if at_once:
        process.kill()
    process.join(REAP_S)
    if process.is_alive():
        process.terminate()
        process.join(TERMINATE_S)
    if process.is_alive():
        process.kill()
    process.join()
    code = process.exitcode
    process.close()
    if code == -signal.SIGKILL:
        return "killed (signal 9), most often by the system running out of memory"
    if code is not None and code < 0:
        return f"killed by signal {-code}"
    return f"exit code {code}"
