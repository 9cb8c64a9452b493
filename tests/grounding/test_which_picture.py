"""Which picture a box belongs to, where a conversation has several."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.grounding import dialects
from demo.grounding.export import records
from demo.grounding.pictures import View, located
from demo.types import Size

WIDE, TALL, SMALL = Size(1000, 100), Size(100, 1000), Size(10, 10)
THREE = [View(WIDE), View(TALL), View(SMALL)]
BOX = "[[100,200,300,400]]"
IN = {0: (100, 20, 300, 40), 1: (10, 200, 30, 400), 2: (1, 2, 3, 4)}  # that box, in pixels of each picture


def found(text, question="", views=THREE, dialect="cogvlm"):
    regions = located(text, dialects.get(dialect), views, question)
    return [(region.picture, *(getattr(region.box, side) for side in ("x0", "y0", "x1", "y1"))) for region in regions]


def boxes(*indices):
    return [(index, *IN[index]) for index in indices]


@pytest.mark.parametrize(
    ("text", "question", "expected"),
    [
        (f"a dog{BOX}", "", boxes(2)),  # nothing is said: the newest
        (f"a dog{BOX}", "Where is the dog in image 1?", boxes(0)),
        (f"a dog{BOX}", "Where is it in the second picture?", boxes(1)),
        (f"a dog{BOX}", "Is the dog of image 1 in image 2?", boxes(2)),  # two are named: no help
        (f"a dog{BOX}", "Is it in image 9?", boxes(2)),  # there is none
        (f"In image 2 there is a dog{BOX}.", "Where is the dog in image 1?", boxes(1)),  # the answer knows better
        (f"Image 1: a dog{BOX}\nImage 2: a dog{BOX} and a cat{BOX}\nImage 3: none", "", boxes(0, 1, 1)),
        (f"The first image has a dog{BOX}, the last image has a cat{BOX}.", "", boxes(0, 2)),
        (f"Picture_1 {BOX} Picture-2 {BOX} photo#3 {BOX}", "", boxes(0, 1, 2)),
        (f"image 0: {BOX}, image 1: {BOX}", "", boxes(0, 1)),  # who counts from 0 says so
        (f"图1中的狗{BOX}，图片 2 中的猫{BOX}", "", boxes(0, 1)),
        (f"a picture of 2 dogs{BOX}", "", boxes(2)),
        (f"In the photo: 1 dog{BOX}", "", boxes(2)),
        ("In image 1 the dog [[100,200,300,400;100,200,300,400]]", "", boxes(0, 0)),
    ],
)
def test_words_say_whose_a_box_is(text, question, expected):
    assert found(text, question) == expected


def test_an_object_says_whose_its_box_is():
    text = json.dumps(
        [
            {"image": 1, "bbox_2d": [100, 200, 300, 400], "label": "dog"},
            {"bbox_2d": [100, 200, 300, 400], "label": "cat", "image_index": 2},
        ]
    )
    assert found(text, dialect="qwen3_vl") == boxes(0, 1)


def test_molmos_points_name_their_picture_themselves():
    text = 'The <points coords="1 1 100 200;3 2 500 500">boats</points> of image 2.'
    assert found(text, dialect="molmo") == [(0, 100, 20, 100, 20), (2, 5, 5, 5, 5)]
    assert found('<points coords="7 1 100 200">boats</points>', dialect="molmo") == []  # there is no seventh
    assert found('<points coords="2 1 100 200">it</points>', dialect="molmo", views=[View(WIDE)]) == [
        (0, 100, 20, 100, 20)
    ]


def test_pixels_are_those_of_the_picture_as_the_model_saw_it():
    views = [View(Size(1000, 1000), Size(100, 100)), View(Size(50, 50), Size(500, 500))]
    text = 'image 1: {"bbox_2d": [10, 20, 30, 40]}, image 2: {"bbox_2d": [10, 20, 30, 40]}'
    assert found(text, views=views, dialect="qwen2_5_vl") == [(0, 100, 200, 300, 400), (1, 1, 2, 3, 4)]


def test_records_name_the_picture_where_there_are_several():
    regions = located(f"Image 1: a dog{BOX}", dialects.get("cogvlm"), THREE)
    assert records(regions, WIDE, TALL, SMALL) == [
        {"label": "dog", "box": [100, 20, 300, 40], "box_normalized": [0.1, 0.2, 0.3, 0.4], "picture": 0}
    ]
    alone = located(f"Image 1: a dog{BOX}", dialects.get("cogvlm"), THREE[:1])
    assert set(records(alone, WIDE)[0]) == {"label", "box", "box_normalized"}


TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            [BOX, "image 1 ", "image 0", "third picture ", '"image": 2', "图 3", '<points coords="2 1 5 5">']
        ),
        st.text(max_size=5),
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("name", dialects.names())
@given(text=TEXTS, question=TEXTS, sizes=st.lists(st.sampled_from([WIDE, TALL, SMALL]), max_size=4))
def test_any_text_gives_few_boxes_inside_pictures_that_there_are(name, text, question, sizes):
    regions = located(text, dialects.get(name), [View(size) for size in sizes], question)
    assert len(regions) <= 100
    for region in regions:
        size = sizes[region.picture]
        assert 0 <= region.box.x0 <= region.box.x1 <= size.width
        assert 0 <= region.box.y0 <= region.box.y1 <= size.height
    assert regions == sorted(regions, key=lambda region: region.box_span[0])
