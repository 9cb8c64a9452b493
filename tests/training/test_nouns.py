"""The noun table is what the model can say, so its mistakes would be learned."""

import json

import pytest

from training.nouns import Noun, article, load_nouns, write_nouns_json
from training.sprites import ICON_NAMES

COLOURS = {"red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray"}


def test_there_are_enough_nouns_and_none_twice():
    nouns = load_nouns()
    assert len(nouns) >= 205
    for field in ("name", "plural", "codepoint"):
        values = [getattr(noun, field) for noun in nouns]
        assert len(set(values)) == len(values)


def test_every_noun_is_at_most_two_lower_case_words_with_a_plural_and_a_category():
    for noun in load_nouns():
        for words in (noun.name, noun.plural):
            assert words == words.lower().strip()
            assert 1 <= len(words.split()) <= 2
        assert noun.category


def test_no_name_is_another_nouns_plural():
    nouns = load_nouns()
    plurals = {noun.plural: noun.name for noun in nouns}
    assert all(plurals.get(noun.name, noun.name) == noun.name for noun in nouns)


def test_every_code_point_is_one_plain_character():
    for noun in load_nouns():
        assert noun.codepoint == f"{int(noun.codepoint, 16):x}"
        assert chr(int(noun.codepoint, 16)).isprintable()


def test_natural_colours_are_colour_words_and_no_noun_is_called_like_one():
    nouns = load_nouns()
    assert {noun.colour for noun in nouns} <= COLOURS | {""}
    assert not {noun.name for noun in nouns} & COLOURS


def test_icon_names_belong_to_nouns():
    lines = ICON_NAMES.read_text(encoding="utf-8").splitlines()[1:]
    assert {line.split("\t")[1] for line in lines} <= {noun.codepoint for noun in load_nouns()}


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("dog", "a"),
        ("owl", "an"),
        ("unicorn", "a"),
        ("umbrella", "an"),
        ("ufo", "a"),
        ("hourglass", "an"),
        ("hat", "a"),
    ],
)
def test_the_article_goes_by_sound(noun, expected):
    assert article(noun) == expected


def test_the_written_table_gives_back_name_and_code_point(tmp_path):
    write_nouns_json(tmp_path / "nouns.json")
    written = json.loads((tmp_path / "nouns.json").read_text(encoding="utf-8"))
    assert written == {noun.name: noun.codepoint for noun in load_nouns()}


def test_a_table_of_other_nouns_is_read_in_its_order(tmp_path):
    rows = [Noun("cup", "cups", "2615", "", "food"), Noun("ant", "ants", "1f41c", "black", "animal")]
    text = "noun\tplural\tcodepoint\tcolour\tcategory\ncup\tcups\t2615\t\tfood\nant\tants\t1f41c\tblack\tanimal\n"
    (tmp_path / "nouns.tsv").write_text(text, encoding="utf-8")
    assert list(load_nouns(tmp_path / "nouns.tsv")) == rows


def test_a_table_with_other_columns_is_refused(tmp_path):
    (tmp_path / "nouns.tsv").write_text("noun\tcolour\ndog\t\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must start with the columns"):
        load_nouns(tmp_path / "nouns.tsv")
