"""Sizes, times, counts and devices in a visitor's words. Pure. Bytes are shown as GiB or MiB, seconds end in ``_s``."""

from __future__ import annotations

import math

from demo.ui.language import Texts


def size_words(num_bytes: int) -> str:
    gib = num_bytes / 2**30
    return f"{gib:.1f} GiB" if gib >= 1 else f"{num_bytes / 2**20:.0f} MiB"


def device_words(say: Texts, name: str) -> str:
    kind, _, number = name.partition(":")
    return say(f"device.{kind}", number=number) if f"device.{kind}" in say.table else name


def replica_words(say: Texts, model: str, replica_id: int) -> str:
    return say("replica.name", model=model, number=replica_id)


def seconds_words(say: Texts, seconds_s: float) -> str:
    if seconds_s < 0.1:
        return say("time.moment")
    return say("time.seconds", seconds=f"{seconds_s:.1f}" if seconds_s < 10 else f"{seconds_s:.0f}")


def wait_words(say: Texts, seconds_s: float) -> str:
    """About how long, in whole seconds or minutes; never nothing."""
    if seconds_s < 60:
        return say("time.seconds", seconds=math.ceil(seconds_s) or 1)
    return duration_words(say, seconds_s)


def duration_words(say: Texts, seconds_s: float) -> str:
    """In whole minutes, hours or days."""
    minutes = int(seconds_s // 60)
    if minutes < 1:
        return say("time.short")
    for count, key in ((minutes // 1440, "time.days"), (minutes // 60, "time.hours")):
        if count:
            return say.counted(key, count)
    return say.counted("time.minutes", minutes)
