"""The worker process: loads one model once and answers as many requests at a time as the model can.

Owns the process's main thread (loading, changing places) and a thread for each answer at a time; the pipe's end is in
`mailbox`. Knows nothing of other replicas. Backends are imported in this process only, late and by name, so that the
one that serves the page never imports torch. It ends when its parent does, in the middle of a token too.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from demo.engine.events import (
    Done,
    Failed,
    Generate,
    Loading,
    LoadReport,
    Memory,
    Park,
    Parked,
    Ready,
    Resume,
    Resumed,
    Token,
    WorkerEvent,
)
from demo.engine.faults import describe
from demo.engine.handover import Part
from demo.engine.libraries import backend_named, let_be_heard
from demo.engine.mailbox import Inbox, Order, PipeFeed, Sender
from demo.engine.own_cards import VISIBLE, OwnCards
from demo.errors import ReplicaDied
from demo.spans import whole
from demo.types import DeviceMemory, GenerateRequest, Placement, Usage

if TYPE_CHECKING:
    from demo.catalog import ModelSpec

MEMORY_S = 1.0  # between two reports of memory while answers come fast
PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """All that a worker is told at its start; it crosses the process boundary."""

    spec: ModelSpec
    placement: Placement
    planned: Mapping[str, int] = field(default_factory=dict)  # device -> bytes, everything counted
    takes_turns: bool = False
    part: Part = ""  # in the handing on of the model's weights
    log_level: int = logging.WARNING  # of what the demo's own modules say in the worker's process


def main(connection: Connection, job: WorkerJob, parent: int) -> None:
    """The process's body; ``parent`` is the id of the process that must stay alive."""
    _tie_to_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    own = _choose_cards(job.placement)
    let_be_heard(job.log_level, own.told)
    _share_cores()
    inbox = Inbox(connection)
    inbox.start()
    host = Host(_as_seen(job, own), inbox, Sender(connection, own))
    host.load()
    while (command := inbox.next()) is not None:
        host.obey(command)
    host.close()
    os._exit(0)  # frameworks leave threads behind that a normal exit would wait for


class Host:
    """One model, loaded once, that answers, parks and resumes as it is told."""

    def __init__(self, job: WorkerJob, inbox: Inbox, sender: Sender) -> None:
        self._job = job
        self._inbox = inbox
        self._sender = sender
        self._loads = 0
        self._lock = threading.Lock()  # guards the next two
        self._told: dict[str, DeviceMemory] = {}
        self._told_s = 0.0

    def load(self) -> None:
        """Load the model; the process ends where that fails."""
        try:
            self._load()
        except Exception as error:  # noqa: BLE001 - it crosses the pipe as data
            self._sender.send(describe(error, job=self._job))
            os._exit(1)

    def obey(self, command: Order) -> None:
        if isinstance(command, Generate):
            self._answers.submit(self._answer, command.request)
        else:
            self._move(command)

    def close(self) -> None:
        self._backend.close()

    def _load(self) -> None:
        job, send = self._job, self._sender.send
        started_s = time.monotonic()
        send(Loading("importing the libraries"))
        self._backend = backend_named(job.spec.backend)
        imports_s = time.monotonic() - started_s
        self._loads += 1
        feed = PipeFeed(job.part, self._inbox, self._sender) if job.part else None
        facts = self._backend.load(job.spec, job.placement, lambda stage, of: send(Loading(stage, of)), feed)
        most = 2 * job.placement.places(facts.slots)  # the patient, and as many others besides
        self._answers = ThreadPoolExecutor(most, "answer")
        seconds_s = time.monotonic() - started_s
        self._tell_memory()
        spans_s = whole({"imports": imports_s, **facts.spans_s}, seconds_s)
        found = (facts.parameters, facts.resident_bytes, facts.dtype, seconds_s, self._loads, facts.slots, spans_s)
        send(Ready(LoadReport(*found)))

    def _answer(self, request: GenerateRequest) -> None:
        """Generate one answer; whatever goes wrong becomes a `Failed`, and the worker goes on."""
        event: WorkerEvent
        try:
            event = self._generate(request)
        except Exception as error:  # noqa: BLE001 - it crosses the pipe as data
            event = describe(error, request_id=request.request_id)
        if isinstance(event, Failed):
            _release_memory()  # not above: there the error still holds the frames, and they the tensors
        self._inbox.forget(request.request_id)
        is_lost = isinstance(event, Failed) and event.kind == ReplicaDied.kind
        if not is_lost:  # else the device would not even say what it holds
            self._tell_memory(at_most_every_s=MEMORY_S)
        self._sender.send(event)
        if is_lost:
            os._exit(1)

    def _generate(self, request: GenerateRequest) -> Done:
        request_id = request.request_id
        if self._inbox.is_cancelled(request_id):  # while it waited behind another
            return Done(request_id, "cancelled", Usage(0, 0, 0.0, 0.0))
        for item in self._backend.stream(request, lambda: self._inbox.is_cancelled(request_id)):
            if not isinstance(item, str):
                return Done(request_id, item.reason, item.usage)
            self._sender.send(Token(request_id, item))
        raise RuntimeError("the backend's stream ended without a Finish")

    def _move(self, command: Park | Resume) -> None:
        """Off the card or back. A model that is stuck half-way frees the card by ending; its next turn loads it."""
        is_leaving = isinstance(command, Park)
        try:
            if is_leaving:
                self._backend.park()
            else:
                self._backend.resume()
        except Exception as error:  # noqa: BLE001 - it crosses the pipe as data
            self._sender.send(describe(error, job=self._job, doing="leaving the card" if is_leaving else "returning"))
            os._exit(1)
        self._tell_memory()
        self._sender.send(Parked() if is_leaving else Resumed())

    def _tell_memory(self, *, at_most_every_s: float = 0.0) -> None:
        """Tell it before what it belongs to, so that whoever sees the answer's end sees its memory; peaks always."""
        with self._lock:
            held = self._backend.memory()
            has_grown = any(id not in self._told or held[id].peak > self._told[id].peak for id in held)
            if has_grown or time.monotonic() - self._told_s >= at_most_every_s:
                self._told, self._told_s = held, time.monotonic()
                self._sender.send(Memory(held))


def _release_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _choose_cards(placement: Placement) -> OwnCards:
    """Before any framework is imported: show the process its replica's cards alone, none to one on the CPU."""
    own = OwnCards.of(placement)
    os.environ.update(own.environment(os.environ.get(VISIBLE)))
    return own


def _as_seen(job: WorkerJob, own: OwnCards) -> WorkerJob:
    """The job in the names that the process has for its cards; what it says of them is translated on its way out."""
    return replace(job, placement=own.placement(job.placement), planned=own.inside(job.planned))


def _share_cores() -> None:
    """Also before any framework: its threads sleep while they wait for each other.

    Spinning, as OpenMP does by default, they take the cores from each other as soon as anything else runs there: with
    two busy cores the bundled model makes 10 tokens a second instead of 130, and it is no faster on idle ones.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _tie_to_parent(parent: int) -> None:
    """Ask Linux to kill this process with its parent; elsewhere, and meanwhile, the pipe's end does it."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
