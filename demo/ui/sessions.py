"""What the server keeps of each visitor: what their tab was told, and nothing that is the same for all.

Gradio 6.31 gives every session a copy of every component's configuration, for links to a state of the page. This page
has no such links (see `demo.ui.security`), and the copies are most of what a visitor costs.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

MOST = 2_000  # sessions that are remembered; a tab that is open counts as used every few seconds


class Session(SessionState):
    """Gradio's session without the copies."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.blocks_config.config_for_block = _nothing
        self.config_values: dict[int, Any] = {}
        self.state_data: dict[int, Any] = {}
        self._state_ttl: dict[int, Any] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600  # seconds


class Sessions(StateHolder):
    """All of them; beyond `MOST` the one that was used least recently is forgotten."""

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__()
        self.set_blocks(blocks)
        self.capacity = MOST

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)


def _nothing(*_: Any) -> dict[str, Any]:
    return {}
