"""How a worker's process comes by a backend: imported late and by name, with whatever libraries it brings.

Owns the names of the backends, what they and those libraries may say, and the garbage collector's view of them. Knows
nothing of requests or pipes.
"""

from __future__ import annotations

import gc
import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from demo.errors import ConfigError

if TYPE_CHECKING:
    from demo.backends.base import Backend

BACKENDS = {
    "hf": "demo.backends.hf:HFBackend",
    "fake": "demo.backends.fake:FakeBackend",
    "openai": "demo.backends.openai:OpenAIBackend",
}
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Where torchao is installed transformers imports it at every start, and it warns of kernels that are for other cards.
HUSHED = ("torchao", "torch.utils._pytree")


def let_be_heard(level: int, told: Callable[[str], str]) -> None:
    """Have the demo's own modules say in this process what they say in the parent's, in words that ``told`` puts right.

    To be called once, before a backend is there. Libraries stay as they are: their warnings are shown, no more.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Told(told))
    logger = logging.getLogger("demo")
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False


class _Told(logging.Formatter):
    def __init__(self, told: Callable[[str], str]) -> None:
        super().__init__(LOG_FORMAT)
        self._told = told

    def format(self, record: logging.LogRecord) -> str:
        return self._told(super().format(record))


def backend_named(name: str) -> Backend:
    """A backend that has loaded nothing yet."""
    if name not in BACKENDS:
        raise ConfigError("Unknown backend", value=name, remedy=f"Known: {', '.join(BACKENDS)}.")
    for logger in HUSHED:
        logging.getLogger(logger).setLevel(logging.ERROR)
    module, _, attribute = BACKENDS[name].partition(":")
    with _uncollected():
        imported = importlib.import_module(module)
    return cast("Backend", getattr(imported, attribute)())


@contextmanager
def _uncollected() -> Iterator[None]:
    """Have the garbage collector pass over what is made meanwhile, now and later.

    What libraries make of themselves stays. Looking through it 900 times is a seventh of the time that importing takes,
    and every full collection after it, such as a model's that leaves its card, is a quarter of a second.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
