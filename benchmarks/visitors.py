"""Visitors of the page without a browser: raw HTTP, so that the load costs the machine little beside what it measures.

Owns the protocol of gradio's queue as the page speaks it, and one visitor's time on the page: opening it, the open
heartbeat, the status that refreshes, and questions through the queue. Times are seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

STATUS_S = 2.0  # how often a tab refreshes the status line
LIMIT_S = 120.0  # an answer that takes longer is lost
QUESTION = ["How many things are there?", None, None, 0, 1, 0, 500, 1, None]


@dataclass(frozen=True, slots=True)
class Site:
    """Where the page is, and which of its functions a visitor uses."""

    port: int
    ask: int  # the endpoint /chat
    refresh: int  # the status line


@dataclass(slots=True)
class Tally:
    """What all visitors together met."""

    asked: int = 0
    answered: int = 0
    refreshed: int = 0
    lost: list[str] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)  # from a question to the first words
    whole_s: list[float] = field(default_factory=list)
    refresh_s: list[float] = field(default_factory=list)


async def survey(port: int) -> Site:
    """Read from the page's own configuration what its functions are called."""
    config = json.loads(await _get(port, "/config"))
    functions = config["dependencies"]
    ask = next(item["id"] for item in functions if item["api_name"] == "chat")
    refresh = next(item["id"] for item in functions if any(event == "load" for _, event in item["targets"]))
    return Site(port, ask, refresh)


async def visit(site: Site, tally: Tally, questions: int, pause_s: float) -> None:
    """One visitor: opens the page and asks so many questions while the tab does what an open tab does."""
    session = uuid.uuid4().hex[:10]
    await _get(site.port, "/")
    background = [
        asyncio.create_task(_hold(site.port, f"/gradio_api/heartbeat/{session}")),
        asyncio.create_task(_refresh(site, session, tally)),
    ]
    try:
        for _ in range(questions):
            await _asked(site, session, tally)
            await asyncio.sleep(pause_s)
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)


async def _asked(site: Site, session: str, tally: Tally) -> None:
    tally.asked += 1
    try:
        async with asyncio.timeout(LIMIT_S):
            first_s, whole_s = await answer(site, session)
    except (OSError, TimeoutError, ValueError, EOFError) as error:
        tally.lost.append(f"{type(error).__name__}: {error}"[:200])
        return
    tally.answered += 1
    tally.first_s.append(first_s)
    tally.whole_s.append(whole_s)


async def answer(site: Site, session: str) -> tuple[float, float]:
    """Join the queue and read the answer to its end; until the first words, and until the last."""
    started_s, first_s = time.perf_counter(), None
    body = {"data": QUESTION, "fn_index": site.ask, "session_hash": session}
    joined = json.loads(await _post(site.port, "/gradio_api/queue/join", body))
    async with contextlib.aclosing(_events(site.port, f"/gradio_api/queue/data?session_hash={session}")) as events:
        async for event in events:
            if event.get("event_id") != joined["event_id"]:
                continue
            if event["msg"] == "process_generating" and first_s is None and _has_words(event):
                first_s = time.perf_counter() - started_s
            if event["msg"] == "process_completed":
                if not event["success"]:
                    raise ValueError(str(event["output"]))
                whole_s = time.perf_counter() - started_s
                return (whole_s if first_s is None else first_s), whole_s
    raise EOFError("the stream ended without an end")


def _has_words(event: dict[str, Any]) -> bool:
    """The first message of a run is whole, the others say what changed."""
    text = event["output"]["data"][0]
    return bool(text)


async def _refresh(site: Site, session: str, tally: Tally) -> None:
    body = {"data": [], "fn_index": site.refresh, "session_hash": session}
    while True:
        started_s = time.perf_counter()
        answer = json.loads(await _post(site.port, "/gradio_api/run/predict", body))
        if "class='status'" not in answer["data"][0]:
            raise ValueError("this is no status")
        tally.refreshed += 1
        tally.refresh_s.append(time.perf_counter() - started_s)
        await asyncio.sleep(STATUS_S)


# --- the little of HTTP that it takes


async def _get(port: int, path: str) -> bytes:
    return await _body(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())


async def _post(port: int, path: str, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return await _body(port, f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)


async def _hold(port: int, path: str) -> None:
    """Keep a connection open that never ends by itself."""
    async with contextlib.aclosing(_events(port, path)) as events:
        async for _ in events:
            pass


async def _body(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        body = await reader.read()
        if status != 200:
            raise ValueError(f"HTTP {status}: {body[:120]!r}")
        return b"".join(_chunks(body)) if b"transfer-encoding: chunked" in head.lower() else body
    finally:
        writer.close()


def _chunks(body: bytes) -> list[bytes]:
    found = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        found.append(rest[:length])
        body = rest[length + 2 :] if length else b""
    return found


async def _events(port: int, path: str) -> AsyncIterator[dict[str, Any]]:
    """Server-sent events as they come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        while line := await reader.readline():
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])
    finally:
        writer.close()
