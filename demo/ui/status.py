"""The status line: which model answers, where its weights are, and whether it is free.

Owns the line's markup, and that a sample is drawn once for all who look. Pure, of a `Status`.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, get_args

from demo.engine.snapshots import State
from demo.ui.context import Look, Waiting
from demo.ui.figures import device_words, size_words
from demo.ui.language import Language, Texts

if TYPE_CHECKING:
    from demo.engine.snapshots import ReplicaSnapshot
    from demo.engine.telemetry import Status

MOST_LINES = 2  # one a replica; more of them are counted


class Drawn:
    """The markup of the newest sample, made once a language and handed to every visitor who asks before the next."""

    def __init__(self, look: Look, waiting: Waiting, draw: Callable[[Texts, Status, int], str]) -> None:
        self._look = look
        self._waiting = waiting
        self._draw = draw
        self._last: dict[Language, tuple[Status, int, str]] = {}

    def __call__(self, say: Texts) -> str:
        status, waiting, last = self._look(), self._waiting(), self._last.get(say.language)
        if last is None or last[0] is not status or last[1] != waiting:
            last = self._last[say.language] = (status, waiting, self._draw(say, status, waiting))
        return last[2]


def status_html(say: Texts, status: Status, waiting: int = 0) -> str:
    """The line that is refreshed while the page is open; ``waiting`` counts requests in the page's own queue."""
    replicas = status.manager.replicas
    if len(replicas) <= MOST_LINES:
        shown = "".join(_replica(say, replica) for replica in replicas)
    else:
        shown = _counts(say, replicas)
    speeds = [replica.tokens_per_s for replica in replicas] if len(replicas) == 1 else []
    parts = [say("status.speed", speed=f"{speed:.0f}") for speed in speeds if speed]
    work = " · ".join([*parts, queue_words(say, status, waiting)])
    # Not a live region: whoever listens to the page would hear of every other visitor's question.
    label = html.escape(say("status.label"))
    lines = f"<div class='lines'>{shown}</div><div>{html.escape(work)}</div>"
    return f"<div class='status' role='group' aria-label='{label}'>{lines}</div>"


def _counts(say: Texts, replicas: Sequence[ReplicaSnapshot]) -> str:
    """Many replicas in one line; the status tab has them one by one."""
    counts = Counter(replica.state for replica in replicas)
    ready = counts["idle"] + counts["busy"] + counts["parked"]
    parts = [say("status.ready", ready=ready, total=len(replicas))]
    parts += [
        say("status.some", count=counts[state], state=say(f"state.{state}").lower())
        for state in get_args(State)
        if counts[state] and state != "idle"
    ]
    dot: State = "busy" if counts["busy"] else "idle" if ready else "loading" if counts["loading"] else "failed"
    text = "".join(f"<span>{html.escape(part)}</span>" for part in parts)
    return f"<div class='replica {dot}'><i class='dot'></i>{text}</div>"


def _replica(say: Texts, replica: ReplicaSnapshot) -> str:
    where = [f"{device_words(say, name)}, {size_words(count)}" for name, count in replica.resident_bytes.items()]
    where = where or [device_words(say, name) for name in replica.devices]
    detail = say.told(replica.detail) if replica.state in ("starting", "loading", "failed") else ""
    # What changes stands behind what does not, so that nothing moves while an answer begins or ends.
    parts = [", ".join(where), say(f"state.{replica.state}"), detail]
    text = "".join(f"<span>{html.escape(part)}</span>" for part in parts if part)
    name = f"<b>{html.escape(replica.model)}</b>"
    return f"<div class='replica {replica.state}'><i class='dot'></i>{name}{text}{progress_html(say, replica)}</div>"


def progress_html(say: Texts, replica: ReplicaSnapshot) -> str:
    """How far a load has come; nothing at any other time."""
    if replica.state not in ("starting", "loading"):
        return ""
    value = "" if replica.fraction is None else f" value='{max(0.0, min(1.0, replica.fraction)):.3f}'"
    return f"<progress max='1'{value} aria-label='{html.escape(say('state.loading'))}'></progress>"


def queue_words(say: Texts, status: Status, waiting: int) -> str:
    total = waiting + status.manager.waiting
    return say("status.nobody") if total == 0 else say.counted("status.waiting", total)
