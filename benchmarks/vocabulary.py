"""Tokenizers for checkpoints with random weights: every byte is a token, the rest of the vocabulary is padding.

Owns the ids: special tokens where the model's configuration expects them, the 256 bytes on the first ids that are free,
fillers on all others. A letter of plain text is exactly one token, so that a prompt can be made to any length.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA_TEMPLATE = (
    "{% for m in messages %}{{ m.role | upper }}: {% for c in m.content %}{% if c.type == 'image' %}<image>\n"
    "{% else %}{{ c.text }}{% endif %}{% endfor %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def save(config: Any, directory: Path) -> list[int]:
    """Write the tokenizer that a model of this configuration needs; the ids of printable ASCII are handed back."""
    specials, template = _specials(config)
    names = _names(specials, config.get_text_config().vocab_size)
    core = Tokenizer(models.BPE(vocab={name: index for index, name in enumerate(names)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(specials))
    by_id = {index: name for name, index in specials.items()}
    text = config.get_text_config()
    roles = {f"{role}_token": by_id.get(getattr(text, f"{role}_token_id", None)) for role in ("bos", "eos", "pad")}
    PreTrainedTokenizerFast(
        tokenizer_object=core,
        clean_up_tokenization_spaces=False,
        **{role: name for role, name in roles.items() if name},
    ).save_pretrained(directory)
    if template:
        (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    return [index for index, name in enumerate(names) if len(name) == 1 and " " < name < "\x7f"]


def _specials(config: Any) -> tuple[Mapping[str, int], str | None]:
    """Special tokens with their ids, and the chat template; our own models' processors bring theirs."""
    if config.model_type in ("cogvlm", "cogagent"):
        bos, eos, pad = config.bos_token_id, config.eos_token_id, config.pad_token_id
        return {"<s>": bos, "</s>": eos, "<pad>": pad}, None
    if config.model_type == "qwen2_5_vl":
        start = config.vision_start_token_id
        around = {"<|vision_start|>": start, "<|image_pad|>": config.image_token_id}
        first = config.get_text_config().bos_token_id
        turns = {"<|endoftext|>": first, "<|im_start|>": first + 1, "<|im_end|>": config.get_text_config().eos_token_id}
        ends = {"<|vision_end|>": start + 1, "<|video_pad|>": config.video_token_id}
        return {**turns, **around, **ends}, QWEN_TEMPLATE
    if config.model_type == "llava":
        text = config.get_text_config()
        return {"<s>": text.bos_token_id, "</s>": text.eos_token_id, "<image>": config.image_token_id}, LLAVA_TEMPLATE
    raise SystemExit(f"No tokenizer is known here for the model type {config.model_type}.")


def _names(specials: Mapping[str, int], size: int) -> list[str]:
    """A name for every id of the vocabulary."""
    taken = {index: name for name, index in specials.items()}
    rest = iter(sorted(pre_tokenizers.ByteLevel.alphabet()))
    # byte-level spelling has no blank in it, so that no text can be read as a filler
    return [taken.get(index) or next(rest, f"filler {index}") for index in range(size)]
