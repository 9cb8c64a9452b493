"""The designs that the engine is measured beside, each in a process of its own: plain `generate()`, and threads.

Owns copies of a model in one process, as CogVLM's composite demo has them: each request runs `generate()` in a thread,
on the copy with the fewest running. With one copy, that is what most demos do. Knows nothing of what is asked. Times
are seconds.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from demo.catalog import ModelSpec
from demo.config import EngineConfig
from demo.engine.devices import cpu_threads, detect
from demo.engine.manager import plan_all
from demo.imaging import to_pil
from demo.types import Message, Picture, Placement, Size

ENDED = "the process of the copies has ended"
GREY = Picture(Size(64, 64), bytes([128]) * (3 * 64 * 64))


@dataclass(frozen=True, slots=True)
class Ask:
    number: int
    messages: tuple[Message, ...]
    most_tokens: int


@dataclass(frozen=True, slots=True)
class Answered:
    number: int
    text: str
    tokens: int
    first_token_s: float  # from when it was asked, waiting included


@dataclass(frozen=True, slots=True)
class Failed:
    number: int
    error: str


class Peer:
    """Answers from any thread, `copies` at a time. What fails there is raised where the answer is waited for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Answered]] = {}
        self._count = 0
        self._has_ended = False
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, messages: tuple[Message, ...], most_tokens: int) -> Answered:
        with self._lock:
            if self._has_ended:
                raise RuntimeError(ENDED)
            self._count += 1
            number = self._count
            future = self._waiting[number] = Future()
            self._connection.send(Ask(number, messages, most_tokens))
        return future.result()

    def _listen(self) -> None:
        while True:
            try:
                answered: Answered | Failed = self._connection.recv()
            except (EOFError, OSError):  # the latter where it had not read all yet
                with self._lock:
                    self._has_ended = True
                    for future in self._waiting.values():
                        future.set_exception(RuntimeError(ENDED))
                return
            future = self._waiting.pop(answered.number)
            if isinstance(answered, Failed):
                future.set_exception(RuntimeError(answered.error))
            else:
                future.set_result(answered)


@contextmanager
def peer(config: EngineConfig, spec: ModelSpec, *, copies: int) -> Iterator[Peer]:
    """Starts the process and loads the copies, where the engine's planner would put its first replica."""
    placement = plan_all(config, {"chat": spec}, detect())[spec].placement_of(0, threads=cpu_threads())
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(theirs, spec, placement, copies), daemon=True)
    process.start()
    theirs.close()
    assert ours.recv() == "ready"
    try:
        yield Peer(ours)
    finally:
        process.kill()
        process.join()


def serve(connection: Connection, spec: ModelSpec, placement: Placement, copies: int) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the engine's workers
    import torch

    torch.set_num_threads(max(1, (placement.threads or 1) // copies))
    if copies > 1:  # two threads in it at a time end with an error on an H200: "mha_graph.execute(...) ... got false"
        torch.backends.cuda.enable_cudnn_sdp(False)
    hosts = [Host(spec, placement) for _ in range(copies)]
    for host in hosts:  # one after the other, as the engine's replicas are by their loads
        host.answer(Ask(0, (Message("user", "What is this?", (GREY,)),), 2), 0.0)
    sending = threading.Lock()

    def answer(host: Host, ask: Ask, asked_s: float) -> None:
        answered: Answered | Failed
        try:
            answered = host.answer(ask, asked_s)
        except Exception:  # noqa: BLE001 - the loop of a worker; nobody else would be told
            answered = Failed(ask.number, traceback.format_exc())
        with sending:
            host.num_waiting -= 1
            connection.send(answered)

    connection.send("ready")
    while True:
        ask, asked_s = connection.recv(), time.perf_counter()
        host = min(hosts, key=lambda one: one.num_waiting)
        with sending:
            host.num_waiting += 1
        host.thread.submit(answer, host, ask, asked_s)


class Host:
    """One copy. Its requests run one after the other, in one thread."""

    def __init__(self, spec: ModelSpec, placement: Placement) -> None:
        from demo.backends import hub, loading

        directory = hub.fetch_model(spec, _quiet)
        words = hub.fetch_tokenizer(spec, _quiet) or directory
        self._loaded = loading.load(spec, directory, words, placement)
        self.thread = ThreadPoolExecutor(1)
        self.num_waiting = 0

    def answer(self, ask: Ask, asked_s: float) -> Answered:
        import torch

        model, processor = self._loaded.model, self._loaded.processor
        clock = _Clock()
        with torch.inference_mode():
            inputs = processor.apply_chat_template(
                [_turn(message) for message in ask.messages],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            ).to(model.device, dtype=model.dtype)
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=ask.most_tokens, streamer=clock)
        new = ids[0, inputs["input_ids"].shape[1] :]
        text = processor.tokenizer.decode(new, skip_special_tokens=True).strip()
        return Answered(ask.number, text, len(new), clock.first_s - asked_s)


class _Clock:
    """A streamer that notes when the first token comes; the prompt is put first."""

    def __init__(self) -> None:
        self._count = 0
        self.first_s = 0.0

    def put(self, _value: object) -> None:
        self._count += 1
        if self._count == 2:
            self.first_s = time.perf_counter()

    def end(self) -> None:
        pass


def _turn(message: Message) -> dict[str, Any]:
    images = [{"type": "image", "image": to_pil(picture)} for picture in message.pictures]
    return {"role": message.speaker, "content": [*images, {"type": "text", "text": message.text}]}


def _quiet(_stage: str, _fraction: float | None) -> None:
    """A download's progress is not what is measured."""
