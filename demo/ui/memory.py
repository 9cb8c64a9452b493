"""A device's memory as a bar: what is used by whom, the most that ever was, and what was planned.

Owns the markup; pure, of a `DeviceStatus`. A bar says the same in text, and to screen readers.
"""

from __future__ import annotations

import html
from itertools import accumulate
from typing import TYPE_CHECKING

from demo.ui.figures import device_words, replica_words, size_words
from demo.ui.language import Texts

if TYPE_CHECKING:
    from demo.engine.telemetry import DeviceStatus

MIB = 2**20
TONES = 4  # shades of the style sheet that tell the replicas on one device apart


def device_html(say: Texts, device: DeviceStatus) -> str:
    name = device_words(say, device.id)
    known = "" if device.name in ("", name) else f" <span>{html.escape(device.name)}</span>"
    figures = f"<p class='figures'>{_figures(say, device)}</p>"
    return f"<h3>{html.escape(name)}{known}</h3>{_bar(say, device)}{figures}{_holders(say, device)}"


def share_words(size: int, scale: int) -> str:
    """A part of a whole for the style sheet; never more than all of it."""
    return f"{100 * min(1.0, size / scale):.1f}%"


def _figures(say: Texts, device: DeviceStatus) -> str:
    used = f"<b>{size_words(device.used_bytes)}</b>"
    if device.total_bytes is not None:
        used = say("memory.of", used=used, total=size_words(device.total_bytes))
    planned = f"<span>{say('memory.unplanned')}</span>"
    if device.planned_bytes:
        planned = f"<span class='plan'>{say('memory.planned', size=size_words(device.planned_bytes))}</span>"
    high = say("memory.high", size=size_words(device.high_water_bytes))
    return f"<span class='used'>{say('memory.used', used=used)}</span>{planned}<span class='high'>{high}</span>"


def _bar(say: Texts, device: DeviceStatus) -> str:
    """Used bytes by holder, a tick at the high-water mark, and below it what was planned.

    All parts begin at the left and end where they are due, the shorter ones above: so they grow, and none moves.
    """
    scale = device.total_bytes or max(device.high_water_bytes, device.planned_bytes, 1)
    sizes = [(f"tone{index % TONES}", held.held_bytes) for index, held in enumerate(device.holdings)]
    sizes.append(("other", device.other_bytes))
    ends = accumulate(size for _, size in sizes)
    drawn = [*zip((tone for tone, _ in sizes), ends)][::-1]
    parts = "".join(f"<i class='{tone}' style='width:{share_words(end, scale)}'></i>" for tone, end in drawn)
    high = f"<i class='high' style='width:{share_words(device.high_water_bytes, scale)}'></i>"
    planned = f"<div class='planned' style='width:{share_words(device.planned_bytes, scale)}'></div>"
    label = html.escape(say("memory.label", device=device_words(say, device.id)))
    return (
        f"<div class='meter' role='meter' aria-label='{label}' aria-valuemin='0' aria-valuemax='{scale // MIB}'"
        f" aria-valuenow='{min(device.used_bytes, scale) // MIB}' aria-valuetext='{html.escape(_spoken(say, device))}'>"
        f"<div class='track'>{parts}{high}</div>{planned}</div>"
    )


def _spoken(say: Texts, device: DeviceStatus) -> str:
    used = size_words(device.used_bytes)
    if device.total_bytes is not None:
        used = say("memory.of", used=used, total=size_words(device.total_bytes))
    planned, most = size_words(device.planned_bytes), size_words(device.high_water_bytes)
    return say("memory.spoken", used=say("memory.used", used=used), planned=planned, most=most)


def _holders(say: Texts, device: DeviceStatus) -> str:
    rows = [
        (f"tone{index % TONES}", replica_words(say, held.model, held.replica_id), held.held_bytes)
        for index, held in enumerate(device.holdings)
    ]
    if device.total_bytes is not None:
        rows.append(("other", say("memory.others" if device.id == "cpu" else "memory.drivers"), device.other_bytes))
    listed = "".join(
        f"<li><i class='{tone}'></i>{html.escape(name)} <b>{size_words(size)}</b></li>" for tone, name, size in rows
    )
    return f"<ul class='holders'>{listed}</ul>"
