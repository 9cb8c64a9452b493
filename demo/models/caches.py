"""What the library calls the keys and values of earlier tokens, which a model is given and gives back.

transformers 5.24 renamed `past_key_values` to `cache`, and warns of the old name in every call. Owns the name that the
installed version uses, and that a model of ours takes either. Knows nothing of what such a cache holds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from transformers.modeling_outputs import CausalLMOutputWithPast

NEW, OLD = "cache", "past_key_values"

T = TypeVar("T")


def cache_name() -> str:
    """The name of the argument and of the output's field."""
    return NEW if NEW in CausalLMOutputWithPast.__dataclass_fields__ else OLD


def takes_cache(forward: Callable[..., T]) -> Callable[..., T]:
    """Have a model's forward, which calls it by the old name, take it by the new one, too."""

    @wraps(forward)
    def by_either_name(*given: Any, **named: Any) -> T:
        if NEW in named:
            named[OLD] = named.pop(NEW)
        return forward(*given, **named)

    return by_either_name
