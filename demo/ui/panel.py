"""What the status tab shows: speed over time, each replica's state and the proof of its load, memory, and the plan.

Owns the order of the parts, the first row of figures and the replicas' cards; pure, of a `Status`. Figures are rounded,
so that nothing moves while nothing happens.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

from demo.ui.chart import chart_html, now_of
from demo.ui.figures import device_words, duration_words, replica_words, seconds_words, size_words
from demo.ui.language import Texts
from demo.ui.ledger import TOLERANCE, ledger_html
from demo.ui.memory import device_html
from demo.ui.status import progress_html

if TYPE_CHECKING:
    from demo.engine.snapshots import ReplicaSnapshot
    from demo.engine.telemetry import Status


def panel_html(say: Texts, status: Status, waiting: int = 0) -> str:
    """``waiting`` counts requests in the page's own queue; the engine's are added."""
    replicas = status.manager.replicas
    parts = (
        ("replicas", ((f"card {replica.state}", _replica(say, replica)) for replica in replicas)),
        ("memory", (("card", device_html(say, device)) for device in status.devices)),
        ("ledger", (("card", ledger_html(say, replica)) for replica in replicas)),
    )
    sections = "".join(_section(say, name, cards) for name, cards in parts)
    chart = f"<div class='card'>{chart_html(say, status.manager.tokens)}</div>"
    return f"<div class='panel'>{_tiles(say, status, waiting)}{chart}{sections}</div>"


def _section(say: Texts, name: str, cards: Iterable[tuple[str, str]]) -> str:
    listed = "".join(f"<li class='{kind}'>{card}</li>" for kind, card in cards)
    return f"<h2>{html.escape(say(f'panel.{name}'))}</h2><ul class='cards {name}'>{listed}</ul>"


def _tiles(say: Texts, status: Status, waiting: int) -> str:
    served = sum(replica.served for replica in status.manager.replicas)
    tiles = (
        ("panel.now", f"{now_of(status.manager.tokens):,.0f}"),
        ("panel.waiting", f"{waiting + status.manager.waiting:,}"),
        ("panel.served", f"{served:,}"),
        ("panel.uptime", duration_words(say, status.uptime_s)),
    )
    listed = "".join(
        f"<div><dt>{html.escape(say(key))}</dt><dd>{html.escape(words)}</dd></div>" for key, words in tiles
    )
    return f"<dl class='tiles'>{listed}</dl>"


# --- replicas


def _replica(say: Texts, replica: ReplicaSnapshot) -> str:
    name = html.escape(replica_words(say, replica.model, replica.replica_id))
    title = f"<h3><i class='dot'></i>{name} <span>{html.escape(say(f'state.{replica.state}'))}</span></h3>"
    facts = [("speed", _speed(say, replica)), ("served", say.counted("replica.answers", replica.served))]
    if replica.loads:
        facts.append(("at_a_time", say.counted("replica.together", replica.slots)))
    facts.append(("loaded", _loaded(say, replica)))
    facts += [("weights", _weights(say, replica))] if replica.resident_bytes else [("place", _places(say, replica))]
    if replica.deaths:
        facts.append(("restarts", say("replica.deaths", count=replica.deaths)))
    listed = "".join(
        f"<div><dt>{html.escape(say(f'replica.{term}'))}</dt><dd>{html.escape(words)}</dd></div>"
        for term, words in facts
    )
    return f"{title}{_detail(say, replica)}<dl>{listed}</dl>"


def _detail(say: Texts, replica: ReplicaSnapshot) -> str:
    """What a load is doing, or why there is no hope."""
    if replica.state == "failed":
        return f"<p class='line error'>{html.escape(say.told(replica.detail))}</p>"
    if replica.state not in ("starting", "loading"):
        return ""
    share = "" if replica.fraction is None else f", {replica.fraction:.0%}"
    words = html.escape(say.told(replica.detail or "starting"))
    return f"<p class='line remark'>{words}{share}</p>{progress_html(say, replica)}"


def _speed(say: Texts, replica: ReplicaSnapshot) -> str:
    if not replica.tokens_per_s:
        return say("replica.unasked")
    return say("replica.last", speed=f"{replica.tokens_per_s:.0f}")


def _loaded(say: Texts, replica: ReplicaSnapshot) -> str:
    """The proof that each weight was loaded once: by the process that runs, and in all."""
    times = replica.total_loads
    if not replica.loads:
        return say("replica.unloaded") if times <= 1 else say("replica.tried", count=times)
    if replica.loads > 1:
        return say("replica.reloaded", count=replica.loads)
    took = seconds_words(say, replica.load_s)
    return say("replica.once", took=took) if times <= 1 else say("replica.restarted", took=took, count=times)


def _weights(say: Texts, replica: ReplicaSnapshot) -> str:
    return "; ".join(_weight(say, replica, device, count) for device, count in replica.resident_bytes.items())


def _weight(say: Texts, replica: ReplicaSnapshot, device: str, resident: int) -> str:
    words = say("replica.there", size=size_words(resident), device=device_words(say, device))
    planned = replica.planned_weights.get(device)
    if not planned:
        return words
    if abs(resident - planned) <= TOLERANCE * planned:
        return say("replica.as_planned", there=words)
    return say("replica.not_planned", there=words, size=size_words(planned))


def _places(say: Texts, replica: ReplicaSnapshot) -> str:
    return ", ".join(device_words(say, device) for device in replica.devices)
