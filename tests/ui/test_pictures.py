import math
import time
from pathlib import Path

import pytest
from page_kit import file_of, scene, write
from PIL import Image

from demo.errors import PictureError
from demo.grounding.draw import draw
from demo.grounding.palette import colour_of, rgb
from demo.imaging import from_pil
from demo.types import Box, Region
from demo.ui.pictures import SHOWN_SIDE_PX, PictureStore


@pytest.fixture
def store(tmp_path):
    (tmp_path / "uploads").mkdir()
    return PictureStore((tmp_path / "uploads").resolve())


def test_an_upload_is_opened(store):
    path = write(store.folder, "a/b.png", file_of(scene(30, 20)))
    assert (store.open(path).size.width, store.open(path).size.height) == (30, 20)


@pytest.mark.parametrize(
    "path",
    ["{out}/secret.png", "{up}/../out/secret.png", "{up}/link.png", "{up}", "/etc/passwd", "", "\0", "http://x/y.png"],
)
def test_nothing_outside_the_uploads_is_opened_and_no_path_is_told(store, tmp_path, path):
    secret = write(tmp_path / "out", "secret.png", file_of(scene()))
    (store.folder / "link.png").symlink_to(secret)
    with pytest.raises(PictureError) as error:
        store.open(path.format(up=store.folder, out=tmp_path / "out"))
    assert "not on the server" in str(error.value)
    assert str(tmp_path) not in str(error.value)


def test_the_copy_for_showing_is_upright_and_small_and_the_upload_stays_as_it_is(store):
    image = scene(3000, 1500)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    data = file_of(image, "JPEG", exif=exif)
    path = write(store.folder, "turned.jpg", data)
    kept = store.adopt(path)
    assert (kept.size.width, kept.size.height) == (1500, 3000)
    with Image.open(kept.shown) as shown:
        assert shown.size == (SHOWN_SIDE_PX // 2, SHOWN_SIDE_PX)
        assert not shown.getexif()
    assert Path(path).read_bytes() == data


def test_what_was_left_out_of_a_picture_is_told(store):
    frames = [scene(colour=colour) for colour in ("red", "blue")]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert "first frame" in store.adopt(write(store.folder, "moving.gif", data)).note


def test_the_same_picture_is_kept_once(store):
    assert store.save(scene()) == store.save(scene())
    assert store.save(scene(colour="red")) != store.save(scene())
    assert len(list((store.folder / "shown").iterdir())) == 2


@pytest.mark.parametrize(("size", "suffix"), [((300, 200), ".png"), ((2000, 1000), ".jpg")])
def test_a_small_drawing_is_exact_and_a_large_one_is_quick(store, size, suffix):
    assert store.save(scene(*size)).endswith(suffix)


def test_a_drawn_picture_of_twelve_megapixels_is_quick_and_its_lines_keep_their_colour(store):
    noise = Image.effect_noise((4000, 3000), 40).convert("RGB")
    picture = from_pil(noise)
    regions = [
        Region(f"thing {number}", Box(150 * number, 100 * number, 150 * number + 700, 100 * number + 500), None, (0, 0))
        for number in range(20)
    ]
    spent_s = []
    for _ in range(3):
        begun_s = time.process_time()  # of ours alone, as others may be at work
        kept = store.save(draw(picture, regions))
        spent_s.append(time.process_time() - begun_s)
    assert min(spent_s) < 0.3
    with Image.open(kept) as shown:
        assert shown.size == (4000, 3000)
        found = shown.convert("RGB").getpixel((150 * 19 + 350, 100 * 19 + 500))  # the lower edge of the last box
    assert math.dist(found, rgb(colour_of(region.label for region in regions)["thing 19"])) < 12
