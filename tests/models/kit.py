"""What the tests of our models share: published-form directories, tiny models of other shapes, tiny tokenizers."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from demo.catalog import spec_of_directory
from demo.models.cogvlm import CogAgentConfig, classes_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "cogvlm"
NAMES = ("cogvlm", "cogvlm2", "cogagent")
TOLERANCE = 1e-5
TINY_CROSS = {
    "cross_image_size": 28,
    "cross_hidden_size": 32,
    "cross_compute_hidden_size": 30,  # published ones are as wide as the tower; nothing here needs that
    "cross_vision_config": {"patch_size": 4, "num_hidden_layers": 3, "head_dim": 16, "rotary_grid": 5},
}


def numbers(name, kind="io"):
    return load_file(FIXTURES / f"{name}_{kind}.safetensors")


def publish(name, folder):
    """A directory as the published ones are: a flat config without model_type that names remote code, and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((FIXTURES / f"{name}_config.json").read_text())
    del config["model_type"]
    config["auto_map"] = {"AutoConfig": "trap.Config", "AutoModelForCausalLM": "trap.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "trap.py").write_text("raise SystemExit('remote code was run')\n")
    shutil.copyfile(FIXTURES / f"{name}.safetensors", folder / "model.safetensors")
    return folder


def classes(folder):
    """Those that a directory's config.json asks for."""
    return classes_of(spec_of_directory(folder).family)


def load(folder, *, attention="sdpa", **options):
    options = {"dtype": torch.float32, "attn_implementation": attention} | options
    return classes(folder).model.from_pretrained(folder, **options).eval()


def pictures(io, rows=slice(None)):
    """The model inputs for those of the reference pictures, in all the sizes there are."""
    sizes = {"pixel_values": "pixel_values", "high_res_pixel_values": "cross_images"}
    return {argument: io[key][rows] for argument, key in sizes.items() if key in io}


def tiny_config(family="cogvlm", **changes):
    """Sizes that the fixtures do not have: no two that could be confused are the same."""
    if family == "cogagent":
        changes = {**TINY_CROSS, **changes}
    vision = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_heads": 3,
        "intermediate_size": 40,
        "patch_size": 4,
        "image_size": 20,
    } | changes.pop("vision_config", {})
    sizes = {"vocab_size": 300, "hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": 2}
    return classes_of(family).config(**(sizes | {"num_attention_heads": 6, "vision_config": vision} | changes))


def tiny_model(family="cogvlm", **changes):
    torch.manual_seed(0)
    model = classes_of(family).model(tiny_config(family, **changes)).eval()
    for name, weight in model.named_parameters():
        if "norm" not in name:  # larger than a fresh model's, so that every part shows in the logits
            torch.nn.init.normal_(weight, std=0.15)
    return model


def prompt(config, words, *, pictures=1):
    """Model inputs of equal rows: BOS, the picture's places, words."""
    places = config.num_image_tokens if pictures else 0
    row = [config.bos_token_id] + [config.pad_token_id] * places + list(words)
    types = [0] + [1] * places + [0] * len(words)
    rows = max(pictures, 1)
    inputs = {"input_ids": torch.tensor([row] * rows), "mm_token_type_ids": torch.tensor([types] * rows)}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if pictures:
        side = config.vision_config.image_size
        generator = torch.Generator().manual_seed(pictures)
        inputs["pixel_values"] = torch.randn(pictures, 3, side, side, generator=generator)
        if isinstance(config, CogAgentConfig):
            side = config.cross_image_size
            inputs["high_res_pixel_values"] = torch.randn(pictures, 3, side, side, generator=generator)
    return inputs


def byte_tokenizer(*, reserved=()):
    """Bytes, and special tokens at Vicuna's ids: <unk> 0 (also the padding), <s> 1, </s> 2."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<unk>", "<s>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(reserved),
    )


def word_tokenizer():
    """Whole words, its special tokens among them: splitting at special tokens cannot protect this one."""
    words = ["<pad>", "<s>", "</s>", "Question:", "Answer:", "stop", "now", *"</s>"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=None, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
