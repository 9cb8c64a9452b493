"""How large a model is, before it is loaded: from files as they are published, and from its configuration alone."""

import json
import struct
from pathlib import Path

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


SHAPES = Path(__file__).resolve().parents[2] / "benchmarks" / "shapes"
GIB = 2**30
OF_NO_FAMILY = {"model_type": "of-no-known-family", "vision_config": {}, "num_hidden_layers": 1, "hidden_size": 1}


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
    assert shape_of({**COGVLM, "model_type": ""}) == shape_of(COGVLM)  # published ones say no type, or an empty one


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
    save_config(repository / "snapshots" / "abc", **OF_NO_FAMILY)
    return repository / "snapshots" / "abc"


def test_a_repository_in_the_cache_is_measured(snapshot):
    save(snapshot / "model.safetensors", {"a": ("F32", [8])})
    assert cached_directory("some/model", None) == snapshot
    assert measure(resolve(ModelChoice("some/model"))).floats == 8


def test_a_repository_whose_download_was_broken_off_is_not_measured(snapshot):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert measure(resolve(ModelChoice("some/model"))) == "some/model"


@pytest.fixture(scope="module")
def measured():
    """The footprints of the shapes that are published, from their configurations alone."""
    return {path.name: of_directory(path, path.name, outline=True) for path in SHAPES.iterdir()}


# Of CogAgent's published parameters, those of the large tower's last block, norm and head are never used nor loaded.
COGAGENT_UNUSED = (4 * 1024**2 + 3 * 1024 * 2730 + 10 * 1024 + 4 * 2730) + 2 * 1024 + 768 * 1024 + 768


# Of CogVLM2's published bytes, 4096 are rotary frequencies that are stored with each layer and are not loaded.
@pytest.mark.parametrize(
    ("name", "weights", "dtype"),
    [
        ("cogvlm-17b", 17_639_685_376 * 2, "bfloat16"),
        ("cogvlm2-19b", 39_006_214_656 - 4096, "bfloat16"),
        ("cogagent-18b", (18_291_033_280 - COGAGENT_UNUSED) * 2, "bfloat16"),
        ("qwen2.5-vl-7b", 15.45 * GIB, "bfloat16"),
        ("llava-1.5-7b", 13.16 * GIB, "float16"),
    ],
)
def test_a_configuration_alone_tells_the_published_sizes(measured, name, weights, dtype):
    footprint = measured[name]
    assert footprint.stored_dtype == dtype
    exact = isinstance(weights, int)
    assert footprint.weights_bytes(dtype) == (weights if exact else pytest.approx(weights, rel=5e-4))
    assert footprint.weights_bytes("float32") == 4 * footprint.floats + footprint.other_bytes
    assert footprint.weights_bytes(dtype) == sum(footprint.bytes_of(part, dtype) for part in footprint.modules)


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("cogvlm-17b", 1.0),
        ("cogvlm2-19b", 1.0),
        ("cogagent-18b", 1.0 + 800 / 1024),
        ("qwen2.5-vl-7b", 7 / 16),
        ("llava-1.5-7b", 2.0),
    ],
)
def test_the_cache_of_the_published_shapes_is_known(measured, name, gib):
    footprint = measured[name]
    assert footprint.kv_cache_bytes("bfloat16", slots=1) == gib * GIB
    half = footprint.kv_cache_bytes("bfloat16", slots=2, layers=footprint.shape.layers // 2)
    assert half == gib * GIB


@pytest.mark.parametrize(
    ("name", "tokens", "pictures", "patches"),
    [
        ("cogvlm-17b", 1227, 1, 1226),
        ("cogvlm2-19b", 2306, 1, 9217),
        ("cogagent-18b", 258, 1, 257),
        ("llava-1.5-7b", 576, 7, 577),  # as many as its context has room for
        ("qwen2.5-vl-7b", 3136, 2, 12544),  # of 1568 x 1568 pixels
    ],
)
def test_the_pictures_of_the_published_shapes_are_known(measured, name, tokens, pictures, patches):
    shape = measured[name].shape
    assert (shape.picture_tokens, shape.pictures, shape.picture_patches) == (tokens, pictures, patches)
    assert shape.all_patches == pictures * patches


def test_the_limit_of_the_picture_processor_counts(tmp_path):
    save_config(tmp_path, **json.loads((SHAPES / "qwen2.5-vl-7b" / "config.json").read_text()))
    save(tmp_path / "model.safetensors", {"a": ("BF16", [8])})
    assert of_directory(tmp_path, "m").shape.patches == 12544
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"max_pixels": 100 * 14 * 14}))
    assert of_directory(tmp_path, "m").shape.patches == 100
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"longest_edge": 60 * 14 * 14}}))
    assert of_directory(tmp_path, "m").shape.patches == 60


