"""How events are registered with gradio: read from the built page, nothing is launched."""

import asyncio
from dataclasses import replace

import pytest

from demo.prompts import load_prompts
from demo.ui.app import build_app
from demo.ui.widgets import MODEL_EVENTS

# gradio's queue makes an event loop for its locks and never closes it
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")

PUBLIC = {"chat", "ground", "describe_region", "caption"}


@pytest.fixture
def page(make):
    return build_app(make())


def events(page):
    return [function for function in page.fns.values() if function.fn is not None]


def test_all_that_reaches_the_model_shares_one_queue_and_one_limit(page):
    queued = [function for function in events(page) if function.queue]
    assert len(queued) == 10  # answer, find, describe, caption many, both sides of compare, and four endpoints
    assert {function.concurrency_id for function in queued} == {MODEL_EVENTS}
    assert {function.concurrency_limit for function in queued} == {1}


def test_the_limit_is_what_the_engine_can_do_at_a_time(make):
    class Wide:
        def __init__(self, engine):
            self._engine = engine

        capacity = 6

        def __getattr__(self, name):
            return getattr(self._engine, name)

    context = make()
    page = build_app(replace(context, engine=Wide(context.engine)))
    assert {function.concurrency_limit for function in events(page) if function.queue} == {6}


def test_only_the_four_endpoints_are_public(page):
    public = {function.api_name for function in events(page) if function.api_visibility == "public"}
    assert public == PUBLIC


def test_every_stop_cancels_what_the_model_is_asked_by_its_tab(page):
    cancelled = [set(function.cancels) for function in page.fns.values() if function.cancels]
    names = {index: function.name for index, function in page.fns.items()}
    assert sorted(sorted(names[index] for index in indices) for indices in cancelled) == [
        *[["answer"]] * 3,  # stop, clear, and the conversation's own clear
        ["answers"],
        ["answers"],
        ["compare", "compare"],
    ]


def test_nothing_runs_past_the_queue_and_the_queue_is_bounded(page):
    assert not page.api_open
    assert page._queue.max_size == 32


def test_those_who_wait_are_told_their_places_now_and_then_and_not_at_every_change(page):
    assert not page._queue.live_updates
    assert page._queue.update_intervals == 2


def key_of(label):
    """Of a text that the browser translates."""
    return getattr(label, "key", label)


def test_the_sampling_controls_show_the_true_defaults(page):
    controls = [block for block in page.blocks.values() if hasattr(block, "label") and hasattr(block, "value")]
    values = {key_of(block.label): block.value for block in reversed(controls)}  # the first of each: the chat's
    names = ("temperature", "top_p", "top_k", "penalty", "seed", "max_new_tokens")
    assert [values[f"sampling.{name}"] for name in names] == [0.0, 1.0, 0, 1.0, "", 512]


def test_no_component_opens_what_a_client_names(page):
    """gradio's own image input would open any picture of the server that a request names without its marker."""
    from gradio.components.file import File
    from gradio.components.image import Image
    from gradio.components.multimodal_textbox import MultimodalTextbox
    from gradio.data_classes import FileData, ImageData, ListFiles

    inputs = {block for function in events(page) for block in function.inputs}
    pictures = [block for block in inputs if isinstance(block, Image)]
    assert len(pictures) == 8
    for picture in pictures:
        assert picture.preprocess(ImageData(path="/etc/passwd", orig_name="a.svg")) == "/etc/passwd"  # not opened
        assert picture.preprocess(None) is None
    assert len([block for block in inputs if isinstance(block, MultimodalTextbox)]) == 1
    (many,) = [block for block in inputs if isinstance(block, File)]
    assert many.preprocess(ListFiles([FileData(path="/etc/passwd")])) == ["/etc/passwd"]
    assert many.preprocess(None) == []


def test_a_link_is_not_followed(page):
    import gradio as gr

    guarded = [block for block in page.blocks.values() if "preprocess" in vars(block)]
    assert len(guarded) == 11
    for block in guarded:
        with pytest.raises(gr.Error, match="Links are not followed"):
            asyncio.run(block.async_move_resource_to_block_cache("https://example.org/x.png"))


def test_a_model_without_boxes_has_no_grounding_and_two_styles(make):
    context = make()
    specs = {role: context.specs[role] for role in ("chat", "captioning")}
    prompts = {role: load_prompts("generic") for role in specs}
    page = build_app(replace(context, specs=specs, prompts=prompts))
    public = {function.api_name for function in events(page) if function.api_visibility == "public"}
    assert public == {"chat", "caption"}
    texts = [str(getattr(block, "value", "")) for block in page.blocks.values()]
    assert any("role.missing.grounding" in text for text in texts)
    radios = [block for block in page.blocks.values() if block.get_block_name() == "radio"]
    assert [value for _, value in radios[0].choices] == list(prompts["captioning"].caption)


def test_a_model_that_is_not_asked_about_regions_says_so_and_cannot_be(make):
    context = make()
    page = build_app(replace(context, prompts={**context.prompts, "grounding": load_prompts("molmo")}))
    public = {function.api_name for function in events(page) if function.api_visibility == "public"}
    assert public == PUBLIC - {"describe_region"}
    tasks = next(block for block in page.blocks.values() if block.elem_id == "ground-task")
    assert not tasks.interactive
    assert any("ground.no_region" in str(getattr(block, "value", "")) for block in page.blocks.values())


def test_how_many_and_a_question_are_asked_for_only_where_the_models_prompts_have_them(make):
    context = make()
    for name, seen in (("cogvlm", [False, True]), ("qwen3_vl", [True, True]), ("kosmos2", [False, False])):
        page = build_app(replace(context, prompts={**context.prompts, "grounding": load_prompts(name)}))
        parts = {block.elem_id: block for block in page.blocks.values()}
        assert [parts["ground-scope"].visible, parts["ground-question"].visible] == seen
