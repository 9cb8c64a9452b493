"""What stands still on the page, in both languages: handed to gradio, whose page in the browser translates it.

Owns the keys that gradio is given and whole blocks of markup. Texts that an event makes are made by
`demo.ui.language.Texts` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from gradio.i18n import I18nData

from demo.ui.language import Languages, Texts

Draw = Callable[[Texts], str]


def label(key: str) -> Any:
    """The text of a key, for any component that stands still. In markup it may stand once."""
    return I18nData(key)


def block(name: str) -> Any:
    """Markup with any number of texts, drawn once in each language; see `translations`."""
    return I18nData(f"block.{name}")


def translations(languages: Languages, blocks: Mapping[str, Draw]) -> gr.I18n:
    """What `label` and `block` stand for; ``blocks`` draw the latter."""
    drawn = {
        language: {**say.table, **{f"block.{name}": draw(say) for name, draw in blocks.items()}}
        for language, say in languages.texts.items()
    }
    return gr.I18n(**drawn)
