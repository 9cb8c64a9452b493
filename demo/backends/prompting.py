"""Turns a conversation into a model's input, so that nothing a user types can become structure.

Owns the mapping onto chat templates, which pictures are kept, the defusing of special tokens in users' text and the
check against the model's context and the memory planned for it. Knows nothing of generation. Lengths are tokens, sides
pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from PIL import Image

from demo.backends.streaming import BOX_SYNTAX
from demo.catalog import ModelSpec
from demo.errors import ConfigError, ContextTooLong, InvalidInput
from demo.imaging import reduced
from demo.prompts import load_prompts
from demo.reasoning import opened, split
from demo.types import Clip, Message, Picture

PROMPT_END = 16  # tokens; no tag of a thought takes more
JOINER = "\N{WORD JOINER}"  # invisible and without width; it breaks up the spelling of a special token


class Prompter:
    """Prepares the input of one model."""

    def __init__(self, processor: Any, spec: ModelSpec, *, context: int | None, planned: int | None = None) -> None:
        """``context`` is the most that the model can take, ``planned`` the most that there is memory for."""
        self._processor = processor
        self._spec = spec
        self._has_template = getattr(processor, "chat_template", None) is not None
        self._whole = load_prompts(spec.prompts).whole or "{question}"
        if not self._has_template:
            _refuse_unknown_wording(spec)
        self._context = min((limit for limit in (context, planned) if limit is not None), default=None)
        self._is_limit_of_model = self._context == context
        self._longest_word = max(map(len, processor.tokenizer.get_vocab()), default=1)
        # our own processors read all text as text themselves
        words = frozenset() if spec.is_cogvlm else special_words(processor) | thought_words(spec)
        self._special = _pattern(words)
        # what the model wrote itself keeps the tokens of its boxes, which are neither pictures nor turns
        self._special_in_answers = _pattern(words - box_words(words) if spec.dialect else words)

    def prepare(self, messages: Sequence[Message]) -> Any:
        """The model's input (a mapping of tensors with one row) for a conversation that ends with the user's turn."""
        self._refuse_at_a_glance(messages)
        turns = self._turns(messages)
        self._check_has_picture(turns if self._has_template else turns[-1:])
        try:
            if not self._has_template:
                return self._prepare_last(turns[-1])
            how = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
            if any(message.clips for message in messages):  # it holds for the pictures beside them as well
                how["processor_kwargs"] = dict(self._spec.traits.frame_settings)
            return self._processor.apply_chat_template(turns, **how)
        except jinja2.TemplateError as error:
            remedy = "Start a new conversation without a system message."
            raise InvalidInput(
                "The model's chat template refuses this conversation", value=error, remedy=remedy
            ) from None
        except ValueError as error:
            if "aspect ratio" not in str(error):
                raise
            remedy = "Cut it to a shape that is less long."
            raise InvalidInput("The picture is too long and narrow for this model", remedy=remedy) from error

    def opening(self, inputs: Any) -> str:
        """The tag of a thought that the prompt has opened already, which the answer has to begin with."""
        if not self._spec.traits.thoughts:
            return ""
        end = self._processor.tokenizer.decode(inputs["input_ids"][0, -PROMPT_END:].tolist())
        return opened(end, self._spec.traits.thoughts)

    def room(self, num_prompt: int, max_new_tokens: int) -> int:
        """How many tokens the answer may have; raises `ContextTooLong` when there is no room for any."""
        if self._context is None:
            return max_new_tokens
        if num_prompt >= self._context:
            raise self._too_long(f"{num_prompt} tokens with {max_new_tokens} more for the answer, of {self._context}")
        return min(max_new_tokens, self._context - num_prompt)

    def _refuse_at_a_glance(self, messages: Sequence[Message]) -> None:
        """Spare the tokenizer, which takes seconds for megabytes, what cannot fit even in the longest of its tokens."""
        num_letters = sum(len("".join(message.text.split())) for message in messages)
        if self._context is not None and num_letters > self._context * self._longest_word:
            raise self._too_long(f"over {num_letters // self._longest_word} tokens, of {self._context}")

    def _too_long(self, value: str) -> ContextTooLong:
        if self._is_limit_of_model:
            remedy = "Ask a shorter question, or start a new conversation."
            return ContextTooLong("The conversation is too long for this model", value=value, remedy=remedy)
        what = "The conversation is longer than memory is planned for"
        remedy = "Ask a shorter question, start a new conversation, or start the demo with a larger --context."
        return ContextTooLong(what, value=value, remedy=remedy)

    def kept(self, messages: Sequence[Message]) -> list[Picture]:
        """All that the model is shown: the newest pictures, as many as it takes, and the frames of the newest clip."""
        pictures = [picture for message in messages for picture in message.pictures]
        clip = _newest_clip(messages)
        return [*pictures[max(0, len(pictures) - self._spec.max_pictures) :], *(clip.frames if clip else ())]

    def _check_has_picture(self, turns: Sequence[dict[str, Any]]) -> None:
        has_picture = any(part["type"] == "image" for turn in turns for part in turn["content"])
        if self._spec.traits.needs_picture and not has_picture:
            raise InvalidInput("This model answers about pictures only", remedy="Add a picture to the question.")

    def _turns(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """The conversation as chat templates take it, with what is `kept` of it."""
        total, clip = sum(len(message.pictures) for message in messages), _newest_clip(messages)
        number = min(0, self._spec.max_pictures - total)  # so that the first one that is kept has 1
        is_alone = total + number == 1
        turns = []
        for message in messages:
            content: list[dict[str, Any]] = []
            for picture in message.pictures:
                number += 1
                content += self._shown(picture, number, is_alone=is_alone) if number > 0 else []
            if clip is not None and any(one is clip for one in message.clips):
                content += self._frames(clip)
            turns.append({"role": message.speaker, "content": [*content, _text(self._worded(message))]})
        return turns

    def _shown(self, picture: Picture, number: int, *, is_alone: bool) -> list[dict[str, Any]]:
        """A picture, and around it its number in the words that the family knows."""
        image: dict[str, Any] = {"type": "image", "image": self._image(picture)}
        if is_alone or self._spec.traits.numbering is None:
            return [image]
        before, after = (words.replace("{number}", str(number)) for words in self._spec.traits.numbering)
        return [*([_text(before)] if before else []), image, *([_text(after)] if after else [])]

    def _frames(self, clip: Clip) -> list[dict[str, Any]]:
        """A clip as pictures, each after the time at which it is seen."""
        content: list[dict[str, Any]] = [_text("Frames of a video:\n")]
        for frame, at_s in zip(clip.frames, clip.times_s):
            content += [_text(f"{at_s:.1f} s: "), {"type": "image", "image": self._image(frame)}, _text("\n")]
        return content

    def _image(self, picture: Picture) -> Image.Image:
        return reduced(picture, self._spec.max_side)  # the page counts on this very size: see `ModelSpec.seen`

    def defused(self, text: str) -> str:
        """The text with every special token's spelling broken up by a character nobody sees."""
        return _broken_up(text, self._special)

    def _worded(self, message: Message) -> str:
        """The message's text, defused but for what a template of ours wrote in it."""
        if message.speaker == "assistant":  # without its reasoning, which models are not shown again
            answer = split(message.text, self._spec.traits.thoughts).answer
            return _broken_up(answer, self._special_in_answers)
        pieces: list[str] = []
        at = 0
        for start, end in message.own:
            pieces += [self.defused(message.text[at:start]), message.text[start:end]]
            at = end
        return "".join([*pieces, self.defused(message.text[at:])])

    def _prepare_last(self, turn: dict[str, Any]) -> Any:
        """Models that know no conversations get the last question with its pictures."""
        images = [part["image"] for part in turn["content"] if part["type"] == "image"]
        text = self._whole.replace("{question}", turn["content"][-1]["text"])
        return self._processor(text=text, images=images or None, return_tensors="pt")


