"""CogAgent's prompts and its picture in two sizes; what it shares with CogVLM is shown in test_processing.py."""

import numpy as np
import pytest
import torch
from PIL import Image

from demo.errors import InvalidInput
from demo.models.cogvlm import CogAgentProcessor
from tests.models.kit import byte_tokenizer, tiny_config
from tests.models.test_processing import RED, answer, user

TALK = [user("What is it?", RED), answer("a cat"), user("  Which colour?\n")]


def processor(**changes):
    return CogAgentProcessor.from_config(tiny_config("cogagent", **changes), byte_tokenizer())


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("chat", " [INST] What is it? [/INST] a cat [INST]   Which colour?\n [/INST] "),
        ("chat_old", "<EOI>Question: What is it? Answer: a cat\nQuestion:   Which colour?\n Answer:"),
        ("vqa", "<EOI>Question:   Which colour?\n Short answer:"),
        ("base", "  Which colour?\n"),
    ],
)
def test_a_conversation_takes_the_published_format(version, expected):
    text = processor().apply_chat_template(TALK, template_version=version, add_generation_prompt=True)
    assert text == expected
    assert processor(template_version=version).apply_chat_template(TALK, add_generation_prompt=True) == expected


def test_a_task_for_an_agent_is_asked_letter_by_letter():
    task = 'What steps do I need to take to "Search for CogVLM"?(with grounding)'
    text = processor().apply_chat_template([user(task, RED)], add_generation_prompt=True)
    assert text == f" [INST] {task} [/INST] "


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("chat", " [INST] Be brief.\nWhy? [/INST] "),
        ("chat_old", "<EOI>Be brief.\nQuestion: Why? Answer:"),
        ("vqa", "<EOI>Be brief.\nQuestion: Why? Short answer:"),
        ("base", "Be brief.\nWhy?"),
    ],
)
def test_a_system_message_is_not_lost(version, expected):
    talk = [{"role": "system", "content": "Be brief."}, user("Why?", RED)]
    assert processor(template_version=version).apply_chat_template(talk, add_generation_prompt=True) == expected


def test_an_unknown_format_is_refused_by_name():
    with pytest.raises(Exception, match="chat, chat_old, vqa or base, not qa"):
        processor().apply_chat_template(TALK, template_version="qa")


def test_a_row_is_the_first_token_then_the_small_pictures_places_then_the_words():
    ours = processor()
    row = ours.apply_chat_template(TALK, add_generation_prompt=True, tokenize=True, return_dict=True)
    words = byte_tokenizer()(" [INST] What is it? [/INST] a cat [INST]   Which colour?\n [/INST] ")["input_ids"]
    assert row["input_ids"] == [[1] + [0] * ours.num_image_tokens + words]
    assert row["mm_token_type_ids"] == [[0] + [1] * ours.num_image_tokens + [0] * len(words)]
    for name, pixels in ours.image_processor(RED).items():
        assert np.array_equal(row[name], pixels)
    assert set(row) == {*ours.model_input_names}


def test_the_end_of_a_picture_in_a_prompt_is_letters_and_no_token():
    ours = processor(template_version="chat_old")
    ids = ours.apply_chat_template([user("", RED)], tokenize=True)[0][1 + ours.num_image_tokens :]
    assert ours.tokenizer.decode(ids).startswith("<EOI>Question: ")
    assert len(ids) == len("<EOI>Question:  Answer:")


def test_a_batch_is_padded_on_the_left_and_has_both_sizes_of_every_picture():
    batch = processor().apply_chat_template(
        [[user("Why?", RED)], TALK], tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert batch["pixel_values"].shape == (2, 3, 20, 20)
    assert batch["high_res_pixel_values"].shape == (2, 3, 28, 28)
    assert batch["attention_mask"][0, 0] == 0
    assert (batch["mm_token_type_ids"].sum(1) == processor().num_image_tokens).all()


@pytest.mark.parametrize("talks", [[[user("hi")]], [TALK, [user("hi")]], [[user("hi")], [user("you")]]])
def test_text_alone_is_refused_in_plain_words(talks):
    with pytest.raises(InvalidInput, match=r"answers about pictures only .* Add a picture"):
        processor().apply_chat_template(talks, tokenize=True)


def test_a_second_picture_is_refused_in_plain_words():
    other = Image.new("RGB", (9, 9), "blue")
    with pytest.raises(InvalidInput, match="one picture in a conversation"):
        processor().apply_chat_template([user("What?", RED), answer("red"), user("And?", other)], tokenize=True)


def test_a_saved_processor_is_the_same_again(tmp_path):
    ours = processor(template_version="chat_old", pad_token_id=5)
    ours.save_pretrained(tmp_path)
    again = CogAgentProcessor.from_pretrained(tmp_path)
    how = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}
    first, second = (one.apply_chat_template(TALK, **how) for one in (ours, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
