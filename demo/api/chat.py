"""The OpenAI-compatible routes: POST /v1/chat/completions, GET /v1/models and /v1/models/NAME, and no others below /v1.

Owns the edge between the event loop and the engine's iterators, and what a client that leaves sets off: its answer
stops within two tokens, whether it streamed or waited. Requests go to the same manager as the page's and wait in the
same pools; more of them than can be answered or wait are turned away at once. Knows nothing of the page.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing
from typing import Protocol

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from demo.api.completions import KEEP_ALIVE, STREAM_END, Completion, error_of, event_of, model_of, models_of
from demo.api.protocol import Call, not_served, read_call
from demo.api.routes import Service, add_route, may_read, refusal
from demo.catalog import ModelSpec
from demo.engine.events import Done, Ping, StreamEvent, Token
from demo.errors import Busy, DemoError, InvalidInput, ModelNotFound
from demo.types import GenerateRequest, Role

RETRY_AFTER_S = 5
STATUS_S = 2.0  # that the status waits for a first word or an error; after that signs of life are sent
SERVED = ("POST /v1/chat/completions", "GET /v1/models", "GET /v1/models/NAME")
GONE = 499  # the client closed the connection; nobody reads the answer

log = logging.getLogger(__name__)


class Engine(Protocol):
    """What the routes need of the `ModelManager`."""

    @property
    def specs(self) -> Mapping[Role, ModelSpec]: ...

    @property
    def capacity(self) -> int: ...

    def stream(self, request: GenerateRequest) -> Generator[StreamEvent, None, None]: ...


def add_chat_routes(app: FastAPI, service: Service, engine: Engine, *, max_queue: int) -> None:
    """On the app that gradio's launch returned. ``max_queue`` requests of this API may wait for a place."""
    desk = Desk(service, engine, max_queue)
    add_route(app, "/v1/{rest:path}", desk.others, "GET", "POST", "PUT", "PATCH", "DELETE")  # the first is the last
    add_route(app, "/v1/models/{name:path}", desk.model)
    add_route(app, "/v1/models", desk.models)
    add_route(app, "/v1/chat/completions", desk.completions, "POST")


class Desk:
    """Takes requests and hands out their answers."""

    def __init__(self, service: Service, engine: Engine, max_queue: int) -> None:
        self._service = service
        self._engine = engine
        self._most = engine.capacity + max_queue
        self._threads = CapacityLimiter(self._most)  # one for each request, so that none waits for another's
        self._num_open = 0
        self._started = int(time.time())

    async def models(self, request: Request) -> Response:
        if not may_read(self._service, request):
            return refusal()
        return JSONResponse(models_of(self._specs, self._started))

    async def model(self, request: Request, name: str) -> Response:
        if not may_read(self._service, request):
            return refusal()
        if spec := self._specs.get(name):
            return JSONResponse(model_of(spec, self._started))
        return _failed(not_served(name, self._engine.specs))

    async def others(self, request: Request) -> Response:
        if not may_read(self._service, request):
            return refusal()
        asked = f"{request.method} {request.url.path}"[:80]
        error = InvalidInput("This is not served here", value=asked, remedy=f"Served: {', '.join(SERVED)}.")
        return JSONResponse(error_of(error, 404), status_code=404)

    @property
    def _specs(self) -> dict[str, ModelSpec]:
        return {spec.name: spec for spec in self._engine.specs.values()}

    async def completions(self, request: Request) -> Response:
        if not may_read(self._service, request):
            return refusal()
        body = await request.body()
        try:
            call = await to_thread.run_sync(read_call, body, self._engine.specs)
            if self._num_open >= self._most:
                raise Busy("Every place is taken", value=f"{self._num_open} requests", remedy="Try again in a moment.")
            answer = Completion(call, self._engine.specs[call.request.role])
            events = self._events(call)
            return await (_streamed if call.streams else _whole)(request, events, answer)
        except DemoError as error:
            return _failed(error)

    async def _events(self, call: Call) -> AsyncGenerator[StreamEvent, None]:
        """The engine's events, each waited for in a thread. Leaving it cancels the answer and does not wait."""
        stream = self._engine.stream(call.request)
        self._num_open += 1
        try:
            while (event := await to_thread.run_sync(next, stream, None, limiter=self._threads)) is not None:
                yield event
        finally:
            self._num_open -= 1
            stream.close()


async def _streamed(request: Request, events: AsyncGenerator[StreamEvent, None], answer: Completion) -> Response:
    """A stream of events; what goes wrong before the first word is still told by the status, if it comes soon."""
    try:
        first = await _first(request, events)
    except BaseException:
        await events.aclose()
        raise
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # nginx would hold it back
    return _Stream(_chunks(first, events, answer), media_type="text/event-stream", headers=headers)


async def _first(request: Request, events: AsyncGenerator[StreamEvent, None]) -> StreamEvent:
    """The first event that is more than a sign of life, or the sign of life that comes when enough was waited."""
    end_s = time.monotonic() + STATUS_S
    event = await anext(events)
    while isinstance(event, Ping) and time.monotonic() < end_s and not await request.is_disconnected():
        event = await anext(events)
    return event


async def _whole(request: Request, events: AsyncGenerator[StreamEvent, None], answer: Completion) -> Response:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Done):
                return JSONResponse(answer.whole(event))
            if isinstance(event, Token):
                answer.text += event.text
            if await request.is_disconnected():  # nothing else tells of it while nothing is sent
                break
    return Response(status_code=GONE)


async def _chunks(
    first: StreamEvent, events: AsyncGenerator[StreamEvent, None], answer: Completion
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        yield answer.first_chunk()
        try:
            yield _chunk(first, answer)
            async for event in events:
                yield _chunk(event, answer)
        except DemoError as error:
            yield event_of(error_of(error, error.http_status)) + STREAM_END
        except Exception:  # the request edge: the client is told that it failed, the log how
            log.exception("a request of /v1/chat/completions failed")
            yield event_of(error_of(DemoError("The answer failed. The log has the details"), 500)) + STREAM_END


def _chunk(event: StreamEvent, answer: Completion) -> bytes:
    if isinstance(event, Ping):
        return KEEP_ALIVE
    return answer.chunk(event.text) if isinstance(event, Token) else answer.last_chunks(event)


def _failed(error: DemoError) -> Response:
    status = 429 if isinstance(error, Busy) else 404 if isinstance(error, ModelNotFound) else error.http_status
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
    return JSONResponse(error_of(error, status), status_code=status, headers=headers)


class _Stream(StreamingResponse):
    """Closes what it sends as soon as nobody reads it, not when it is collected."""

    body_iterator: AsyncGenerator[bytes, None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()
