"""From messages and pictures to the tensors CogVLM takes: the picture's places first, then the conversation.

CogVLM's vocabulary has no picture token: its places hold the padding id and are told by `mm_token_type_ids`. Words
that people type are never read as special tokens. Knows nothing of the model's layers, and imports no torch itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.image_processing_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin
from transformers.utils import cached_file

from demo.errors import InvalidInput
from demo.models.cogvlm.chat_template import CHAT_TEMPLATE
from demo.models.cogvlm.configuration_cogvlm import CogVLMConfig
from demo.models.cogvlm.image_processing_cogvlm import CogVLMImageProcessor

VICUNA = "lmsys/vicuna-7b-v1.5"  # CogVLM v1 is published without a tokenizer; it was trained on this one's
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")

Message = dict[str, Any]


class CogVLMProcessor(ProcessorMixin):
    """Tokenizer, image processor and prompt format of one checkpoint."""

    _config_class: ClassVar[type[CogVLMConfig]] = CogVLMConfig
    _pictures_class: ClassVar[type[CogVLMImageProcessor]] = CogVLMImageProcessor
    _template: ClassVar[str] = CHAT_TEMPLATE

    def __init__(
        self,
        image_processor: CogVLMImageProcessor | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        chat_template: str | None = None,
        num_image_tokens: int = 1227,
        bos_token_id: int | None = None,
        pad_token_id: int | None = None,
        template_version: str = "chat",
    ) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template or self._template)
        self.num_image_tokens = num_image_tokens
        self.bos_token_id = tokenizer.bos_token_id if bos_token_id is None else bos_token_id  # type: ignore[union-attr]
        pad_token_id = tokenizer.pad_token_id if pad_token_id is None else pad_token_id  # type: ignore[union-attr]
        self.pad_token_id = 0 if pad_token_id is None else pad_token_id
        self.template_version = template_version

    @classmethod
    def from_config(cls, config: CogVLMConfig, tokenizer: PreTrainedTokenizerBase) -> CogVLMProcessor:
        """The processor that a model of this config needs."""
        return cls(cls._pictures_of(config), tokenizer, **_settings(config))

    @staticmethod
    def _pictures_of(config: Any) -> CogVLMImageProcessor:
        return CogVLMImageProcessor(config.vision_config.image_size)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        tokenizer: PreTrainedTokenizerBase | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> CogVLMProcessor:
        """A saved processor, or one made from a published model's config. ``tokenizer`` replaces the checkpoint's own.

        Without a tokenizer of its own, a checkpoint takes Vicuna's from its separate repository.
        """
        source = str(pretrained_model_name_or_path)
        hub = {name: kwargs[name] for name in HUB_OPTIONS if kwargs.get(name) is not None}
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            tokenizer = _load_tokenizer(cls._config_class, source, None if tokenizer is None else str(tokenizer), hub)
        saved, _ = cls.get_processor_dict(source, **hub)
        if "num_image_tokens" not in saved:
            return cls.from_config(cls._config_class.from_pretrained(source, **hub), tokenizer)
        own = ("chat_template", "num_image_tokens", "bos_token_id", "pad_token_id", "template_version")
        settings = {name: saved[name] for name in own if name in saved}
        return cls(cls._pictures_class(**saved["image_processor"]), tokenizer, **settings)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "mm_token_type_ids", *self._pictures_class.model_input_names]

    def apply_chat_template(  # type: ignore[override]
        self,
        conversation: Sequence[Message] | Sequence[Sequence[Message]],
        chat_template: str | None = None,
        *,
        template_version: str | None = None,
        add_generation_prompt: bool = False,
        tokenize: bool = False,
        return_dict: bool = False,
        return_tensors: str | None = None,
        padding: bool = True,
        padding_side: str = "left",
    ) -> Any:
        """One conversation or a batch as prompt text, or, with ``tokenize``, as ids or a dict of model inputs.

        A message's content is text, or a list of parts: ``{"type": "text", "text": ...}`` or
        ``{"type": "image", "image": ...}``, a PIL image.
        """
        batched = not isinstance(conversation[0], dict)
        conversations: Any = conversation if batched else [conversation]
        stripped, pictures = zip(*map(_take_pictures, conversations), strict=True)
        # A template that does not know our variable would have it taken for an argument of the processor.
        is_known = "template_version" in (chat_template or self.chat_template or "")
        version = {"template_version": template_version or self.template_version} if is_known else {}
        prompts = super().apply_chat_template(
            list(stripped), chat_template, add_generation_prompt=add_generation_prompt, tokenize=False, **version
        )
        if not tokenize:
            return prompts if batched else prompts[0]
        inputs = self(
            images=list(pictures),
            text=prompts,
            padding=padding,
            padding_side=padding_side,
            return_tensors=return_tensors,
        )
        return inputs if return_dict else inputs["input_ids"]

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        *,
        padding: bool = True,
        padding_side: str = "left",
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Prompts with their pictures (one, or a list by prompt) to model inputs. A prompt has one picture at most."""
        prompts = [text] if isinstance(text, str) else list(text or ())
        pictures = _by_prompt(images, len(prompts))
        rows = [self._row(prompt, bool(own)) for prompt, own in zip(prompts, pictures, strict=True)]
        data: dict[str, Any] = self._padded(rows, padding=padding, left=padding_side == "left")
        flat = [picture for own in pictures for picture in own]
        if flat:
            data.update(self.image_processor(flat))
        return BatchFeature(data, tensor_type=return_tensors)

    def _row(self, prompt: str, has_picture: bool) -> tuple[list[int], list[int]]:
        """Ids and types of one prompt."""
        places = self.num_image_tokens if has_picture else 0
        words = self.encode_text(prompt)
        start = [] if self.bos_token_id is None else [self.bos_token_id]
        ids = start + [self.pad_token_id] * places + words
        return ids, [0] * len(start) + [1] * places + [0] * len(words)

    def _padded(
        self, rows: Sequence[tuple[list[int], list[int]]], *, padding: bool, left: bool
    ) -> dict[str, list[list[int]]]:
        longest = max((len(ids) for ids, _ in rows), default=0)
        batch: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "mm_token_type_ids": []}
        for ids, types in rows:
            gap = longest - len(ids) if padding else 0
            columns = ((ids, self.pad_token_id), ([1] * len(ids), 0), (types, 0))
            for name, (values, filler) in zip(batch, columns, strict=True):
                batch[name].append([filler] * gap + values if left else values + [filler] * gap)
        return batch

    def encode_text(self, text: str) -> list[int]:
        """Ids of words as words: `</s>` typed by somebody is four characters, not the end of the text."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        control = self._control_ids()
        if control.isdisjoint(ids):
            return ids
        # Some vocabularies hold a special token as an ordinary piece as well: spell it out.
        return [piece for token in ids for piece in (self._spelled(token) if token in control else [token])]

    def _control_ids(self) -> set[int]:
        added = {index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return (added | set(self.tokenizer.all_special_ids)) - {self.tokenizer.unk_token_id}

    def _spelled(self, token: int) -> list[int]:
        letters = self.tokenizer.convert_tokens_to_ids(list(self.tokenizer.convert_ids_to_tokens(token)))
        return [letter for letter in letters if letter is not None]


def _settings(config: CogVLMConfig) -> dict[str, Any]:
    return {
        "num_image_tokens": config.num_image_tokens,
        "bos_token_id": config.bos_token_id,
        "pad_token_id": config.pad_token_id,
        "template_version": config.template_version,
    }


def _load_tokenizer(
    config_class: type[CogVLMConfig], source: str, chosen: str | None, hub: dict[str, Any]
) -> PreTrainedTokenizerBase:
    if chosen is None and _has_tokenizer(source, hub):
        config = config_class.from_pretrained(source, **hub)  # given, since the auto classes may not know its type
        return AutoTokenizer.from_pretrained(source, config=config, trust_remote_code=False, **hub)
    elsewhere = {name: value for name, value in hub.items() if name not in ("revision", "subfolder")}
    return AutoTokenizer.from_pretrained(chosen or VICUNA, trust_remote_code=False, **elsewhere)


def _has_tokenizer(source: str, hub: dict[str, Any]) -> bool:
    names = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model")
    return any(cached_file(source, name, _raise_exceptions_for_missing_entries=False, **hub) for name in names)


def _take_pictures(conversation: Sequence[Message]) -> tuple[list[Message], list[Any]]:
    """The conversation with its pictures taken out (their parts stay, empty), and the pictures."""
    stripped: list[Message] = []
    pictures: list[Any] = []
    for message in conversation:
        content = message["content"]
        if not isinstance(content, str):
            pictures += [part.get("image") for part in content if part["type"] == "image"]
            content = [part if part["type"] == "text" else {"type": part["type"]} for part in content]
        stripped.append({"role": message["role"], "content": content})
    return stripped, pictures


def _by_prompt(images: Any, num_prompts: int) -> list[list[Any]]:
    """Pictures as one list for each prompt, each of one picture or none."""
    if images is None:
        return [[] for _ in range(num_prompts)]
    listed = images if isinstance(images, list | tuple) else [images]
    grouped = [list(own) if isinstance(own, list | tuple) else [] if own is None else [own] for own in listed]
    if len(grouped) != num_prompts or any(len(own) > 1 for own in grouped):
        raise InvalidInput(
            "This model reads one picture in a conversation",
            value=f"{sum(map(len, grouped))} pictures for {num_prompts} prompts",
            remedy="Ask about each picture in a conversation of its own.",
        )
    return grouped
