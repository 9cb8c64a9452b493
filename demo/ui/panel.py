"""What the status tab shows: each replica's state and the proof of its load, and each device's memory as a bar.

Owns the markup and its words; pure, of a `Status`. Every bar says the same in text, and to screen readers. Figures are
rounded, so that nothing moves while nothing happens. Bytes are shown as GiB or MiB.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from demo.ui.status import STATE_WORDS, device_words, progress_html, queue_words, size_words

if TYPE_CHECKING:
    from demo.engine.snapshots import ReplicaSnapshot
    from demo.engine.telemetry import DeviceStatus, Status

MIB = 2**20
TONES = 4  # shades of the style sheet that tell the replicas on one device apart
TOLERANCE = 0.01  # weights this close to the plan are as planned


def panel_html(status: Status, waiting: int = 0) -> str:
    """``waiting`` counts requests in the page's own queue; the engine's are added."""
    replicas = "".join(
        f"<li class='card {replica.state}'>{_replica(replica)}</li>" for replica in status.manager.replicas
    )
    devices = "".join(f"<li class='card'>{_device(device)}</li>" for device in status.devices)
    return (
        f"<div class='panel'><p class='summary'>{_summary(status, waiting)}</p>"
        f"<h2>Replicas</h2><ul class='cards'>{replicas}</ul>"
        f"<h2>Memory</h2><ul class='cards wide'>{devices}</ul></div>"
    )


def _summary(status: Status, waiting: int) -> str:
    served = _counted(sum(replica.served for replica in status.manager.replicas), "answer")
    return f"{queue_words(status, waiting)} · {served} given · up for {_duration(status.uptime_s)}"


# --- replicas


def _replica(replica: ReplicaSnapshot) -> str:
    name = html.escape(_name(replica.model, replica.replica_id))
    title = f"<h3><i class='dot'></i>{STATE_WORDS[replica.state]} <span>{name}</span></h3>"
    facts = [("Speed", _speed(replica)), ("Served", _counted(replica.served, "answer")), ("Loaded", _loaded(replica))]
    facts += [("Weights", _weights(replica))] if replica.resident_bytes else [("Place", _places(replica))]
    if replica.deaths:
        facts.append(("Restarts", f"{replica.deaths}: its process ended"))
    listed = "".join(f"<div><dt>{term}</dt><dd>{html.escape(words)}</dd></div>" for term, words in facts)
    return f"{title}{_detail(replica)}<dl>{listed}</dl>"


def _detail(replica: ReplicaSnapshot) -> str:
    """What a load is doing, or why there is no hope."""
    if replica.state == "failed":
        return f"<p class='line error'>{html.escape(replica.detail)}</p>"
    if replica.state not in ("starting", "loading"):
        return ""
    share = "" if replica.fraction is None else f", {replica.fraction:.0%}"
    words = html.escape(replica.detail or "starting")
    return f"<p class='line remark'>{words}{share}</p>{progress_html(replica)}"


def _speed(replica: ReplicaSnapshot) -> str:
    return f"{replica.tokens_per_s:.0f} tokens/s in the last answer" if replica.tokens_per_s else "no answer yet"


def _loaded(replica: ReplicaSnapshot) -> str:
    """The proof that each weight was loaded once: by the process that runs, and in all."""
    if not replica.loads:
        return "not yet" if replica.total_loads <= 1 else f"not yet; tried {replica.total_loads} times"
    took = f", in {_seconds(replica.load_s)}"
    if replica.loads > 1:
        return f"{replica.loads} times by one process, which is a defect"
    if replica.total_loads > 1:
        return f"once by this process{took}; {replica.total_loads} times in all, after restarts"
    return f"once{took}"


def _weights(replica: ReplicaSnapshot) -> str:
    return "; ".join(_weight(replica, device, count) for device, count in replica.resident_bytes.items())


def _weight(replica: ReplicaSnapshot, device: str, resident: int) -> str:
    words = f"{size_words(resident)} on {device_words(device)}"
    planned = replica.planned_weights.get(device)
    if not planned:
        return words
    if abs(resident - planned) <= TOLERANCE * planned:
        return f"{words}, as planned"
    return f"{words}, {size_words(planned)} planned"


def _places(replica: ReplicaSnapshot) -> str:
    return ", ".join(map(device_words, replica.devices))


# --- devices


def _device(device: DeviceStatus) -> str:
    name = device_words(device.id)
    known = "" if device.name in ("", name) else f" <span>{html.escape(device.name)}</span>"
    return (
        f"<h3>{html.escape(name)}{known}</h3>{_bar(device)}<p class='figures'>{_figures(device)}</p>{_holders(device)}"
    )


def _figures(device: DeviceStatus) -> str:
    size = "" if device.total_bytes is None else f" of {size_words(device.total_bytes)}"
    planned = "<span>nothing planned</span>"
    if device.planned_bytes:
        planned = f"<span class='plan'>{size_words(device.planned_bytes)} planned</span>"
    return (
        f"<span class='used'><b>{size_words(device.used_bytes)}</b>{size} used</span>"
        f"{planned}<span class='high'>{size_words(device.high_water_bytes)} at most</span>"
    )


def _bar(device: DeviceStatus) -> str:
    """Used bytes by holder, a tick at the high-water mark, and below it what was planned."""
    scale = device.total_bytes or max(device.high_water_bytes, device.planned_bytes, 1)
    sizes = [(f"tone{index % TONES}", held.held_bytes) for index, held in enumerate(device.holdings)]
    sizes.append(("other", device.other_bytes))
    parts = "".join(f"<i class='{tone}' style='width:{_share(size, scale)}'></i>" for tone, size in sizes)
    high = f"<i class='high' style='left:{_share(device.high_water_bytes, scale)}'></i>"
    planned = f"<div class='planned' style='width:{_share(device.planned_bytes, scale)}'></div>"
    label = html.escape(f"Memory in use on {device_words(device.id)}")
    return (
        f"<div class='meter' role='meter' aria-label='{label}' aria-valuemin='0' aria-valuemax='{scale // MIB}'"
        f" aria-valuenow='{min(device.used_bytes, scale) // MIB}' aria-valuetext='{_spoken(device)}'>"
        f"<div class='track'>{parts}{high}</div>{planned}</div>"
    )


def _spoken(device: DeviceStatus) -> str:
    size = "" if device.total_bytes is None else f" of {size_words(device.total_bytes)}"
    planned, most = size_words(device.planned_bytes), size_words(device.high_water_bytes)
    return f"{size_words(device.used_bytes)}{size} used, {planned} planned, {most} at most"


def _holders(device: DeviceStatus) -> str:
    rows = [
        (f"tone{index % TONES}", _name(held.model, held.replica_id), held.held_bytes)
        for index, held in enumerate(device.holdings)
    ]
    if device.total_bytes is not None:
        others = "Other programs" if device.id == "cpu" else "Other programs and drivers"
        rows.append(("other", others, device.other_bytes))
    listed = "".join(
        f"<li><i class='{tone}'></i>{html.escape(name)} <b>{size_words(size)}</b></li>" for tone, name, size in rows
    )
    return f"<ul class='holders'>{listed}</ul>"


# --- words


def _name(model: str, replica_id: int) -> str:
    return f"{model}, replica {replica_id}"


def _share(size: int, scale: int) -> str:
    return f"{100 * min(1.0, size / scale):.1f}%"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _seconds(seconds_s: float) -> str:
    if seconds_s < 0.1:
        return "under 0.1 s"
    return f"{seconds_s:.1f} s" if seconds_s < 10 else f"{seconds_s:.0f} s"


def _duration(seconds_s: float) -> str:
    """In whole minutes, hours or days."""
    minutes = int(seconds_s // 60)
    if minutes < 1:
        return "under a minute"
    for count, noun in ((minutes // 1440, "day"), (minutes // 60, "hour")):
        if count:
            return _counted(count, noun)
    return _counted(minutes, "minute")
