import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from demo.errors import InvalidInput
from demo.models.cogvlm import CogVLMProcessor
from tests.models.kit import byte_tokenizer, classes, tiny_config, word_tokenizer

RED = Image.new("RGB", (30, 20), "red")
PREAMBLE = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


def processor(tokenizer=None, **changes):
    return CogVLMProcessor.from_config(tiny_config(**changes), tokenizer or byte_tokenizer())


def user(text, image=None):
    picture = [] if image is None else [{"type": "image", "image": image}]
    return {"role": "user", "content": [*picture, {"type": "text", "text": text}]}


def answer(text):
    return {"role": "assistant", "content": text}


TALK = [user("What is it?", RED), answer("a cat"), user("  Which colour?\n")]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("chat", "Question: What is it? Answer: a cat\nQuestion:   Which colour?\n Answer:"),
        ("vqa", "Question: What is it? Short answer: a cat\nQuestion:   Which colour?\n Short answer:"),
        ("base", "  Which colour?\n"),
    ],
)
def test_a_conversation_about_a_picture_takes_the_published_format(version, expected):
    text = processor().apply_chat_template(TALK, template_version=version, add_generation_prompt=True)
    assert text == expected


def test_the_format_of_the_checkpoint_is_the_default():
    text = processor(template_version="vqa").apply_chat_template([user("Why?", RED)], add_generation_prompt=True)
    assert text == "Question: Why? Short answer:"


@pytest.mark.parametrize("version", ["chat", "vqa", "base"])
def test_text_alone_takes_the_language_models_own_format(version):
    talk = [user("hi"), answer("hello"), {"role": "user", "content": "who?"}]
    text = processor().apply_chat_template(talk, template_version=version, add_generation_prompt=True)
    assert text == f"{PREAMBLE} USER: hi ASSISTANT: hello\nUSER: who? ASSISTANT:"


def test_a_system_message_is_not_lost():
    system = {"role": "system", "content": "Be brief."}
    prepare = processor().apply_chat_template
    assert prepare([system, user("Why?", RED)]) == "Be brief.\nQuestion: Why?"
    assert prepare([system, user("hi")], add_generation_prompt=True) == "Be brief. USER: hi ASSISTANT:"


def test_an_unknown_format_is_refused_by_name():
    with pytest.raises(Exception, match="chat, vqa or base, not qa"):
        processor().apply_chat_template(TALK, template_version="qa")


def test_the_picture_stands_before_the_words_and_only_its_places_are_typed():
    ours = processor()
    row = ours.apply_chat_template([user("Why?", RED)], tokenize=True, return_dict=True, add_generation_prompt=True)
    places = ours.num_image_tokens
    words = ours.encode_text("Question: Why? Answer:")
    assert row["input_ids"] == [[1] + [0] * places + words]
    assert row["mm_token_type_ids"] == [[0] + [1] * places + [0] * len(words)]
    assert row["attention_mask"] == [[1] * (1 + places + len(words))]
    assert np.array_equal(row["pixel_values"], ours.image_processor(RED)["pixel_values"])


