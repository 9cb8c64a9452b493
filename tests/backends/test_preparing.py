"""Pictures are prepared once: what the model is given is the same, tensor for tensor, and nobody can change it."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from demo.backends import loading, processors
from demo.backends.preparing import Memo, remember_pictures
from demo.backends.prompting import Prompter
from demo.types import Message
from tests.backends.family_kit import MAKERS, loaded, picture, saved, skipped_where_a_library_is_missing


class Counted:
    """Prepares, and knows how often it did."""

    def __init__(self, prepare):
        self.calls = 0
        self._prepare = prepare

    def __call__(self, *given, **how):
        self.calls += 1
        return self._prepare(*given, **how)


def doubled(images, **_how):
    return BatchFeature({"pixel_values": torch.tensor(np.stack([np.asarray(image) for image in images])), "n": [1, 2]})


def image(shade=90, side=4):
    return Image.new("RGB", (side, side), (shade, 255 - shade, 7))


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert type(found[name]) is type(value)
        if isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value)
        else:
            assert repr(found[name]) == repr(value)


@pytest.fixture(params=MAKERS, ids=str)
def prompter(request, tmp_path):
    """What prepares a family's prompts, without its model."""
    spec = saved(request.param, tmp_path)
    directory = tmp_path / "model"
    with skipped_where_a_library_is_missing():
        if spec.is_cogvlm:
            processor = loading.classes_of(spec.family).processor.from_pretrained(directory, local_files_only=True)
        else:
            processor = processors.load(directory, spec)
    return Prompter(processor, spec, context=None)


def conversations(spec):
    """The first turn, the second, and one with another picture beside or instead of the first."""
    first = Message("user", "What is this?", (picture(),))
    more = Message("user", "And this?", (picture(44, 60, 30),))
    second = [first, Message("assistant", "A word."), Message("user", "How many?")]
    if spec.max_turns == 1:
        second = [replace(first, text="How many?")]
    return [[first], second, [more], [first]]


def test_families_give_their_models_the_same(prompter):
    spec, pictures = prompter._spec, prompter._processor.image_processor
    asked = conversations(spec)
    expected = [prompter.prepare(messages) for messages in asked]
    counted = pictures.preprocess = Counted(pictures.preprocess)
    memo = remember_pictures(prompter._processor)
    for _ in range(3):
        for messages, true in zip(asked, expected):
            found = prompter.prepare(messages)
            assert_same(found, true)
            for tensor in found.values():  # whoever it was given to may do with it what he likes
                if isinstance(tensor, torch.Tensor):
                    tensor.zero_()
    assert counted.calls == 2
    assert 0 < memo.size < 2**26


def test_what_is_asked_for_longest_ago_goes_first():
    counted = Counted(doubled)
    size = 3 * 4 * 4
    memo = Memo(counted, most_bytes=2 * size)
    for shade in (1, 2, 1, 3, 1):  # the second goes when the third comes
        memo([image(shade)])
    assert (counted.calls, memo.size) == (3, 2 * size)
    memo([image(2)])
    assert counted.calls == 4
    memo([image(1, side=40)])
    memo([image(1, side=40)])  # larger than all that may be kept
    assert (counted.calls, memo.size) == (6, 2 * size)


@pytest.mark.parametrize(
    "other",
    [
        ([image(91)], {}),
        ([image(90, side=5)], {}),
        ([image(), image()], {}),
        ((image(),), {}),
        ([image()], {"size": {"height": 4}}),
        ([image()], {"do_resize": True}),
        ([image()], {"do_resize": 1}),
    ],
)
def test_other_pictures_and_other_settings_are_prepared_anew(other):
    counted = Counted(doubled)
    memo = Memo(counted)
    memo([image()])
    memo(other[0], **other[1])
    assert counted.calls == 2
    memo(other[0], **other[1])
    assert counted.calls == 2


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ([image().convert("P")], doubled),
        ([torch.zeros(3, 4, 4)], doubled),
        ([image()], lambda images: {"pixel_values": object()}),
        ([image()], lambda images: np.array([None])),
    ],
    ids=["other pictures", "tensors", "no numbers", "no array of numbers"],
)
def test_what_cannot_be_told_or_copied_is_prepared_each_time(given, made):
    counted = Counted(made)
    memo = Memo(counted)
    memo(given)
    memo(given)
    assert (counted.calls, memo.size) == (2, 0)


def test_threads_may_ask_at_once():
    memo = Memo(Counted(doubled), most_bytes=10 * 48)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: memo([image(number % 20)]), range(400)))
    for number, one in enumerate(found):
        assert_same(one, doubled([image(number % 20)]))
    assert memo.size == sum(kept.size for kept in memo._kept.values()) == 10 * 48


def test_a_processor_without_pictures_or_of_a_kind_that_is_not_known_is_left_alone():
    class Foreign(BaseImageProcessor):
        pass

    assert remember_pictures(SimpleNamespace(tokenizer=None)) is None
    foreign = SimpleNamespace(image_processor=Foreign())
    assert remember_pictures(foreign) is None
    assert "preprocess" not in vars(foreign.image_processor)


def test_a_processor_that_remembers_can_still_be_copied():
    processor = SimpleNamespace(image_processor=Qwen2VLImageProcessorPil())
    memo = remember_pictures(processor)
    assert copy.deepcopy(processor).image_processor.preprocess is memo


def test_on_a_cpu_nothing_is_remembered(tmp_path):
    """Nothing in main memory is planned for it there."""
    tiny = loaded(saved("llava", tmp_path))
    assert "preprocess" not in vars(tiny.backend._prompter._processor.image_processor)
    tiny.backend.close()
