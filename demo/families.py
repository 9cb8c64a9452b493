"""The families of models as data: which ``model_type`` belongs to which, how it is asked and what it can do.

Owns the table and its look-up. A family serves grounding only where its prompts, its box dialect and its processor were
run together in a test; all others chat and caption. Knows nothing of directories, the hub or any framework. Sides are
pixels, pixels are counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from demo.grounding.qwen2_5_vl import MAX_PIXELS, MIN_PIXELS, resized
from demo.reasoning import BRACKETS, CHANNEL, THINK, THINK_ANSWER, Tags
from demo.types import ROLES, Role, Size

TALKERS: tuple[Role, ...] = ("chat", "captioning")
PICTURE_N = ("Picture {number}: ", "")  # what Qwen's own templates write when they are told to
IMAGE_N = ("Image-{number}: ", "\n")  # InternVL's examples of several pictures
MAX_SIDE = 1568  # longer sides cost more tokens than they tell; 56 times 28, so that Qwen's grid is met exactly


@dataclass(frozen=True, slots=True)
class Family:
    """What all models of one family have in common."""

    name: str
    types: tuple[str, ...] = ()  # of config.json
    prompts: str = "generic"
    dialect: str | None = None  # of its boxes
    roles: tuple[Role, ...] = TALKERS
    max_pictures: int = 8  # per conversation
    numbering: tuple[str, str] | None = (
        None  # words before and after a picture, with its {number}, where there are several
    )
    max_frames: int = 0  # of a clip, which they are shown as pictures; 0: it was not taught to follow clips
    frame_side: int = 448  # longer sides of frames are reduced to this
    frame_settings: tuple[tuple[str, Any], ...] = ()  # of its processor, so that it cuts no frame into pieces
    max_turns: int | None = None  # 1: it answers single questions, its template knows no conversations
    max_side: int | None = MAX_SIDE  # longer sides are reduced before its processor sees them
    tiles: int = 1  # pieces that its processor cuts a picture into at most, the overview among them
    has_system: bool = False  # it was taught to heed a system prompt
    needs_picture: bool = False  # it answers nothing without one
    pixels: tuple[int, int] | None = None  # least and most its processor resizes to, where its boxes are pixels of that
    thoughts: tuple[Tags, ...] = ()  # what may stand around its reasoning, where some of its models think aloud
    unverified: str = ""  # what of it no public source shows; its prompts' file says the same of their words
    repositories: tuple[tuple[str, str], ...] = ()  # names of our own for well-known ones

    def seen(self, size: Size) -> Size | None:
        """The size that a picture's boxes are written in; None where they are relative to the picture."""
        if self.pixels is None:
            return None
        least, most = self.pixels
        return resized(size.within(self.max_side), min_pixels=least, max_pixels=most)


def _one_shot(name: str, *types: str, **how: object) -> Family:
    return Family(name, types, max_pictures=1, max_turns=1, **how)  # type: ignore[arg-type]


