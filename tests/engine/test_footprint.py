"""How large a model is, read from files as they are published."""

import json
import struct

import pytest

from demo.catalog import resolve
from demo.config import ModelChoice
from demo.engine.footprint import ModelFootprint, Shape, measure, of_directory, shape_of
from demo.engine.published import cached_directory
from demo.errors import BrokenCheckpoint

ITEM = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8, "U8": 1}

COGVLM = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
    "vision_config": {"hidden_size": 1792, "intermediate_size": 15360, "image_size": 490, "patch_size": 14},
}


def save(path, tensors):
    """A safetensors file with tensors of zeros: name -> (stored dtype, shape)."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape) in tensors.items():
        size = ITEM[dtype]
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def save_config(directory, **config):
    (directory / "config.json").write_text(json.dumps(config))


def test_parameters_are_counted_from_the_headers(tmp_path):
    save(tmp_path / "model.safetensors", {"a": ("BF16", [3, 4]), "b": ("BF16", [5]), "scalar": ("BF16", [])})
    footprint = of_directory(tmp_path, "m")
    assert (footprint.name, footprint.floats, footprint.stored_dtype) == ("m", 18, "bfloat16")
    assert footprint.weights_bytes("bfloat16") == 36
    assert footprint.weights_bytes("float32") == 72


def test_the_counts_are_those_of_the_safetensors_library(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(7, 3), "b": torch.zeros(2, dtype=torch.int64)}, tmp_path / "model.safetensors")
    footprint = of_directory(tmp_path, "m")
    assert (footprint.floats, footprint.other_bytes) == (21, 16)


def test_numbers_that_are_no_floats_keep_their_size_in_every_dtype(tmp_path):
    save(tmp_path / "model.safetensors", {"a": ("F16", [10]), "ids": ("I64", [3]), "packed": ("U8", [5])})
    footprint = of_directory(tmp_path, "m")
    assert footprint.weights_bytes("float16") == 20 + 24 + 5
    assert footprint.weights_bytes("float32") == 40 + 24 + 5


def test_the_shards_of_the_index_are_counted_and_nothing_beside_them(tmp_path):
    save(tmp_path / "model-1.safetensors", {"a": ("F32", [1])})
    save(tmp_path / "model-2.safetensors", {"b": ("F32", [2])})
    save(tmp_path / "consolidated.safetensors", {"a": ("F32", [1]), "b": ("F32", [2])})
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert of_directory(tmp_path, "m").floats == 3


def test_the_dtype_that_the_configuration_states_wins_over_the_stored_one(tmp_path):
    save(tmp_path / "model.safetensors", {"a": ("F32", [8])})
    save_config(tmp_path, torch_dtype="bfloat16")
    assert of_directory(tmp_path, "m").stored_dtype == "bfloat16"
    save_config(tmp_path, text_config={"dtype": "float16"})
    assert of_directory(tmp_path, "m").stored_dtype == "float16"
    save_config(tmp_path, torch_dtype="int3")
    assert of_directory(tmp_path, "m").stored_dtype == "float32"


def test_a_directory_without_weights_and_configuration_has_no_footprint(tmp_path):
    assert of_directory(tmp_path, "m") is None


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def cut_in_the_header(path):
    path.write_bytes(path.read_bytes()[:20])


def empty(path):
    path.write_bytes(b"")


def absurd_header(path):
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")


def not_json(path):
    path.write_bytes(struct.pack("<Q", 2) + b"[}")


def not_an_object(path):
    path.write_bytes(struct.pack("<Q", 2) + b"[]")


@pytest.mark.parametrize("damage", [cut, cut_in_the_header, empty, absurd_header, not_json, not_an_object])
def test_a_damaged_file_is_named(tmp_path, damage):
    save(tmp_path / "model.safetensors", {"a": ("F32", [8])})
    damage(tmp_path / "model.safetensors")
    with pytest.raises(BrokenCheckpoint, match=r"\(model.safetensors\)") as caught:
        of_directory(tmp_path, "m")
    assert str(tmp_path) not in str(caught.value)


def test_a_missing_shard_is_named(tmp_path):
    index = {"weight_map": {"a": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BrokenCheckpoint, match=r"missing \(model-1.safetensors\)"):
        of_directory(tmp_path, "m")


def test_the_shapes_of_a_flat_configuration_are_read():
    assert shape_of(COGVLM) == Shape(
        layers=32,
        hidden=4096,
        intermediate=11008,
        kv_width=4096,
        vocabulary=32000,
        context=2048,
        patches=35 * 35 + 1,
        vision_hidden=1792,
        vision_intermediate=15360,
        heads=32,
        query_width=4096,
        picture_tokens=35 * 35 + 2,
        patch_values=14 * 14 * 3,
        has_experts=True,
    )


@pytest.mark.parametrize(
    ("text", "kv_width"),
    [
        ({"num_key_value_heads": 8, "num_attention_heads": 32, "hidden_size": 4096}, 8 * 128),
        ({"num_multi_query_heads": 8, "num_attention_heads": 32, "hidden_size": 4096}, 8 * 128),
        ({"num_key_value_heads": 2, "num_attention_heads": 16, "hidden_size": 2048, "head_dim": 256}, 2 * 256),
        ({}, 0),
    ],
    ids=["grouped", "CogVLM2's name", "own head size", "unknown"],
)
def test_the_width_of_keys_and_values_is_read(text, kv_width):
    assert shape_of(text).kv_width == kv_width
    assert shape_of({"text_config": text, "hidden_size": 1}).kv_width == kv_width


def test_what_a_conversation_costs_grows_with_context_and_slots():
    footprint = ModelFootprint("m", 0, "bfloat16", shape=Shape(layers=32, kv_width=4096, context=2048))
    per_token = 2 * 32 * 4096 * 2
    assert footprint.kv_cache_bytes("bfloat16", slots=1) == 2048 * per_token
    assert footprint.kv_cache_bytes("float32", slots=3) == 2048 * per_token * 2 * 3


def test_shards_without_their_index_are_not_taken_for_the_whole(tmp_path):
    save(tmp_path / "model-00001-of-00002.safetensors", {"a": ("F32", [8])})
    assert of_directory(tmp_path, "m") is None


def test_a_repository_that_is_not_in_the_cache_has_no_directory():
    assert cached_directory("nobody/nothing-of-this-name", None) is None


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """The folder of a repository in a hub cache of our own; the hub itself cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))  # read at import
    repository = tmp_path / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    save_config(repository / "snapshots" / "abc", vision_config={}, model_type="of-no-known-family")
    return repository / "snapshots" / "abc"


def test_a_repository_in_the_cache_is_measured(snapshot):
    save(snapshot / "model.safetensors", {"a": ("F32", [8])})
    assert cached_directory("some/model", None) == snapshot
    assert measure(resolve(ModelChoice("some/model"))).floats == 8


def test_a_repository_whose_download_was_broken_off_is_not_measured(snapshot):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert measure(resolve(ModelChoice("some/model"))) == "some/model"
