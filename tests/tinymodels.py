"""Tiny checkpoints with random weights, made from transformers' own classes and saved as anyone would save them.

Their tokenizers hold every byte as a token, so that any text round-trips.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from demo.models.cogvlm import classes_of

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% for c in m.content %}"
    "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}\n{% endfor %}assistant:"
)
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }} {% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}<|im_end|>{% endfor %}<|im_start|>assistant "
)
SIDE_PX = 28


def tokenizer(*special: str, chat_template: str | None = None, **named: str) -> PreTrainedTokenizerFast:
    """``<pad>`` 0, ``<s>`` 1, ``</s>`` 2, then ``special``, then the 256 bytes; ``named`` have a role."""
    names = ("<pad>", "<s>", "</s>", *special, *sorted(pre_tokenizers.ByteLevel.alphabet()))
    core = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[], ignore_merges=True))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(names[: 3 + len(special)]))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
        chat_template=chat_template,
        **({"extra_special_tokens": named} if named else {}),
    )


def llava_config(**changes) -> LlavaConfig:
    text = LlamaConfig(
        vocab_size=272,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    vision = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE_PX,
        patch_size=14,
        projection_dim=16,
    )
    return LlavaConfig(vision_config=vision, text_config=text, image_token_index=3, vision_feature_layer=-1, **changes)


def save_llava(directory: Path, *, seed: int = 0, **how) -> Path:
    """A Llava with 4 picture tokens a picture and a context of 256."""
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(llava_config())
    # as trained models do, this one has opinions of its own on how to generate
    model.generation_config.update(do_sample=True, temperature=0.7, top_k=5, max_length=20, eos_token_id=2)
    speak_plainly(model, first_byte=5)
    model.save_pretrained(directory, **how)
    pictures = CLIPImageProcessorPil(
        size={"height": SIDE_PX, "width": SIDE_PX}, crop_size={"height": SIDE_PX, "width": SIDE_PX}
    )
    words = tokenizer("<image>", "<loc_1>")
    processor = LlavaProcessor(
        pictures,
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    processor.save_pretrained(directory)
    return directory


def save_qwen(directory: Path, *, seed: int = 0, window_px: int = 112, inner: int = 32) -> Path:
    """A Qwen2.5-VL, whose processor has a part for videos; its small pictures are one window.

    ``inner`` is the width between the layers of its tower.
    """
    torch.manual_seed(seed)
    names = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    words = tokenizer(*names, chat_template=QWEN_TEMPLATE)
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": inner, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen2_5_VLConfig(
        text_config={**text, "num_key_value_heads": 2, "vocab_size": 272, "rope_parameters": rope, "eos_token_id": 2},
        vision_config={**vision, "fullatt_block_indexes": [1], "window_size": window_px},
        image_token_id=7,
        video_token_id=8,
        vision_start_token_id=5,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    speak_plainly(model, first_byte=9)
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=84 * 84).save_pretrained(directory)
    return directory


def save_paligemma(directory: Path, *, seed: int = 0) -> Path:
    """A PaliGemma, which has no chat template."""
    torch.manual_seed(seed)
    words = tokenizer("<image>")
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**small, "model_type": "gemma", "num_key_value_heads": 4, "head_dim": 8, "vocab_size": 1424}
    vision = {**small, "model_type": "siglip_vision_model", "image_size": SIDE_PX, "patch_size": 14}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = PaliGemmaConfig(
        text_config={**text, **special, "max_position_embeddings": 256},
        vision_config=vision,
        image_token_id=3,
        projection_dim=32,
    )
    model = PaliGemmaForConditionalGeneration(config)
    speak_plainly(model, first_byte=4)
    model.save_pretrained(directory)
    pictures = SiglipImageProcessorPil(size={"height": SIDE_PX, "width": SIDE_PX})
    pictures.image_seq_length = 4
    PaliGemmaProcessor(pictures, words).save_pretrained(directory)
    return directory


def save_cogagent(directory: Path, **changes) -> Path:
    """A CogAgent with 18 tokens a picture, whose larger one has 36 patches."""
    sizes = {"cross_image_size": 84, "cross_hidden_size": 64, "cross_compute_hidden_size": 16}
    tower = {"cross_vision_config": {"head_dim": 16, "num_hidden_layers": 3}}
    return save_cogvlm(directory, family="cogagent", **{**sizes, **tower, **changes})


def save_cogvlm(directory: Path, *, seed: int = 0, published: bool = True, family: str = "cogvlm", **changes) -> Path:
    """A CogVLM with 18 tokens a picture and a context of 256; ``published`` leaves out what published configs lack."""
    torch.manual_seed(seed)
    ours = classes_of(family)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_heads": 4, "image_size": 56}
    config = ours.config(
        **{"vocab_size": 272, "max_position_embeddings": 256, "vision_config": vision, **sizes, **changes}
    )
    model = ours.model(config)
    speak_plainly(model, first_byte=3)
    model.save_pretrained(directory)
    ours.processor.from_config(config, tokenizer()).save_pretrained(directory)
    if published:
        for name in ("processor_config.json", "preprocessor_config.json", "chat_template.jinja"):
            (directory / name).unlink(missing_ok=True)
        name = "CogAgent" if family == "cogagent" else "CogVLM"
        edit_config(directory, model_type=None, architectures=[f"{name}ForCausalLM"])
    return directory


def speak_plainly(model, *, first_byte: int) -> None:
    """Greedy answers are then printable ASCII without end (only such tokens score above zero) that heed the question.

    Weights as they are initialised are so small that the last token alone decides.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = {first_byte + index for index, byte in enumerate(alphabet) if " " < byte < "\x7f"}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.dim() > 1 else 1)
        weight = head_of(model).weight  # (V, D)
        weight[[row for row in range(len(weight)) if row not in plain]] = 0


def head_of(model) -> torch.nn.Module:
    """What scores the words, which BLIP keeps within its decoder."""
    return model.get_output_embeddings() or model.text_decoder.get_output_embeddings()


def edit_config(directory: Path, **changes) -> None:
    """Change keys of ``config.json``; None takes one away."""
    path = directory / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
