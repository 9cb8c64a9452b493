"""Bent drawings: mildly, half of the time, and where their outline says."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.training.test_render import changed_box, on_white, sampled
from training.bank import Photos
from training.layers import LAYER
from training.render import Renderer, textures_of
from training.scenes import SceneConfig
from training.waves import STRONGEST, bent, bent_outline, sample_waves


def test_half_of_the_scenes_are_bent_and_none_strongly():
    rng = np.random.default_rng(0)
    waves = np.stack([sample_waves(rng, 4) for _ in range(600)])
    share = (waves != 0).any((1, 2)).mean()
    assert 0.42 < share < 0.58
    assert 0.01 < np.abs(waves[..., 0::3]).max() <= STRONGEST
    assert sample_waves(rng, 0).shape == (0, 6)


def test_what_an_outline_says_is_seen_there():
    rng = np.random.default_rng(1)
    waves = np.concatenate([sample_waves(rng, 8) for _ in range(20)])
    points = rng.uniform(-1, 1, (len(waves), 9, 2)).astype(np.float32)
    seen = torch.from_numpy(bent_outline(points, waves) / 2 + 0.5)
    x, y = bent(seen[:, None, :, 0], seen[:, None, :, 1], torch.from_numpy(waves))
    drawn = torch.stack([x[:, 0], y[:, 0]], -1).numpy()
    assert np.abs(drawn - (points / 2 + 0.5)).max() < 0.005


def test_without_a_wave_nothing_moves():
    points = np.random.default_rng(2).uniform(-1, 1, (3, 5, 2)).astype(np.float32)
    assert np.allclose(bent_outline(points, np.zeros((3, 6), np.float32)), points, atol=1e-6)


def test_boxes_of_bent_drawings_agree_with_the_pixels(bank):
    """Between two points of an outline a side can bulge by as much as the wave is strong; some drawings are blurred."""
    config = SceneConfig((0, 1), textures_of(Photos.synthetic(), "train"), (1, 0, 0), degrade=False)
    renderer = Renderer(bank, Photos.synthetic())
    scenes, layers, backgrounds = sampled(bank, dataclasses.replace(config, augment=True), 40)
    white, moved = on_white(backgrounds)[:1], 0
    empty = renderer.render(torch.zeros_like(layers[:1]), white, 0)[0][0]
    for scene, layer in zip(scenes, layers, strict=True):
        for k, thing in enumerate(scene.things):
            alone = torch.zeros_like(layer)[None]
            for name in ("present", "sprite", "inverse", "wave", "lod"):
                alone[0, 0, LAYER[name]] = layer[k, LAYER[name]]
            alone[0, 0, LAYER["matrix"]] = torch.zeros(12)
            alone[0, 0, LAYER["gamma"]] = 1
            box, bends = np.array(thing.box) * 224, layer[k, LAYER["wave"]].any()
            slack = 3 + (STRONGEST * max(box[2:] - box[:2]) if bends else 0)
            assert changed_box(empty, renderer.render(alone, white, 0)[0][0]) == pytest.approx(box, abs=slack)
            moved += bool(bends)
    assert moved > 30
