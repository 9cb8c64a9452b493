"""What a client of /v1/chat/completions sends, read into a `GenerateRequest`.

Owns the field names of the OpenAI chat API that are understood, the refusal of those whose silence would mislead, and
the limits on what one request may hold. Pictures come inside the request as data URLs and are opened by `demo.imaging`;
no address is ever fetched. Pure: raises `InvalidInput` with the field's name, knows nothing of HTTP.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demo.catalog import ModelSpec
from demo.errors import InvalidInput, ModelNotFound
from demo.history import recent
from demo.imaging import open_picture
from demo.types import GenerateRequest, Message, Picture, Role, Sampling, Speaker

MAX_MESSAGES = 200
MAX_CHARS = 1_000_000  # of all texts; what the model itself can take is the engine's to say
SPEAKERS: Mapping[str, Speaker] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII | re.IGNORECASE)
HALF = re.compile(r"\\u[dD][89a-fA-F]")  # how a character beyond the first plane is written, or a half of one
# What a client would miss if it were passed over, and the values that ask for nothing
UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "n": (None, 1),
    "tools": (None, []),
    "functions": (None, []),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "stop": (None, [], ""),
    "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "audio": (None,),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood."""

    request: GenerateRequest
    model: str  # the name of the model that answers
    streams: bool = False
    wants_usage: bool = False  # in a stream, where it comes only when asked for


def read_call(body: bytes, specs: Mapping[Role, ModelSpec]) -> Call:
    """The request in a body of JSON. Raises `ModelNotFound` for a model that is not served, else `InvalidInput`."""
    fields = _object(body)
    for name, nothing in UNSUPPORTED.items():
        if fields.get(name) not in nothing:
            raise _wrong(name, "is not supported here", fields[name], remedy="Leave it out.")
    role, spec = _served(fields.get("model"), specs)
    messages = recent(_messages(fields.get("messages"), spec), spec.max_turns)
    options = fields.get("stream_options") or {}
    return Call(
        GenerateRequest(uuid.uuid4().hex, role, messages, _sampling(fields)),
        spec.name,
        streams=_flag(fields, "stream"),
        wants_usage=isinstance(options, dict) and _flag(options, "include_usage"),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8-sig")
        fields = json.loads(text)
    except (ValueError, RecursionError):  # UnicodeDecodeError is one
        raise InvalidInput("The request is not JSON", remedy="Send one JSON object.") from None
    if HALF.search(text):
        _refuse_halves(fields)
    if not isinstance(fields, dict):
        raise InvalidInput("The request is no JSON object", remedy='Send {"messages": […]}.')
    return fields


def _refuse_halves(fields: object) -> None:
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidInput("The request holds half a character (a lone surrogate)", remedy="Send it whole.") from None


def _served(name: object, specs: Mapping[Role, ModelSpec]) -> tuple[Role, ModelSpec]:
    """The role whose model is named; without a name, or with "default", the one that chats."""
    if not specs:
        raise ModelNotFound("No model is served here")
    if name in (None, "", "default"):
        role: Role = "chat" if "chat" in specs else next(iter(specs))
        return role, specs[role]
    for role, spec in specs.items():
        if spec.name == name:
            return role, spec
    raise not_served(name, specs)


def not_served(name: object, specs: Mapping[Role, ModelSpec]) -> ModelNotFound:
    known = ", ".join(dict.fromkeys(spec.name for spec in specs.values()))
    return ModelNotFound("This model is not served here", value=str(name)[:80], remedy=f"Served: {known}.")


def _messages(given: object, spec: ModelSpec) -> tuple[Message, ...]:
    if not isinstance(given, list) or not given:
        raise _wrong("messages", "has to be a list that is not empty")
    if len(given) > MAX_MESSAGES:
        raise _wrong("messages", f"holds more than {MAX_MESSAGES} messages", len(given))
    messages = [_message(item, f"messages[{index}]") for index, item in enumerate(given)]
    if messages[-1].speaker != "user":
        raise _wrong("messages", "has to end with the user's", messages[-1].speaker)
    if (num_chars := sum(len(message.text) for message in messages)) > MAX_CHARS:
        raise _wrong("messages", f"hold more than {MAX_CHARS:,} characters", f"{num_chars:,}")
    num_pictures = sum(len(message.pictures) for message in messages)
    if num_pictures > spec.max_pictures:
        held = f"{num_pictures}; at most {spec.max_pictures}"
        raise _wrong("messages", f"hold more pictures than {spec.name} looks at", held, remedy="Leave the oldest out.")
    return tuple(messages)


def _message(item: object, where: str) -> Message:
    if not isinstance(item, dict) or not isinstance(item.get("role"), str) or item["role"] not in SPEAKERS:
        raise _wrong(f"{where}.role", f"has to be one of {', '.join(SPEAKERS)}")
    speaker, content = SPEAKERS[item["role"]], item.get("content")
    if not isinstance(content, str | list):
        raise _wrong(f"{where}.content", "has to be a text, or a list of texts and pictures")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    parts = [_part(part, f"{where}.content[{index}]") for index, part in enumerate(content)]
    pictures = tuple(part for part in parts if isinstance(part, Picture))
    if pictures and speaker != "user":
        raise _wrong(f"{where}.content", "has pictures, which only the user's messages may have")
    text = "\n".join(part for part in parts if isinstance(part, str))
    if speaker == "user" and not pictures and not text.strip():  # of the others, an empty one asks for nothing
        raise _wrong(f"{where}.content", "is empty", remedy="Send some words or a picture.")
    return Message(speaker, text, pictures)


def _part(part: object, where: str) -> str | Picture:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind == "image_url" and isinstance(part, dict):
        image = part.get("image_url")
        return _picture(image.get("url") if isinstance(image, dict) else image, f"{where}.image_url")
    raise _wrong(where, 'has to be {"type": "text", …} or {"type": "image_url", …}')


def _picture(url: object, where: str) -> Picture:
    if not isinstance(url, str) or not (head := DATA_URL.match(url[:100])):
        raise _wrong(where, "has to be a data URL with the picture in base64; addresses are not fetched")
    try:
        return open_picture(base64.b64decode(url[head.end() :], validate=True))
    except (binascii.Error, ValueError):
        raise _wrong(where, "is not base64") from None
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error.what}", value=error.value, remedy=error.remedy) from error


