"""Tiny random checkpoints of families that talk about pictures, made from transformers' own classes.

Those whose boxes are read are in `tests.tinyfamilies`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AyaVisionConfig,
    AyaVisionForConditionalGeneration,
    AyaVisionProcessor,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipProcessor,
    DeepseekVLConfig,
    DeepseekVLForConditionalGeneration,
    DeepseekVLProcessor,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    GotOcr2Config,
    GotOcr2ForConditionalGeneration,
    GotOcr2Processor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.deepseek_vl.image_processing_pil_deepseek_vl import DeepseekVLImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from tests.tinyfamilies import GROUPS, SPARE, TEXT, saved
from tests.tinymodels import CHAT_TEMPLATE, tokenizer

TOWER = {**TEXT, "image_size": 28, "patch_size": 14}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SQUARE = {"height": 28, "width": 28}


def _text(words, model_type: str, **more) -> dict:
    return {**TEXT, **GROUPS, "model_type": model_type, "vocab_size": len(words) + SPARE, **more}


def save_llava_next(directory: Path) -> Path:
    torch.manual_seed(0)
    words = tokenizer("<image>")
    config = LlavaNextConfig(
        text_config=_text(words, "llama"),
        vision_config={**TOWER, "model_type": "clip_vision_model", "projection_dim": 32},
        image_token_index=3,
        image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
        vision_feature_layer=-1,
    )
    pictures = LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size=SQUARE, image_grid_pinpoints=config.image_grid_pinpoints
    )
    how = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    processor = LlavaNextProcessor(pictures, words, chat_template=CHAT_TEMPLATE, **how)
    return saved(directory, LlavaNextForConditionalGeneration(config), processor, 1)


def save_llava_onevision(directory: Path) -> Path:
    torch.manual_seed(0)
    names = ("<image>", "<video>")
    words = tokenizer(*names, chat_template=CHAT_TEMPLATE)
    config = LlavaOnevisionConfig(
        text_config=_text(words, "qwen2"),
        vision_config={**TOWER, "model_type": "siglip_vision_model"},
        image_token_index=3,
        video_token_index=4,
        image_grid_pinpoints=[[28, 28], [28, 56], [56, 28]],
    )
    settings = '{"processor_class": "LlavaOnevisionProcessor", "num_image_tokens": 4, '
    directory.mkdir(parents=True)
    (directory / "processor_config.json").write_text(settings + '"vision_feature_select_strategy": "full"}')
    pictures = LlavaOnevisionImageProcessorPil(size=SQUARE, image_grid_pinpoints=config.image_grid_pinpoints)
    return saved(directory, LlavaOnevisionForConditionalGeneration(config), words, len(names), pictures)


def save_gemma3(directory: Path) -> Path:
    torch.manual_seed(0)
    names = ("<start_of_image>", "<end_of_image>", "<image_soft_token>", "<start_of_turn>", "<end_of_turn>")
    template = CHAT_TEMPLATE.replace("<image>", "<start_of_image>")
    roles = {"boi_token": names[0], "eoi_token": names[1], "image_token": names[2]}
    words = tokenizer(*names, **roles)
    text = _text(words, "gemma3_text", head_dim=8, sliding_window=64, max_position_embeddings=256)
    config = Gemma3Config(
        text_config=text,
        vision_config={**TOWER, "image_size": 56, "model_type": "siglip_vision_model"},
        mm_tokens_per_image=4,
        boi_token_index=3,
        eoi_token_index=4,
        image_token_index=5,
    )
    pictures = Gemma3ImageProcessorPil(size={"height": 56, "width": 56})
    processor = Gemma3Processor(pictures, words, chat_template=template, image_seq_length=4)
    return saved(directory, Gemma3ForConditionalGeneration(config), processor, len(names))


def save_smolvlm(directory: Path) -> Path:
    """A SmolVLM2, whose processor has a part for videos."""
    torch.manual_seed(0)
    names = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
    words = tokenizer(*names, chat_template=CHAT_TEMPLATE)
    config = SmolVLMConfig(
        text_config=_text(words, "llama"),
        vision_config={**TEXT, "image_size": 56, "patch_size": 14},
        image_token_id=4,
        pad_token_id=0,
        scale_factor=2,
    )
    edge = {"longest_edge": 56}
    pictures = SmolVLMImageProcessorPil(size=edge, max_image_size=edge, do_image_splitting=False)
    directory.mkdir(parents=True)
    (directory / "processor_config.json").write_text('{"processor_class": "SmolVLMProcessor", "image_seq_len": 4}')
    return saved(directory, SmolVLMForConditionalGeneration(config), words, len(names), pictures)


def save_deepseek_vl(directory: Path) -> Path:
    torch.manual_seed(0)
    names = ("<image_placeholder>",)
    words = tokenizer(*names, image_token=names[0])
    config = DeepseekVLConfig(
        text_config=_text(words, "llama", tie_word_embeddings=False),
        vision_config={**TOWER, "model_type": "siglip_vision_model"},
        image_token_id=3,
        tie_word_embeddings=False,
    )
    template = CHAT_TEMPLATE.replace("<image>", "<image_placeholder>")
    pictures = DeepseekVLImageProcessorPil(size=SQUARE)
    processor = DeepseekVLProcessor(pictures, words, chat_template=template, num_image_tokens=4)
    return saved(directory, DeepseekVLForConditionalGeneration(config), processor, len(names))


def save_got_ocr2(directory: Path) -> Path:
    """A GOT-OCR 2, which has no chat template and 4 tokens a picture, though its processor writes 256 by itself."""
    torch.manual_seed(0)
    names = ("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<imgpad>")
    words = tokenizer(*names)
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "mlp_dim": 8}
    config = GotOcr2Config(
        text_config=_text(words, "qwen2", tie_word_embeddings=False),
        vision_config={
            **vision,
            "image_size": 1024,
            "patch_size": 16,
            "output_channels": 8,
            "global_attn_indexes": [1],
        },
        image_token_index=7,
        image_seq_length=256,
        tie_word_embeddings=False,
    )
    processor = GotOcr2Processor(GotOcr2ImageProcessorPil(size={"height": 1024, "width": 1024}), words)
    return saved(directory, GotOcr2ForConditionalGeneration(config), processor, len(names))


def save_blip(directory: Path) -> Path:
    """A BLIP, whose captions end with another token than its configuration says."""
    torch.manual_seed(0)
    words = tokenizer("[SEP]")
    text = {**TEXT, **SPECIAL, "sep_token_id": 3, "vocab_size": len(words) + SPARE, "encoder_hidden_size": 32}
    config = BlipConfig(text_config=text, vision_config=TOWER)
    processor = BlipProcessor(BlipImageProcessorPil(size=SQUARE), words)
    return saved(directory, BlipForConditionalGeneration(config), processor, 1)


def save_blip2(directory: Path) -> Path:
    torch.manual_seed(0)
    words = tokenizer("<image>")
    config = Blip2Config(
        text_config=_text(words, "llama"),
        vision_config={**TOWER, "hidden_size": 32},
        qformer_config={**TEXT, "encoder_hidden_size": 32, "cross_attention_frequency": 1},
        num_query_tokens=4,
        image_token_index=3,
    )
    processor = Blip2Processor(BlipImageProcessorPil(size=SQUARE), words, num_query_tokens=4)
    return saved(directory, Blip2ForConditionalGeneration(config), processor, 1)


def save_aya_vision(directory: Path) -> Path:
    """An Aya Vision, which stands for all that have a chat template and no row of their own."""
    torch.manual_seed(0)
    names = (
        "<image>",
        "<|START_OF_IMG|>",
        "<|END_OF_IMG|>",
        "<|IMG_PATCH|>",
        "<|IMG_LINE_BREAK|>",
        "TILE",
        "TILE_GLOBAL",
    )
    words = tokenizer(*names)
    config = AyaVisionConfig(
        text_config=_text(words, "llama"),
        vision_config={**TOWER, "model_type": "siglip_vision_model"},
        image_token_index=6,
        alignment_intermediate_size=32,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        downsample_factor=1,
    )
    pictures = GotOcr2ImageProcessorPil(size=SQUARE, crop_to_patches=False)
    how = {"patch_size": 14, "img_size": 28, "downsample_factor": 1}
    processor = AyaVisionProcessor(pictures, words, chat_template=CHAT_TEMPLATE, **how)
    return saved(directory, AyaVisionForConditionalGeneration(config), processor, len(names))


def save_gemma4(directory: Path) -> Path:
    """A Gemma 4, whose processor has parts for sounds and videos."""
    torch.manual_seed(0)
    names = ("<|image>", "<image|>", "<|image|>", "<|channel>", "<channel|>", "<|video|>")
    roles = {"boi_token": names[0], "eoi_token": names[1], "image_token": names[2]}
    roles |= {"boa_token": "<|audio>", "eoa_token": "<audio|>", "audio_token": "<|audio|>"}
    words = tokenizer(*names, chat_template=CHAT_TEMPLATE.replace("<image>", "<|image|>"), **roles)
    text = _text(words, "gemma4_text", head_dim=8, global_head_dim=8, max_position_embeddings=1024)
    text |= {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0}
    config = Gemma4Config(
        text_config=text,
        vision_config={**TEXT, "num_key_value_heads": 4, "head_dim": 8, "patch_size": 14, "pooling_kernel_size": 2},
        audio_config=None,
        boi_token_id=3,
        eoi_token_id=4,
        image_token_id=5,
    )
    directory.mkdir(parents=True)
    (directory / "processor_config.json").write_text('{"processor_class": "Gemma4Processor", "image_seq_length": 4}')
    pictures = Gemma4ImageProcessorPil(patch_size=14, max_soft_tokens=70, pooling_kernel_size=2)
    return saved(directory, Gemma4ForConditionalGeneration(config), words, len(names), pictures)


def save_instructblip(directory: Path) -> Path:
    """An InstructBLIP, whose querying part reads the question with a tokenizer of its own."""
    torch.manual_seed(0)
    words = tokenizer("<image>")
    config = InstructBlipConfig(
        text_config=_text(words, "llama"),
        vision_config=TOWER,
        qformer_config={**TEXT, "vocab_size": len(words), "encoder_hidden_size": 32, "cross_attention_frequency": 1},
        num_query_tokens=4,
        image_token_index=3,
    )
    processor = InstructBlipProcessor(BlipImageProcessorPil(size=SQUARE), words, tokenizer(), num_query_tokens=4)
    return saved(directory, InstructBlipForConditionalGeneration(config), processor, 1)
