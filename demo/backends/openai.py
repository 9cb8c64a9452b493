"""A model that somebody else serves, by the OpenAI chat API (vLLM, SGLang, transformers serve, another demo, …).

Owns the requests to one server: which model it has, and streamed answers, whose connection is cut when they are not
wanted any more, which is how such servers are told to stop. It runs in a worker as any backend does, so that a server
that hangs or breaks the protocol is contained as a model would be. No weights are here. Knows nothing of pools. Seconds
end in ``_s``.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from demo.backends.base import Feed, Finish, LoadFacts, Progress
from demo.errors import Busy, ConfigError, ContextTooLong, DemoError, EndpointDown, InvalidInput, ModelNotFound
from demo.imaging import encode, from_pil, reduced
from demo.reasoning import Tags
from demo.types import DeviceMemory, GenerateRequest, Message, Picture, Placement, StopReason, Usage

if TYPE_CHECKING:
    from demo.catalog import ModelSpec

KEY_VARIABLE = "DEMO_ENDPOINT_KEY"  # what the server wants as a bearer token; a flag would show it to all users of ps
CONNECT_S = 10.0
TICK_S = 0.1  # how often it is asked whether the answer is still wanted
PNG_PIXELS = 1_000_000  # larger pictures go as JPEGs of high quality
MOST_WORDS = 300  # characters of a server's own message that are passed on
BROKEN = (OSError, HTTPException, ValueError)  # what a connection or a stream that breaks raises


class OpenAIBackend:
    """One server."""

    def load(self, spec: ModelSpec, placement: Placement, progress: Progress, _feed: Feed | None = None) -> LoadFacts:
        self._server = Server(next(iter(placement.device_map.values())))
        self._spec = spec
        progress("asking the server for its models", None)
        self._model = self._chosen(spec)
        return LoadFacts(0, {}, "remote", placement.slots)

    def stream(self, request: GenerateRequest, cancelled: Callable[[], bool]) -> Iterator[str | Finish]:
        body = body_of(request, self._model, self._spec.max_side)
        incoming = Incoming(self._server, body, next(iter(self._spec.traits.thoughts), None))
        try:
            yield from incoming.read(cancelled)
        finally:
            incoming.close()

    def memory(self) -> dict[str, DeviceMemory]:
        return {}

    def park(self) -> None:
        """There is no card to leave."""

    def resume(self) -> None:
        """Nor one to come back to."""

    def close(self) -> None:
        """Each answer has closed its own connection."""

    def _chosen(self, spec: ModelSpec) -> str:
        """The server's name for the model: the one that is asked for, else the only one there is."""
        names = self._server.models()
        if names is None and spec.source:  # it has a list and cannot make it; what it serves, it may serve all the same
            return spec.source
        if not names:
            remedy = "Give the address of an OpenAI-compatible API, such as http://HOST:8000/v1."
            raise EndpointDown("The server does not list its models", remedy=remedy)
        if spec.source in names or spec.name in names:
            return spec.source if spec.source in names else spec.name
        if len(names) == 1:
            return names[0]
        remedy = "Name one of these with --model."
        raise ConfigError(f"The server has no model {spec.source}", value=", ".join(names), remedy=remedy)


class Server:
    """Where it is, and how to reach it; no proxy, no redirects."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    def connect(self) -> HTTPConnection:
        """A connection, waited for no longer than `CONNECT_S`; reading from it may take any time."""
        cls = HTTPSConnection if self._url.scheme == "https" else HTTPConnection
        connection = cls(self._url.hostname or "", self._url.port, timeout=CONNECT_S)
        try:
            connection.connect()
        except OSError as error:
            reason = error.strerror or "no answer"
            remedy = "Try again in a moment."
            raise EndpointDown("The server of the model cannot be reached", value=reason, remedy=remedy) from error
        connection.sock.settimeout(None)
        return connection

    def send(self, connection: HTTPConnection, method: str, path: str, body: dict[str, Any] | None) -> HTTPResponse:
        """The response; raises what a refusal means."""
        response = self._response(connection, method, path, body)
        if response.status != 200:
            raise refusal(response.status, response.read(65_536))
        return response

    def _response(
        self, connection: HTTPConnection, method: str, path: str, body: dict[str, Any] | None
    ) -> HTTPResponse:
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        if key := os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, f"{self._url.path}{path}", body=data, headers=headers)
        return connection.getresponse()

    def models(self) -> list[str] | None:
        """Their names; none where what comes is no list, None where the server failed while making it."""
        connection = self.connect()
        try:
            connection.sock.settimeout(CONNECT_S)
            response = self._response(connection, "GET", "/models", None)
            if response.status >= 500:
                return None
            if response.status != 200:
                raise refusal(response.status, response.read(65_536))
            return [str(entry["id"]) for entry in json.loads(response.read(10_000_000))["data"]]
        except (*BROKEN, LookupError, TypeError):
            return []
        finally:
            connection.close()


class Incoming:
    """One answer on its way in. A thread reads it, so that a cancel is seen while nothing comes.

    Reasoning that the server tells apart is put between ``tags`` again, or left out where the family has none.
    """

    def __init__(self, server: Server, body: dict[str, Any], tags: Tags | None = None) -> None:
        self._tags = tags
        self._is_thinking = False
        self._started_s = time.monotonic()
        self._first_s = 0.0
        self._num_pieces = 0
        self._reason: StopReason = "stop"
        self._usage: Mapping[str, Any] = {}
        self._items: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()
        self._is_closed = False
        self._server = server
        self._connection = server.connect()
        self._socket = self._connection.sock  # the connection forgets it where the answer will close it
        threading.Thread(target=self._run, args=(body,), name="incoming", daemon=True).start()

    def read(self, cancelled: Callable[[], bool]) -> Iterator[str | Finish]:
        while not cancelled():
            with suppress(queue.Empty):
                item = self._items.get(timeout=TICK_S)
                if isinstance(item, Exception):
                    raise item
                if item is None:
                    yield Finish(self._reason, self._used())
                    return
                yield item
        yield Finish("cancelled", self._used())

    def close(self) -> None:
        """Cut the connection, also under a thread that reads from it."""
        self._is_closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _run(self, body: dict[str, Any]) -> None:
        try:
            response = self._server.send(self._connection, "POST", "/chat/completions", body)
            for event in events(response):
                self._take(event)
            self._items.put(None)
        except DemoError as error:
            self._items.put(error)
        except (*BROKEN, LookupError, TypeError, AttributeError):
            if not self._is_closed:
                remedy = "Try again in a moment."
                self._items.put(EndpointDown("The server of the model broke off the answer", remedy=remedy))

    def _take(self, event: dict[str, Any]) -> None:
        if "error" in event:
            raise refusal(500, json.dumps(event).encode())
        self._usage = event.get("usage") or self._usage
        for choice in event["choices"][:1]:
            if choice.get("finish_reason") == "length":
                self._reason = "length"
            delta = choice.get("delta") or {}
            thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
            if self._tags is not None and thought:
                self._put(str(thought) if self._is_thinking else f"{self._tags.open}{thought}")
                self._is_thinking = True
            if text := delta.get("content"):
                self._put(f"{self._tags.close}{text}" if self._tags and self._is_thinking else str(text))
                self._is_thinking = False

    def _put(self, text: str) -> None:
        self._first_s = self._first_s or time.monotonic() - self._started_s
        self._num_pieces += 1
        self._items.put(text)

    def _used(self) -> Usage:
        """The server's own count where it gives one, else a token a piece."""
        prompt, completion = (self._usage.get(f"{name}_tokens") for name in ("prompt", "completion"))
        total_s = time.monotonic() - self._started_s
        return Usage(int(prompt or 0), int(completion or self._num_pieces), self._first_s or total_s, total_s)