def _sampling(fields: Mapping[str, Any]) -> Sampling:
    default = Sampling()
    longest = "max_tokens" if fields.get("max_completion_tokens") is None else "max_completion_tokens"
    try:
        return Sampling(
            max_new_tokens=int(_number(fields, longest, default.max_new_tokens, whole=True)),
            temperature=_number(fields, "temperature", default.temperature),
            top_p=_number(fields, "top_p", default.top_p),
            top_k=int(_number(fields, "top_k", default.top_k, whole=True)),
            repetition_penalty=_number(fields, "repetition_penalty", default.repetition_penalty),
            seed=None if fields.get("seed") is None else int(_number(fields, "seed", 0, whole=True)),
        )
    except InvalidInput as error:  # by the name that the client knows
        raise InvalidInput(
            error.what.replace("max_new_tokens", longest), value=error.value, remedy=error.remedy
        ) from error


def _number(fields: Mapping[str, Any], name: str, default: float, *, whole: bool = False) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise _wrong(name, "has to be a whole number" if whole else "has to be a number", value)
    return value


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value not in (None, True, False):
        raise _wrong(name, "has to be true or false", value)
    return bool(value)


def _wrong(
    field: str, what: str, value: object = None, *, remedy: str = "See the chat completions of the OpenAI API."
) -> InvalidInput:
    shown = None if value is None else str(value)[:80]
    return InvalidInput(f"{field} {what}", value=shown, remedy=remedy)
