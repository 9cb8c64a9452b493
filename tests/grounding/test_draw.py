"""Drawn boxes: where they are, what colour they have, and what they leave alone."""

import itertools
import math
import random

import numpy as np
import pytest
from PIL import Image

from demo.grounding import cogvlm, palette
from demo.grounding.draw import _around, _style, draw
from demo.grounding.letters import Letters
from demo.grounding.palette import COLOURS, colour_of, ink_on, luminance, rgb
from demo.grounding.tags import free_places, tag_of
from demo.imaging import from_pil
from demo.types import Box, Region, Size


def blank(width, height, colour=(120, 120, 120)):
    return from_pil(Image.new("RGB", (width, height), colour))


def region(label, *corners):
    return Region(label, Box(*corners), None, (0, 0))


def changed(picture, drawn):
    before = np.frombuffer(picture.rgb, np.uint8).reshape(picture.size.height, picture.size.width, 3)
    return (np.asarray(drawn) != before).any(axis=2)


def bounds(mask):
    ys, xs = np.nonzero(mask)
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


def test_the_picture_itself_is_not_touched():
    picture = blank(300, 200)
    before = bytes(picture.rgb)
    draw(picture, [region("dog", 20, 20, 100, 90)])
    assert picture.rgb == before


@pytest.mark.parametrize("size", [(300, 200), (3000, 2000), (64, 64)])
def test_an_outline_lies_on_the_box_and_leaves_its_inside_alone(size):
    width, height = size
    picture = blank(width, height)
    box = (0.2 * width, 0.3 * height, 0.7 * width, 0.8 * height)
    mask = changed(picture, draw(picture, [region("", *box)]))
    slack = max(4, width / 100)
    assert np.allclose(bounds(mask), box, atol=slack)
    inside = mask[round(0.3 * height + slack) : round(0.8 * height - slack), round(0.2 * width + slack) :]
    assert not inside[:, : round(0.5 * width - 2 * slack)].any()


def test_an_outline_has_its_colour_and_a_light_edge():
    picture = blank(600, 400)
    drawn = draw(picture, [region("", 100, 100, 400, 300)], colours={"": "#112233"})
    column = [drawn.getpixel((250, y)) for y in range(90, 112)]
    assert (0x11, 0x22, 0x33) in column
    assert column.count((255, 255, 255)) >= 2


def test_equal_labels_share_a_colour_and_others_differ():
    colours = colour_of(["dog", "cat", "Dog", "a  dog", "A dog"])
    assert colours["dog"] == colours["Dog"] != colours["cat"]
    assert colours["a  dog"] == colours["A dog"] != colours["dog"]
    assert len(set(colour_of(map(str, range(12))).values())) == 12


def test_colours_are_readable_on_light_and_dark_pages_and_tell_apart():
    for colour in COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) >= 3
        assert (luminance(colour) + 0.05) / (luminance("#111111") + 0.05) >= 2.8
        assert ink_on(colour) == "#ffffff"
    assert ink_on("#ffee88") == "#000000"
    for a, b in itertools.combinations(COLOURS, 2):
        assert math.dist(rgb(a), rgb(b)) > 40


def test_a_tag_is_drawn_for_a_label_and_none_without():
    picture = blank(600, 400)
    bare = changed(picture, draw(picture, [region("", 200, 200, 400, 300)])).sum()
    tagged = changed(picture, draw(picture, [region("dog", 200, 200, 400, 300)])).sum()
    assert tagged > bare + 300


