"""The engine as the terminal's commands use it: one role's model, asked one question at a time.

Owns the start of the engine for that role, the progress shown on stderr and the meaning of Ctrl-C. Knows nothing of
commands, files or the page.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from demo.catalog import ModelSpec
from demo.config import EngineConfig
from demo.engine.events import Done, Ping, StreamEvent, Token
from demo.engine.manager import ModelManager, resolve_roles
from demo.errors import ConfigError
from demo.grounding import dialects
from demo.grounding.pictures import located
from demo.history import recent
from demo.prompts import PromptSet, load_prompts
from demo.reasoning import Reasoned, Tags, split
from demo.types import GenerateRequest, Message, Picture, Region, Role

Show = Callable[[str], None]


class StoppedError(Exception):
    """Ctrl-C was pressed; what was written so far is in ``text``."""

    def __init__(self, text: str) -> None:
        super().__init__("stopped")
        self.text = text


@dataclass(frozen=True, slots=True)
class Asker:
    """The model of one role, ready to be asked."""

    manager: ModelManager
    role: Role
    spec: ModelSpec
    prompts: PromptSet

    def ask(self, messages: Sequence[Message], show: Show | None = None, *, show_thought: Show | None = None) -> str:
        """The whole answer; ``show`` gets its pieces, ``show_thought`` those of the reasoning before it.

        Raises `StoppedError` on Ctrl-C, and the engine's errors.
        """
        heard = _Heard(self.spec.traits.thoughts, lambda text: show and show(self._readable(text)), show_thought)
        progress = _Progress()
        try:
            with closing(self._events(messages)) as events:
                for event in events:
                    progress.show(event)
                    if isinstance(event, Token):
                        heard.add(event.text)
        except KeyboardInterrupt:
            raise StoppedError(heard.finish()) from None
        answer = heard.finish()
        if isinstance(event, Done) and event.reason == "length":
            thinking = " while it was still thinking" if heard.is_thinking else ""
            note(f"\n(cut off after {event.usage.completion_tokens} tokens{thinking})")
        return answer

    def _readable(self, piece: str) -> str:
        """Without the special tokens of boxes, which come in one piece each; numbers stay, a terminal cannot draw."""
        dialect = self.spec.dialect
        return harmless(piece if dialect is None else dialects.get(dialect).marks.sub("", piece))

    def _events(self, messages: Sequence[Message]) -> Generator[StreamEvent, None, None]:
        shown = recent(messages, self.spec.max_turns)
        yield from self.manager.stream(GenerateRequest(uuid.uuid4().hex, self.role, shown))

    def regions(self, text: str, picture: Picture, *, unnamed: str = "") -> list[Region]:
        """The boxes in an answer; those without words of their own are called ``unnamed``."""
        if self.spec.dialect is None:
            return []
        found = located(text, dialects.get(self.spec.dialect), [self.spec.view(picture.size)])
        return [replace(region, label=region.label or unnamed) for region in found]


@contextmanager
def ready_to_ask(config: EngineConfig, role: Role) -> Iterator[Asker]:
    """Start the one model that the role needs, whatever other roles are configured."""
    specs = resolve_roles(config)
    if role not in specs:
        remedy = f"Name another one, like --model {role}=NAME; `launch.py models` lists some."
        raise ConfigError(f"The chosen model does not serve {role}", remedy=remedy)
    with ModelManager(config, specs={role: specs[role]}) as manager:
        manager.start()
        yield Asker(manager, role, specs[role], load_prompts(specs[role].prompts))


class _Heard:
    """A text that comes in pieces, handed on as reasoning and as answer, each as far as it has grown.

    Where nobody shows the reasoning, a word on stderr says that there was some.
    """

    def __init__(self, tags: Sequence[Tags], show: Show, show_thought: Show | None) -> None:
        self._tags = tags
        self._show = show
        self._show_thought = show_thought
        self._text = ""
        self._parts = Reasoned("", "")
        self._began_s = 0.0
        self._is_told = False

    @property
    def is_thinking(self) -> bool:
        return self._parts.is_thinking

    def add(self, piece: str) -> None:
        self._began_s = self._began_s or time.monotonic()
        self._text += piece
        self._take(split(self._text, self._tags, is_growing=True))

    def finish(self) -> str:
        self._take(split(self._text, self._tags))
        return self._parts.answer

    def _take(self, parts: Reasoned) -> None:
        before, self._parts = self._parts, parts
        if self._show_thought and (more := _more(before.thought, parts.thought)):
            self._show_thought(harmless(more))
        if parts.thought and not parts.is_thinking and not self._is_told:
            self._is_told = True
            if self._show_thought:
                self._show_thought("\n\n")
            else:
                note(f"(thought for {time.monotonic() - self._began_s:.1f} s)")
        if more := _more(before.answer, parts.answer):
            self._show(more)


def _more(before: str, now: str) -> str:
    """What has come; all of it on a new line where it is not what was said before that has grown."""
    return now[len(before) :] if now.startswith(before) else f"\n{now}"


class _Progress:
    """One line on stderr that overwrites itself until the first word comes; only failures where nobody watches."""

    def __init__(self) -> None:
        self._is_watched = sys.stderr.isatty()
        self._is_shown = False
        self._trouble = ""

    def show(self, event: StreamEvent) -> None:
        loading = event if isinstance(event, Ping) and event.state == "loading" else None
        if self._is_watched and (loading or self._is_shown):
            sys.stderr.write("\r\033[K" + (_loading(loading) if loading else ""))
            sys.stderr.flush()
            self._is_shown = loading is not None
        elif loading and loading.detail.startswith("restarting") and loading.detail != self._trouble:
            self._trouble = loading.detail
            note(loading.detail)


def _loading(ping: Ping) -> str:
    return harmless(ping.detail or "loading") + ("" if ping.fraction is None else f" {ping.fraction:.0%}")


def harmless(text: str) -> str:
    """Without characters that move a terminal's cursor or reverse its text; models and file names may hold them."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


def note(text: str) -> None:
    sys.stderr.write(harmless(text) + "\n")
    sys.stderr.flush()
