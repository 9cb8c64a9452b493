"""What every box dialect keeps to, whatever a model writes."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.errors import ConfigError
from demo.grounding import dialects
from demo.grounding.geometry import ordered
from demo.grounding.highlight import segments
from demo.grounding.qwen2_5_vl import resized
from demo.types import Box, Size

ALL = dialects.names()
SIZES = [Size(1, 1), Size(1, 9000), Size(640, 480), Size(333, 1000), Size(8660, 5774)]  # the last has 50 megapixels
sizes = st.one_of(st.sampled_from(SIZES), st.builds(Size, st.integers(1, 9000), st.integers(1, 9000)))

# Everything that means something to one of the dialects, to be put together in any order.
_TOKENS = r"""
[[ ]] [ ] { } ( ) ),( , ; : " ' < > \ ``` "bbox_2d": "box_2d": "point_2d": "label": "dog" 'cat' {"bbox_2d":[ "parts":[{
<ref> </ref> <box> </box> <|ref|> <|/ref|> <|det|> <|/det|> <phrase> </phrase> <object> </object> <patch_index_0044>
</delimiter_of_multi_objects/> <patch_index_0863> <patch_index_0044><patch_index_0863> <loc_5> <loc_999> <poly> </poly>
<loc_20><loc_30><loc_40><loc_50> <loc0010> <loc1023> <loc0001><loc0002><loc0003><loc0004> <seg001> <s> </s> dog
<|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> <|begin_of_box|> <|end_of_box|> (1,2),(3,4) (5,6)
<points~coords=" "> </points> <point~x="1.5"~y="20"~alt=" [1,2,3,4] [0.1,0.2,0.3,0.4] [10,20,3000,4] 1 999 -5 0.5
1e9 [[1,2]] [[7,8;9,10]] ~at~the~box~ [button]~Go~->~CLICK~at~the~point~ -> → <b> 狗 ~a~dog ~and~ 1~2~3~4 1~1~073~160~ ~
"""
PIECES = [*(token.replace("~", " ") for token in _TOKENS.split()), "\n", "\t", "```json\n", "\u202e", "\ud800"]
WHOLE = [
    *(dialects.get(name).format(Box(64, 48, 320, 240), Size(640, 480)) for name in ALL),
    '{"bbox_2d": [5, 6, 7, 8], "label": "red dog"}',
    '{"label": "cat", "box_2d": [5, 6, 700, 8]},',
    "<phrase> a dog</phrase>",
    "<ref>a cat</ref>",
]
texts = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.one_of(
            st.sampled_from(PIECES),
            st.sampled_from(WHOLE),
            st.integers(-(10**40), 10**40).map(str),
            st.text(max_size=3),
        ),
        max_size=40,
    ).map("".join),
)


def answers(name):
    """Texts that are not always nonsense to this dialect: things with boxes of its own, and some nonsense between."""
    box = st.lists(st.integers(0, 640), min_size=4, max_size=4).map(
        lambda corners: dialects.get(name).format(ordered(*corners), Size(640, 640))
    )
    thing = st.tuples(st.sampled_from(["a dog", " two cats ", ", ", "", "<ref>it</ref>"]), box).map("".join)
    return st.one_of(texts, st.lists(st.one_of(thing, thing, st.sampled_from(PIECES)), max_size=10).map("".join))


def nested_apart_or_equal(a, b):
    return a[1] <= b[0] or b[1] <= a[0] or (a[0] <= b[0] and b[1] <= a[1]) or (b[0] <= a[0] and a[1] <= b[1])


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=250, deadline=None)
@given(data=st.data(), size=sizes)
def test_any_text_gives_few_plain_boxes_inside_the_picture_and_never_an_error(name, data, size):
    text = data.draw(answers(name))
    regions = dialects.get(name).parse(text, size)
    assert len(regions) <= 100
    for region in regions:
        assert 0 <= region.box.x0 <= region.box.x1 <= size.width
        assert 0 <= region.box.y0 <= region.box.y1 <= size.height
        assert len(region.label) <= 80
        assert region.label.isprintable()
        assert region.label == " ".join(region.label.split())
        assert (region.label_span is None) == (region.label == "")
        assert 0 <= region.box_span[0] < region.box_span[1] <= len(text)
        if region.label_span is not None:
            assert 0 <= region.label_span[0] < region.label_span[1] <= len(text)
            assert nested_apart_or_equal(region.label_span, region.box_span)
    for one, other in itertools.combinations(regions, 2):
        assert nested_apart_or_equal(one.box_span, other.box_span)
    assert all(piece for piece, _ in segments(text, regions))


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=150, deadline=None)
@given(data=st.data(), size=sizes)
def test_an_answer_that_grows_never_takes_a_box_back_but_the_last(name, data, size):
    parse, text = dialects.get(name).parse, data.draw(answers(name))
    cut = data.draw(st.integers(0, len(text)))
    early = [region.box for region in parse(text[:cut], size)][:-1]
    assert [region.box for region in parse(text, size)][: len(early)] == early


corners = st.lists(st.floats(0, 1), min_size=4, max_size=4)


@pytest.mark.parametrize("name", [name for name in ALL if name != "molmo"])
@given(size=sizes, fractions=corners)
def test_a_formatted_box_is_read_back_within_one_quantum(name, size, fractions):
    a, b, c, d = fractions
    box = ordered(a * size.width, b * size.height, c * size.width, d * size.height)
    dialect = dialects.get(name)
    (again,) = dialect.parse(dialect.format(box, size), size)
    horizontal, vertical = (1.001 * step for step in quantum(name, size))
    assert abs(again.box.x0 - box.x0) <= horizontal
    assert abs(again.box.x1 - box.x1) <= horizontal
    assert abs(again.box.y0 - box.y0) <= vertical
    assert abs(again.box.y1 - box.y1) <= vertical


def quantum(name, size):
    """One step of the dialect's numbers, in pixels of the picture."""
    if name == "qwen2_5_vl":
        seen = resized(size)
        return size.width / seen.width, size.height / seen.height
    steps = {"kosmos2": 32, "paligemma": 1024, "deepseek": 999}.get(name, 1000)
    return size.width / steps, size.height / steps


@given(size=sizes, fractions=corners)
def test_a_box_that_can_only_be_pointed_at_gives_its_middle(size, fractions):
    a, b, c, d = fractions
    box = ordered(a * size.width, b * size.height, c * size.width, d * size.height)
    molmo = dialects.get("molmo")
    (again,) = molmo.parse(molmo.format(box, size), size)
    assert again.box.area == 0
    assert abs(again.box.x0 - (box.x0 + box.x1) / 2) <= size.width / 1000
    assert abs(again.box.y0 - (box.y0 + box.y1) / 2) <= size.height / 1000


@given(size=sizes, seen=sizes, fractions=corners)
def test_pixels_of_any_seen_size_are_read_back_within_one_of_them(size, seen, fractions):
    a, b, c, d = fractions
    box = ordered(a * size.width, b * size.height, c * size.width, d * size.height)
    dialect = dialects.get("qwen2_5_vl")
    (again,) = dialect.parse(dialect.format(box, size, seen=seen), size, seen=seen)
    assert abs(again.box.x0 - box.x0) <= size.width / seen.width
    assert abs(again.box.y1 - box.y1) <= size.height / seen.height


@pytest.mark.parametrize("name", ALL)
def test_a_box_beyond_the_picture_is_written_as_far_as_the_picture_reaches(name):
    dialect, size = dialects.get(name), Size(640, 480)
    assert dialect.format(Box(-50, -50, 9999, 9999), size) == dialect.format(Box(0, 0, 640, 480), size)


@pytest.mark.parametrize("name", ALL)
def test_at_most_a_hundred_boxes_are_taken(name):
    dialect, size = dialects.get(name), Size(640, 480)
    assert len(dialect.parse("dog" + dialect.format(Box(10, 20, 300, 400), size) * 300, size)) <= 100
    assert len(dialect.parse(("a dog" + dialect.format(Box(10, 20, 300, 400), size)) * 300, size)) == 100


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("seen", [None, Size(100, 50)])
def test_every_dialect_can_be_told_what_the_model_saw(name, seen):
    dialect = dialects.get(name)
    assert dialect.name == name
    assert len(dialect.parse(dialect.format(Box(1, 1, 9, 9), Size(10, 10), seen=seen), Size(10, 10), seen=seen)) == 1


def test_dialects_are_found_by_name():
    assert (
        *("cogagent", "cogvlm", "deepseek", "florence2", "glm", "internvl", "json", "kosmos2", "minicpm", "molmo"),
        *("paligemma", "qwen2_5_vl", "qwen2_vl", "qwen3_vl"),
    ) == ALL
    with pytest.raises(ConfigError, match=r"klingon.*cogvlm"):
        dialects.get("klingon")


@pytest.mark.parametrize("name", ALL)
def test_a_hundred_kilobytes_of_any_syntax_are_read_in_linear_time(name):
    parse = dialects.get(name).parse
    start = time.monotonic()
    for piece in (*PIECES, *WHOLE, "[1,2,3,4", "[ ", '{"a": ', "<ref>x", "(1,", 'x="1" ', '{"bbox_2d": [1,2,3]},'):
        parse(piece * (100_000 // len(piece)), Size(640, 480))
    assert time.monotonic() - start < 60  # one that is quadratic alone would take longer