def placed(size, regions):
    """The tags' rectangles, as they are drawn."""
    style = _style(Size(*size), len(regions))
    tags = [tag_of(one.label, Letters(style.font), size) for one in regions]
    places = free_places(tags, [_around(one.box, style, size) for one in regions], size)
    drawn = draw(blank(*size), regions, colours={one.label: "#112233" for one in regions})
    for place in filter(None, places):
        x0, y0, x1, y1 = place.rect
        assert drawn.getpixel((x0 + 1, (y0 + y1) // 2)) == (0x11, 0x22, 0x33)
        assert drawn.getpixel((x1 - 2, (y0 + y1) // 2)) == (0x11, 0x22, 0x33)
    return [place and place.rect for place in places]


def assert_apart(tags, size):
    for x0, y0, x1, y1 in tags:
        assert 0 <= x0 < x1 <= size[0]
        assert 0 <= y0 < y1 <= size[1]
    for a, b in itertools.combinations(tags, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_tags_neither_overlap_nor_leave_the_picture():
    regions = [region(f"thing {index}", 380, 10 + index, 600, 60 + index) for index in range(12)]
    tags = placed((600, 400), regions)
    assert all(tags)
    assert_apart(tags, (600, 400))


@pytest.mark.parametrize("size", [(640, 480), (4000, 3000), (480, 640)])
def test_twenty_boxes_in_a_crowd_all_have_their_label(size):
    chance = random.Random(1)
    width, height = size
    regions = []
    for index in range(20):
        x, y = chance.uniform(0.3, 0.5) * width, chance.uniform(0.3, 0.5) * height
        regions.append(region(f"small thing {index}", x, y, x + 0.1 * width, y + 0.1 * height))
    tags = placed(size, regions)
    assert all(tags)
    assert_apart(tags, size)


def test_where_there_is_no_room_for_all_labels_those_that_are_drawn_do_not_overlap():
    regions = [region(f"a rather long name {index}", 10, 10, 110, 90) for index in range(60)]
    tags = placed((200, 150), regions)
    assert 3 <= sum(map(bool, tags)) < 60
    assert_apart([tag for tag in tags if tag], (200, 150))


def test_a_label_goes_beside_its_box_where_it_hides_least_of_the_others():
    """Above the lower box is the edge of the upper one, below it nothing."""
    (_, tag) = placed((600, 400), [region("a", 100, 100, 300, 190), region("b", 100, 200, 300, 300)])
    assert tag[1] >= 300


def test_a_label_that_stands_apart_is_tied_to_its_box_by_a_line():
    regions = [region(f"name {index}", 300, 200, 310, 210) for index in range(20)]
    colours = {one.label: f"#{index + 1:02x}0000" for index, one in enumerate(regions)}
    style = _style(Size(640, 480), 20)
    tags = [tag_of(one.label, Letters(style.font), (640, 480)) for one in regions]
    places = free_places(tags, [_around(one.box, style, (640, 480)) for one in regions], (640, 480))
    apart = [index for index, place in enumerate(places) if place.is_apart]
    assert apart
    pixels = np.asarray(draw(blank(640, 480), regions, colours=colours))
    for index in apart[-1:]:  # nothing is drawn over the last one's line but labels
        x0, y0, x1, y1 = places[index].rect
        own = (pixels == rgb(colours[regions[index].label])).all(axis=2)
        own[y0:y1, x0:x1] = False
        assert own.sum() > 5


def test_a_tag_with_no_room_above_its_box_goes_below_before_it_hides_what_is_inside():
    (tag,) = placed((600, 400), [region("sun", 200, 0, 300, 80)])
    assert tag[1] >= 80


@pytest.mark.parametrize("size", [(960, 640), (640, 960), (4000, 3000)])
def test_labels_can_be_read_on_a_phone(size):
    shown = min(1, 360 / size[0])  # a phone's page shrinks the picture to its own width
    assert _style(Size(*size)).font * shown >= 10.5


def test_labels_are_written_in_a_font_that_has_their_letters_or_not_at_all(monkeypatch):
    plain = Letters(30).font_for("dog")
    monkeypatch.setattr("demo.grounding.letters._SYSTEM", ())
    assert Letters(30).font_for("dog 1").getname() == plain.getname()
    assert Letters(30).font_for("caf\u00e9").getname() == plain.getname()  # most of it
    assert Letters(30).font_for("\u7ea2\u8272\u7684\u72d7") is None
    assert tag_of("\u72d7", Letters(30), (600, 400)) is None


def test_chinese_labels_are_written_where_the_system_has_a_font_for_them():
    font = Letters(30).font_for("\u7ea2\u8272\u7684\u72d7")
    if font is None:
        pytest.skip("no font of this system knows Chinese")
    assert bytes(font.getmask("\u7ea2")) != bytes(font.getmask("\u72d7"))
    picture = blank(600, 400)
    bare = changed(picture, draw(picture, [region("", 200, 200, 400, 300)])).sum()
    assert changed(picture, draw(picture, [region("\u7ea2\u8272\u7684\u72d7", 200, 200, 400, 300)])).sum() > bare + 300


def test_a_label_wider_than_the_picture_is_cut_to_fit():
    (tag,) = placed((120, 400), [region("an exceedingly long name of a thing " * 2, 10, 100, 60, 200)])
    assert tag[2] - tag[0] <= 120


@pytest.mark.parametrize("size", [(1, 1), (1, 150), (150, 1), (12, 9), (40, 40)])
def test_tiny_pictures_and_empty_boxes_are_drawn_without_an_error(size):
    picture = blank(*size)
    regions = cogvlm.parse("dog[[000,000,999,999]] cat[[400,400,400,400]] bee[[999,999,999,999]]", picture.size)
    drawn = draw(picture, regions)
    assert drawn.size == size
    assert changed(picture, drawn).any()


def test_a_point_is_drawn_as_a_ring_around_it_that_can_be_seen():
    picture = blank(1000, 700)
    mask = changed(picture, draw(picture, [region("", 300, 200, 300, 200)]))
    x0, y0, x1, y1 = bounds(mask)
    assert (x0 + x1) / 2 == pytest.approx(300, abs=2)
    assert (y0 + y1) / 2 == pytest.approx(200, abs=2)
    assert 15 <= x1 - x0 <= 40
    assert not mask[200, 300]  # what it points at stays visible


def test_nothing_is_drawn_for_no_regions():
    picture = blank(50, 40)
    assert draw(picture, []).tobytes() == picture.rgb


def test_a_hundred_boxes_with_hostile_labels_are_drawn_on_a_large_picture():
    labels = ["<b>x</b>", "", " ", "\u72d7", "x" * 80, "dog\u200d"]
    regions = [region(labels[i % 6], 20.5 * i, 14.2 * i, 20.5 * i + 500, 14.2 * i + 300) for i in range(100)]
    picture = blank(4000, 3000)
    assert changed(picture, draw(picture, regions)).any()


def test_the_palette_starts_over_after_its_last_colour():
    names = [str(number) for number in range(len(palette.COLOURS) + 1)]
    colours = colour_of(names)
    assert colours[names[-1]] == colours[names[0]]
