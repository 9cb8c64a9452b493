from dataclasses import replace

import pytest

from demo.grounding import cogvlm
from demo.types import Size
from demo.ui.reading import readable

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
    assert "".join(piece for piece, _ in readable(text, (), is_growing=True)) == shown


def test_a_finished_text_keeps_a_bracket_that_is_no_box():
    assert readable("the dog [", ()) == [("the dog [", None)]


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
    assert readable(text, found) == pieces
