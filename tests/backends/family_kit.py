"""The tiny checkpoints of all families, and one of them loaded and ready to be asked."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
import transformers

from demo.backends.hf import HFBackend
from demo.backends.streaming import end_tokens
from demo.catalog import ModelSpec, resolve
from demo.config import ModelChoice
from demo.errors import ConfigError
from demo.history import recent
from demo.types import GenerateRequest, Message, Picture, Placement, Sampling, Size
from tests import tinyfamilies, tinytalkers
from tests.tinymodels import head_of, save_cogagent, save_llava, save_paligemma, save_qwen

CPU = Placement({"": "cpu"}, threads=1)
VERSION = tuple(map(int, transformers.__version__.split(".")[:2]))
MAKERS = {  # a name for the test's report -> the family that it has to be recognised as, and its maker
    "cogagent": ("cogagent", save_cogagent),
    "qwen2_vl": ("qwen2_vl", tinyfamilies.save_qwen2_vl),
    "qwen2_5_vl": ("qwen2_5_vl", save_qwen),
    "qwen3_vl": ("qwen3_vl", tinyfamilies.save_qwen3_vl),
    "qwen3_5": ("qwen3_5", tinyfamilies.save_qwen3_5),
    "glm4v": ("glm_v", tinyfamilies.save_glm4v),
    "glmga": ("glm_next", tinyfamilies.save_glmga),
    "internvl": ("internvl", tinyfamilies.save_internvl),
    "llava": ("llava", save_llava),
    "llava_next": ("llava_next", tinytalkers.save_llava_next),
    "llava_onevision": ("llava_onevision", tinytalkers.save_llava_onevision),
    "idefics3": ("smolvlm", tinyfamilies.save_idefics3),
    "smolvlm": ("smolvlm", tinytalkers.save_smolvlm),
    "gemma3": ("gemma", tinytalkers.save_gemma3),
    "gemma4": ("gemma", tinytalkers.save_gemma4),
    "paligemma": ("paligemma", save_paligemma),
    "florence2": ("florence2", tinyfamilies.save_florence2),
    "kosmos2": ("kosmos2", tinyfamilies.save_kosmos2),
    "molmo2": ("molmo2", tinyfamilies.save_molmo2),
    "minicpm": ("minicpm", tinyfamilies.save_minicpm),
    "deepseek_vl": ("deepseek_vl", tinytalkers.save_deepseek_vl),
    "deepseek_ocr2": ("deepseek_ocr", tinyfamilies.save_deepseek_ocr2),
    "got_ocr2": ("got_ocr2", tinytalkers.save_got_ocr2),
    "blip": ("blip", tinytalkers.save_blip),
    "blip-2": ("blip", tinytalkers.save_blip2),
    "instructblip": ("blip", tinytalkers.save_instructblip),
    "aya_vision": ("generic", tinytalkers.save_aya_vision),
}


@dataclass(frozen=True)
class Tiny:
    spec: ModelSpec
    backend: HFBackend

    def ask(self, *messages: Message, never=lambda: False, **sampling):
        shown = recent(messages, self.spec.max_turns)
        request = GenerateRequest("r", "chat", shown, Sampling(**{"max_new_tokens": 12, **sampling}))
        *pieces, finish = self.backend.stream(request, never)
        return "".join(pieces), finish

    def ids(self, message: Message) -> list[int]:
        return self.backend._prompter.prepare([message])["input_ids"][0].tolist()

    def says(self, text: str, message: Message) -> str:
        """The streamed answer when the model picks the tokens of this text, one after the other, and then ends."""
        words = self.backend._tokenizer
        ids = [*words(text, add_special_tokens=False)["input_ids"], min(end_tokens(self.backend._settings))]

        def pick(_module, _inputs, logits):
            chosen = torch.full_like(logits, -100.0)
            chosen[..., ids.pop(0)] = 100.0
            return chosen

        hook = head_of(self.backend._model).register_forward_hook(pick)
        try:
            answer, finish = self.ask(message, max_new_tokens=400)
        finally:
            hook.remove()
        assert finish.reason == "stop"
        return answer


def picture(width: int = 60, height: int = 40, shade: int = 90) -> Picture:
    return Picture(Size(width, height), bytes([shade, 255 - shade, 7]) * (width * height))


def saved(name: str, parent) -> ModelSpec:
    """A tiny checkpoint in a directory of its own; the test is skipped where transformers is too old to know it."""
    family, make = MAKERS[name]
    try:
        spec = resolve(ModelChoice(str(make(parent / "model"))))
    except ImportError as error:
        pytest.skip(f"this transformers lacks it: {error}")
    assert spec.family == family
    return spec


@contextmanager
def skipped_where_a_library_is_missing():
    """Some families' pictures need what is not installed everywhere; the refusal has to say so."""
    try:
        yield
    except ConfigError as error:
        if "torchvision" not in error.what and "num2words" not in error.remedy:
            raise
        pytest.skip(str(error))


def loaded(spec: ModelSpec, placement: Placement = CPU) -> Tiny:
    backend = HFBackend()
    with skipped_where_a_library_is_missing():
        backend.load(spec, placement, lambda *_: None)
    return Tiny(spec, backend)
