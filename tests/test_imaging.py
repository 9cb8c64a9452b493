"""Every kind of picture people send, good and bad, through the one opener."""

import contextlib
import io
import os
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from demo.errors import PictureError
from demo.imaging import encode, from_pil, open_picture, open_with_note, to_pil
from demo.types import Size

# Pillow warns about odd metadata on its way to an error or a picture; the fuzzing would print hundreds.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")


def saved(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def pixel(picture, x, y):
    at = 3 * (y * picture.size.width + x)
    return tuple(picture.rgb[at : at + 3])


def red_left():
    """30 x 20, left half red, right half blue: shows which way up a picture is."""
    image = Image.new("RGB", (30, 20), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 15, 20))
    return image


def png_header(width, height, bit_depth=1, colour=0):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bit_depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + ihdr + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


# --- what is accepted


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_lossless_formats_keep_every_pixel(format):
    options = {"lossless": True} if format == "WEBP" else {}
    picture = open_picture(saved(red_left(), format, **options))
    assert picture.size == Size(30, 20)
    assert picture.rgb == red_left().tobytes()


@pytest.mark.parametrize("format", ["JPEG", "AVIF"])
def test_lossy_formats_keep_the_colours(format):
    picture = open_picture(saved(red_left(), format, quality=95))
    assert np.allclose(pixel(picture, 3, 10), (255, 0, 0), atol=12)
    assert np.allclose(pixel(picture, 27, 10), (0, 0, 255), atol=12)


def test_a_file_is_opened_by_its_content_whatever_its_name(tmp_path):
    for name in ("picture.gif", "no_ending", "script.svg", "a b\u00fc.jpeg"):
        path = tmp_path / name
        path.write_bytes(saved(red_left(), "PNG"))
        assert open_picture(path).rgb == red_left().tobytes()
        assert open_picture(str(path)).rgb == red_left().tobytes()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(
    ("orientation", "red"),
    [(1, "left"), (2, "right"), (3, "right"), (4, "left"), (5, "top"), (6, "top"), (7, "bottom"), (8, "bottom")],
)
def test_exif_orientation_is_applied(format, orientation, red):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = open_picture(saved(red_left(), format, exif=exif))
    width, height = picture.size.width, picture.size.height
    assert (width, height) == ((30, 20) if orientation < 5 else (20, 30))
    sides = {
        "left": (2, height // 2),
        "right": (width - 3, height // 2),
        "top": (width // 2, 2),
        "bottom": (width // 2, height - 3),
    }
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
    assert np.allclose(pixel(picture, *sides[red]), (255, 0, 0), atol=12)
    assert np.allclose(pixel(picture, *sides[opposite[red]]), (0, 0, 255), atol=12)


def test_each_exif_orientation_puts_the_marked_corner_in_its_own_place():
    """The sides alone cannot tell 1 from 4; a marked corner can."""
    corner_of = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}
    for orientation, (right, bottom) in corner_of.items():
        image = Image.new("RGB", (6, 4))
        image.putpixel((0, 0), (255, 255, 255))
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture = open_picture(saved(image, "PNG", exif=exif))
        at = (right * (picture.size.width - 1), bottom * (picture.size.height - 1))
        assert pixel(picture, *at) == (255, 255, 255), orientation


def test_a_broken_exif_block_does_not_make_the_picture_unreadable():
    picture = open_picture(saved(red_left(), "PNG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff"))
    assert picture.rgb == red_left().tobytes()


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(format):
    image = Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16))
    assert list(open_picture(saved(image, format)).rgb[::3]) == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 32896.0, 65535.0], [0, 128, 255]),
        ([-51.0, 0.0, 204.0], [0, 51, 255]),
        ([float("nan"), float("inf"), float("-inf"), 1.0], [0, 255, 0, 255]),
        ([7.0, 7.0], [7, 7]),
        ([-3.0, -3.0], [0, 0]),
    ],
)
def test_float_pictures_are_scaled_to_what_they_hold(values, expected):
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert list(open_picture(saved(image, "TIFF")).rgb[::3]) == expected


