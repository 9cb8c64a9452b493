"""The worker process: loads one model once and answers one request after the other.

Owns the process's main thread (loading and generating), one thread that reads commands off the pipe, and the way an
exception becomes data. Knows nothing of other replicas. Backends are imported here only, late and by name, so that the
process that serves the page never imports torch. The process ends when its parent does, in the middle of a token too.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, cast

from demo.engine.events import Cancel, Done, Failed, Generate, Loading, LoadReport, Ready, Shutdown, Token, WorkerEvent
from demo.errors import ConfigError, DemoError, OutOfMemory, ReplicaDied
from demo.types import GenerateRequest, Placement, Usage

if TYPE_CHECKING:
    from demo.backends.base import Backend
    from demo.catalog import ModelSpec

BACKENDS = {"hf": "demo.backends.hf:HFBackend", "fake": "demo.backends.fake:FakeBackend"}
PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>

# What the frameworks raise when memory runs out; told by name, because this file does not import them.
OUT_OF_MEMORY_NAMES = ("OutOfMemoryError", "MemoryError")
OUT_OF_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory")
# After these the process's CUDA context is gone for good; only a new process helps.
LOST_DEVICE_WORDS = ("CUDA error", "device-side assert", "unspecified launch failure")


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """All that a worker is told at its start; it crosses the process boundary."""

    spec: ModelSpec
    placement: Placement
    planned: Mapping[str, int] = field(default_factory=dict)  # device -> bytes, everything counted


def main(connection: Connection, job: WorkerJob, parent: int) -> None:
    """The process's body; ``parent`` is the id of the process that must stay alive."""
    _tie_to_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    _choose_cards(job.placement)
    _share_cores()
    inbox = Inbox(connection)
    inbox.start()
    sender = Sender(connection)
    try:
        backend = _load(job, sender)
    except Exception as error:  # noqa: BLE001 - it crosses the pipe as data
        sender.send(describe(error, request_id=""))
        os._exit(1)  # frameworks leave threads behind that a normal exit would wait for
    while (request := inbox.next()) is not None:
        _answer(backend, request, inbox, sender)
    backend.close()
    os._exit(0)


class Inbox:
    """The commands of the parent: requests in their order, and what was cancelled meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._requests: queue.SimpleQueue[GenerateRequest | None] = queue.SimpleQueue()
        self._cancelled: dict[str, threading.Event] = {}  # of the requests that have not ended
        self._stopping = threading.Event()
        self._is_serving = False

    def start(self) -> None:
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def next(self) -> GenerateRequest | None:
        """The next request; None when the process should end."""
        self._is_serving = True
        request = self._requests.get()
        return None if self._stopping.is_set() else request

    def is_cancelled(self, request_id: str) -> bool:
        return self._stopping.is_set() or self._cancelled[request_id].is_set()

    def forget(self, request_id: str) -> None:
        self._cancelled.pop(request_id, None)

    def _read(self) -> None:
        while True:
            try:
                command = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)  # the parent is gone; whatever the main thread computes, nobody waits for it
            if isinstance(command, Generate):
                self._cancelled[command.request.request_id] = threading.Event()
                self._requests.put(command.request)
            elif isinstance(command, Cancel):
                flag = self._cancelled.get(command.request_id)
                if flag is not None:  # else it has just ended
                    flag.set()
            elif isinstance(command, Shutdown):
                if not self._is_serving:
                    os._exit(0)  # a load looks at no flag
                self._stopping.set()
                self._requests.put(None)


class Sender:
    """The way out, for any thread (downloads report from their own); a parent that is gone ends the process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, event: WorkerEvent) -> None:
        try:
            with self._lock:
                self._connection.send(event)
        except OSError:
            os._exit(0)


def _load(job: WorkerJob, sender: Sender) -> Backend:
    started_s = time.monotonic()
    sender.send(Loading("importing the libraries"))
    backend = _backend(job.spec.backend)
    facts = backend.load(job.spec, job.placement, lambda stage, fraction: sender.send(Loading(stage, fraction)))
    seconds_s = time.monotonic() - started_s
    sender.send(Ready(LoadReport(facts.parameters, facts.resident_bytes, facts.dtype, seconds_s)))
    return backend


def _backend(name: str) -> Backend:
    if name not in BACKENDS:
        raise ConfigError("Unknown backend", value=name, remedy=f"Known: {', '.join(BACKENDS)}.")
    module, _, attribute = BACKENDS[name].partition(":")
    return cast("Backend", getattr(importlib.import_module(module), attribute)())


def _answer(backend: Backend, request: GenerateRequest, inbox: Inbox, sender: Sender) -> None:
    """Generate one answer; whatever goes wrong becomes a `Failed`, and the worker goes on."""
    event: WorkerEvent
    try:
        event = _generate(backend, request, inbox, sender)
    except Exception as error:  # noqa: BLE001 - it crosses the pipe as data
        event = describe(error, request_id=request.request_id)
    if isinstance(event, Failed):
        _release_memory()  # not above: there the error still holds the frames, and they the tensors
    inbox.forget(request.request_id)
    sender.send(event)
    if isinstance(event, Failed) and event.kind == ReplicaDied.kind:
        os._exit(1)


def _generate(backend: Backend, request: GenerateRequest, inbox: Inbox, sender: Sender) -> Done:
    request_id = request.request_id
    if inbox.is_cancelled(request_id):  # while it waited behind another
        return Done(request_id, "cancelled", Usage(0, 0, 0.0, 0.0))
    for item in backend.stream(request, lambda: inbox.is_cancelled(request_id)):
        if not isinstance(item, str):
            return Done(request_id, item.reason, item.usage)
        sender.send(Token(request_id, item))
    raise RuntimeError("the backend's stream ended without a Finish")


def describe(error: Exception, *, request_id: str) -> Failed:
    """An exception as data: our own keep their kind and words, the rest gets a sentence without server paths."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    shown = error if isinstance(error, DemoError) else _translate(error, loading=not request_id)
    return Failed(request_id, shown.kind, str(shown), trace)


def _translate(error: Exception, *, loading: bool) -> DemoError:
    name = type(error).__name__
    words = str(error)
    if name in OUT_OF_MEMORY_NAMES or any(word in words for word in OUT_OF_MEMORY_WORDS):
        if loading:
            return OutOfMemory("The model does not fit the memory that is free", remedy="Try a smaller one or --dtype.")
        remedy = "Try a smaller picture, a shorter conversation or a shorter answer."
        return OutOfMemory("The model ran out of memory while answering", remedy=remedy)
    if any(word in words for word in LOST_DEVICE_WORDS):
        remedy = "The model is being restarted; try again in a moment."
        return ReplicaDied("The device reported a fault it cannot recover from", remedy=remedy)
    what = "The model could not be loaded" if loading else "The model failed on this request"
    return DemoError(what, value=name, remedy="The server's log has the details.")


def _release_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _choose_cards(placement: Placement) -> None:
    """Before any framework is imported: number the cards as the planner did; hide them from a replica on the CPU."""
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    if set(placement.device_map.values()) == {"cpu"}:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


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
