import numpy as np
import pytest
from PIL import Image

from demo.errors import InvalidInput
from demo.models.cogvlm import CogAgentImageProcessor, CogVLMImageProcessor
from demo.models.cogvlm.image_processing_cogvlm import CLIP_MEAN, CLIP_STD


def noise(width, height, mode="RGB"):
    values = np.random.default_rng(3).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(values, "RGBA").convert(mode)


@pytest.mark.parametrize("size", [(31, 17), (300, 40), (56, 56)])
def test_a_picture_is_squashed_to_the_square_and_normalised(size):
    picture = noise(*size)
    found = CogVLMImageProcessor(56)(picture, return_tensors="np")["pixel_values"]
    square = np.asarray(picture.resize((56, 56), Image.Resampling.BICUBIC), dtype=np.float64)
    expected = ((square / 255 - CLIP_MEAN) / CLIP_STD).transpose(2, 0, 1)
    assert found.shape == (1, 3, 56, 56)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "1"])
def test_every_mode_is_read_as_rgb(mode):
    picture = noise(20, 20, mode)
    processor = CogVLMImageProcessor(28)
    found, expected = (processor(image)["pixel_values"] for image in (picture, picture.convert("RGB")))
    assert np.array_equal(found, expected)


def test_an_array_is_the_same_as_its_picture():
    picture = noise(20, 30)
    processor = CogVLMImageProcessor(28)
    both = processor([picture, np.asarray(picture)])["pixel_values"]
    assert np.array_equal(both[0], both[1])


@pytest.mark.parametrize("address", ["http://127.0.0.1/cat.png", "/etc/passwd", None, 3])
def test_addresses_and_paths_are_never_opened(address):
    with pytest.raises(InvalidInput, match="not a decoded picture"):
        CogVLMImageProcessor(28)(address)


def test_settings_survive_saving(tmp_path):
    CogVLMImageProcessor(84, image_mean=(0.1, 0.2, 0.3)).save_pretrained(tmp_path)
    again = CogVLMImageProcessor.from_pretrained(tmp_path)
    assert again.size == {"height": 84, "width": 84}
    assert again.image_mean == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("size", [(31, 17), (300, 40)])
def test_both_sizes_of_cogagents_picture_are_made_from_the_original(size):
    pictures = [noise(*size), noise(size[1], size[0])]
    found = CogAgentImageProcessor(28, 56)(pictures, return_tensors="np")
    for name, side in (("pixel_values", 28), ("high_res_pixel_values", 56)):
        assert np.array_equal(found[name], CogVLMImageProcessor(side)(pictures)["pixel_values"])


def test_both_sizes_survive_saving(tmp_path):
    CogAgentImageProcessor(28, {"height": 84, "width": 84}).save_pretrained(tmp_path)
    again = CogAgentImageProcessor.from_pretrained(tmp_path)
    assert again.size == {"height": 28, "width": 28}
    assert again.high_res_size == {"height": 84, "width": 84}
