"""Decoding token by token, and what a request tells `generate()`."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from demo.backends.streaming import (
    REPLACEMENT,
    Outlet,
    TextDecoder,
    end_tokens,
    hidden_tokens,
    settings_for,
)
from demo.types import Sampling
from tests.tinymodels import tokenizer

WORDS = tokenizer("<image>", "<loc_1>", "<|box_start|>", "<|im_end|>")


def pieces(ids: list[int], words=WORDS) -> list[str]:
    decoder = TextDecoder(words, hidden_tokens(words))
    return [*(decoder.add(token) for token in ids), decoder.rest()]


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Words with a metaspace before them and bytes as a fallback, as in Llama's first two versions."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁Hello", "▁world", "wor", "ld", "▁"]
    core = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[], byte_fallback=True))
    strip = decoders.Strip(content=" ", left=1, right=0)
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@given(st.text(max_size=40))
@example("family: \N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}, flag \U0001f1ea\U0001f1fa")
@example("日本語 and\nlines  and  spaces ")
def test_pieces_join_to_the_text_and_hold_whole_characters_only(text):
    found = pieces(WORDS.encode(text, add_special_tokens=False, split_special_tokens=True))
    assert "".join(found) == text.lstrip()
    if REPLACEMENT not in text:
        assert not any(REPLACEMENT in piece for piece in found)


def test_an_answer_begins_with_a_word_and_not_with_the_space_that_its_token_brings():
    assert "".join(pieces(WORDS.encode("  two cats ", add_special_tokens=False))) == "two cats "


def test_text_flows_with_every_token_and_not_only_at_spaces():
    assert pieces(WORDS.encode("abc d", add_special_tokens=False)) == ["a", "b", "c", " ", "d", ""]


def test_an_emoji_comes_when_its_last_byte_has_come():
    dog = "\N{DOG FACE}"
    ids = WORDS.encode(dog + "!", add_special_tokens=False)
    assert len(ids) == 5
    assert pieces(ids) == ["", "", "", dog, "!", ""]


def test_a_character_cut_short_at_the_end_is_dropped():
    ids = WORDS.encode("a\N{DOG FACE}", add_special_tokens=False)
    assert pieces(ids[:-1]) == ["a", "", "", "", ""]


def test_bytes_that_are_no_text_do_not_hold_the_answer_back():
    stray = WORDS.encode("\N{DOG FACE}", add_special_tokens=False)[-1]
    found = pieces([stray] * 30 + WORDS.encode("ok", add_special_tokens=False))
    assert max(index for index, piece in enumerate(found[:9]) if piece) <= 8
    assert "".join(found).endswith("ok")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("▁Hello", "▁world"), "Hello world"),
        (("▁Hello", "▁wor", "ld"), "Hello world"),
        (("▁Hello", "▁", "<0xF0>", "<0x9F>", "<0x90>", "<0xB6>", "▁world"), "Hello \N{DOG FACE} world"),
    ],
)
def test_spaces_before_words_are_kept_as_the_whole_text_has_them(words, text):
    llama = sentencepiece_like()
    core = [piece for word in words for piece in (("▁", word[1:]) if word == "▁wor" else (word,))]
    ids = [llama.convert_tokens_to_ids(piece) for piece in core]
    assert "".join(pieces(ids, llama)) == llama.decode(ids) == text


@pytest.mark.parametrize(("is_patient", "count"), [(False, 5), (True, 1)])
def test_those_for_whom_nobody_waits_get_all_that_has_come_as_one_piece(is_patient, count):
    outlet = Outlet(TextDecoder(WORDS, hidden_tokens(WORDS)), lambda: False, is_patient=is_patient)
    for token in WORDS.encode("a cat", add_special_tokens=False):
        outlet.add(token)
    outlet.finish()
    found = list(outlet)
    assert "".join(found) == "a cat"
    assert len(found) == count


def test_special_tokens_are_hidden_but_the_syntax_of_boxes_is_kept():
    ids = [WORDS.convert_tokens_to_ids(word) for word in ("<s>", "<image>", "<loc_1>", "<|box_start|>", "<|im_end|>")]
    assert "".join(pieces([*ids, WORDS.eos_token_id])) == "<loc_1><|box_start|>"


def test_added_words_that_are_not_special_are_shown():
    words = tokenizer()
    words.add_tokens([AddedToken("[[", special=False)])
    assert (
        "".join(pieces([words.convert_tokens_to_ids("[["), *words.encode("1", add_special_tokens=False)], words))
        == "[[1"
    )


def test_temperature_zero_is_greedy_and_leaves_the_filters_out():
    from transformers import GenerationConfig

    neutral = GenerationConfig(eos_token_id=[2, 5], pad_token_id=0)
    greedy = settings_for(Sampling(top_p=0.5, top_k=3), neutral, max_new_tokens=7)
    assert (greedy.do_sample, greedy.max_new_tokens, greedy.top_k, greedy.top_p) == (False, 7, None, None)
    chosen = settings_for(Sampling(temperature=0.5, top_p=0.9, top_k=3), neutral, max_new_tokens=7)
    assert (chosen.do_sample, chosen.temperature, chosen.top_p, chosen.top_k) == (True, 0.5, 0.9, 3)
    assert (neutral.do_sample, neutral.max_new_tokens) == (None, None)
    assert end_tokens(chosen) == {2, 5}