@pytest.mark.parametrize(("values", "expected"), [([0, 257, 65535], [0, 1, 255]), ([-51, 0, 204], [0, 51, 255])])
def test_thirty_two_bit_whole_numbers_are_scaled(values, expected):
    image = Image.fromarray(np.array([values], dtype=np.int32))
    assert list(open_picture(saved(image, "TIFF")).rgb[::3]) == expected


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_becomes_the_colour_it_prints(format):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    picture = open_picture(saved(image, format, quality=95))
    assert np.allclose(pixel(picture, 8, 8), (255, 0, 0), atol=3)


def test_cmyk_without_the_adobe_marker_is_not_inverted():
    """Pillow stores ink inverted and says so with the marker; without it the same bytes mean the opposite."""
    data = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    at = data.index(b"\xff\xee")
    (length,) = struct.unpack(">H", data[at + 2 : at + 4])
    plain = data[:at] + data[at + 2 + length :]
    # Ink (255, 0, 0, 255): full black.
    assert np.allclose(pixel(open_picture(plain), 8, 8), (0, 0, 0), atol=3)
    assert np.allclose(pixel(open_picture(data), 8, 8), (255, 0, 0), atol=3)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 90, (90, 90, 90)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (100, 255), (100, 100, 100)),
        ("RGBA", (200, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (200, 0, 0, 255), (200, 0, 0)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
    ],
)
def test_grey_one_bit_and_transparent_pictures_are_shown_on_white(mode, colour, expected):
    assert pixel(open_picture(saved(Image.new(mode, (3, 2), colour), "PNG")), 2, 1) == expected


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_a_colour_declared_transparent_is_shown_on_white(mode):
    image = Image.new(mode, (2, 1), 0)
    transparent = (0, 0, 0) if mode == "RGB" else 0
    assert pixel(open_picture(saved(image, "PNG", transparency=transparent)), 0, 0) == (255, 255, 255)


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_palette_keeps_its_colours_and_its_transparent_entry_is_white(format):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 200, 0])
    image.putpixel((1, 0), 1)
    assert open_picture(saved(image, format)).rgb == bytes([255, 0, 0, 0, 200, 0])
    assert open_picture(saved(image, format, transparency=1)).rgb == bytes([255, 0, 0, 255, 255, 255])


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken_and_the_user_is_told(format):
    second = Image.new("RGB", (30, 20), (0, 255, 0))
    options = {"lossless": True} if format == "WEBP" else {}
    opened = open_with_note(saved(red_left(), format, save_all=True, append_images=[second], **options))
    assert opened.picture.rgb == red_left().tobytes()
    assert "only" in opened.note
    assert "first" in opened.note


def test_a_still_picture_has_no_note():
    for format in ("GIF", "PNG", "WEBP", "TIFF", "JPEG"):
        assert open_with_note(saved(red_left(), format)).note == ""


