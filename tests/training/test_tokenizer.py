import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.tokenizer import COORDINATES, FIRST_COORDINATE


@pytest.mark.parametrize(
    "text",
    [
        "Where is the dog?",
        " [[012,345,678,999]]",
        "ünï 😀 汉字\n\ttabs  spaces ",
        "1234567 12 3",
        "<s> </s> <pad> is text",
    ],
)
def test_text_round_trips(words, text):
    ids = words(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert words.decode(ids) == text


@given(text=st.text(max_size=60))
def test_any_text_round_trips_and_never_makes_a_special_token(words, text):
    ids = words(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert words.decode(ids) == text
    assert not set(ids) & set(words.all_special_ids)


def test_each_coordinate_is_one_token_at_its_own_place(words):
    for value in (0, 7, 42, 500, 999):
        assert words.convert_tokens_to_ids(COORDINATES[value]) == FIRST_COORDINATE + value
    ids = words("[[000,042,500,999]]", add_special_tokens=False)["input_ids"]
    assert len(ids) == 9
    assert ids[1::2][:4] == [FIRST_COORDINATE + v for v in (0, 42, 500, 999)]


def test_a_word_is_cut_the_same_way_wherever_it_stands(words):
    """An answer is encoded apart from its question in training, together with it in a conversation."""
    question, answer = "Question: Where is the disc? Answer:", " The disc [[001,002,003,004]] is on the left."
    apart = [words(part, add_special_tokens=False)["input_ids"] for part in (question, answer)]
    assert words(question + answer, add_special_tokens=False)["input_ids"] == apart[0] + apart[1]
