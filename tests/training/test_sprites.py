"""Drawings become sprites whose boxes are exact, from packages that may be used. No network: packages are made here."""

import io
import json
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from training.nouns import Noun
from training.photos import VIEW, Photo, developed, save
from training.sprites import (
    FITTED,
    SIDE,
    SOURCES,
    Source,
    build_bank,
    contact_sheet,
    coverage,
    hull_of,
    save_bank,
    sprite_of,
)

DOG = Noun("dog", "dogs", "1f436", "", "animal")
SUN = Noun("sun", "suns", "2600", "yellow", "sky")
FIRST = Source("plain", "@made/first", "1.0.0", "MIT", "files", "img/{cp}.png")
SECOND = Source("plain", "second", "2.0.0", "MIT", "files", "img/{cp}.png")
ICONS = Source("icons", "icons", "1.0.0", "MIT", "iconify", split="test")


def disc(colour, box=(10, 20, 50, 40), side=64):
    drawing = Image.new("RGBA", (side, side))
    ImageDraw.Draw(drawing).ellipse(box, fill=colour)
    return drawing


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def pack(cache, name, files):
    (cache / "packages").mkdir(parents=True, exist_ok=True)
    with tarfile.open(cache / "packages" / name, "w:gz") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(f"package/{path}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def cache(tmp_path):
    pack(tmp_path, "made-first-1.0.0.tgz", {"img/1f436.png": png(disc("red"))})
    second = {"img/1f436.png": png(disc("blue")), "img/2600-fe0f.png": png(disc("blue"))}
    pack(tmp_path, "second-2.0.0.tgz", second)
    icon = {"body": '<circle cx="6" cy="6" r="4" fill="#0f0"/>'}
    icons = {"width": 12, "height": 12, "icons": {"sunny": icon}}
    names = {"2600": "sunny", "1f436": "lost"}
    pack(
        tmp_path,
        "icons-1.0.0.tgz",
        {f"{k}.json": json.dumps(v).encode() for k, v in (("icons", icons), ("chars", names))},
    )
    return tmp_path


@pytest.fixture
def bank(cache):
    return build_bank((DOG, SUN), (FIRST, SECOND, ICONS), cache)


def middle(bank, row):
    return tuple(int(value) for value in bank.rgba[row, SIDE // 2, SIDE // 2])


def test_a_sprite_is_cut_tight_fitted_and_centred():
    sprite = sprite_of(disc("red"))
    rows, columns = np.nonzero(sprite[:, :, 3] > 127)
    assert sprite.shape == (SIDE, SIDE, 4)
    assert np.ptp(columns) + 1 == pytest.approx(FITTED, abs=2)
    assert np.ptp(rows) + 1 == pytest.approx(FITTED * 21 / 41, abs=2)
    assert (rows.min() + rows.max()) / 2 == pytest.approx((SIDE - 1) / 2, abs=1)
    assert (columns.min() + columns.max()) / 2 == pytest.approx((SIDE - 1) / 2, abs=1)


def test_the_rim_keeps_the_colour_of_the_drawing():
    sprite = sprite_of(disc("white"))
    assert (sprite[sprite[:, :, 3] > 16][:, :3] > 240).all()


def test_an_invisible_drawing_gives_no_sprite():
    assert sprite_of(Image.new("RGBA", (64, 64), (255, 0, 0, 3))) is None


@settings(max_examples=40, deadline=None)
@given(
    angle=st.floats(-3.2, 3.2),
    stretch=st.floats(0.6, 1.6),
    shear=st.floats(-0.4, 0.4),
    points=st.lists(st.tuples(st.integers(2, 60), st.integers(2, 60)), min_size=3, max_size=9, unique=True),
)
def test_the_box_of_the_hull_is_the_box_of_all_pixels_after_any_affine_map(angle, stretch, shear, points):
    drawing = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(drawing).polygon(points, fill="red", outline="red", width=3)
    sprite = sprite_of(drawing)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[stretch, shear], [0, 1]])
    rows, columns = np.nonzero(sprite[:, :, 3] > 127)
    corners = (
        np.concatenate([np.stack([columns + dx, rows + dy], 1) for dx in (0, 1) for dy in (0, 1)]) * (2 / SIDE) - 1
    )
    exact, found = corners @ matrix.T, hull_of(sprite) @ matrix.T
    for end in (np.min, np.max):
        # 48 directions stand for all: a few hundredths of the sprite's half side are the price.
        np.testing.assert_allclose(end(found, axis=0), end(exact, axis=0), atol=0.04)


def test_the_first_source_of_a_style_wins_and_the_next_fills_in(bank):
    assert bank.styles == ("plain", "icons")
    assert middle(bank, 0) == (255, 0, 0, 255)
    assert middle(bank, 1) == (0, 0, 255, 255)
    assert bank.noun.tolist() == [0, 1, 1]


def test_an_icon_collection_is_drawn_by_its_table_and_a_missing_icon_is_dropped(bank):
    assert bank.style.tolist() == [0, 0, 1]
    assert middle(bank, 2) == (0, 255, 0, 255)
    assert "missing: dog" in coverage(bank).splitlines()[1]


def test_the_saved_bank_needs_no_pickle_and_says_which_style_is_for_testing(bank, tmp_path):
    save_bank(bank, tmp_path / "bank.npz")
    with np.load(tmp_path / "bank.npz", allow_pickle=False) as stored:
        assert np.array_equal(stored["rgba"], bank.rgba)
        assert stored["hull"].shape == (3, 48, 2)
        assert dict(zip(stored["styles"], stored["split"], strict=True)) == {"plain": "train", "icons": "test"}


def test_a_contact_sheet_has_a_row_for_each_noun_and_a_column_for_each_style(bank):
    sheet = contact_sheet(bank, range(2), cell=64)
    assert sheet.size == (110 + 2 * 64, 2 * 64)
    assert sheet.getpixel((110 + 31, 31)) == (255, 0, 0)


def test_only_permissive_drawings_are_trained_on_and_twemoji_only_measured():
    trained = {source.licence for source in SOURCES if source.split == "train"}
    assert trained <= {"MIT", "Apache-2.0", "BSD", "public domain"}
    assert [source.style for source in SOURCES if source.split == "test"] == ["twemoji"]
    assert not {s.style for s in SOURCES if s.split == "test"} & {s.style for s in SOURCES if s.split == "train"}


def test_a_panorama_is_developed_to_the_same_brightness_whatever_its_exposure():
    light = np.linspace(0.01, 1, 300, dtype=np.float32).reshape(10, 10, 3)
    bright, dim = developed(light * 8), developed(light / 8)
    assert abs(bright.astype(int) - dim).max() <= 2
    assert bright.min() < 90 < 150 < bright.max()


def test_saved_photographs_come_back_under_their_names_and_splits(tmp_path):
    photos = tuple(
        Photo(name, split, np.full((VIEW, 9, 3), v, np.uint8))
        for name, split, v in (("a", "train", 1), ("b", "test", 2))
    )
    save(photos, tmp_path / "photos.npz")
    with np.load(tmp_path / "photos.npz", allow_pickle=False) as stored:
        assert stored["names"].tolist() == ["a", "b"]
        assert stored["split"].tolist() == ["train", "test"]
        assert (stored["photo1"] == 2).all()
