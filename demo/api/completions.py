"""Answers in the words of the OpenAI chat API: whole, and as the chunks of a stream.

Owns the objects and the framing of server-sent events. Beside the standard's fields a finished answer carries
``regions``: the places that its text names, as everywhere in the demo. Pure; knows nothing of HTTP or of the engine.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from demo.api.protocol import Call
from demo.catalog import ModelSpec
from demo.engine.events import Done
from demo.errors import DemoError
from demo.grounding import dialects
from demo.grounding.export import Record, records
from demo.types import Picture, Usage

STREAM_END = b"data: [DONE]\n\n"
KEEP_ALIVE = b": waiting\n\n"  # a comment, which clients pass over and proxies take for a sign of life
KINDS = {401: "authentication_error", 404: "not_found_error", 429: "overloaded_error", 503: "overloaded_error"}


@dataclass(slots=True)
class Completion:
    """One answer on its way out; ``text`` grows."""

    call: Call
    spec: ModelSpec
    text: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, done: Done) -> dict[str, Any]:
        """The object for a client that waited."""
        message = {"role": "assistant", "content": self.text, "regions": self.regions()}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(done)}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage_of(done.usage)}

    def first_chunk(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def chunk(self, text: str) -> bytes:
        self.text += text
        return self._chunk({"content": text})

    def last_chunks(self, done: Done) -> bytes:
        """The reason why it ended, the figures if they were asked for, and the end of the stream."""
        regions = self.regions()
        last = self._chunk({"regions": regions} if regions else {}, _reason(done))
        if self.call.wants_usage:
            figures = {**self._head("chat.completion.chunk"), "choices": [], "usage": usage_of(done.usage)}
            last += event_of(figures)
        return last + STREAM_END

    def regions(self) -> list[Record]:
        picture = self._picture()
        if picture is None or self.spec.dialect is None:
            return []
        found = dialects.get(self.spec.dialect).parse(self.text, picture.size, seen=self.spec.seen(picture.size))
        return records(found, picture.size)

    def _picture(self) -> Picture | None:
        pictures = [picture for message in self.call.request.messages for picture in message.pictures]
        return pictures[-1] if pictures else None

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event_of({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        number = f"chatcmpl-{self.call.request.request_id}"
        return {"id": number, "object": kind, "created": self.created, "model": self.call.model}


def event_of(value: dict[str, Any]) -> bytes:
    """One server-sent event; JSON has no line breaks of its own."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def usage_of(usage: Usage) -> dict[str, int]:
    total = usage.prompt_tokens + usage.completion_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": total,
    }


def error_of(error: DemoError, status: int) -> dict[str, Any]:
    """The object that clients of the API expect of an error."""
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": str(error), "type": kind, "param": None, "code": error.kind}}


def models_of(specs: dict[str, ModelSpec], created: int) -> dict[str, Any]:
    """What /v1/models lists: each model that is served, by its name, with the roles that it has."""
    entries = [
        {"id": name, "object": "model", "created": created, "owned_by": "demo", "roles": list(spec.roles)}
        for name, spec in specs.items()
    ]
    return {"object": "list", "data": entries}


def _reason(done: Done) -> str:
    return "length" if done.reason == "length" else "stop"
