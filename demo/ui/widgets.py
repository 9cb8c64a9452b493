"""What the tabs share: the picture input, the sampling accordion, examples, and how an event of the model is set up.

Owns the guards between gradio's components and the handlers: no component here opens a file, fetches a link or
decodes a picture; they hand over paths, which `PictureStore` checks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import gradio as gr
from gradio.components import Component

from demo.errors import DemoError
from demo.types import Role, Sampling
from demo.ui.context import UiContext
from demo.ui.examples import Example
from demo.ui.figures import wait_words
from demo.ui.handlers.sampling import DEFAULT
from demo.ui.labels import label
from demo.ui.language import Texts

_NO_NAMES: Mapping[str, str] = MappingProxyType({})
# A script for a gr.HTML that scrolls: it can be reached by the keyboard.
REACHABLE = "element.closest('.block').tabIndex = 0"
MODEL_EVENTS = "model"  # the one concurrency id of everything that makes the model work


def model_event(context: UiContext) -> dict[str, Any]:
    """What every event that reaches the model is registered with; all say the same limit, for the lowest one wins."""
    return {"concurrency_id": MODEL_EVENTS, "concurrency_limit": context.engine.capacity}


def answer_event(context: UiContext) -> dict[str, Any]:
    """What an event of the page that reaches the model is registered with."""
    return {**model_event(context), **_glue()}


def quick_event() -> dict[str, Any]:
    """What an event that only changes the page is registered with: it never waits behind the model."""
    return {"queue": False, **_glue()}


def _glue() -> dict[str, Any]:
    """For the page alone. No part is told how an event goes: gradio's page would copy the whole conversation, and what
    else was ever part of an event, at each step of each event, which is most of what its browser does."""
    return {"api_visibility": "private", "show_progress": "hidden", "show_progress_on": []}


def api_steps(steps: Generator[Any, None, None]) -> Generator[Any, None, None]:
    """The edge of the endpoints: an error of ours reaches the client with its own words; gradio hides all others."""
    try:
        yield from steps
    except DemoError as error:
        raise gr.Error(str(error), print_exception=False) from error


def not_taken(say: Texts, context: UiContext, waiting: int, wait_s: float | None = None) -> str:
    """Why gradio did not run an event, which tells its page no more than that; and when a place may be free."""
    if waiting >= context.limits.queue:
        return say("queue.full") if wait_s is None else say("queue.full_for", took=wait_words(say, wait_s))
    return say("queue.not_taken")


# --- inputs


def picture_input(name: str) -> gr.Image:
    """A picture by upload, drop, paste or webcam; handlers get the path of the upload."""
    image = gr.Image(
        label=label("input.picture"),
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard", "webcam"],
        height=340,
        elem_id=name,
        elem_classes=["picture"],
        buttons=["fullscreen"],
        placeholder=label("input.drop"),
    )
    return guarded(image, lambda data: data.path if data else None)


def message_input(name: str, *, takes_clips: bool = False) -> gr.MultimodalTextbox:
    """Text, pictures and maybe clips in one box. What a file is, is decided by opening it, not by its name."""
    box = gr.MultimodalTextbox(
        placeholder=label("input.ask_clip" if takes_clips else "input.ask"),
        file_types=["image", "video"] if takes_clips else ["image"],
        file_count="multiple",
        sources=["upload"],
        lines=1,
        max_lines=8,
        max_plain_text_length=2**31 - 1,  # longer text stays text, and gets our answer
        label=label("input.message"),
        show_label=False,
        autofocus=True,
        elem_id=name,
    )
    return guarded(box, lambda data: data and {"text": data.text, "files": [file.path for file in data.files]})


def guarded(component: Any, read: Callable[[Any], Any]) -> Any:
    """Replace gradio's own reading of what a client sent, which would open any file or fetch any address."""
    component.preprocess = read
    component.async_move_resource_to_block_cache = _only_uploads(component.async_move_resource_to_block_cache)
    return component


def _only_uploads(move: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def moved(path: Any) -> Any:
        if "://" in str(path)[:20]:
            raise gr.Error("Links are not followed. Upload the picture itself.", title="", print_exception=False)
        return await move(path)

    return moved


@dataclass(frozen=True, slots=True)
class SamplingControls:
    temperature: gr.Slider
    top_p: gr.Slider
    top_k: gr.Slider
    max_new_tokens: gr.Slider
    repetition_penalty: gr.Slider
    seed: gr.Textbox

    @property
    def inputs(self) -> list[Component]:
        """In the order of `sampling_of`."""
        return [self.temperature, self.top_p, self.top_k, self.max_new_tokens, self.repetition_penalty, self.seed]


def sampling_controls(default: Sampling = DEFAULT) -> SamplingControls:
    """A closed accordion that shows what is really used when nothing is touched."""
    with gr.Accordion(label("sampling.title"), open=False, elem_classes=["sampling"]), gr.Row():
        return SamplingControls(
            temperature=gr.Slider(
                0, 2, default.temperature, step=0.05, label=label("sampling.temperature"), info=label("sampling.greedy")
            ),
            top_p=gr.Slider(
                0.01, 1, default.top_p, step=0.01, label=label("sampling.top_p"), info=label("sampling.one_off")
            ),
            top_k=gr.Slider(
                0, 200, default.top_k, step=1, label=label("sampling.top_k"), info=label("sampling.zero_off")
            ),
            max_new_tokens=gr.Slider(1, 2048, default.max_new_tokens, step=1, label=label("sampling.max_new_tokens")),
            repetition_penalty=gr.Slider(
                0.5,
                2,
                default.repetition_penalty,
                step=0.05,
                label=label("sampling.penalty"),
                info=label("sampling.one_off"),
            ),
            seed=gr.Textbox(  # a gr.Number cannot be empty, it shows 0 and sends it
                "" if default.seed is None else str(default.seed),
                label=label("sampling.seed"),
                info=label("sampling.another"),
                max_lines=1,
            ),
        )


# --- examples


def example_buttons(examples: Sequence[Example], names: Mapping[str, str] = _NO_NAMES) -> list[gr.Button]:
    """One button an example, with its picture and its text or the text's name; an empty list where there are none."""
    if not examples:
        return []
    gr.HTML(f"<p class='line examples-title'>{label('examples.title')}</p>", elem_classes=["examples-head"])
    with gr.Row(elem_classes=["examples"]):
        return [
            gr.Button(names.get(example.text, example.text), icon=example.picture, size="sm", elem_classes=["example"])
            for example in examples
        ]


def unavailable(context: UiContext, role: Role) -> bool:
    """Say on a tab that no loaded model serves it."""
    if context.spec(role) is not None:
        return False
    gr.HTML(f"<p class='line empty'>{label(f'role.missing.{role}')}</p>")
    return True
