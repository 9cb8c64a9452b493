"""The status tab: the panel of `demo.ui.panel`, kept fresh while the tab is open and at no cost while it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.ui.context import UiContext, Waiting
from demo.ui.panel import panel_html
from demo.ui.status import Drawn
from demo.ui.widgets import quick_event

TAB = "Status"
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
    tab.timer.tick(tab.drawn, None, tab.panel, **quick_event())
    return tab


def follow(tabs: gr.Tabs, tab: StatusTab) -> None:
    """Show the panel at once when its tab is chosen, and let the timer run only as long as it is."""

    def chosen(event: gr.SelectData) -> list[Any]:
        is_shown = event.value == TAB
        return [tab.drawn() if is_shown else gr.skip(), gr.Timer(active=is_shown)]

    tabs.select(chosen, None, [tab.panel, tab.timer], **quick_event())
