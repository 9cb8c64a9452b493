"""The page: heading, status line, five tabs. Layout only; builds and returns, starts nothing.

Owns the order of the parts and the refresh of the status line.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import gradio as gr

from demo.ui import endpoints
from demo.ui.about import about_html, title_html
from demo.ui.context import UiContext, Waiting
from demo.ui.handlers.batch import MOST_PICTURES
from demo.ui.labels import Draw, block, label
from demo.ui.line import Line
from demo.ui.status import Drawn, status_html
from demo.ui.tabs import batch_wiring, captioning, chat_wiring, compare, grounding, status
from demo.ui.transcript import welcome_html
from demo.ui.uploads import limits_html
from demo.ui.widgets import quick_event

STATUS_S = 2.0
CACHE_S = (600, 86_400)  # every ten minutes, remove pictures that are older than a day


def build_page(context: UiContext) -> gr.Blocks:
    title = context.languages.english("page.title")
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True, delete_cache=CACHE_S) as page:
        waiting = Line(page)
        _heading(page, context, waiting)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab(label("role.chat"), id="chat"):
                chat_tab, chat_events = chat_wiring.build(context, waiting)
            with gr.Tab(label("role.grounding"), id="grounding"):
                grounding.build(context, waiting)
            with gr.Tab(label("role.captioning"), id="captioning"):
                captions = captioning.build(context, waiting)
            with gr.Tab(label("compare.tab"), id="compare"):
                compare.build(context, waiting)
            with gr.Tab(label("panel.tab"), id="status") as last:
                status_tab = status.build(context, waiting)
        chat_wiring.restore_on_load(page, chat_tab, chat_events)
        if captions is not None:
            batch_wiring.restore_on_load(page, captions.batch, captions.batch_events)
        status.follow(context, tabs, last, status_tab)
        endpoints.build(context)
    return page


def blocks_of(context: UiContext) -> Mapping[str, Draw]:
    """Markup with many texts that stands still, by the names that `block` is given."""
    return {
        "title": title_html,
        "welcome": welcome_html,
        "about": partial(about_html, specs=context.specs, offers=context.offers),
        "tip": grounding.tip_html,
        "uploads": partial(limits_html, limits=context.limits, most_pictures=MOST_PICTURES),
    }


def _heading(page: gr.Blocks, context: UiContext, waiting: Waiting) -> None:
    drawn = Drawn(context.look, waiting, status_html)

    def line(request: gr.Request) -> str:
        return drawn(context.languages.of(request))

    with gr.Column(elem_id="top"):
        gr.HTML(block("title"), elem_id="title")
        shown = gr.HTML(elem_id="status")
        gr.HTML(block("about"), elem_id="about")
    gr.on([page.load, gr.Timer(STATUS_S).tick], line, None, shown, **quick_event())
