"""The public endpoints /chat, /ground, /describe_region and /caption, for programs that use gradio_client.

Owns their names, parameters and types. They have no visible parts; what they do is in `demo.ui.handlers.api`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import gradio as gr

from demo.ui.context import UiContext
from demo.ui.handlers import api
from demo.ui.handlers.sampling import DEFAULT
from demo.ui.tabs.captioning import styles
from demo.ui.widgets import api_steps, guarded, model_event

_RESULT = 'Returns the text as the model wrote it, and a list of {"label", "box", "box_normalized"}.'


def build(context: UiContext) -> None:
    """Only the roles that a loaded model serves have an endpoint."""
    with gr.Column(visible=False):
        outputs = [gr.Textbox(label="text"), gr.JSON(label="boxes")]
        makers = (("chat", _chat), ("grounding", _ground), ("grounding", _describe_region), ("captioning", _caption))
        for role, make in makers:
            if role in context.specs:
                make(context, outputs)


def _picture() -> Any:
    return guarded(gr.Image(label="picture", type="filepath"), lambda data: data.path if data else None)


def _sampling() -> list[Any]:
    names = ("temperature", "top_p", "top_k", "max_new_tokens", "repetition_penalty", "seed")
    return [gr.Number(getattr(DEFAULT, name), label=name) for name in names]


def _register(context: UiContext, run: Any, name: str, inputs: list[Any], outputs: list[Any], what: str) -> None:
    gr.Button(visible=False).click(
        run, inputs, outputs, api_name=name, api_description=f"{what} {_RESULT}", **model_event(context)
    )


def _chat(context: UiContext, outputs: list[Any]) -> None:
    def chat(
        message: str,
        picture: str | None = None,
        history: list[dict[str, Any]] | None = None,
        temperature: float = DEFAULT.temperature,
        top_p: float = DEFAULT.top_p,
        top_k: int = DEFAULT.top_k,
        max_new_tokens: int = DEFAULT.max_new_tokens,
        repetition_penalty: float = DEFAULT.repetition_penalty,
        seed: int | None = None,
    ) -> Generator[api.Step, None, None]:
        controls = (temperature, top_p, top_k, max_new_tokens, repetition_penalty, seed)
        yield from api_steps(api.chat(context, message, picture, history, controls))

    inputs = [gr.Textbox(label="message"), _picture(), gr.JSON(label="history"), *_sampling()]
    _register(context, chat, "chat", inputs, outputs, "Answer a message about a picture.")


def _ground(context: UiContext, outputs: list[Any]) -> None:
    def ground(picture: str, phrase: str) -> Generator[api.Step, None, None]:
        yield from api_steps(api.ground(context, picture, phrase))

    _register(
        context, ground, "ground", [_picture(), gr.Textbox(label="phrase")], outputs, "Find a phrase in a picture."
    )


def _describe_region(context: UiContext, outputs: list[Any]) -> None:
    """Only where the model was taught to answer about regions."""
    if not context.prompts["grounding"].describe_region:
        return

    def describe_region(picture: str, box: list[float], question: str | None = None) -> Generator[api.Step, None, None]:
        yield from api_steps(api.describe_region(context, picture, box, question))

    inputs = [_picture(), gr.JSON(label="box"), gr.Textbox(label="question")]
    what = "Say what is in a box, [x0, y0, x1, y1] in pixels, or answer a question about it."
    _register(context, describe_region, "describe_region", inputs, outputs, what)


def _caption(context: UiContext, outputs: list[Any]) -> None:
    known = styles(context)

    def caption(picture: str, style: str = known[0]) -> Generator[api.Step, None, None]:
        yield from api_steps(api.caption(context, picture, style))

    inputs = [_picture(), gr.Radio(known, value=known[0], label="style")]
    _register(context, caption, "caption", inputs, outputs, "Describe a picture.")