def _refuse_unknown_wording(spec: ModelSpec) -> None:
    """Without a chat template a family's own prompts have to say how a question is put; remote code may know itself."""
    if load_prompts(spec.prompts).whole or spec.trust_remote_code:
        return
    remedy = "Choose a model that was made for conversations; its name often ends in -Instruct or -it."
    raise ConfigError(
        "This model has no chat template, so nothing says how it is asked", value=spec.name, remedy=remedy
    )


def special_words(processor: Any) -> frozenset[str]:
    """The spellings that a tokenizer or its processor reads as structure: special tokens and places for pictures."""
    tokenizer = processor.tokenizer
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    places = {value for name, value in vars(processor).items() if name.endswith("_token") and isinstance(value, str)}
    # Florence-2's processor makes tasks of certain words; a question that holds one is an error to it
    tasks = {task for name, value in vars(processor).items() if name.startswith("task_prompts_") for task in value}
    return frozenset(word for word in {*added, *tokenizer.all_special_tokens, *places, *tasks} if len(word) > 1)


def end_of_pictures(inputs: Mapping[str, Any], config: Any) -> int | None:
    """How many of a prompt's tokens there are up to the end of its last picture; None if that cannot be told."""
    ids, types = inputs["input_ids"], inputs.get("mm_token_type_ids")  # (1, T)
    places = types if types is not None else ids == getattr(config, "image_token_id", -1)
    found = places[0].nonzero()
    if len(found):
        return int(found[-1]) + 1
    return None if "pixel_values" in inputs else 0


def thought_words(spec: ModelSpec) -> frozenset[str]:
    """The tags around a thought; those of whole lines are told by their first word."""
    tags = (word for pair in spec.traits.thoughts for word in (pair.open, pair.close, *pair.answer))
    return frozenset(word.strip() for word in tags if word.strip())


def box_words(words: frozenset[str]) -> frozenset[str]:
    """Those of special tokens that spell boxes."""
    return frozenset(word for word in words if BOX_SYNTAX.match(word))


def _newest_clip(messages: Sequence[Message]) -> Clip | None:
    return next((message.clips[-1] for message in reversed(messages) if message.clips), None)


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def _broken_up(text: str, words: re.Pattern[str]) -> str:
    return words.sub(lambda found: found[0][0] + JOINER + found[0][1:], text)


def _pattern(words: frozenset[str]) -> re.Pattern[str]:
    # the longest first: one token's spelling may begin another's
    return re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) or r"(?!)")
