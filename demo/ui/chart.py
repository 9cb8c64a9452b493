"""Tokens per second over the last minutes as a drawing: one column a step, the newest on the right.

Owns the scale and the markup, SVG that needs no script. Pure, of a `TokenHistory`. Says the same in words.
"""

from __future__ import annotations

import html
import math

from demo.engine.throughput import TokenHistory
from demo.ui.language import Texts

HEIGHT = 100.0
LEAST_TOP = 10  # tokens per second: a scale for next to nothing would make much of it
GAP = 0.25  # of a column's width


def chart_html(say: Texts, tokens: TokenHistory) -> str:
    top = scale_of(max(tokens.rates, default=0.0))
    minutes = round(len(tokens.rates) * tokens.step_s / 60)
    spoken = html.escape(_spoken(say, tokens, minutes))
    words = "" if any(tokens.rates) else html.escape(say("chart.nothing", minutes=minutes))
    path = f"<path d='{columns(tokens.rates, top)}'/>"
    axis = (say("chart.before", minutes=minutes), say("chart.before", minutes=minutes // 2), say("chart.now"))
    ticks = "".join(f"<span>{html.escape(words)}</span>" for words in axis)
    return (
        f"<figure class='chart'><figcaption>{html.escape(say('chart.title'))}</figcaption>"
        f"<div class='plot'><svg role='img' aria-label='{spoken}' preserveAspectRatio='none'"
        f" viewBox='0 0 {max(1, len(tokens.rates))} {HEIGHT:.0f}'>{path}</svg><p class='nothing'>{words}</p>"
        f"<span class='top' aria-hidden='true'>{top:,}</span><span class='half' aria-hidden='true'>{top / 2:,g}</span>"
        f"</div><div class='axis' aria-hidden='true'>{ticks}</div></figure>"
    )


def scale_of(most: float) -> int:
    """The top of the scale: 1, 2 or 5 times a power of ten, and no less than what is shown."""
    if most <= LEAST_TOP:
        return LEAST_TOP
    power = 10 ** math.floor(math.log10(most))
    return next(int(factor * power) for factor in (1, 2, 5, 10) if factor * power >= most)


def columns(rates: tuple[float, ...], top: float) -> str:
    """A path of rectangles that stand on the bottom line; steps without tokens have none."""
    sizes = [(index, HEIGHT * min(1.0, rate / top)) for index, rate in enumerate(rates) if rate > 0]
    return "".join(f"M{index} {HEIGHT:.0f}v-{size:.1f}h{1 - GAP}v{size:.1f}z" for index, size in sizes)


def now_of(tokens: TokenHistory) -> float:
    """Tokens per second in the step that ended last."""
    return tokens.rates[-1] if tokens.rates else 0.0


def _spoken(say: Texts, tokens: TokenHistory, minutes: int) -> str:
    most = max(tokens.rates, default=0.0)
    return say("chart.spoken", minutes=minutes, now=f"{now_of(tokens):,.0f}", most=f"{most:,.0f}")
