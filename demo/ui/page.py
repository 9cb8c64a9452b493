"""The page: heading, status line, four tabs. Layout only; builds and returns, starts nothing.

Owns the order of the parts and the refresh of the status line.
"""

from __future__ import annotations

import gradio as gr

from demo.ui import endpoints
from demo.ui.context import UiContext, Waiting
from demo.ui.status import Drawn, about_html, status_html
from demo.ui.tabs import captioning, chat, grounding, status

TITLE = "Ask a picture"
STATUS_S = 2.0
CACHE_S = (600, 86_400)  # every ten minutes, remove pictures that are older than a day


def build_page(context: UiContext) -> gr.Blocks:
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=CACHE_S) as page:

        def waiting() -> int:
            return len(page._queue)

        _heading(page, context, waiting)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Chat", id="chat"):
                chat.build(context, waiting)
            with gr.Tab("Grounding", id="grounding"):
                grounding.build(context, waiting)
            with gr.Tab("Captioning", id="captioning"):
                captioning.build(context, waiting)
            with gr.Tab(status.TAB, id="status"):
                status_tab = status.build(context, waiting)
        status.follow(tabs, status_tab)
        endpoints.build(context)
    return page


def _heading(page: gr.Blocks, context: UiContext, waiting: Waiting) -> None:
    drawn = Drawn(context.look, waiting, status_html)
    with gr.Row(elem_id="top"):
        gr.HTML(f"<h1>{TITLE}</h1>{about_html(context)}", elem_id="about")
        line = gr.HTML(drawn(), elem_id="status")
    timer = gr.Timer(STATUS_S)
    gr.on([page.load, timer.tick], drawn, None, line, queue=False, show_progress="hidden", api_visibility="private")
