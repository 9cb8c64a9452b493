"""One copy of a model in a process of its own, and the thread that looks after it.

Owns the decisions in a worker's life (start, watch, restart with a growing delay, give up, close) and the requests it
holds. Knows nothing of queues of users, plans or pages. Seconds end in ``_s``.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from demo.engine.answer import Answer
from demo.engine.events import Cancel, Done, Failed, Generate, Loading, Memory, Ready, Shutdown, Token, WorkerEvent
from demo.engine.process import WorkerProcess
from demo.engine.worker import WorkerJob
from demo.errors import DemoError, InvalidInput, ReplicaDied, ShuttingDown, from_kind
from demo.types import DeviceMemory, GenerateRequest

# "parked": loaded, but in main memory until its turn on the card comes, or not loaded before its first turn
State = Literal["starting", "loading", "idle", "busy", "parked", "failed", "closed"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """A worker that died starts again after ``first_s``, and after twice as long each time it died without an answer.

    Only a model that fails to load ``max_failed_loads`` times in a row is given up. One that loads is always started
    again: else a single picture that kills its worker would end the demo for everyone.
    """

    first_s: float = 0.5
    cap_s: float = 30.0
    max_failed_loads: int = 5

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
    planned: dict[str, int] = field(default_factory=dict)  # device -> bytes, everything counted
    planned_weights: dict[str, int] = field(default_factory=dict)  # of them, the weights
    resident_bytes: dict[str, int] = field(default_factory=dict)  # the weights as they lie after the load
    memory: dict[str, DeviceMemory] = field(default_factory=dict)  # what the process holds, as it last said
    parameters: int = 0
    loads: int = 0  # by the process that runs now; anything but 1 once it is ready is a defect
    total_loads: int = 0  # begun by all its processes; anything but 1 + deaths once it is ready is a defect
    load_s: float = 0.0  # of the last load that succeeded
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
        planned, weights = dict(job.planned), dict(job.placement.planned)
        self._snapshot = ReplicaSnapshot(replica_id, job.spec.name, "starting", "", None, devices, planned, weights)
        self._failure: DemoError | None = None
        self._deaths_in_a_row = 0  # since the last answer that ended well
        self._failed_loads = 0  # since the last that succeeded
        self._load_error = ""  # of the process that runs now, where a restart might help
        self._lock = threading.Lock()  # guards the two below; held for a few lines only, never while waiting
        self._answers: dict[str, Answer] = {}  # all that the worker has not yet reported the end of
        self._process: WorkerProcess | None = None  # there while it is ready
        self._last_loading: WorkerProcess | None = None
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
        return self._process is not None

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
            process = self._process
            if process is not None:
                if not self._answers:
                    self._last_event_s = time.monotonic()
                self._answers[request.request_id] = answer
                process.send(Generate(request))
        if process is None:  # it died between the lease and now
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
        process = self._process
        if process is not None:
            process.send(Cancel(request_id))

    # --- the supervising thread. It lives as long as the replica does: Linux ends a worker with the thread that started
    # it (PR_SET_PDEATHSIG), not with the process.

    def _supervise(self) -> None:
        if hasattr(signal, "pthread_sigmask"):  # inherited: Ctrl-C must not reach a worker before it can ignore it
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while not self._closing.is_set():
            reason = self._run_worker()
            if self._closing.is_set() or self._failure is not None:
                break
            self._mourn(reason)
            if self._failure is not None:
                break
            self._set(
                state="starting", detail=f"restarting: {reason}", fraction=None, loads=0, resident_bytes={}, memory={}
            )
            self._closing.wait(self._restart.delay_s(self._deaths_in_a_row))
        if self._failure is None:
            self._set(state="closed", detail="", resident_bytes={}, memory={})
        else:
            self._set(state="failed", detail=str(self._failure), fraction=None, resident_bytes={}, memory={})
        self._wake_reader.close()
        self._wake_writer.close()

    def _mourn(self, reason: str) -> None:
        """Count a death, and give up on a model that does not even load."""
        log.warning("replica %d of %s: %s", self._snapshot.replica_id, self._job.spec.name, reason)
        self._set(deaths=self._snapshot.deaths + 1)
        self._deaths_in_a_row += 1
        self._failed_loads += 1
        if self._failed_loads >= self._restart.max_failed_loads:
            self._failure = ReplicaDied(
                f"The model could not be loaded {self._failed_loads} times in a row, so it is not tried again",
                value=reason,
                remedy="The server's log says more; restart the demo once the cause is gone.",
            )

    def _run_worker(self) -> str:
        """Start a process, serve with it until it ends, and say in a few words why it did."""
        try:
            process = WorkerProcess(self._job, name=f"worker-{self._snapshot.replica_id}")
        except OSError as error:
            return f"it could not be started ({error.strerror})"
        self._set(state="starting", detail="starting the model's process")
        has_stalled = self._watch(process)
        with self._lock:
            self._process = None
        if self._closing.is_set():
            self._end_answers(lambda: ShuttingDown("The demo is stopping", remedy="Ask again once it is back."))
            process.send(Shutdown())
        reason = process.end(at_once=has_stalled)
        if has_stalled:
            reason = f"it made no progress for {self._stall_s:g} s"
        reason, self._load_error = self._load_error or reason, ""
        self._end_answers(lambda: _died(reason), is_lost=not has_stalled)
        return reason

    def _watch(self, process: WorkerProcess) -> bool:
        """Pass on what the worker says until it ends or the replica closes; True when it had to be given up."""
        while not self._closing.is_set():
            try:
                event = process.listen(self._wake_reader, timeout_s=self._patience_s())
            except EOFError:
                return False
            if event is not None:
                self._last_event_s = time.monotonic()
                self._take(event, process)
            elif self._patience_s() == 0.0:
                return not self._closing.is_set()
        return False

    def _patience_s(self) -> float:
        """Until when to wait for the next event; looked at again now and then, as a request may come meanwhile."""
        if not self._answers:
            return self._stall_s
        return max(0.0, min(self._last_event_s + self._stall_s - time.monotonic(), self._stall_s))

    def _take(self, event: WorkerEvent, process: WorkerProcess) -> None:
        if isinstance(event, Token):
            if (answer := self._answers.get(event.request_id)) is not None:
                answer.add(event)
        elif isinstance(event, Done):
            speed = event.usage.tokens_per_s or self._snapshot.tokens_per_s
            self._set(served=self._snapshot.served + 1, tokens_per_s=speed)
            self._deaths_in_a_row = 0
            self._end_answer(event.request_id, event)
        elif isinstance(event, Failed):
            self._take_failure(event)
        elif isinstance(event, Memory):
            self._set(memory=event.devices)
        elif isinstance(event, Loading):
            self._count_load(process)
            self._set(state="loading", detail=event.stage, fraction=event.fraction)
        elif isinstance(event, Ready):
            self._failed_loads = 0
            with self._lock:
                self._process = process
            report = event.report
            facts = {"resident_bytes": report.resident_bytes, "parameters": report.parameters, "loads": report.loads}
            self._set(state="idle", detail="", fraction=None, load_s=report.seconds_s, **facts)

    def _count_load(self, process: WorkerProcess) -> None:
        """A process that says it is loading has begun to; each begins once, so only a death can raise the count."""
        if process is not self._last_loading:
            self._last_loading = process
            self._set(total_loads=self._snapshot.total_loads + 1)

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


def _died(reason: str) -> ReplicaDied:
    remedy = "It is being restarted; try again in a moment."
    return ReplicaDied("The process that was answering ended", value=reason, remedy=remedy)
