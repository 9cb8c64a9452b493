"""JSON as models write it, and what becomes of it when they stop in the middle."""

import pytest

from demo.grounding import plain_json, qwen2_5_vl, qwen3_vl
from demo.types import Box, Size

SQUARE = Size(1000, 1000)
A, B = Box(1, 2, 3, 4), Box(5, 6, 7, 8)


def found(text):
    return [(region.label, region.box) for region in qwen3_vl.parse(text, SQUARE)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]', [("dog", A)]),
        ('{"label": "dog", "bbox_2d": [1, 2, 3, 4]}', [("dog", A)]),
        ('Sure!\n```json\n[{"bbox_2d": [1,2,3,4], "label": "dog"}]\n```\nAnything else?', [("dog", A)]),
        ('[{"bbox": [1,2,3,4], "text_content": "EXIT"}]', [("EXIT", A)]),
        ('[{"bbox_2d": [1,2,3,4,], "label": "dog",},]', [("dog", A)]),  # trailing commas
        ("[{'bbox_2d': [1,2,3,4], 'label': 'dog'}]", [("dog", A)]),
        ("[{'bbox_2d': [1,2,3,4], 'label': 'man's hat'}]", [("man's hat", A)]),
        ('[{"bbox_2d": [1,2,3,4], "label": "a "red" hat"}]', [('a "red" hat', A)]),
        ("{bbox_2d: [1,2,3,4], label: dog}", [("dog", A)]),  # no quotes at all
        ('[{"bbox_2d": [1,2,3,4]\n "label": "dog"}]', [("dog", A)]),  # a comma is missing
        ('[{"bbox_2d": [1,2,3,4], "label": "dog"}, {"bbox_2d": [5,6,7,8], "la', [("dog", A), ("", B)]),
        ('[{"bbox_2d": [1,2,3,4], "label": "dog"}, {"bbox_2d": [5,6,7', [("dog", A)]),
        ('[{"bbox_2d": [1,2,3,4], "label": "do', [("do", A)]),
        ('[{"bbox_2d": [1,2,3,4, "label": "dog"}, {"bbox_2d": [5,6,7,8], "label": "cat"}]', [("cat", B)]),
        ('[{"bbox_2d": [1,2,3,4]}, {"bbox_2d": [5,6,7,8]}]', [("", A), ("", B)]),
        ('first [{"bbox_2d":[1,2,3,4],"label":"a"}] then [{"bbox_2d":[5,6,7,8],"label":"b"}]', [("a", A), ("b", B)]),
        ('{"objects": [{"bbox_2d": [1,2,3,4], "label": "dog"}]}', [("dog", A)]),
        ('{"bboxes": [[1,2,3,4],[5,6,7,8]], "label": "dogs"}', [("dogs", A), ("dogs", B)]),
        ('{"dog": [1,2,3,4], "cat": [[5,6,7,8]]}', [("dog", A), ("cat", B)]),
        ('{"dog": {"bbox": [1,2,3,4]}, "cat": {"bbox": [5,6,7,8]}}', [("dog", A), ("cat", B)]),
        ('{"bbox_2d": [1,2,3,4], "label": ["motorcyclist", "helmet"]}', [("motorcyclist", A)]),
        ('{"bbox_2d": [1,2,3,4], "label": {"name": "dog"}}', [("dog", A)]),
        ('[{"bbox_2d":[1,2,3,4],"parts":[{"bbox_2d":[5,6,7,8],"label":"b"}],"label":"a"}]', [("a", A), ("b", B)]),
        ('{"text": "6", "bbox": [1,2,3,4], "bbox_2d": [1,2,3,4]}', [("6", A)]),  # the same box twice
        ('{"point_2d": [1, 2], "label": "dog"}', [("dog", Box(1, 2, 1, 2))]),
        ('["dog", [1,2,3,4]]', [("dog", A)]),
        ("a dog [1,2,3,4] and a cat [5,6,7,8]", [("dog", A), ("cat", B)]),
        ("dogs: [[1,2,3,4],[5,6,7,8]]", [("dogs", A), ("dogs", B)]),
        ('see [1 and {"bbox_2d": [1,2,3,4], "label": "dog"}', [("dog", A)]),
        ('}]} [{"bbox_2d": [1,2,3,4], "label": "dog"}', [("dog", A)]),
        ('{"bbox_2d": ["1", "2", "3", "4"], "label": "dog"}', [("dog", A)]),
        ('{"bbox_2d": [3, 4, 1, 2], "label": "\\u72d7\\n<b>\\"x\\"</b>\\u202e"}', [('狗 <b>"x"</b>', A)]),
        ('{"bbox_2d": [1,2,3,4], "label": "' + "w" * 500 + '"}', [("w" * 80, A)]),
        ('{"bbox_2d": [1,2,3], "label": "dog"}', []),
        ('{"bbox_2d": [1,2,3,null], "label": "dog"}', []),
        ('{"bbox_2d": [1,2,3,4,5], "label": "dog"}', []),
        ('{"bbox_2d": [NaN,2,3,Infinity], "label": "dog"}', []),
        ('{"bbox_2d": [1e999,2,3,4], "label": "dog"}', []),
        ("[]", []),
        ("{}", []),
    ],
)
def test_boxes_are_found_in_json_as_models_write_it(text, expected):
    assert found(text) == expected


