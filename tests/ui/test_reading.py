import re
from dataclasses import replace

import pytest
from wording import SAY

from demo.grounding import cogvlm, dialects
from demo.types import Size
from demo.ui.handlers.answering import Answer
from demo.ui.reading import readable
from demo.ui.tabs import compare

SIZE = Size(1000, 1000)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the dog [[12", "the dog"),
        ("the dog [[012,345,", "the dog"),
        ("the dog [", "the dog"),
        ("[[012,", ""),
        ("it is 12", "it is 12"),
    ],
)
def test_a_box_that_is_still_being_written_is_hidden(text, shown):
    assert "".join(piece for piece, _ in readable(SAY, text, (), "cogvlm", is_growing=True)) == shown


ANSWERS = {
    "cogvlm": "I see a dog[[100,200,300,400]] and cats[[100,200,300,400;500,600,700,800]].",
    "cogagent": "I see a dog, so CLICK at the box [[100,200,300,400]] there.",
    "deepseek": "I see <|ref|>a dog<|/ref|><|det|>[[100, 200, 300, 400]]<|/det|> there.",
    "florence2": "I see a dog<loc_100><loc_200><loc_300><loc_400>cat<loc_1><loc_2><loc_300><loc_400>",
    "glm": "I see a dog <|begin_of_box|>[[100,200,300,400]]<|end_of_box|> there.",
    "internvl": "I see <ref>a dog</ref><box>[[100, 200, 300, 400], [1, 2, 3, 4]]</box> there.",
    "json": 'I see this: ```json\n[{"box_2d": [100, 200, 300, 400], "label": "dog"}]\n```',
    "kosmos2": "I see<phrase> a dog</phrase><object><patch_index_0044><patch_index_0863></object> there.",
    "minicpm": "I see <ref>a dog</ref><box>100 200 300 400</box> there.",
    "molmo": 'I see <point x="10.5" y="20.5" alt="dog">a dog</point> there.',
    "paligemma": "I see <loc0100><loc0200><loc0300><loc0400> dog ; <loc0100><loc0200><loc0300><loc0400> cat",
    "qwen2_5_vl": 'I see this:\n```json\n[\n\t{"bbox_2d": [100, 200, 300, 400], "label": "dog"},\n'
    '\t{"bbox_2d": [10, 20, 30, 40], "label": "cat"}\n]\n```',
    "qwen2_vl": "I see <|object_ref_start|>a dog<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|> there.",
    "qwen3_vl": 'I see this: {"bbox_2d": [100, 200, 300, 400], "label": "dog"}',
}


@pytest.mark.parametrize("name", dialects.names())
def test_people_never_see_a_dialects_syntax_while_an_answer_grows(name):
    text = ANSWERS[name]
    assert dialects.get(name).parse(text, SIZE)
    for end in range(1, len(text) + 1):
        found = dialects.get(name).parse(text[:end], SIZE)
        shown = "".join(piece for piece, _ in readable(SAY, text[:end], found, name, is_growing=end < len(text)))
        assert not re.search(r"[\d<>|\[\]{}\"`_=]", shown), (text[:end], shown)
        assert shown.startswith("I see"[:end].rstrip())


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("qwen2_vl", "a <|object_ref_start|>dog<|object_ref_end|> runs", "a dog runs"),
        ("internvl", "<ref>dog</ref> and <box>nothing</box>", "dog and nothing"),
        ("paligemma", "<loc0001><loc0002> cat", " cat"),  # two tokens are no box
        ("florence2", "</s>a dog</s>", "a dog"),
        ("qwen2_5_vl", "if a < b: use x[0]", "if a < b: use x[0]"),
    ],
)
def test_tags_that_became_no_box_are_not_shown_and_other_text_is_left_alone(name, text, shown):
    assert "".join(piece for piece, _ in readable(SAY, text, (), name)) == shown


def test_a_model_without_a_dialect_is_shown_as_it_writes():
    assert readable(SAY, "a <ref> [[12", (), None, is_growing=True) == [("a <ref> [[12", None)]


@pytest.mark.parametrize("name", dialects.names())
def test_of_a_text_that_never_becomes_a_box_only_pieces_are_left_out(name):
    for text in ("[" * 9000, "<" * 9000, '"' * 9000, "[]" * 5000, "<|" * 5000, "```" * 3000, ", " * 4000 + "]"):
        kept = "".join(piece for piece, _ in readable(SAY, text, (), name, is_growing=True))
        rest = iter(text)
        assert all(letter in rest for letter in kept)


def test_a_finished_text_keeps_a_bracket_that_is_no_box():
    assert readable(SAY, "the dog [", (), "cogvlm") == [("the dog [", None)]


@pytest.mark.parametrize(
    ("text", "label", "pieces"),
    [
        ("[[100,100,200,200]]", "", [("1 place, shown in the picture", None)]),
        ("[[100,100,200,200;300,300,400,400]]", "", [("2 places, shown in the picture", None)]),
        ("[[100,100,200,200;300,300,400,400]]", "the cats", [("the cats", "the cats"), (": 2 places", None)]),
    ],
)
def test_bare_boxes_are_put_into_words(text, label, pieces):
    found = [replace(region, label=label) for region in cogvlm.parse(text, SIZE)]
    assert readable(SAY, text, found, "cogvlm") == pieces


@pytest.mark.parametrize("state", ["answering", "stopped", "failed"])
def test_the_compare_tab_shows_no_box_that_was_never_finished(state):
    _, text, _ = compare._parts(SAY, Answer(state=state, text="a dog [[012,3", dialect="cogvlm"))
    assert "a dog" in text
    assert "[[" not in text
