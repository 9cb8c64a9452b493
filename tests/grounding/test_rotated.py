"""Boxes of a picture that its camera stored lying down: they are where the thing is in the upright picture."""

import io

import numpy as np
import pytest
from PIL import Image

from demo.grounding import dialects
from demo.imaging import open_picture, to_pil
from demo.types import Box

STORED = (300, 120)  # as the sensor saw it: 300 wide, 120 high
THING = (30, 20, 90, 100)  # a red thing, in stored pixels
# of a side; Qwen2.5-VL sees the short one in 112 pixels
QUANTA = {"kosmos2": 1 / 32, "qwen2_5_vl": 1 / 112}


def photo(orientation: int) -> bytes:
    image = Image.new("RGB", STORED, "white")
    image.paste((255, 0, 0), THING)
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, "PNG", exif=exif)
    return out.getvalue()


def red_box(picture) -> Box:
    """Where the red thing is in the picture as it is shown."""
    pixels = np.asarray(to_pil(picture))  # (H, W, 3)
    ys, xs = np.nonzero((pixels == (255, 0, 0)).all(axis=-1))
    return Box(float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", dialects.names())
def test_a_box_written_for_a_rotated_photo_is_read_back_around_the_thing(name, orientation):
    picture = open_picture(photo(orientation))
    lies = orientation <= 4
    assert (picture.size.width, picture.size.height) == (STORED if lies else STORED[::-1])
    box, dialect = red_box(picture), dialects.get(name)
    if name == "molmo":  # it can only point
        x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        box = Box(x, y, x, y)
    (found,) = dialect.parse(dialect.format(box, picture.size), picture.size)
    step = QUANTA.get(name, 1 / 990)
    for got, wanted, side in (
        (found.box.x0, box.x0, picture.size.width),
        (found.box.y0, box.y0, picture.size.height),
        (found.box.x1, box.x1, picture.size.width),
        (found.box.y1, box.y1, picture.size.height),
    ):
        assert abs(got - wanted) <= step * side
