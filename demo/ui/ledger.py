"""The plan against reality: what each replica was to take of each device beside what it took, and the difference.

Owns the markup and the wording of a difference; pure, of a `ReplicaSnapshot`. Bytes are integers.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo.ui.figures import device_words, replica_words, size_words
from demo.ui.language import Texts
from demo.ui.memory import share_words

if TYPE_CHECKING:
    from demo.engine.snapshots import ReplicaSnapshot

TOLERANCE = 0.01  # bytes this close to the plan are as planned


@dataclass(frozen=True, slots=True)
class Entry:
    """Two sizes that were to be the same (weights), or of which the second was not to exceed the first (the most)."""

    device: str
    what: str  # "weights" | "most"
    planned: int
    taken: int


def entries_of(replica: ReplicaSnapshot) -> Iterator[Entry]:
    """What can be compared by now: weights once they are loaded, and the most that its process ever held."""
    for device, planned in replica.planned.items():
        if device in replica.resident_bytes:
            weights = replica.planned_weights.get(device, 0)
            yield Entry(device, "weights", weights, replica.resident_bytes[device])
        if device in replica.memory:
            yield Entry(device, "most", planned, replica.memory[device].peak)


def ledger_html(say: Texts, replica: ReplicaSnapshot) -> str:
    name = html.escape(replica_words(say, replica.model, replica.replica_id))
    entries = list(entries_of(replica))
    scale = max((max(entry.planned, entry.taken) for entry in entries), default=0)
    rows = "".join(_row(say, entry, max(1, scale)) for entry in entries)
    waiting = f"<p class='line remark'>{html.escape(say('ledger.nothing'))}</p>"
    return f"<h3>{name}</h3>{f'<ul class=entries>{rows}</ul>' if rows else waiting}"


def difference_words(say: Texts, planned: int, taken: int) -> str:
    if abs(taken - planned) <= TOLERANCE * planned:
        return say("ledger.same")
    return say("ledger.more" if taken > planned else "ledger.less", size=size_words(abs(taken - planned)))


def _row(say: Texts, entry: Entry, scale: int) -> str:
    title = say(f"ledger.{entry.what}", device=device_words(say, entry.device))
    planned, taken = size_words(entry.planned), size_words(entry.taken)
    is_over = entry.taken > entry.planned * (1 + TOLERANCE)
    words = difference_words(say, entry.planned, entry.taken)
    bars = "".join(
        f"<i class='{kind}' style='width:{share_words(size, scale)}'></i>"
        for kind, size in (("planned", entry.planned), ("taken", entry.taken))
    )
    figures = (
        f"<span class='plan'>{html.escape(say('ledger.planned', size=planned))}</span>"
        f"<span class='taken'>{html.escape(say('ledger.taken', size=taken))}</span>"
        f"<b{' class=over' if is_over else ''}>{html.escape(words)}</b>"
    )
    shown = f"<div class='bars' aria-hidden='true'>{bars}</div><p class='figures'>{figures}</p>"
    return f"<li><p>{html.escape(title)}</p>{shown}</li>"