def events(lines: HTTPResponse) -> Iterator[dict[str, Any]]:
    """The objects of a stream of server-sent events, up to its end. Raises `ValueError` where it breaks off.

    Some servers (transformers serve) leave out the stream's own last word, and end after the answer's last piece.
    """
    is_whole = False
    for line in lines:
        name, _, value = line.decode("utf-8", errors="replace").strip().partition(":")
        if name != "data":
            continue  # comments and fields that mean nothing here
        if value.strip() == "[DONE]":
            return
        event = json.loads(value)
        if not isinstance(event, dict):
            raise ValueError("not an object")
        is_whole = is_whole or any(choice.get("finish_reason") for choice in event.get("choices") or ())
        yield event
    if not is_whole:
        raise ValueError("the stream has no end")


def body_of(request: GenerateRequest, model: str, max_side: int | None) -> dict[str, Any]:
    """The request in the words of the API, and with ``top_k`` and ``repetition_penalty``, which most servers add."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(message, max_side) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.top_k:
        body["top_k"] = sampling.top_k
    if sampling.repetition_penalty != 1.0:
        body["repetition_penalty"] = sampling.repetition_penalty
    return body


def refusal(status: int, body: bytes) -> DemoError:
    """What a server's error means here; its own words are passed on where they are for people."""
    words, code = _words(body)
    remedy = "Try again in a moment."
    if status in (401, 403):
        return ConfigError("The server wants another key", remedy=f"Set {KEY_VARIABLE} and start again.")
    if status == 404:
        return ModelNotFound("The server does not know the model", value=words, remedy="See its list of models.")
    if code in ("context_too_long", "context_length_exceeded"):
        return ContextTooLong("The conversation is too long for this model", value=words)
    if status in (429, 503):
        return Busy("The server of the model is busy", value=words, remedy=remedy)
    if status < 500:
        return InvalidInput("The server of the model refuses this request", value=words)
    return DemoError("The server of the model failed", value=words, remedy=remedy)


def _words(body: bytes) -> tuple[str, str]:
    """The message and the code in an error's body."""
    try:
        found = json.loads(body)
        error = found.get("error", found)
        fields = error if isinstance(error, dict) else {"message": error}
        return str(fields.get("message") or "no reason given")[:MOST_WORDS], str(fields.get("code") or "")
    except (ValueError, AttributeError):
        return "no reason given", ""


def _message(message: Message, max_side: int | None) -> dict[str, Any]:
    if not message.pictures:
        return {"role": message.speaker, "content": message.text}
    pictures = [
        {"type": "image_url", "image_url": {"url": _data_url(picture, max_side)}} for picture in message.pictures
    ]
    return {"role": message.speaker, "content": [*pictures, {"type": "text", "text": message.text}]}


def _data_url(picture: Picture, max_side: int | None) -> str:
    """As large as a model of our own would be shown it, for its boxes may be in pixels of that."""
    picture = from_pil(reduced(picture, max_side))
    kind: Literal["PNG", "JPEG"] = "PNG" if picture.size.pixels <= PNG_PIXELS else "JPEG"
    data = base64.b64encode(encode(picture, kind)).decode()
    return f"data:image/{kind.lower()};base64,{data}"
