"""From the values of the sampling controls, which may be empty or foreign, to a checked `Sampling`. No gradio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from demo.errors import InvalidInput
from demo.types import Sampling

DEFAULT = Sampling()

Number = float | int | None
Controls = Sequence[Any]  # the arguments of `sampling_of`, in its order


def sampling_of(
    temperature: Number = None,
    top_p: Number = None,
    top_k: Number = None,
    max_new_tokens: Number = None,
    repetition_penalty: Number = None,
    seed: Number | str = None,
) -> Sampling:
    """An empty control means the default; numbers out of range are refused, wherever they come from."""
    return Sampling(
        max_new_tokens=_whole("max_new_tokens", max_new_tokens, DEFAULT.max_new_tokens),
        temperature=_real("temperature", temperature, DEFAULT.temperature),
        top_p=_real("top_p", top_p, DEFAULT.top_p),
        top_k=_whole("top_k", top_k, DEFAULT.top_k),
        repetition_penalty=_real("repetition_penalty", repetition_penalty, DEFAULT.repetition_penalty),
        seed=_seed(seed),
    )


def _seed(value: Number | str) -> int | None:
    if isinstance(value, str):
        if not value.strip():
            return None
        if not value.strip().isdecimal() or len(value) > 20:
            raise InvalidInput("The seed is not a whole number", value=value[:20], remedy="Type one, or nothing.")
        value = int(value)
    return None if value is None else _whole("seed", value, 0)


def _real(name: str, value: Number, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{name} is not a number", value=type(value).__name__, remedy="Send a number.")
    return float(value)


def _whole(name: str, value: Number, default: int) -> int:
    number = _real(name, value, default)
    if number != number or number in (float("inf"), float("-inf")) or number != int(number):
        raise InvalidInput(f"{name} is not a whole number", value=number, remedy="Send a whole number.")
    return int(number)
