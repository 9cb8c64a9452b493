"""From a picture to the numbers CogVLM's tower reads, and CogAgent's two, with Pillow and NumPy only.

The picture is squashed to a square whatever its shape, as in training: boxes in answers are fractions of the width
and of the height. Each of CogAgent's two sizes is made from the picture itself. Takes decoded pictures only,
never an address or a path. Knows nothing of prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

from demo.errors import InvalidInput

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class CogVLMImageProcessor(BaseImageProcessor):
    """RGB, bicubic to a square, scaled to 0..1, normalised by channel."""

    model_input_names: ClassVar[list[str]] = ["pixel_values"]

    def __init__(
        self,
        size: int | dict[str, int] = 490,
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = _square(size)
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)

    def preprocess(self, images: Any, return_tensors: str | None = None) -> BatchFeature:
        """One picture or a list of them to `pixel_values` (pictures, 3, S, S), fp32."""
        pixels = self._pixels(images, self.size)
        return BatchFeature({"pixel_values": pixels}, tensor_type=return_tensors)

    def _pixels(self, images: Any, size: dict[str, int]) -> np.ndarray:
        pictures = images if isinstance(images, list | tuple) else [images]
        return np.stack([self._pixels_of(picture, size) for picture in pictures])

    def _pixels_of(self, picture: Any, size: dict[str, int]) -> np.ndarray:
        sides = (size["width"], size["height"])
        square = _as_image(picture).convert("RGB").resize(sides, Image.Resampling.BICUBIC)
        scaled = np.asarray(square, dtype=np.float32) / np.float32(255)  # (S, S, 3)
        mean, std = np.array(self.image_mean, np.float32), np.array(self.image_std, np.float32)
        return np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1))


class CogAgentImageProcessor(CogVLMImageProcessor):
    """The same in two sizes."""

    model_input_names: ClassVar[list[str]] = ["pixel_values", "high_res_pixel_values"]

    def __init__(
        self, size: int | dict[str, int] = 224, high_res_size: int | dict[str, int] = 1120, **kwargs: Any
    ) -> None:
        super().__init__(size, **kwargs)
        self.high_res_size = _square(high_res_size)

    def preprocess(self, images: Any, return_tensors: str | None = None) -> BatchFeature:
        """One picture or a list of them to both sizes of each, (pictures, 3, S, S), fp32."""
        pixels = {
            "pixel_values": self._pixels(images, self.size),
            "high_res_pixel_values": self._pixels(images, self.high_res_size),
        }
        return BatchFeature(pixels, tensor_type=return_tensors)


def _square(size: int | dict[str, int]) -> dict[str, int]:
    side = size if isinstance(size, int) else size["height"]
    return {"height": side, "width": side}


def _as_image(picture: Any) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
        return Image.fromarray(picture)
    raise InvalidInput(
        "This is not a decoded picture",
        value=type(picture).__name__,
        remedy="Pass a PIL image, or a uint8 array of height x width x 3.",
    )
