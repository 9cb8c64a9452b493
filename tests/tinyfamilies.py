"""Tiny random checkpoints of further families, made from transformers' own classes; see `tests.tinymodels`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    DeepseekOcr2Config,
    DeepseekOcr2ForConditionalGeneration,
    DeepseekOcr2Processor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm46VForConditionalGeneration,
    GlmgaConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
    Kosmos2Processor,
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.deepseek_ocr2.image_processing_pil_deepseek_ocr2 import DeepseekOcr2ImageProcessorPil
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.tinymodels import CHAT_TEMPLATE, QWEN_TEMPLATE, SIDE_PX, speak_plainly, tokenizer

QWEN_NAMES = (
    *("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
)
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPS = {"num_key_value_heads": 2, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
SPARE = 8  # words that a test may add
LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "head_dim": 8,
    "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "partial_rotary_factor": 1.0},
}
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}


def save_qwen2_vl(directory: Path) -> Path:
    torch.manual_seed(0)
    words = tokenizer(*QWEN_NAMES, chat_template=QWEN_TEMPLATE)
    config = Qwen2VLConfig(
        text_config={**TEXT, **GROUPS, "vocab_size": len(words) + SPARE, "rope_parameters": ROPE},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 1},
        image_token_id=7,
        video_token_id=8,
        vision_start_token_id=5,
        vision_end_token_id=6,
    )
    model = Qwen2VLForConditionalGeneration(config)
    return saved(directory, model, words, len(QWEN_NAMES), Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=7056))


def save_qwen3_vl(directory: Path, *special: str, template: str = QWEN_TEMPLATE) -> Path:
    torch.manual_seed(0)
    words = tokenizer(*QWEN_NAMES, *special, chat_template=template)
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen3VLConfig(
        text_config={**TEXT, **GROUPS, "head_dim": 8, "vocab_size": len(words) + SPARE, "rope_parameters": ROPE},
        vision_config={**vision, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        image_token_id=7,
        video_token_id=8,
        vision_start_token_id=5,
        vision_end_token_id=6,
    )
    pictures = Qwen2VLImageProcessorPil(min_pixels=4096, max_pixels=9216, patch_size=16)
    return saved(directory, Qwen3VLForConditionalGeneration(config), words, len(QWEN_NAMES) + len(special), pictures)


def save_glm4v(directory: Path, model=Glm4vForConditionalGeneration, config=Glm4vConfig) -> Path:
    torch.manual_seed(0)
    names = (
        *("<|user|>", "<|assistant|>", "<|begin_of_image|>", "<|end_of_image|>", "<|image|>", "<|video|>"),
        *("<|begin_of_video|>", "<|end_of_video|>", "<|begin_of_box|>", "<|end_of_box|>"),
    )
    template = (
        "{% for m in messages %}<|{{ m.role }}|>{% for c in m.content %}{% if c.type == 'image' %}"
        "<|begin_of_image|><|image|><|end_of_image|>{% else %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}"
        "<|assistant|>"
    )
    words = tokenizer(*names, chat_template=template)
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
    config = config(
        text_config={**TEXT, **GROUPS, "vocab_size": len(words) + SPARE, "rope_parameters": ROPE},
        vision_config={**vision, "image_size": 56},
        image_token_id=7,
        video_token_id=8,
        image_start_token_id=5,
        image_end_token_id=6,
        video_start_token_id=9,
        video_end_token_id=10,
    )
    pictures = Glm4vImageProcessorPil(size={"shortest_edge": 56 * 56 * 2, "longest_edge": 84 * 84 * 2})
    return saved(directory, model(config), words, len(names), pictures)


def save_glmga(directory: Path) -> Path:
    """A successor of GLM-4.6V, which has no processor of its own: its files name the class."""
    save_glm4v(directory, Glm46VForConditionalGeneration, GlmgaConfig)
    (directory / "processor_config.json").write_text('{"processor_class": "Glm46VProcessor"}')
    return directory


def save_qwen3_5(directory: Path) -> Path:
    """A Qwen3.5: three of four layers keep a state instead of keys and values."""
    torch.manual_seed(0)
    words = tokenizer(*QWEN_NAMES, chat_template=QWEN_TEMPLATE)
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen3_5Config(
        text_config={**TEXT, **GROUPS, **LINEAR, "num_hidden_layers": 4, "vocab_size": len(words) + SPARE},
        vision_config={**vision, "num_position_embeddings": 16},
        image_token_id=7,
        video_token_id=8,
        vision_start_token_id=5,
        vision_end_token_id=6,
    )
    pictures = Qwen2VLImageProcessorPil(min_pixels=4096, max_pixels=9216, patch_size=16)
    return saved(directory, Qwen3_5ForConditionalGeneration(config), words, len(QWEN_NAMES), pictures)


def save_internvl(directory: Path) -> Path:
    torch.manual_seed(0)
    names = ("<img>", "</img>", "<IMG_CONTEXT>", "<video>", "<ref>", "</ref>", "<box>", "</box>")
    template = CHAT_TEMPLATE.replace("<image>", "<IMG_CONTEXT>")
    roles = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    words = tokenizer(*names, chat_template=template, video_token="<video>", **roles)
    config = InternVLConfig(
        text_config={**TEXT, **GROUPS, "model_type": "qwen2", "vocab_size": len(words) + SPARE},
        vision_config={**TEXT, "image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=5,
        image_seq_length=4,
    )
    words.save_pretrained(directory)
    (directory / "processor_config.json").write_text('{"processor_class": "InternVLProcessor", "image_seq_length": 4}')
    pictures = GotOcr2ImageProcessorPil(size={"height": 56, "width": 56}, crop_to_patches=False)
    return saved(directory, InternVLForConditionalGeneration(config), words, len(names), pictures)


def save_idefics3(directory: Path) -> Path:
    """An Idefics3, which SmolVLM is one of, without the part for videos."""
    torch.manual_seed(0)
    names = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
    words = tokenizer(*names)
    config = Idefics3Config(
        text_config={**TEXT, **GROUPS, "model_type": "llama", "vocab_size": len(words) + SPARE},
        vision_config={**TEXT, "image_size": 56, "patch_size": 14},
        image_token_id=4,
        pad_token_id=0,
        scale_factor=2,
    )
    edge = {"longest_edge": 56}
    pictures = Idefics3ImageProcessorPil(size=edge, max_image_size=edge, do_image_splitting=False)
    model = Idefics3ForConditionalGeneration(config)
    processor = Idefics3Processor(pictures, words, image_seq_len=4, chat_template=CHAT_TEMPLATE)
    return saved(directory, model, processor, len(names))


def save_kosmos2(directory: Path) -> Path:
    torch.manual_seed(0)
    words = tokenizer("<unk>")
    words.unk_token = "<unk>"
    words.model_input_names = ["input_ids", "attention_mask"]
    pictures = CLIPImageProcessorPil(
        size={"height": SIDE_PX, "width": SIDE_PX}, crop_size={"height": SIDE_PX, "width": SIDE_PX}
    )
    processor = Kosmos2Processor(pictures, words)
    text = {"embed_dim": 32, "layers": 2, "ffn_dim": 48, "attention_heads": 4, "max_position_embeddings": 256}
    config = Kosmos2Config(
        text_config={**text, "vocab_size": len(words) + SPARE, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        vision_config={**TEXT, "image_size": SIDE_PX, "patch_size": 14},
    )
    return saved(directory, Kosmos2ForConditionalGeneration(config), processor, 1)


def save_florence2(directory: Path) -> Path:
    torch.manual_seed(0)
    names = ("<image>", *(f"<loc_{number}>" for number in range(1000)))
    words = tokenizer(*names, image_token="<image>")
    layers = {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    text = {"d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 256, **layers}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 2}
    sizes = {"depths": [1, 1, 1, 1], "embed_dim": [8, 8, 16, 16], "num_heads": [2, 2, 2, 2], "num_groups": [2, 2, 2, 2]}
    config = Florence2Config(
        text_config={
            **text,
            **special,
            "model_type": "bart",
            "vocab_size": len(words) + SPARE,
            "forced_eos_token_id": None,
        },
        vision_config={**sizes, "projection_dim": 32, "window_size": 4},
        image_token_id=3,
        **special,
    )
    pictures = CLIPImageProcessorPil(size={"height": 64, "width": 64}, crop_size={"height": 64, "width": 64})
    pictures.image_seq_length = 5
    model = Florence2ForConditionalGeneration(config)
    return saved(directory, model, Florence2Processor(pictures, words), len(names))


def saved(directory: Path, model, words, num_special: int, pictures=None) -> Path:
    """The files of a model; ``words`` is its tokenizer or its whole processor."""
    speak_plainly(model, first_byte=3 + num_special)
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    if pictures is not None:
        pictures.save_pretrained(directory)
    return directory


def save_minicpm(directory: Path) -> Path:
    """A MiniCPM-V 4.6: its processor asks the part for videos what it asks the one for pictures."""
    torch.manual_seed(0)
    roles = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "image_start_token": "<image>",
        "image_end_token": "</image>",
        "slice_start_token": "<slice>",
        "slice_end_token": "</slice>",
        "image_id_start_token": "<image_id>",
        "image_id_end_token": "</image_id>",
    }
    names = (*roles.values(), "<ref>", "</ref>", "<box>", "</box>")
    words = tokenizer(*names, chat_template=CHAT_TEMPLATE.replace("<image>", "<|image_pad|>"), **roles)
    text = {**TEXT, **GROUPS, **LINEAR, "vocab_size": len(words) + SPARE, "num_hidden_layers": 4}
    text["model_type"] = "qwen3_5_text"
    config = MiniCPMV4_6Config(
        text_config=text,
        vision_config={**TEXT, "image_size": 56, "patch_size": 14, "insert_layer_id": 0, "num_hidden_layers": 2},
        insert_layer_id=0,
        image_size=56,
        image_token_id=3,
        video_token_id=4,
    )
    pictures = MiniCPMV4_6ImageProcessorPil(scale_resolution=56, max_slice_nums=1)
    return saved(directory, MiniCPMV4_6ForConditionalGeneration(config), words, len(names), pictures)


def save_deepseek_ocr2(directory: Path) -> Path:
    torch.manual_seed(0)
    names = ("<image>", "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>")
    words = tokenizer(*names)
    sam = {"hidden_size": 16, "output_channels": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**TEXT, **GROUPS, "vocab_size": len(words) + SPARE, "n_routed_experts": 2, "n_shared_experts": 1}
    config = DeepseekOcr2Config(
        text_config={
            **text,
            "num_experts_per_tok": 1,
            "moe_intermediate_size": 16,
            "mlp_layer_types": ["dense", "sparse"],
        },
        vision_config={
            "sam_config": {**sam, "global_attn_indexes": [1], "mlp_ratio": 1.0, "downsample_channels": [8, 32]},
            "encoder_config": {**TEXT, "num_key_value_heads": 2, "max_position_embeddings": 1024},
        },
        image_token_id=3,
    )
    pictures = DeepseekOcr2ImageProcessorPil(crop_to_patches=False)
    processor = DeepseekOcr2Processor(pictures, words, patch_size=16, downsample_ratio=4)
    return saved(directory, DeepseekOcr2ForConditionalGeneration(config), processor, len(names))


def save_molmo2(directory: Path) -> Path:
    """A Molmo 2, whose pictures are read with torchvision alone; not in every version that is supported."""
    from transformers import Molmo2Config, Molmo2ForConditionalGeneration

    torch.manual_seed(0)
    marks = ("<im_start>", "<im_end>", "<im_patch>", "<im_col>", "<low_res_im_start>", "<frame_start>", "<frame_end>")
    names = (*marks, "<im_low>", "<|image|>", "<|video|>")
    template = CHAT_TEMPLATE.replace("<image>", "<|image|>")
    words = tokenizer(*names, chat_template=template, image_token="<|image|>", video_token="<|video|>")
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8}
    config = Molmo2Config(
        text_config={**TEXT, **GROUPS, "head_dim": 8, "vocab_size": len(words) + SPARE, "additional_vocab_size": 0},
        vision_config={**TEXT, **heads, "image_size": [28, 28], "patch_size": 14, "num_position_embeddings": 4},
        adapter_config={
            **heads,
            "hidden_size": 32,
            "intermediate_size": 48,
            "text_hidden_size": 32,
            "vision_feature_layer": [-1],
        },
        image_start_token_id=3,
        image_end_token_id=4,
        image_patch_id=5,
        low_res_image_start_token_id=7,
        frame_start_token_id=8,
        frame_end_token_id=9,
    )
    settings = {"size": {"height": 28, "width": 28}, "max_crops": 1, "overlap_margins": [0, 0], "patch_size": 14}
    directory.mkdir(parents=True)
    settings = {"image_processor_type": "Molmo2ImageProcessor", **settings}
    (directory / "preprocessor_config.json").write_text(json.dumps(settings))
    (directory / "processor_config.json").write_text('{"processor_class": "Molmo2Processor"}')
    return saved(directory, Molmo2ForConditionalGeneration(config), words, len(names))
