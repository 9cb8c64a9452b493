"""Which scenes a model is trained on, and which it is measured on.

Owns the configurations by name. Test scenes come from other seeds, are drawn as they are (no augmentation of the
drawings), and never use a training photograph; "unseen style" uses drawings in a style that training never saw.
"""

from __future__ import annotations

from training.bank import Bank, Photos
from training.render import textures_of
from training.scenes import SceneConfig

_NO_PHOTOS = (0.65, 0.0, 0.35)
_PHOTOS_ONLY = (0.0, 1.0, 0.0)


def training(bank: Bank, photos: Photos) -> SceneConfig:
    return SceneConfig(styles=bank.style_ids("train"), textures=textures_of(photos, "train"))


def tests(bank: Bank, photos: Photos) -> dict[str, SceneConfig]:
    """In style, unseen style (where the bank has one), and in style on photographs."""
    textures = textures_of(photos, "test")
    sets = {"in style": SceneConfig(bank.style_ids("train"), textures, _NO_PHOTOS, augment=False)}
    if bank.style_ids("test"):
        sets["unseen style"] = SceneConfig(bank.style_ids("test"), textures, _NO_PHOTOS, augment=False)
    return sets | {"photo": SceneConfig(bank.style_ids("train"), textures, _PHOTOS_ONLY, augment=False)}
