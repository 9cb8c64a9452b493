"""What CogAgent's second, larger picture costs, in the published shape."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from demo.engine.footprint import of_directory, shape_of

SHAPES = Path(__file__).resolve().parents[2] / "benchmarks" / "shapes"
GIB = 2**30


@pytest.fixture(scope="module")
def footprint():
    """From the configuration alone."""
    return of_directory(SHAPES / "cogagent-18b", "cogagent-18b", outline=True)


def test_what_cogagent_keeps_of_its_larger_picture_does_not_grow_with_a_conversation(footprint):
    large = footprint.shape.large
    assert (large.patches, large.hidden, large.intermediate, large.heads, large.width) == (6400, 1024, 2730, 16, 1024)
    short = replace(footprint, shape=replace(footprint.shape, context=100))
    per_token = 2 * 32 * 4096 * 2
    assert footprint.kv_cache_bytes("bfloat16", slots=1) - short.kv_cache_bytes("bfloat16", slots=1) == 1948 * per_token
    assert short.kv_cache_bytes("bfloat16", slots=2) == 2 * (800 * 2**20 + 100 * per_token)
    assert short.kv_cache_bytes("bfloat16", slots=1, layers=0) == 0


def test_reading_the_larger_picture_is_counted_and_scores_only_where_they_are_materialised(footprint):
    assert 6401 * 1024 * 8 * 2 < footprint.vision_activation_bytes("bfloat16") < GIB
    assert footprint.vision_activation_bytes("bfloat16", "eager") > 16 * 6401**2 * 4
    assert shape_of(json.loads((SHAPES / "cogvlm-17b" / "config.json").read_text())).large is None


def test_a_published_configuration_tells_of_the_larger_picture_without_being_built(footprint):
    config = json.loads((SHAPES / "cogagent-18b" / "config.json").read_text())
    assert shape_of(config).large == footprint.shape.large
    for key in [key for key in config if key.startswith("cross_")]:
        del config[key]
    assert shape_of(config).large == footprint.shape.large  # known by the name of its class
