"""The status tab: the panel of `demo.ui.panel`, kept fresh while the tab is open and at no cost while it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.ui.context import UiContext, Waiting
from demo.ui.panel import panel_html
from demo.ui.status import Drawn
from demo.ui.widgets import quick_event

REFRESH_S = 2.0


@dataclass(frozen=True, slots=True)
class StatusTab:
    panel: gr.HTML
    timer: gr.Timer
    drawn: Drawn


def build(context: UiContext, waiting: Waiting) -> StatusTab:
    """Built inside its tab; `follow` then ties it to the tabs around it."""
    tab = StatusTab(
        gr.HTML(elem_id="panel"), gr.Timer(REFRESH_S, active=False), Drawn(context.look, waiting, panel_html)
    )

    def refreshed(request: gr.Request) -> str:
        return tab.drawn(context.languages.of(request))

    tab.timer.tick(refreshed, None, tab.panel, **quick_event())
    return tab


def follow(context: UiContext, tabs: gr.Tabs, own: gr.Tab, tab: StatusTab) -> None:
    """Show the panel at once when its tab is chosen, and let the timer run only as long as it is."""

    def opened(request: gr.Request) -> list[Any]:
        return [tab.drawn(context.languages.of(request)), gr.Timer(active=True)]

    own.select(opened, None, [tab.panel, tab.timer], **quick_event())
    for other in tabs.children:
        if other is not own:
            other.select(lambda: gr.Timer(active=False), None, tab.timer, **quick_event())