def test_fewer_bits_shrink_the_layers_linears_and_nothing_else(measured):
    footprint = measured["cogvlm-17b"]
    layer = next(part for part in footprint.modules if part.kind == "layer")
    norms = (layer.floats - layer.linear_floats) * 2
    rows = 2 * (3 * 4096 + 4096 + 11008 + 11008 + 4096)  # two experts' projections and MLPs
    assert layer.linear_rows == rows
    assert footprint.bytes_of(layer, "bfloat16", "int8") == norms + layer.linear_floats + 4 * rows
    assert footprint.bytes_of(layer, "bfloat16", "int4") == norms + layer.linear_floats * 9 // 16
    for part in footprint.modules:
        if part.kind != "layer":
            assert footprint.bytes_of(part, "bfloat16", "int4") == footprint.bytes_of(part, "bfloat16")
    assert footprint.weights_bytes("bfloat16", "int4") < footprint.weights_bytes("bfloat16", "int8")
    assert footprint.weights_bytes("bfloat16", "int8") < footprint.weights_bytes("bfloat16")


@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("cogvlm-17b", 4096 * 3 * 4096),
        ("cogvlm2-19b", 4096 * 14336),
        ("cogagent-18b", 4096 * 3 * 4096),
        ("qwen2.5-vl-7b", 3584 * 18944),
    ],
)
def test_a_quantized_layer_needs_room_for_its_largest_weight_as_it_is_multiplied(measured, name, largest):
    footprint = measured[name]
    for kind in ("int8", "int4"):
        prefill = footprint.prefill_activation_bytes("bfloat16", quantization=kind)
        assert prefill - footprint.prefill_activation_bytes("bfloat16") == 2 * largest


@pytest.mark.parametrize(("kind", "loaded"), [("int8", 10_074_821_120), ("int4", 7_213_928_960)])
def test_quantized_weights_are_those_measured_on_an_h200(measured, kind, loaded):
    """As torch's allocator counted them (benchmarks/README.md), which rounds a tensor up to its block."""
    assert 0.998 < measured["qwen2.5-vl-7b"].weights_bytes("bfloat16", kind) / loaded <= 1


def test_where_only_the_sum_is_known_fewer_bits_are_not_counted_on():
    footprint = ModelFootprint("m", floats=100, stored_dtype="bfloat16")
    assert footprint.weights_bytes("bfloat16", "int4") == 200


def tiny_parts():
    """A configuration in published form with the number of its weights, 4 layers and no picture worth the name."""
    vision = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_heads": 4, "image_size": 56}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
    return {**sizes, "vocab_size": 272, "vision_config": vision}


def test_a_quantized_checkpoint_keeps_the_bytes_that_are_stored(tmp_path):
    save_config(tmp_path, **tiny_parts(), torch_dtype="float16", quantization_config={"quant_method": "bitsandbytes"})
    save(tmp_path / "model.safetensors", {"plain": ("F16", [30_001]), "packed": ("U8", [40_003])})
    footprint = of_directory(tmp_path, "m", outline=True)
    assert footprint.is_quantized
    assert footprint.weights_bytes("float16") == footprint.weights_bytes("float16", "int8") == 2 * 30_001 + 40_003
    packed = {part.path: part.other_bytes for part in footprint.modules if part.other_bytes}
    assert sorted(packed) == [f"model.layers.{index}" for index in range(4)]
    assert max(packed.values()) - min(packed.values()) <= 1
    assert all(part.floats > 0 for part in footprint.modules)


def test_a_configuration_of_other_weights_is_not_believed(tmp_path, caplog):
    save_config(tmp_path, **tiny_parts())
    save(tmp_path / "model.safetensors", {"a": ("BF16", [5])})
    footprint = of_directory(tmp_path, "m", outline=True)
    assert (footprint.floats, footprint.modules) == (5, ())
    assert "where 5 are stored" in caplog.text


def test_parts_that_cannot_be_had_leave_the_sum(tmp_path, caplog):
    save_config(tmp_path, **OF_NO_FAMILY)
    save(tmp_path / "model.safetensors", {"a": ("BF16", [5])})
    footprint = of_directory(tmp_path, "m", outline=True)
    assert (footprint.floats, footprint.modules, footprint.weights_bytes("bfloat16")) == (5, (), 10)
    assert "The parts of m are not known" in caplog.text


@pytest.mark.parametrize("parameters", [0, 1, 1000, 10**9 + 7])
def test_a_fake_model_has_layers_that_can_be_spread(parameters):
    footprint = measure(resolve(ModelChoice(f"fake?parameters={parameters}")), outline=True)
    assert footprint.weights_bytes("float32") == 4 * parameters
    assert sum(module.floats for module in footprint.modules) == parameters
    assert len(footprint.modules) == (8 if parameters else 0)


def test_a_directory_is_measured_with_the_pictures_that_the_demo_keeps(tmp_path):
    config = json.loads((SHAPES / "qwen2.5-vl-7b" / "config.json").read_text())
    save_config(tmp_path, **config)
    save(tmp_path / "model.safetensors", {"a": ("BF16", [8])})
    spec = resolve(ModelChoice(str(tmp_path)))
    assert measure(spec).shape.max_pictures == spec.max_pictures == 8
