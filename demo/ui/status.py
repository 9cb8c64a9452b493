"""The status line: which model answers, where its weights are, and whether it is free.

Owns the wording. Reads the manager's snapshot and nothing else; pure markup. Bytes are shown as GiB or MiB.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from demo.ui.context import UiContext

if TYPE_CHECKING:
    from demo.engine.manager import ReplicaSnapshot

_WORDS = {
    "starting": "Starting",
    "loading": "Loading",
    "idle": "Ready",
    "busy": "Answering",
    "failed": "Failed",
    "closed": "Stopped",
}
_DUTIES = {"chat": "answers questions", "grounding": "finds things", "captioning": "writes captions"}


def status_html(context: UiContext, waiting: int = 0) -> str:
    """The line that is refreshed while the page is open; ``waiting`` counts requests in the page's own queue."""
    snapshot = context.engine.snapshot()
    replicas = "".join(_replica(replica) for replica in snapshot.replicas)
    queue = _queue(waiting + snapshot.waiting)
    return f"<div class='status' role='status'>{replicas}{queue}</div>"


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


def _replica(replica: ReplicaSnapshot) -> str:
    where = ", ".join(_place(name, count) for name, count in replica.resident_bytes.items())
    where = where or ", ".join(_device(str(name)) for name in replica.devices)
    detail = replica.detail if replica.state in ("starting", "loading", "failed") else ""
    speed = f"{replica.tokens_per_s:.0f} tokens/s" if replica.tokens_per_s else ""
    parts = [_WORDS.get(replica.state, replica.state), where, detail, speed]
    text = "".join(f"<span>{html.escape(part)}</span>" for part in parts if part)
    return f"<div class='replica {html.escape(replica.state)}'><i class='dot'></i>{text}{_bar(replica)}</div>"


def _bar(replica: ReplicaSnapshot) -> str:
    if replica.state not in ("starting", "loading"):
        return ""
    value = "" if replica.fraction is None else f" value='{max(0.0, min(1.0, replica.fraction)):.3f}'"
    return f"<progress max='1'{value} aria-label='Loading'></progress>"


def _queue(waiting: int) -> str:
    text = "No one is waiting" if waiting == 0 else f"{waiting} waiting"
    return f"<div class='queue'>{text}</div>"


def _place(device: str, num_bytes: int) -> str:
    return f"{_device(device)}, {_size(num_bytes)}"


def _device(name: str) -> str:
    return "CPU" if name == "cpu" else name.replace("cuda:", "GPU ")


def _size(num_bytes: int) -> str:
    gib = num_bytes / 2**30
    return f"{gib:.1f} GiB" if gib >= 1 else f"{num_bytes / 2**20:.0f} MiB"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
