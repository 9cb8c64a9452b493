"""Regions as other programs read them, held against the formats' own definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.grounding.export import HEADERS, classes_of, coco, records, rows, yolo
from demo.types import Box, Region, Size

SIZE = Size(640, 480)


def region(label, *corners):
    return Region(label, Box(*corners), None, (0, 0))


DOGS = [region("Dog", 64, 48, 320, 240), region("cat", 0, 0, 640, 480), region("dog ", 10.04, 20, 30.5, 40)]


def test_records_give_pixels_and_fractions_and_rows_whole_pixels():
    regions = [region("dog", 64.04, 48, 320, 240.26)]
    assert records(regions, SIZE) == [
        {"label": "dog", "box": [64.0, 48, 320, 240.3], "box_normalized": [0.100063, 0.1, 0.5, 0.500542]}
    ]
    assert rows(regions) == [["dog", 64, 48, 320, 240]]
    assert len(HEADERS) == len(rows(regions)[0])


def test_coco_has_the_corner_and_the_extent_in_pixels_and_ids_that_refer_to_each_other():
    found = coco(DOGS, SIZE, "park.png")
    assert found["images"] == [{"id": 1, "file_name": "park.png", "width": 640, "height": 480}]
    assert found["categories"] == [{"id": 1, "name": "Dog"}, {"id": 2, "name": "cat"}]
    assert [annotation["bbox"] for annotation in found["annotations"]] == [
        [64, 48, 256, 192],
        [0, 0, 640, 480],
        [10.0, 20, 20.5, 20],
    ]
    assert [annotation["category_id"] for annotation in found["annotations"]] == [1, 2, 1]
    assert [annotation["id"] for annotation in found["annotations"]] == [1, 2, 3]
    assert {annotation["image_id"] for annotation in found["annotations"]} == {1}
    assert found["annotations"][0]["area"] == 256 * 192
    assert found["annotations"][0]["iscrowd"] == 0


def test_yolo_has_the_centre_and_the_extent_in_fractions_and_classes_from_zero():
    assert yolo(DOGS[:2], SIZE) == (
        "0 0.300000 0.300000 0.400000 0.400000\n1 0.500000 0.500000 1.000000 1.000000\n"  # the whole picture is 1 wide
    )
    assert [line.split()[0] for line in yolo(DOGS, SIZE).splitlines()] == ["0", "1", "0"]
    assert classes_of(DOGS) == ["Dog", "cat"]


def test_what_neither_format_can_say_is_left_out():
    regions = [region("point", 5, 5, 5, 5), region("", 1, 1, 9, 9)]
    assert classes_of(regions) == ["object"]
    assert [entry["name"] for entry in coco(regions, SIZE, "a.png")["categories"]] == ["object"]
    assert len(yolo(regions, SIZE).splitlines()) == 1
    assert yolo(regions[:1], SIZE) == ""
    assert coco(regions[:1], SIZE, "a.png")["annotations"] == []


corner = st.tuples(st.floats(0, 640), st.floats(0, 480))


@given(st.lists(st.tuples(st.text(max_size=5), corner, corner), max_size=8))
def test_boxes_come_back_from_both_formats(things):
    regions = [
        region(label, min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])) for label, a, b in things
    ]
    kept = [one for one in regions if one.box.area > 0]
    entries = coco(regions, SIZE, "x.png")["annotations"]
    lines = [[float(number) for number in line.split()] for line in yolo(regions, SIZE).splitlines()]
    assert len(entries) == len(lines) == len(kept)
    for one, entry, (group, x, y, width, height) in zip(kept, entries, lines, strict=True):
        box = (one.box.x0, one.box.y0, one.box.x1, one.box.y1)
        left, top, wide, high = entry["bbox"]
        assert (left, top, left + wide, top + high) == pytest.approx(box, abs=0.11)
        corners = ((x - width / 2) * 640, (y - height / 2) * 480, (x + width / 2) * 640, (y + height / 2) * 480)
        assert corners == pytest.approx(box, abs=0.001)
        assert entry["category_id"] == group + 1 <= len(classes_of(regions))