def test_a_batch_is_padded_on_the_left_and_may_mix_pictures_and_text():
    ours = processor()
    batch = ours.apply_chat_template(
        [[user("Why?", RED)], [user("hi")], TALK], tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert batch["pixel_values"].shape == (2, 3, 20, 20)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["mm_token_type_ids"].shape
    lengths = batch["attention_mask"].sum(1)
    for ids, mask, types, length in zip(*(batch[key] for key in list(batch)[:3]), lengths, strict=True):
        assert mask.tolist() == [0] * (len(mask) - length) + [1] * int(length)
        assert ids[-length] == 1  # the row's own first token
        assert types[: len(types) - length].sum() == 0
    assert batch["mm_token_type_ids"].sum(1).tolist() == [ours.num_image_tokens, 0, ours.num_image_tokens]


def test_padding_on_the_right_can_be_asked_for():
    batch = processor()(text=["a", "abc"], padding_side="right")
    assert batch["attention_mask"] == [[1, 1, 0, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize("pictures", [[[RED, RED]], [RED, RED]])
def test_a_second_picture_is_refused_in_plain_words(pictures):
    with pytest.raises(InvalidInput, match="one picture in a conversation"):
        processor()(images=pictures, text="Why?")


@pytest.mark.parametrize("typed", ["</s>", "<s>", "<unk>", "a</s>b", "</s></s>", "<|end|>", "</s", "<reserved>"])
def test_special_tokens_typed_by_people_are_ordinary_words(typed):
    ours = processor(byte_tokenizer(reserved=["<|end|>", "<reserved>"]))
    ids = ours.apply_chat_template([user(typed)], tokenize=True)[0]
    assert ids[0] == 1
    assert not set(ids[1:]) & set(ours.tokenizer.all_special_ids)
    assert typed in ours.tokenizer.decode(ids[1:])


@given(st.text(alphabet=st.sampled_from("</s>unk| a\n"), max_size=40))
def test_no_text_ever_makes_a_special_token(typed):
    ours = processor()
    ids = ours.encode_text(typed)
    assert not {0, 1, 2} & set(ids)
    assert ours.tokenizer.decode(ids) == typed


def test_a_vocabulary_that_holds_special_tokens_as_words_spells_them_out():
    ours = processor(word_tokenizer())
    ids = ours.encode_text("stop </s> now")
    assert ours.tokenizer.eos_token_id not in ids
    assert ours.tokenizer.convert_ids_to_tokens(ids) == ["stop", *"</s>", "now"]


def test_a_published_directory_makes_its_processor_from_the_config(published, name):
    ours = classes(published).processor.from_pretrained(published, tokenizer=byte_tokenizer())
    config = classes(published).config.from_pretrained(published)
    assert ours.num_image_tokens == config.num_image_tokens
    assert (ours.bos_token_id, ours.pad_token_id) == (config.bos_token_id, config.pad_token_id)
    assert ours.image_processor.size == {"height": 56, "width": 56}
    if name == "cogagent":
        assert ours.image_processor.high_res_size == {"height": 84, "width": 84}


def test_the_tokenizer_may_live_in_another_directory(published, tmp_path):
    byte_tokenizer().save_pretrained(tmp_path / "vicuna")
    ours = classes(published).processor.from_pretrained(published, tokenizer=tmp_path / "vicuna")
    assert ours.encode_text("Hi") == byte_tokenizer()("Hi")["input_ids"]


def test_a_directory_with_a_tokenizer_of_its_own_uses_that(published):
    byte_tokenizer(reserved=["<own>"]).save_pretrained(published)
    ours = classes(published).processor.from_pretrained(published)
    assert "<own>" in ours.tokenizer.get_vocab()


def test_a_directory_without_a_tokenizer_takes_vicunas_from_its_own_repository(published, tmp_path):
    repository = tmp_path / "hub" / "models--lmsys--vicuna-7b-v1.5"
    byte_tokenizer(reserved=["<vicuna>"]).save_pretrained(repository / "snapshots" / "abc")
    (repository / "snapshots" / "abc" / "config.json").write_text('{"model_type": "llama"}')
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    # The revision is the model's, and must not be looked for in the tokenizer's repository.
    options = {"cache_dir": tmp_path / "hub", "local_files_only": True, "revision": "of-the-model"}
    ours = classes(published).processor.from_pretrained(published, **options)
    assert "<vicuna>" in ours.tokenizer.get_vocab()


def test_a_saved_processor_is_the_same_again(tmp_path):
    ours = processor(template_version="vqa", pad_token_id=5)
    ours.save_pretrained(tmp_path)
    again = CogVLMProcessor.from_pretrained(tmp_path)
    for talk in (TALK, [user("hi")]):
        first, second = (
            one.apply_chat_template(talk, tokenize=True, return_dict=True, return_tensors="pt") for one in (ours, again)
        )
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
