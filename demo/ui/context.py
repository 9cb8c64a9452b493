"""What every part of the page is given: the engine, what each role's model can do, and the page's own limits.

Owns the bundle and how it is made. Knows nothing of gradio's components. Lengths are characters, seconds end in ``_s``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from demo.catalog import ModelSpec
from demo.engine.events import StreamEvent
from demo.engine.recommended import Offer
from demo.prompts import PromptSet, load_prompts
from demo.types import GenerateRequest, Role
from demo.ui.desk import Desk
from demo.ui.language import Languages, load_languages
from demo.ui.pictures import PictureStore

if TYPE_CHECKING:
    from demo.engine.manager import ManagerSnapshot
    from demo.engine.telemetry import Status


Waiting = Callable[[], int]  # how many requests wait in the page's queue
Look = Callable[[], "Status"]  # one sample for all visitors; see `Monitor.look`


class Engine(Protocol):
    """What the page needs of the `ModelManager`."""

    @property
    def specs(self) -> Mapping[Role, ModelSpec]: ...

    @property
    def capacity(self) -> int: ...

    def stream(self, request: GenerateRequest) -> Iterator[StreamEvent]: ...

    def snapshot(self) -> ManagerSnapshot: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one visitor may ask for at once."""

    question_chars: int = 20_000
    file_bytes: int = 50_000_000
    body_bytes: int = 64_000_000  # of any request: an upload of several files, or a question
    queue: int = 32


@dataclass(frozen=True, slots=True)
class UiContext:
    """Built once and handed down; what is in it stays the same while the page is up."""

    engine: Engine
    look: Look
    specs: Mapping[Role, ModelSpec]
    prompts: Mapping[Role, PromptSet]
    store: PictureStore
    desk: Desk
    limits: Limits
    languages: Languages
    offers: tuple[Offer, ...] = ()  # models to start instead, where what is loaded is only for trying out

    def spec(self, role: Role) -> ModelSpec | None:
        """The model that serves a role, or None where no loaded model does."""
        return self.specs.get(role)


def make_context(
    engine: Engine,
    *,
    look: Look,
    folder: Path,
    state: Path | None = None,
    limits: Limits | None = None,
    offers: tuple[Offer, ...] = (),
) -> UiContext:
    """``folder`` is where uploads land and drawn pictures are kept, ``state`` where the jobs are that outlive the
    process; nothing outside them is ever opened."""
    specs = dict(engine.specs)
    prompts = {role: load_prompts(spec.prompts) for role, spec in specs.items()}
    return UiContext(
        engine=engine,
        look=look,
        specs=MappingProxyType(specs),
        prompts=MappingProxyType(prompts),
        store=PictureStore(folder.resolve()),
        desk=Desk(state, folder.resolve()),
        limits=limits or Limits(),
        languages=load_languages(),
        offers=offers,
    )
