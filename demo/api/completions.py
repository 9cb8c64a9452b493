"""Answers in the words of the OpenAI chat API: whole, and as the chunks of a stream.

Owns the objects and the framing of server-sent events. Beside the standard's fields an answer carries
``reasoning_content`` where the model thinks aloud, as other servers name it, and once it is finished ``regions``: the
places that its text names, as everywhere in the demo. Pure; knows nothing of HTTP or of the engine.
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
from demo.grounding.pictures import located
from demo.reasoning import Reasoned, split
from demo.types import Usage

STREAM_END = b"data: [DONE]\n\n"
KEEP_ALIVE = b": waiting\n\n"  # a comment, which clients pass over and proxies take for a sign of life
KINDS = {401: "authentication_error", 404: "not_found_error", 429: "overloaded_error", 503: "overloaded_error"}


@dataclass(slots=True)
class Completion:
    """One answer on its way out; ``text`` grows, the reasoning in it."""

    call: Call
    spec: ModelSpec
    text: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    sent: Reasoned = field(default_factory=lambda: Reasoned("", ""))  # of a stream

    def whole(self, done: Done) -> dict[str, Any]:
        """The object for a client that waited."""
        told = split(self.text, self.spec.traits.thoughts)
        message: dict[str, Any] = {"role": "assistant", "content": told.answer}
        if told.thought:
            message["reasoning_content"] = told.thought
        message["regions"] = self.regions(told.answer)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(done)}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage_of(done.usage)}

    def first_chunk(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def chunk(self, text: str) -> bytes:
        """What is new in reasoning and answer, which may be nothing yet where a tag has begun."""
        self.text += text
        return self._grown(split(self.text, self.spec.traits.thoughts, is_growing=True))

    def last_chunks(self, done: Done) -> bytes:
        """What was held back, the reason why it ended, the figures if asked for, and the end of the stream."""
        told = split(self.text, self.spec.traits.thoughts)
        rest, regions = self._grown(told), self.regions(told.answer)
        last = rest + self._chunk({"regions": regions} if regions else {}, _reason(done))
        if self.call.wants_usage:
            figures = {**self._head("chat.completion.chunk"), "choices": [], "usage": usage_of(done.usage)}
            last += event_of(figures)
        return last + STREAM_END

    def regions(self, answer: str) -> list[Record]:
        messages = self.call.request.messages
        sizes = [picture.size for message in messages for picture in message.pictures]
        if not sizes or self.spec.dialect is None:
            return []
        views = [self.spec.view(size) for size in sizes]
        return records(located(answer, dialects.get(self.spec.dialect), views, messages[-1].text), *sizes)

    def _grown(self, told: Reasoned) -> bytes:
        before, self.sent = self.sent, told
        more = {
            "reasoning_content": _more(before.thought, told.thought),
            "content": _more(before.answer, told.answer),
        }
        return b"".join(self._chunk({name: text}) for name, text in more.items() if text)

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event_of({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        number = f"chatcmpl-{self.call.request.request_id}"
        return {"id": number, "object": kind, "created": self.created, "model": self.call.model}


def _more(before: str, now: str) -> str:
    """What has come; all of it where what was said before turns out to have been something else."""
    return now[len(before) :] if now.startswith(before) else now


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
    return {"object": "list", "data": [model_of(spec, created) for spec in specs.values()]}


def model_of(spec: ModelSpec, created: int) -> dict[str, Any]:
    return {"id": spec.name, "object": "model", "created": created, "owned_by": "demo", "roles": list(spec.roles)}


def _reason(done: Done) -> str:
    return "length" if done.reason == "length" else "stop"
