"""The status line: which model answers, where its weights are, and whether it is free.

Owns the wording that the line shares with the status tab. Pure markup of a `Status`. Bytes are shown as GiB or MiB.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from demo.ui.context import Look, UiContext, Waiting

if TYPE_CHECKING:
    from demo.engine.snapshots import ReplicaSnapshot, State
    from demo.engine.telemetry import Status

STATE_WORDS: Mapping[State, str] = {
    "starting": "Starting",
    "loading": "Loading",
    "idle": "Ready",
    "busy": "Answering",
    "parked": "Waiting for its turn",
    "failed": "Failed",
    "closed": "Stopped",
}
MOST_LINES = 2  # one a replica; more of them are counted
_DUTIES = {"chat": "answers questions", "grounding": "finds things", "captioning": "writes captions"}


class Drawn:
    """The markup of the newest sample, made once and handed to every visitor who asks before the next."""

    def __init__(self, look: Look, waiting: Waiting, draw: Callable[[Status, int], str]) -> None:
        self._look = look
        self._waiting = waiting
        self._draw = draw
        self._last: tuple[Status, int, str] | None = None

    def __call__(self) -> str:
        status, waiting, last = self._look(), self._waiting(), self._last
        if last is None or last[0] is not status or last[1] != waiting:
            last = self._last = (status, waiting, self._draw(status, waiting))
        return last[2]


def status_html(status: Status, waiting: int = 0) -> str:
    """The line that is refreshed while the page is open; ``waiting`` counts requests in the page's own queue."""
    replicas = status.manager.replicas
    shown = "".join(map(_replica, replicas)) if len(replicas) <= MOST_LINES else _counts(replicas)
    queue = f"<div class='queue'>{queue_words(status, waiting)}</div>"
    return f"<div class='status' role='status'>{shown}{queue}</div>"


def about_html(context: UiContext) -> str:
    """What is loaded, what it can do, and what its maker says of it; this does not change while the page is up."""
    roles: dict[str, list[str]] = {}
    for role, spec in context.specs.items():
        roles.setdefault(spec.name, []).append(_DUTIES[role])
    models = "; ".join(
        f"<b class='model'>{html.escape(name)}</b> {html.escape(_listed(duties))}" for name, duties in roles.items()
    )
    notes = dict.fromkeys(spec.note for spec in context.specs.values() if spec.note)
    shown = "".join(f"<p class='note'>{html.escape(note)}</p>" for note in notes)
    return f"<p class='models'>The model {models}.</p>{shown}"


def _counts(replicas: Sequence[ReplicaSnapshot]) -> str:
    """Many replicas in one line; the status tab has them one by one."""
    counts = Counter(replica.state for replica in replicas)
    ready = counts["idle"] + counts["busy"] + counts["parked"]
    parts = [f"{ready} of {len(replicas)} replicas ready"]
    parts += [
        f"{counts[state]} {word.lower()}" for state, word in STATE_WORDS.items() if counts[state] and state != "idle"
    ]
    dot: State = "busy" if counts["busy"] else "idle" if ready else "loading" if counts["loading"] else "failed"
    text = "".join(f"<span>{part}</span>" for part in parts)
    return f"<div class='replica {dot}'><i class='dot'></i>{text}</div>"


def _replica(replica: ReplicaSnapshot) -> str:
    where = ", ".join(f"{device_words(name)}, {size_words(count)}" for name, count in replica.resident_bytes.items())
    where = where or ", ".join(device_words(name) for name in replica.devices)
    detail = replica.detail if replica.state in ("starting", "loading", "failed") else ""
    speed = f"{replica.tokens_per_s:.0f} tokens/s" if replica.tokens_per_s else ""
    parts = [STATE_WORDS[replica.state], where, detail, speed]
    text = "".join(f"<span>{html.escape(part)}</span>" for part in parts if part)
    return f"<div class='replica {replica.state}'><i class='dot'></i>{text}{progress_html(replica)}</div>"


def progress_html(replica: ReplicaSnapshot) -> str:
    """How far a load has come; nothing at any other time."""
    if replica.state not in ("starting", "loading"):
        return ""
    value = "" if replica.fraction is None else f" value='{max(0.0, min(1.0, replica.fraction)):.3f}'"
    return f"<progress max='1'{value} aria-label='Loading'></progress>"


def queue_words(status: Status, waiting: int) -> str:
    total = waiting + status.manager.waiting
    return "No one is waiting" if total == 0 else f"{total} waiting"


def device_words(name: str) -> str:
    return {"cpu": "CPU", "mps": "Apple GPU"}.get(name, name.replace("cuda:", "GPU "))


def size_words(num_bytes: int) -> str:
    gib = num_bytes / 2**30
    return f"{gib:.1f} GiB" if gib >= 1 else f"{num_bytes / 2**20:.0f} MiB"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
