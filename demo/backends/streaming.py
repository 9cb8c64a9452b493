"""The way of an answer out of a model: token by token, as whole characters, until it is told to stop.

Owns the incremental decoding, the queue between the generating thread and the reader, and the translation of sampling
settings. Knows nothing of loading and prompts. Seconds end in ``_s`` and count from the request.
"""

from __future__ import annotations

import copy
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import suppress
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from demo.types import Sampling, StopReason

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
MAX_HELD_TOKENS = 8  # the bytes of one character never come in more tokens; beyond, the bytes are no character
LEAST_TEMPERATURE = 0.01  # below, the likeliest token is taken: scores over less run out of numbers
# Special tokens that are an answer's own syntax for places, in the families that have any
BOX_SYNTAX = re.compile(
    r"<\W*/?(loc|patch_index|box|quad|point|object|ref|det|phrase|obj|poly|delimiter)", re.IGNORECASE
)
# What a model's own generation settings may still say; the rest (sampling, lengths, beams) is the request's to say
KEPT_SETTINGS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
)


class TextDecoder:
    """Turns tokens into text as they come: whole characters only, no hidden token, no space before the first word."""

    def __init__(self, tokenizer: Any, hidden: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._hidden = hidden
        self._ids: list[int] = []  # a few tokens that were shown, for the spaces between, then those that were not
        self._num_shown = 0
        self._shown = ""  # the text of the former
        self._has_begun = False

    def add(self, token: int) -> str:
        """The text that this token completes, if any."""
        if token in self._hidden:
            return ""
        self._ids.append(token)
        text = self._decode(self._ids)
        is_partial = text.endswith(REPLACEMENT) and len(self._ids) - self._num_shown < MAX_HELD_TOKENS
        if is_partial or len(text) <= len(self._shown):
            return ""
        piece = text[len(self._shown) :]
        self._ids = self._ids[self._num_shown :]
        self._num_shown = len(self._ids)
        self._shown = self._decode(self._ids)
        return self._begin(piece)

    def _begin(self, piece: str) -> str:
        """Prompts end without a space ("Answer:"), so that many a vocabulary's first word brings one along."""
        if not self._has_begun:
            piece = piece.lstrip()
            self._has_begun = bool(piece)
        return piece

    def rest(self) -> str:
        """What is left at the end; a character that was cut short is dropped."""
        return self._begin(self._decode(self._ids)[len(self._shown) :].rstrip(REPLACEMENT))

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text


def hidden_tokens(tokenizer: Any, *, keeps_boxes: bool = True, kept: Set[str] = frozenset()) -> frozenset[int]:
    """The ids of special tokens that say nothing to a reader; those that spell boxes stay where boxes are read.

    ``kept`` are the tags of thoughts, which whoever shows the answer parts it by; one token may be a tag's beginning.
    """
    special = {token: entry.content for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    special.update(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    return frozenset(
        token
        for token, word in special.items()
        if not (keeps_boxes and BOX_SYNTAX.match(word)) and not any(tag.startswith(word) for tag in kept)
    )


class Outlet:
    """One answer between the thread that generates it and the one who iterates over its text.

    The generating side adds tokens and asks `should_stop` between two of them; the reading side may leave at any time.
    Tokens become text on the reading side, for who generates has others to serve.
    """

    def __init__(self, decoder: TextDecoder, cancelled: Callable[[], bool], *, is_patient: bool = False) -> None:
        """``is_patient``: what has come meanwhile is one piece; else each token is a piece of its own."""
        self._decoder = decoder
        self._is_patient = is_patient
        self._cancelled = cancelled
        self._tokens: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._started_s = time.perf_counter()
        self._has_ended = threading.Event()
        self._error: BaseException | None = None
        self._is_closed = False
        self.was_cancelled = False
        self.num_tokens = 0
        self.last_token = -1
        self.first_token_s = 0.0

    # --- the generating side

    def add(self, token: int) -> None:
        if not self.num_tokens:
            self.first_token_s = self.elapsed_s
        self.num_tokens += 1
        self.last_token = token
        self._tokens.put(token)

    @property
    def should_stop(self) -> bool:
        """Whether the answer was cancelled, or nobody reads it any more."""
        self.was_cancelled = self.was_cancelled or self._cancelled()
        return self.was_cancelled or self._is_closed

    def finish(self, error: BaseException | None = None) -> None:
        """No more will come, for whatever reason."""
        self._error = error
        self._has_ended.set()
        self._tokens.put(None)

    # --- the reading side

    def __iter__(self) -> Iterator[str]:
        """Pieces of text as they come; then raises what ended the answer, if it was an error."""
        has_ended = False
        while not has_ended:
            tokens = self._next_tokens()
            has_ended = tokens[-1] is None
            if piece := "".join(self._decoder.add(token) for token in tokens if token is not None):
                yield piece
        if self._error is not None:
            raise self._error

    def _next_tokens(self) -> list[int | None]:
        """One, or all that have come; None is the last."""
        tokens = [self._tokens.get()]
        with suppress(queue.Empty):
            while self._is_patient and tokens[-1] is not None:
                tokens.append(self._tokens.get_nowait())
        return tokens

    def rest(self) -> str:
        """Text held back until now; to be asked for when the answer has ended."""
        return self._decoder.rest()

    def close(self) -> None:
        """Leave: the answer stops with its next token. Waits for that."""
        self._is_closed = True
        self._has_ended.wait()

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started_s

    def reason(self, end_tokens: frozenset[int]) -> StopReason:
        if self.was_cancelled:
            return "cancelled"
        return "stop" if self.last_token in end_tokens else "length"


class Tap(BaseStreamer):  # type: ignore[misc]
    """Lets `generate()` fill an outlet: as its streamer, and as its stopping criterion, which is asked once a token."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._is_prompt = True  # the first thing put is the prompt

    def put(self, value: torch.Tensor) -> None:
        if not self._is_prompt:
            self._outlet.add(int(value))  # (1,)
        self._is_prompt = False

    def end(self) -> None:
        """Called by `generate()` when all is well; whoever called that tells the outlet, then and otherwise."""

    def __call__(self, input_ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        stop = self._outlet.should_stop
        return torch.full((input_ids.shape[0],), stop, dtype=torch.bool, device=input_ids.device)


def neutral_settings(model: Any, tokenizer: Any) -> GenerationConfig:
    """The model's generation settings without its opinions on sampling and length."""
    own, text = model.generation_config, model.config.get_text_config()
    config = GenerationConfig(**{name: getattr(own, name, None) for name in KEPT_SETTINGS})
    if model.config.model_type == "blip":  # its generate() ends with this one, whatever it is told
        config.eos_token_id = text.sep_token_id
    if config.eos_token_id is None:
        config.eos_token_id = getattr(text, "eos_token_id", None) or tokenizer.eos_token_id
    if config.pad_token_id is None:
        config.pad_token_id = min(end_tokens(config), default=0)
    return config


def end_tokens(config: GenerationConfig) -> frozenset[int]:
    """The tokens that end an answer."""
    ends = config.eos_token_id
    return frozenset([ends] if isinstance(ends, int) else ends or ())


def settings_for(sampling: Sampling, neutral: GenerationConfig, *, max_new_tokens: int) -> GenerationConfig:
    """What `generate()` is told for one request."""
    config = copy.copy(neutral)
    config.max_new_tokens = max_new_tokens
    config.do_sample = sampling.temperature >= LEAST_TEMPERATURE
    config.num_beams = 1
    if sampling.repetition_penalty != 1.0:
        config.repetition_penalty = float(sampling.repetition_penalty)  # transformers refuses 2 where it takes 2.0
    if config.do_sample:
        config.temperature = float(sampling.temperature)
        config.top_p = float(sampling.top_p)
        config.top_k = sampling.top_k
    return config
