"""Our reading of a dialect beside the post-processing that transformers has for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.grounding import florence2, kosmos2, qwen2_5_vl
from demo.types import Size

kosmos2_processor = pytest.importorskip("transformers.models.kosmos2.processing_kosmos2")
florence2_processor = pytest.importorskip("transformers.models.florence2.processing_florence2")
qwen2_vl_processor = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")

cells = st.integers(0, 1023)


@given(first=cells, last=cells)
def test_kosmos_2_boxes_are_where_its_processor_puts_them(first, last):
    text = f"<phrase> a dog</phrase><object><patch_index_{first:04d}><patch_index_{last:04d}></object>"
    _, [(phrase, _, [(x0, y0, x1, y1)])] = kosmos2_processor.clean_text_and_extract_entities_with_bboxes(text)
    (region,) = kosmos2.parse(text, Size(1000, 500))
    assert region.label == phrase
    if first % 32 <= last % 32 and first // 32 <= last // 32:  # else its corners are reversed, and ours are not
        box = region.box
        assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((1000 * x0, 500 * y0, 1000 * x1, 500 * y1))


@given(
    st.lists(
        st.tuples(st.text("abc ", min_size=1).filter(str.strip), st.lists(cells, min_size=4, max_size=4)), max_size=5
    )
)
def test_florence_2_boxes_are_where_its_processor_puts_them(things):
    class Tokenizer:
        all_special_tokens = ()

    things = [(name, [min(a, c), min(b, d), max(a, c), max(b, d)]) for name, (a, b, c, d) in things]
    things = [(name, [min(number, 999) for number in bins]) for name, bins in things]
    text = "</s><s>" + "".join(name + "".join(f"<loc_{number}>" for number in bins) for name, bins in things) + "</s>"
    theirs = florence2_processor.Florence2PostProcessor(
        None, Tokenizer()
    ).parse_description_with_bboxes_from_text_and_spans(text, (640, 480))
    ours = florence2.parse(text, Size(640, 480))
    assert [region.label for region in ours] == [" ".join(one["cat_name"].split()) for one in theirs]
    for region, one in zip(ours, theirs, strict=True):
        box = region.box
        assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx(one["bbox"], abs=1)  # they cut pixels to whole ones


@given(
    width=st.integers(1, 9000), height=st.integers(1, 9000), limit=st.sampled_from([28 * 28 * 1280, 16384 * 28 * 28])
)
def test_the_size_that_qwen_sees_is_what_its_processor_makes(width, height, limit):
    seen = qwen2_5_vl.resized(Size(width, height), max_pixels=limit)
    if max(width, height) / min(width, height) <= 200:  # it refuses longer ones
        assert qwen2_vl_processor.smart_resize(height, width, 28, 56 * 56, limit) == (seen.height, seen.width)