def test_an_animation_cut_after_its_first_frame_still_opens():
    frames = [Image.effect_noise((40, 40), 90).convert("P") for _ in range(3)]
    whole = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_picture(whole[: len(whole) * 2 // 3]).size == Size(40, 40)


def test_one_pixel_is_a_picture():
    assert open_picture(saved(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG")).rgb == bytes([1, 2, 3])


def test_a_tall_picture_is_converted_strip_by_strip_without_a_seam():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (2500, 900, 3), dtype=np.uint8)
    assert open_picture(saved(Image.fromarray(pixels), "PNG", compress_level=0)).rgb == pixels.tobytes()


# --- what is refused


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"hello, I am a text", "not a picture"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "not a picture"),
        (b"P6 2 2 255 " + b"\0" * 12, "not a picture"),  # Pillow reads it; our list does not
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"\x89PNG\r\n\x1a\n", "not a picture"),
        (b"\xff\xd8\xff", "not a picture"),
        (b"GIF89a", "not a picture"),
        (png_header(0, 5), "not a picture|no pixels"),
        (png_header(13_000, 13_000), "too large.*169.0 megapixels.*At most 40"),
        (png_header(6_400, 6_400), "too large"),
        (png_header(60_000, 60_000), "too large"),
        (png_header(2**31 - 1, 2**31 - 1), "too large"),
        (png_header(3_000, 1), "too long and thin"),
        (png_header(1, 3_000), "too long and thin"),
        (png_header(80_000, 450), "too long and thin"),
    ],
)
def test_a_bad_file_gets_one_clear_sentence(data, says):
    with pytest.raises(PictureError, match=says):
        open_picture(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_picture_cut_short_is_refused(format):
    rng = np.random.default_rng(1)
    data = saved(Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)), format)
    with pytest.raises(PictureError, match=r"damaged|not a picture"):
        open_picture(data[: len(data) // 2])


def test_a_png_with_a_wrong_checksum_is_refused():
    data = bytearray(saved(red_left(), "PNG"))
    data[data.index(b"IDAT") + 8] ^= 0xFF
    with pytest.raises(PictureError):
        open_picture(bytes(data))


def test_a_text_chunk_that_unpacks_to_seventy_megabytes_is_refused():
    text = PngImagePlugin.PngInfo()
    text.add_text("bomb", "a" * 70_000_000, zip=True)
    with pytest.raises(PictureError):
        open_picture(saved(Image.new("RGB", (2, 2)), "PNG", pnginfo=text))


def test_exactly_forty_megapixels_pass_the_header_check():
    with pytest.raises(PictureError, match="damaged"):  # the header is fine, the pixels are missing
        open_picture(png_header(8_000, 5_000))


def test_a_missing_file_a_folder_and_a_device_are_refused_without_their_path(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    for name in ("absent.png", ".", "notes.txt", "nul\0byte"):
        with pytest.raises(PictureError) as caught:
            open_picture(os.path.join(tmp_path, name))
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(PictureError):
        open_picture("/dev/zero")


SEEDS = [
    saved(red_left(), "PNG"),
    saved(red_left(), "JPEG"),
    saved(red_left(), "GIF"),
    saved(red_left(), "WEBP"),
    saved(red_left(), "BMP"),
    saved(red_left(), "TIFF"),
    saved(red_left().convert("CMYK"), "TIFF", compression="tiff_lzw"),
    saved(red_left().convert("P"), "PNG", transparency=1),
    saved(red_left(), "JPEG", exif=b"Exif\0\0II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    saved(red_left(), "AVIF"),
]


@settings(max_examples=400, deadline=None)
@given(seed=st.sampled_from(SEEDS), salt=st.integers(0, 2**32), hits=st.integers(1, 12), cut=st.booleans())
def test_mutated_files_open_or_raise_a_picture_error_and_nothing_else(seed, salt, hits, cut):
    rng = random.Random(salt)
    data = bytearray(seed)
    for _ in range(hits):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if cut:
        del data[rng.randrange(len(data)) :]
    with contextlib.suppress(PictureError):
        picture = open_picture(bytes(data))
        assert len(picture.rgb) == 3 * picture.size.pixels


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_open_or_raise_a_picture_error_and_nothing_else(data):
    with contextlib.suppress(PictureError):
        picture = open_picture(data)
        assert len(picture.rgb) == 3 * picture.size.pixels


# --- to and from Pillow, and encoding


def test_a_picture_survives_pillow_and_png_unchanged():
    picture = from_pil(red_left())
    assert from_pil(to_pil(picture)) == picture
    assert open_picture(encode(picture, "PNG")) == picture


def test_drawing_on_the_pillow_copy_leaves_the_picture_alone():
    picture = from_pil(red_left())
    to_pil(picture).paste((0, 0, 0), (0, 0, 30, 20))
    assert picture.rgb == red_left().tobytes()


def test_jpeg_is_close_and_carries_no_metadata():
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    picture = open_picture(saved(red_left(), "JPEG", exif=exif, quality=95))
    data = encode(picture, "JPEG")
    assert b"where I live" not in data
    assert np.abs(np.frombuffer(open_picture(data).rgb, np.uint8).astype(int) - list(picture.rgb)).mean() < 3


def test_a_pillow_image_meets_the_same_limits():
    with pytest.raises(PictureError, match="too long"):
        from_pil(Image.new("L", (500, 1)))
    with pytest.raises(PictureError, match="no pixels"):
        from_pil(Image.new("RGB", (0, 4)))
    assert from_pil(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).rgb == b"\xff\xff\xff"
