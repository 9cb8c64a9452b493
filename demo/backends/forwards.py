"""One model's kinds of forward: a conversation's prompt into its slot, or those of several, and one more token of each.

Owns what a forward is given, which is what `generate()` would give it, and which models this works for. Knows nothing
of requests and of what is chosen. Shapes: B answers, T tokens, V vocabulary; positions are (…, B, T), because some
models count places along several axes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch

from demo.backends.attending import plan_for_shapes
from demo.backends.joining import joined, positions_of_all
from demo.backends.recorded import RecordedSteps, Recorder
from demo.backends.slots import SlotCache, can_be_slots
from demo.backends.spreading import input_device
from demo.models.caches import cache_name

# Of a prompt whose first part is in the slot already, pictures among it, only these are given again
TEXT_INPUTS = ("attention_mask", "token_type_ids", "mm_token_type_ids")
MASKED = ("sdpa", "eager")  # ways to attend that take a mask of any shape


@dataclass(frozen=True, slots=True)
class Read:
    """What a prompt led to: the scores (1, V) of the answer's first token, and that token's position (…, 1, 1)."""

    scores: torch.Tensor
    position: torch.Tensor


class Forwards:
    """Of one loaded model."""

    def __init__(self, model: Any, cache: SlotCache, *, recorder: Recorder | None = None) -> None:
        """With a ``recorder`` steps have fixed shapes, and are recorded and replayed by what it makes."""
        self._model = model
        self._cache = cache
        self._device = input_device(model)
        self._is_eager = _attention(model) == "eager"
        takes = inspect.signature(model.forward).parameters
        self._how: dict[str, Any] = {cache_name(): cache, "use_cache": True, "return_dict": True}
        if "logits_to_keep" in takes:
            self._how["logits_to_keep"] = 1
        self._recorded = RecordedSteps(cache, self._recordable, recorder) if recorder is not None else None

    @staticmethod
    def suit(model: Any) -> bool:
        """Whether a model's forward can be told of positions and masks, and remembers nothing but keys and values."""
        takes = inspect.signature(model.forward).parameters
        return "position_ids" in takes and _attention(model) in MASKED and can_be_slots(model.config)

    def placed(self, inputs: Any) -> Any:
        """A prompt's tensors where the model takes them; only floats change their dtype.

        What was given stays where it is: whoever asks holds it until the answer ends, as a card would its pictures.
        """
        return copy(inputs).to(self._device, dtype=self._model.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Of the scores, before they are made float32."""
        dtype: torch.dtype = self._model.dtype
        return dtype

    @property
    def can_join(self) -> bool:
        """Whether the model can be asked for the scores of other tokens than the last."""
        return "logits_to_keep" in self._how

    def read(self, inputs: Mapping[str, Any], slot: int, start: int = 0) -> Read:
        """Read a prompt of one row, of which the slot holds the first ``start`` tokens already."""
        ids, positions, rest = self._parted(inputs)
        following = positions[..., -1:] + 1  # before the model's own preparation, which may change them in place
        if start:
            rest = {name: rest[name] for name in TEXT_INPUTS if name in rest}
        self._cache.at_prompt(slot, start, ids.shape[1])
        call = self._model.prepare_inputs_for_generation(
            ids,
            next_sequence_length=ids.shape[1] - start if start else None,
            is_first_iteration=not start,
            position_ids=positions,
            **rest,
            **self._how,
        )
        plan_for_shapes(False)
        return Read(self._scores(self._model(**call)), following)

    def read_together(
        self, prompts: Sequence[Mapping[str, Any]], slot: int, *, filler: int | None = None
    ) -> list[Read]:
        """Read prompts of one row each, which are alike, at once: into slots beside each other, from ``slot`` on."""
        parted = [self._parted(inputs) for inputs in prompts]
        following = [positions[..., -1:] + 1 for _, positions, _ in parted]
        batch = joined([{"input_ids": ids, **rest} for ids, _, rest in parted], filler)
        ids = batch.pop("input_ids")
        count = len(prompts)
        self._cache.at_prompt(slot, 0, ids.shape[1], count=count)
        last = torch.tensor([one.shape[1] - 1 for one, *_ in parted])  # in main memory any card may be asked by it
        call = self._model.prepare_inputs_for_generation(
            ids,
            is_first_iteration=True,
            position_ids=positions_of_all([positions for _, positions, _ in parted]),
            **batch,
            **{**self._how, "logits_to_keep": last},
        )
        plan_for_shapes(False)
        scores = self._model(**call).logits  # (n, n, V): of each prompt at the last token of each
        own = scores[range(count), range(count)].to(dtype=torch.float32, device=self._device)
        return [Read(own[place : place + 1], position) for place, position in enumerate(following)]

    def _parted(self, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        """A prompt's tokens (1, T), their positions (…, 1, T), and whatever else is said of it."""
        ids = inputs["input_ids"]
        rest = {name: value for name, value in inputs.items() if name != "input_ids"}
        rest.setdefault("attention_mask", torch.ones_like(ids))
        positions = rest.pop("position_ids", None)
        if positions is None:
            positions = self._model._prepare_position_ids_for_generation(ids, dict(rest))
        return ids, positions, rest

    def step(self, tokens: torch.Tensor, positions: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """One more token (B,) of each answer, at its position (…, B, 1): the scores (B, V) of the tokens after them.

        ``lengths`` are the tokens that each slot holds, of all slots; the first are the answers'.
        """
        if self._recorded is not None and (scores := self._recorded.step(tokens, positions, lengths)) is not None:
            return scores
        width = self._cache.at_step(lengths[: len(tokens)])
        plan_for_shapes(False)
        return self._compute(tokens, positions, torch.tensor(lengths[: len(tokens)], device=self._device), width)

    def can_go_ahead(self, count: int, lengths: Sequence[int]) -> bool:
        """Whether a step is only begun by whoever asks for it, and a card's to finish."""
        return self._recorded is not None and self._recorded.has(count, lengths)

    @torch.inference_mode()
    def record_all(self, told: Callable[[float], None], *, limit_s: float) -> None:
        """Record steps of all shapes before they are needed; see `RecordedSteps.record_all`."""
        if self._recorded is not None:
            self._recorded.record_all(told, limit_s=limit_s)

    def forget(self) -> None:
        """Give up what is recorded; it is recorded anew when it is needed."""
        if self._recorded is not None:
            self._recorded.forget()

    def _recordable(
        self, tokens: torch.Tensor, positions: torch.Tensor, lengths: torch.Tensor, width: int
    ) -> torch.Tensor:
        plan_for_shapes(True)
        return self._compute(tokens, positions, lengths, width)

    def _compute(
        self, tokens: torch.Tensor, positions: torch.Tensor, lengths: torch.Tensor, width: int
    ) -> torch.Tensor:
        mask = self._mask(lengths, width)
        call = self._model.prepare_inputs_for_generation(
            tokens[:, None], position_ids=positions.clone(), attention_mask=mask, **self._how
        )
        return self._scores(self._model(**call))

    def _mask(self, lengths: torch.Tensor, width: int) -> torch.Tensor:
        """(B, 1, 1, C): each answer looks at its own tokens, the new one among them."""
        seen = (torch.arange(width, device=self._device) <= lengths[:, None])[:, None, None]
        if not self._is_eager:
            return seen
        dtype = self._model.dtype
        return torch.zeros(seen.shape, dtype=dtype, device=self._device).masked_fill_(~seen, torch.finfo(dtype).min)

    def _scores(self, output: Any) -> torch.Tensor:
        last: torch.Tensor = output.logits[:, -1]  # (B, V)
        return last.to(copy=True, dtype=torch.float32, device=self._device)


def _attention(model: Any) -> str:
    return str(model.config.get_text_config(decoder=True)._attn_implementation)
