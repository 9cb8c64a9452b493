"""One copy of a model in a process of its own, and the thread that looks after it.

Owns a worker's life (start, watch, restart, park and resume, close) and the requests it holds. Knows nothing of queues
of users, plans or pages, or of what is told of all that (`bulletin`). Seconds end in ``_s``.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from demo.engine.answer import Answer, OpenAnswers
from demo.engine.bulletin import NOTHING_HELD, Bulletin
from demo.engine.events import (
    Cancel,
    Done,
    Failed,
    Generate,
    Loading,
    Memory,
    Offered,
    Park,
    Parked,
    Ready,
    Resume,
    Resumed,
    Shutdown,
    Token,
    WorkerEvent,
)
from demo.engine.handover import Handover, Share
from demo.engine.process import WorkerProcess
from demo.engine.restarts import DEFAULT_RESTART, RestartPolicy, Restarts
from demo.engine.seat import Seat
from demo.engine.snapshots import ReplicaSnapshot, State
from demo.engine.worker import WorkerJob
from demo.errors import DemoError, EndpointDown, InvalidInput, ReplicaDied, ShuttingDown, from_kind
from demo.types import GenerateRequest

__all__ = ["DEFAULT_RESTART", "ProcessReplica", "ReplicaSnapshot", "RestartPolicy"]

WAITING_FOR_TURN = "waiting for its turn on the card"
LEAVING_CARD = "leaving the card to another model"
TAKING_TURN = "taking its turn on the card"
MAY_PASS = (DemoError.kind, EndpointDown.kind)  # failures of a load that another try may not meet

log = logging.getLogger(__name__)


class ProcessReplica:
    """Hosts one worker process and restarts it when it dies. `start` returns at once."""

    def __init__(
        self,
        replica_id: int,
        job: WorkerJob,
        *,
        stall_s: float = 300.0,
        restart: RestartPolicy = DEFAULT_RESTART,
        handover: Handover | None = None,
    ) -> None:
        self._job = job
        self._share = Share(handover or Handover(), job.part)
        self._stall_s = stall_s
        self._restarts = Restarts(restart)
        is_here = job.spec.backend != "openai"
        devices = tuple(sorted(set(job.placement.device_map.values()))) if is_here else ()
        planned, weights = dict(job.planned), dict(job.placement.planned)
        first = ReplicaSnapshot(
            replica_id, job.spec.name, "starting", "", None, devices, planned, weights,
            takes_turns=job.takes_turns, slots=job.placement.slots,
        )  # fmt: skip
        self._bulletin = Bulletin(first)
        self._load_error = ""  # of the process that runs now, where a restart might help
        self._answers = OpenAnswers()
        self._process: WorkerProcess | None = None  # there while it is ready
        self._seat = Seat()
        self._is_loaded = self._is_moving = self._is_resting = False  # of the process that runs now
        self._last_event_s = 0.0
        self._closing = threading.Event()
        self._wake_reader, self._wake_writer = multiprocessing.Pipe(duplex=False)
        self._thread = threading.Thread(target=self._supervise, name=f"replica-{replica_id}", daemon=True)

    def start(self, *, on_change: Callable[[], None] = lambda: None) -> None:
        """Start the worker; ``on_change`` is called whenever the state changes, from the replica's own thread."""
        self._bulletin.watch(on_change)
        self._thread.start()

    @property
    def model(self) -> str:
        return self._job.spec.name

    @property
    def slots(self) -> int:
        """How many answers it makes at a time: as planned, once it is loaded as the model can."""
        return self._bulletin.now.slots

    @property
    def places(self) -> int:
        """How many requests it takes at a time: where prompts are prepared ahead, more than it answers."""
        return self._job.placement.places(self.slots)

    @property
    def is_ready(self) -> bool:
        return self._process is not None

    @property
    def is_loaded(self) -> bool:
        """Ready, or parked and soon ready once its turn comes."""
        return self._is_loaded

    @property
    def is_resting(self) -> bool:
        """Its process ended, and the next one is not started yet."""
        return self._is_resting

    @property
    def is_on_card(self) -> bool:
        return self._seat.is_taken

    @property
    def needs_load(self) -> bool:
        return not (self._is_loaded or self._is_resting or self.failure is not None or self._closing.is_set())

    def take_turn(self) -> None:
        """Come onto the card, from main memory or by loading. Returns at once, as `end_turn` does."""
        self._seat.grant()
        self._wake()

    def end_turn(self) -> None:
        """Leave the card as soon as nothing moves any more; to be called while no answer runs or may begin."""
        self._seat.withdraw()
        self._wake()

    @property
    def failure(self) -> DemoError | None:
        """Why it gave up for good."""
        return self._restarts.failure

    def snapshot(self) -> ReplicaSnapshot:
        snapshot, running = replace(self._bulletin.now, places=self.places), len(self._answers)
        return replace(snapshot, state="busy", running=running) if snapshot.state == "idle" and running else snapshot

    def open(self, request: GenerateRequest, *, on_end: Callable[[], None]) -> Answer:
        """Send a request to the worker; never waits for it."""
        answer = Answer(request, cancel=self._cancel, on_end=on_end)
        if not self._answers:
            self._last_event_s = time.monotonic()
        self._answers.add(answer)
        # Added before the look at the process: one that dies from here on is taken away before its answers are ended.
        process = self._process
        if process is None:  # it died between the lease and now
            self._answers.end(request.request_id, _died("the process is being restarted"), is_lost=True)
        else:
            process.send(Generate(request))
        return answer

    def request_close(self) -> None:
        """Begin to close; `join` waits for it."""
        self._closing.set()
        if self._thread.ident is None:  # never started
            self._bulletin.tell(state="closed")
            return
        self._seat.give_up()
        self._wake()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the process and its thread."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _cancel(self, request_id: str) -> None:
        process = self._process
        if process is not None:
            process.send(Cancel(request_id))

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # the thread has ended
            self._wake_writer.send_bytes(b"w")

    # --- the supervising thread. It lives as long as the replica does: Linux ends a worker with the thread that started
    # it (PR_SET_PDEATHSIG), not with the process.

    def _supervise(self) -> None:
        if hasattr(signal, "pthread_sigmask"):  # inherited: Ctrl-C must not reach a worker before it can ignore it
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while self._has_come_to_card():
            reason = self._run_worker()
            self._share.ended()
            self._seat.leave()
            if not self._closing.is_set() and self.failure is None:
                self._mourn(reason)
            if self._closing.is_set() or self.failure is not None:
                break
            self._is_resting = True
            self._bulletin.tell(
                state="starting", detail=f"restarting: {reason}", fraction=None, loads=0, **NOTHING_HELD
            )
            self._closing.wait(self._restarts.delay_s)
            self._is_resting = False
        failure = self.failure
        state, detail = ("closed", "") if failure is None else ("failed", str(failure))
        self._bulletin.tell(state=state, detail=detail, fraction=None, **NOTHING_HELD)
        self._wake_reader.close()
        self._wake_writer.close()

    def _has_come_to_card(self) -> bool:
        """Wait for the turn to load; False when the replica closes before it comes."""
        while not self._closing.is_set():
            if self._seat.take():
                return True
            self._bulletin.tell(state="starting", detail=WAITING_FOR_TURN, fraction=None)
            self._seat.wait()
        return False

    def _mourn(self, reason: str) -> None:
        self._bulletin.has_died(reason)
        self._restarts.has_died(reason)

    def _run_worker(self) -> str:
        """Start a process, serve with it until it ends, and say in a few words why it did."""
        try:
            process = WorkerProcess(self._job, name=f"worker-{self._bulletin.now.replica_id}")
        except OSError as error:
            return f"it could not be started ({error.strerror})"
        self._bulletin.has_started(process.pid)
        self._share.started(process.send)
        has_stalled = self._watch(process)
        self._process = None
        self._is_loaded = self._is_moving = False
        if self._closing.is_set():
            self._answers.end_all(lambda: ShuttingDown("The demo is stopping", remedy="Ask again once it is back."))
            process.send(Shutdown())
        reason = process.end(at_once=has_stalled)
        if has_stalled:
            reason = f"it made no progress for {self._stall_s:g} s"
        reason, self._load_error = self._load_error or reason, ""
        self._answers.end_all(lambda: _died(reason), is_lost=not has_stalled)
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
            elif self._wake_reader.poll():
                self._wake_reader.recv_bytes()
            elif self._patience_s() == 0.0:
                return not self._closing.is_set()
            self._follow_turn(process)
        return False

    def _follow_turn(self, process: WorkerProcess) -> None:
        """Have the model leave the card or return to it where that is due, one move at a time."""
        may_stay = self._seat.is_granted
        if not self._is_loaded or self._is_moving or may_stay == self.is_ready:
            return
        if not may_stay:
            self._process = None
            self._move(Park(), process, state="parked", detail=LEAVING_CARD)
        elif self._seat.take():
            self._move(Resume(), process, state="loading", detail=TAKING_TURN)

    def _move(self, command: Park | Resume, process: WorkerProcess, *, state: State, detail: str) -> None:
        self._is_moving, self._last_event_s = True, time.monotonic()
        self._bulletin.tell(state=state, detail=detail, fraction=None)
        process.send(command)

    def _patience_s(self) -> float:
        """Until when to wait for the next event; looked at again now and then, as a request may come meanwhile."""
        if not self._answers and not self._is_moving:
            return self._stall_s
        return max(0.0, min(self._last_event_s + self._stall_s - time.monotonic(), self._stall_s))

    def _take(self, event: WorkerEvent, process: WorkerProcess) -> None:
        if isinstance(event, Token):
            self._answers.pass_on(event)
        elif isinstance(event, Done):
            self._bulletin.has_answered(event.usage)
            self._restarts.has_answered()
            self._answers.end(event.request_id, replace(event, replica=self._bulletin.now.replica_id))
        elif isinstance(event, Failed):
            self._take_failure(event)
        elif isinstance(event, Memory):
            self._bulletin.tell(memory=event.devices)
        elif isinstance(event, Loading):
            self._bulletin.is_loading(event.stage, event.fraction)
        elif isinstance(event, Offered):
            self._share.offered(event.weights)
        elif isinstance(event, Ready):
            self._restarts.has_loaded()
            self._is_loaded = True
            self._process = process
            self._bulletin.has_loaded(event.report)
        elif isinstance(event, Parked):
            self._is_moving = False
            self._seat.leave()
            self._bulletin.tell(state="parked", detail=WAITING_FOR_TURN)
        elif isinstance(event, Resumed):
            self._is_moving = False
            self._process = process
            self._bulletin.tell(state="idle", detail="")

    def _take_failure(self, event: Failed) -> None:
        error = from_kind(event.kind, event.message)
        if isinstance(error, InvalidInput) and event.request_id:  # whoever asked is told; there is nothing to mend here
            log.info("replica %d refused a question: %s", self._bulletin.now.replica_id, event.message)
        else:
            log.error("replica %d: %s\n%s", self._bulletin.now.replica_id, event.message, event.trace)
        if event.request_id:
            self._answers.end(event.request_id, error)
        elif event.kind not in MAY_PASS and not self._is_loaded:  # one of ours: a restart would meet it again
            self._restarts.give_up(error)
        else:
            self._load_error = event.message


def _died(reason: str) -> ReplicaDied:
    remedy = "It is being restarted; try again in a moment."
    return ReplicaDied("The process that was answering ended", value=reason, remedy=remedy)
