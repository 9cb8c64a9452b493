"""Writes a trained model as a directory that anyone can load: weights, configuration, tokenizer, processor, nouns."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from demo.models.cogvlm import CogVLMForConditionalGeneration, CogVLMProcessor
from training.nouns import Noun, write_nouns_json

# Question and answer, with and without a picture: the published models fall back on their language model's own
# dialogue format without one, which this model never saw.
CHAT_TEMPLATE = """
{%- macro words(content) -%}
  {%- if content is string -%}{{ content }}
  {%- else -%}{%- for part in content if part.type == 'text' -%}{{ part.text }}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- for message in messages if message.role != 'system' -%}
  {%- if message.role == 'user' -%}
    {{- '' if loop.first else '\\n' }}Question: {{ words(message.content) -}}
  {%- else -%}
    {{- ' Answer: ' }}{{ words(message.content) -}}
  {%- endif -%}
{%- endfor -%}
{{- ' Answer:' if add_generation_prompt else '' -}}
"""


def save(
    model: CogVLMForConditionalGeneration, words: PreTrainedTokenizerFast, nouns: tuple[Noun, ...], out: Path
) -> None:
    """bfloat16, in shards under 16 MB."""
    half = copy.deepcopy(model).to("cpu", torch.bfloat16)
    half.save_pretrained(out, max_shard_size="15MB")
    processor = CogVLMProcessor.from_config(half.config, words)
    processor.chat_template = CHAT_TEMPLATE
    processor.save_pretrained(out)
    write_nouns_json(out / "nouns.json", nouns)