def test_a_label_is_pointed_at_within_its_object():
    text = 'Here:\n```json\n[{"bbox_2d": [1,2,3,4], "label": "red dog"},\n {"bbox_2d": [5,6,7,8], "label": "cat"}]\n```'
    first, second = qwen3_vl.parse(text, SQUARE)
    assert text[slice(*first.label_span)] == "red dog"
    assert text[slice(*first.box_span)] == '```json\n[{"bbox_2d": [1,2,3,4], "label": "red dog"}'
    assert text[slice(*second.box_span)] == '{"bbox_2d": [5,6,7,8], "label": "cat"}]\n```'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[0.1, 0.2, 0.3, 0.4]", [Box(200, 100, 600, 200)]),
        ("[100, 200, 300, 400]", [Box(200, 100, 600, 200)]),
        ("[1100, 200, 1300, 400]", [Box(1100, 200, 1300, 400)]),
        ("[0, 0, 1, 1]", [Box(0, 0, 2000, 500)]),  # the whole picture rather than its first pixel
        ("[0.1, 0.2, 0.3, 0.4] [100, 200, 300, 400]", [Box(200, 100, 600, 200), Box(200, 100, 600, 200)]),
        ("[1100, 200, 1300, 400] [100, 200, 300, 400]", [Box(1100, 200, 1300, 400), Box(100, 200, 300, 400)]),
        ('{"box_2d": [200, 100, 400, 300]}', [Box(200, 100, 600, 200)]),
    ],
)
def test_plain_json_tells_fractions_thousandths_and_pixels_apart(text, expected):
    assert [region.box for region in plain_json.parse(text, Size(2000, 500))] == expected


def test_a_box_does_not_move_when_a_later_one_needs_a_larger_scale():
    early = "[0.1, 0.2, 0.3, 0.4] [100, 200, 300, 400]"
    size = Size(2000, 500)
    assert plain_json.parse(early + " [1100, 200, 1300, 400]", size)[:2] == plain_json.parse(early, size)


def test_plain_pixels_are_those_of_the_picture_that_the_model_saw():
    (region,) = plain_json.parse("[1100, 200, 1300, 400]", Size(4000, 1000), seen=Size(2000, 500))
    assert region.box == Box(2200, 400, 2600, 800)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # worked out with smart_resize of transformers' Qwen2VLImageProcessor
        (Size(368, 434), Size(364, 448)),
        (Size(1920, 1080), Size(1932, 1092)),
        (Size(1, 1), Size(56, 56)),
        (Size(9000, 1), Size(5320, 28)),
        (Size(8660, 5774), Size(4368, 2912)),
    ],
)
def test_the_processor_s_rule_gives_the_size_that_the_model_sees(size, expected):
    assert qwen2_5_vl.resized(size) == expected
