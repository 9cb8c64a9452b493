"""What stands between the network and gradio: headers, refused routes, body limits, a hardened queue.

Pure ASGI; knows nothing of the page or of models. Bytes are integers.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

import gradio as gr

from demo.ui.uploads import too_large

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Pictures and forms only from and to the page itself: a model's text can neither call home nor ask for a password.
# Scripts and styles must stay inline, because gradio's own page is built of them.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self' https://huggingface.co https://*.hf.space",
    )
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)

UNBUFFERED = (b"x-accel-buffering", b"no")  # asks a proxy to pass an answer on as it grows

# Routes that fetch any address for anyone, draw icons of any size or write a file per call. The page uses none.
_REFUSED = re.compile(r"/file[=/]\s*https?:|/proxy=|/pwa_icon/|/deep_link", re.IGNORECASE)

SESSIONS = 100_000  # how many visitors' messages the queue keeps apart


class _TooLargeError(Exception):
    """A body went over the limit while it was being read."""


class Shield:
    """Middleware around the whole app."""

    def __init__(self, app: App, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _is_refused(scope):
            await _answer(send, 403, "This address is not served.")
        elif _declared(scope) > self._max_body_bytes:
            await _answer(send, 413, too_large(_declared(scope), self._max_body_bytes))
        else:
            await _Exchange(self._app, self._max_body_bytes).run(scope, receive, send)


class _Exchange:
    """One request and its answer: our headers on the way out, a count of bytes on the way in."""

    def __init__(self, app: App, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._left_bytes = max_body_bytes
        self._started = False

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def received() -> Message:
            message = await receive()
            self._left_bytes -= len(message.get("body", b""))
            if self._left_bytes < 0:
                raise _TooLargeError
            return message

        async def sent(message: Message) -> None:
            if self._left_bytes < 0 and not self._started:
                return  # whatever the app makes of the interruption, the answer is ours
            if message["type"] == "http.response.start":
                self._started = True
                message = {**message, "headers": _with_ours(message.get("headers", ()))}
            await send(message)

        with contextlib.suppress(_TooLargeError):
            await self._app(scope, received, sent)
        if self._left_bytes < 0 and not self._started:
            await _answer(send, 413, too_large(None, self._max_body_bytes))


def harden_queue(blocks: gr.Blocks) -> None:
    """Keep the queue alive when visitors come and go by the thousand.

    Gradio 6.31 keeps messages of 2,000 sessions; sending one to a session that fell out raises inside the queue's only
    loop, which then stops for good. A visitor who is gone loses the message instead.
    """
    queue = blocks._queue
    queue.pending_messages_per_session.max_size = SESSIONS
    send_message = queue.send_message

    def send_if_there(event: Any, event_message: Any) -> None:
        if event.session_hash in queue.pending_messages_per_session:
            send_message(event, event_message)

    queue.send_message = send_if_there


def _is_refused(scope: Scope) -> bool:
    path = scope["path"]
    for _ in range(3):  # what is encoded twice is decoded twice by someone
        path = unquote(path)
    return _REFUSED.search(path) is not None


def _declared(scope: Scope) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() else 0


def _with_ours(headers: Any) -> list[tuple[bytes, bytes]]:
    ours = {name for name, _ in HEADERS}
    kept = [pair for pair in headers if pair[0].lower() not in ours]
    streams = any(name.lower() == b"content-type" and b"event-stream" in value for name, value in kept)
    return [*kept, *HEADERS, *([UNBUFFERED] if streams else [])]


async def _answer(send: Send, status: int, words: str) -> None:
    text = words.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode()), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