_TABLE = (
    Family("cogvlm", ("cogvlm",), "cogvlm", "cogvlm", ROLES, max_pictures=1, max_side=None),
    Family("cogvlm2", ("cogvlm2",), "cogvlm", "cogvlm", ROLES, max_pictures=1, max_side=None),
    Family(
        "cogagent", ("cogagent",), "cogagent", "cogagent", ROLES, max_pictures=1, max_side=None, needs_picture=True,
    ),
    Family(
        "qwen2_vl", ("qwen2_vl",), "qwen2_vl", "qwen2_vl", ROLES, has_system=True, max_frames=16,
        numbering=PICTURE_N,
        repositories=(
            ("qwen2-vl-2b", "Qwen/Qwen2-VL-2B-Instruct"),
            ("qwen2-vl-7b", "Qwen/Qwen2-VL-7B-Instruct"),
        ),
    ),
    Family(
        "qwen2_5_vl", ("qwen2_5_vl",), "qwen2_5_vl", "qwen2_5_vl", ROLES, has_system=True, max_frames=16,
        numbering=PICTURE_N,
        pixels=(MIN_PIXELS, MAX_PIXELS),
        repositories=(
            ("qwen2.5-vl-3b", "Qwen/Qwen2.5-VL-3B-Instruct"),
            ("qwen2.5-vl-7b", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ),
    ),
    Family(
        "qwen3_vl", ("qwen3_vl", "qwen3_vl_moe"), "qwen3_vl", "qwen3_vl", ROLES, has_system=True, thoughts=(THINK,),
        max_frames=16,
        numbering=PICTURE_N,
        repositories=(
            ("qwen3-vl-2b", "Qwen/Qwen3-VL-2B-Instruct"),
            ("qwen3-vl-4b", "Qwen/Qwen3-VL-4B-Instruct"),
            ("qwen3-vl-8b", "Qwen/Qwen3-VL-8B-Instruct"),
            ("qwen3-vl-8b-thinking", "Qwen/Qwen3-VL-8B-Thinking"),
        ),
    ),
    Family(
        "qwen3_5", ("qwen3_5", "qwen3_5_moe", "qwen4_exp"), "qwen3_vl", "qwen3_vl", ROLES, has_system=True,
        max_frames=16, numbering=PICTURE_N, thoughts=(THINK,),
        unverified="that boxes are written as by Qwen3-VL",
        repositories=(("qwen3.5-27b", "Qwen/Qwen3.5-27B"),),
    ),
    Family(
        "glm_v", ("glm4v", "glm4v_moe", "glm46v"), "glm_v", "glm", ROLES, has_system=True, thoughts=(THINK_ANSWER,),
        max_frames=16,
        repositories=(("glm-4.1v-9b", "zai-org/GLM-4.1V-9B-Thinking"), ("glm-4.6v-flash", "zai-org/GLM-4.6V-Flash")),
    ),
    Family(
        "glm_next", ("glmga", "glm5_next"), "glm_v", "glm", ROLES, has_system=True, max_frames=16,
        thoughts=(THINK_ANSWER,), unverified="that boxes are written as by GLM-4.6V",
        repositories=(("glm-5.3-flash", "zai-org/GLM-5.3-Flash"),),
    ),
    Family(
        "internvl", ("internvl",), "internvl", "internvl", ROLES, tiles=13, has_system=True, max_frames=8,
        frame_settings=(("crop_to_patches", False),),
        numbering=IMAGE_N,
        thoughts=(THINK,),
        repositories=(("internvl3-1b", "OpenGVLab/InternVL3-1B-hf"), ("internvl3-8b", "OpenGVLab/InternVL3-8B-hf")),
    ),
    Family("llava", ("llava", "vipllava"), repositories=(("llava-1.5-7b", "llava-hf/llava-1.5-7b-hf"),)),
    Family(
        "llava_next", ("llava_next", "llava_next_video"), tiles=5,
        repositories=(("llava-next-7b", "llava-hf/llava-v1.6-mistral-7b-hf"),),
    ),
    Family(
        "llava_onevision", ("llava_onevision",), tiles=10, has_system=True, max_frames=8,
        repositories=(("llava-onevision-7b", "llava-hf/llava-onevision-qwen2-7b-ov-hf"),),
    ),
    Family(
        "smolvlm", ("smolvlm", "idefics2", "idefics3"), tiles=17, has_system=True, max_frames=8,
        frame_settings=(("do_image_splitting", False),),
        repositories=(
            ("smolvlm", "HuggingFaceTB/SmolVLM-Instruct"),
            ("smolvlm2", "HuggingFaceTB/SmolVLM2-2.2B-Instruct"),
            ("idefics3", "HuggingFaceM4/Idefics3-8B-Llama3"),
        ),
    ),
    Family(
        "gemma", ("gemma3", "gemma3n", "gemma4", "gemma4_unified"), has_system=True, thoughts=(CHANNEL,), max_frames=8,
        repositories=(("gemma3-4b", "google/gemma-3-4b-it"), ("gemma3-12b", "google/gemma-3-12b-it")),
    ),
    _one_shot(
        "paligemma", "paligemma", prompts="paligemma", dialect="paligemma", roles=ROLES,
        needs_picture=True,
        repositories=(
            ("paligemma", "google/paligemma-3b-mix-448"),
            ("paligemma2", "google/paligemma2-3b-mix-448"),
        ),
    ),
    _one_shot(
        "florence2", "florence2", prompts="florence2", dialect="florence2", roles=ROLES,
        needs_picture=True,
        repositories=(
            ("florence2-base", "florence-community/Florence-2-base-ft"),
            ("florence2-large", "florence-community/Florence-2-large-ft"),
        ),
    ),
    _one_shot(
        "kosmos2", "kosmos-2", prompts="kosmos2", dialect="kosmos2", roles=ROLES,
        needs_picture=True,
        repositories=(("kosmos2", "microsoft/kosmos-2-patch14-224"),),
    ),
    Family(
        "molmo2", ("molmo2",), "molmo", "molmo", ROLES, tiles=9, max_frames=8,
        frame_settings=(("max_crops", 1),),
        repositories=(("molmo2-8b", "allenai/Molmo2-8B"),),
    ),
    Family(
        "minicpm", ("minicpmv4_6", "minicpmv4_7"), "minicpm", "minicpm", ROLES, tiles=10, has_system=True,
        max_frames=16, frame_settings=(("max_slice_nums", 1),), thoughts=(THINK,),
        unverified="that boxes are written as by MiniCPM-V 4.5",
        repositories=(("minicpm-v-4.6", "openbmb/MiniCPM-V-4.6"),),
    ),
    Family("deepseek_vl", ("deepseek_vl", "deepseek_vl_hybrid"), repositories=(
        ("deepseek-vl-1.3b", "deepseek-community/deepseek-vl-1.3b-chat"),
        ("deepseek-vl-7b", "deepseek-community/deepseek-vl-7b-chat"),
    )),
    _one_shot(
        "deepseek_ocr", "deepseek_ocr2", prompts="deepseek_ocr", dialect="deepseek", roles=ROLES, tiles=7,
        needs_picture=True,
        repositories=(("deepseek-ocr-2", "deepseek-community/DeepSeek-OCR-2"),),
    ),
    _one_shot(
        "got_ocr2", "got_ocr2", prompts="got_ocr2", needs_picture=True,
        repositories=(("got-ocr2", "stepfun-ai/GOT-OCR-2.0-hf"),),
    ),
    _one_shot(
        "blip", "blip", "blip-2", "instructblip", prompts="blip", needs_picture=True,
        repositories=(
            ("blip-large", "Salesforce/blip-image-captioning-large"),
            ("blip2-2.7b", "Salesforce/blip2-opt-2.7b"),
            ("instructblip-7b", "Salesforce/instructblip-vicuna-7b"),
        ),
    ),
    Family("generic", has_system=True, thoughts=(THINK, BRACKETS)),
)  # fmt: skip

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _TABLE})
_BY_TYPE: Mapping[str, Family] = MappingProxyType({type_: family for family in _TABLE for type_ in family.types})


def family_of(model_type: str | None) -> Family:
    """The family of a ``model_type``; types that are in no row chat and caption."""
    return _BY_TYPE.get(model_type or "", FAMILIES["generic"])
