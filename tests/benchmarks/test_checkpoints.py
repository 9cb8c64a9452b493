"""Checkpoints with random weights: the published sizes, files that load, letters that never end."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from benchmarks import checkpoints, vocabulary
from demo.catalog import spec_of_directory
from demo.engine import footprint
from demo.models.cogvlm import classes_of
from tests.benchmarks import shapes

INV_FREQ_BYTES = 32 * 64 * 2  # CogVLM2's published files hold its rotary frequencies, layer by layer; ours are computed
UNUSED = 13_391_272  # CogAgent's stored parameters of a tower's last block, norm and head, which nothing runs
PUBLISHED_BYTES = {
    "cogvlm-17b": 35_279_370_752,
    "cogvlm2-19b": 39_006_214_656 - INV_FREQ_BYTES,
    "cogagent-18b": 2 * (18_291_033_280 - UNUSED),
    "qwen2.5-vl-7b": 16_584_333_312,
    "llava-1.5-7b": 14_126_854_144,
}


@pytest.fixture(scope="module", params=[shapes.cogvlm, shapes.cogagent], ids=lambda make: make.__name__)
def written(request, tmp_path_factory):
    """A tiny model of ours in several files."""
    folder = tmp_path_factory.mktemp("checkpoint")
    shards = checkpoints.prepare(request.param(folder), folder / "out", shard_bytes=200_000)
    assert len(shards) > 2
    for shard in shards:
        checkpoints.fill(shard)
    return folder / "out"


def tensors(directory):
    return {name: value for path in directory.glob("*.safetensors") for name, value in load_file(path).items()}


def test_every_committed_shape_is_measured_here():
    assert {path.name for path in checkpoints.SHAPES.iterdir()} == {*PUBLISHED_BYTES, "llava-small"}


@pytest.mark.parametrize("name", PUBLISHED_BYTES)
def test_a_shape_has_the_bytes_of_the_published_model(name):
    model = checkpoints.on_meta(checkpoints.config_of(checkpoints.SHAPES / name))
    assert 2 * sum(value.numel() for value in model.state_dict().values()) == PUBLISHED_BYTES[name]


def test_a_checkpoint_loads_with_nothing_missing_and_nothing_left_over(written):
    ours = classes_of(spec_of_directory(written).family)
    model, found = ours.model.from_pretrained(written, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert footprint.of_directory(written, "tiny").floats == sum(value.numel() for value in model.state_dict().values())


def test_norms_do_nothing_and_the_rest_is_small_and_random(written):
    values = tensors(written)
    assert set(values["model.norm.weight"].tolist()) == {1.0}
    some = values["model.layers.1.mlp.language_mlp.up_proj.weight"]
    assert some.std() == pytest.approx(checkpoints.STD, rel=0.05)
    assert not torch.equal(some, values["model.layers.2.mlp.language_mlp.up_proj.weight"])


def test_only_printable_letters_ever_score_above_zero(written):
    words = AutoTokenizer.from_pretrained(written)
    head = tensors(written)["lm_head.weight"]
    scoring = [index for index, row in enumerate(head) if row.any()]
    spelled = {words.decode([index]) for index in scoring}
    assert len(scoring) == len(spelled) == 94
    assert all(len(letter) == 1 and letter.isprintable() and letter != " " for letter in spelled)


@pytest.mark.parametrize("name", PUBLISHED_BYTES)
def test_a_letter_is_a_token_and_special_tokens_lie_where_the_model_expects_them(name, tmp_path):
    config = checkpoints.config_of(checkpoints.SHAPES / name)
    vocabulary.save(config, tmp_path)
    words = AutoTokenizer.from_pretrained(tmp_path)
    text = "How quickly?\nfiller 300 \N{SNOWMAN}"
    assert len(words(text, add_special_tokens=False)["input_ids"]) == len(text.encode())
    assert len(words) == config.get_text_config().vocab_size
    assert words.eos_token_id == config.get_text_config().eos_token_id
    if hasattr(config, "image_token_id"):
        assert words.convert_ids_to_tokens(config.image_token_id) in ("<image>", "<|image_pad|>")


def test_fewer_layers_are_kept_when_asked_for(tmp_path):
    shards = checkpoints.prepare(shapes.cogvlm(tmp_path), tmp_path / "out", layers=1)
    names = {tensor.name for shard in shards for tensor in shard.tensors}
    assert any(".layers.0." in name for name in names)
    assert not any(".layers.1." in name for name in names)
