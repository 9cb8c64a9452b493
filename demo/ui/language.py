"""The languages of the page: its texts as data, which of them a visitor reads, and sentences that come from below it.

Owns the reading of ``assets/locales`` and the choice by a visitor's request: what its address says (``?lang=zh``), else
the cookie of an earlier choice, else what the browser prefers. Pure; knows nothing of gradio or of how texts look.

How a part of the page comes to speak both languages:

1. Its words go to ``en.json`` and ``zh.json`` under one key, ``PART.what``; ``{name}`` is a value, and
   ``"{count} answer|{count} answers"`` has a form for one and a form for all others. A test finds missing and dead
   keys.
2. What stands still (label, info, placeholder, choice, a button's words) is `demo.ui.labels.label` of the key: the
   browser translates it. Markup that holds one text is ``f"<p>{label(key)}</p>"``; markup with several is a block.
3. What an event makes is made by the visitor's texts: the event's function takes ``request: gr.Request`` as its first
   parameter and hands ``say = context.languages.of(request)`` to the handlers and the markup, which call
   ``say(key, name=value)`` and ``say.counted(key, count)``. Nothing that is kept should hold made words, but what they
   were made of.
4. Errors, stages of a load and notes come from the engine in English, and are shown as ``say.told(str(error))``. A test
   finds sentences of errors that ``told.zh.json`` lacks; what it lacks is shown as it is.
5. What gradio itself says comes in the browser's language, but for words that it forgot to translate: those go to
   ``gradio.zh.json``, and to ``gradio.en.json`` where it says a key of its own instead. ``assets/words.js`` sets them.

Prompts are not translated: they are in the words that a model was trained with. Nor is anything that programs read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol, get_args

LOCALES = Path(__file__).resolve().parents[2] / "assets" / "locales"

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
NAMES: Mapping[Language, str] = MappingProxyType({"en": "English", "zh": "中文"})
TAGS: Mapping[Language, str] = MappingProxyType({"en": "en", "zh": "zh-CN"})  # what gradio's own page calls them
COOKIE = "language"
PARAMETER = "lang"


class Visit(Protocol):
    """What is read of a request; gradio's and starlette's have it."""

    @property
    def query_params(self) -> Mapping[str, str]: ...

    @property
    def cookies(self) -> Mapping[str, str]: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """How one sentence from below is said: alone, or as the first part of an error, "WHAT (VALUE). REMEDY"."""

    pattern: re.Pattern[str]
    num_holes: int
    translation: str

    @classmethod
    def of(cls, english: str, translation: str) -> Rule:
        """``{}`` stands for any value."""
        what = "(.+?)".join(map(re.escape, english.split("{}")))
        tail = r"(?:(?: \((?P<value>.*?)\))?(?P<end>\.)(?: (?P<remedy>.+))?)?"
        return cls(re.compile(what + tail, re.DOTALL), english.count("{}"), translation)


@dataclass(frozen=True, slots=True)
class Texts:
    """The page's words in one language. Called with a key and the values that it names."""

    language: Language
    table: Mapping[str, str]
    gradios: Mapping[str, str]  # words of gradio's own that its translations leave out; the browser replaces them
    rules: Sequence[Rule] = ()  # for sentences from below; none where they are said as they are

    def __call__(self, key: str, /, **values: object) -> str:
        return self.table[key].format(**values)

    def counted(self, key: str, count: int, /, **values: object) -> str:
        """The text's form for so many; the number is its ``{count}``."""
        forms = self.table[key].split("|")
        return (forms[0] if count == 1 else forms[-1]).format(count=f"{count:,}", **values)

    def told(self, sentence: str) -> str:
        """A sentence of the engine's in this language; what is not known stays English, word for word."""
        for rule in self.rules:
            if found := rule.pattern.fullmatch(sentence):
                return self._said(rule, found)
        return sentence

    def _said(self, rule: Rule, found: re.Match[str]) -> str:
        what = rule.translation.format(*(self.told(value) for value in found.groups()[: rule.num_holes]))
        if found["end"] is None:
            return what
        value = f"（{found['value']}）" if found["value"] else ""
        return f"{what}{value}。{self.told(found['remedy'] or '')}"


@dataclass(frozen=True, slots=True)
class Languages:
    """All texts, read once and handed down."""

    texts: Mapping[Language, Texts]

    def of(self, visit: Visit) -> Texts:
        """The texts in a visitor's language."""
        return self.texts[language_of(visit)]

    @property
    def english(self) -> Texts:
        """What programs are told in."""
        return self.texts["en"]


def language_of(visit: Visit) -> Language:
    for said in (visit.query_params.get(PARAMETER), visit.cookies.get(COOKIE)):
        if (language := _language(said or "")) is not None:
            return language
    return preferred(visit.headers.get("accept-language") or "")


def preferred(accepted: str) -> Language:
    """The first of ours that an ``Accept-Language`` header names, by its weights; English where it names none."""
    ranked = sorted(accepted.split(","), key=_weight, reverse=True)
    named = (_language(tag.partition(";")[0].strip()) for tag in ranked)
    return next((language for language in named if language is not None), "en")


def load_languages(folder: Path = LOCALES) -> Languages:
    rules = tuple(Rule.of(english, chinese) for english, chinese in _table(folder / "told.zh.json").items())
    texts = {
        language: Texts(
            language,
            _table(folder / f"{language}.json"),
            _table(folder / f"gradio.{language}.json"),
            rules if language == "zh" else (),
        )
        for language in LANGUAGES
    }
    return Languages(MappingProxyType(texts))


def _table(path: Path) -> Mapping[str, str]:
    return MappingProxyType(json.loads(path.read_text(encoding="utf-8")))


def _language(tag: str) -> Language | None:
    base = tag.partition("-")[0].lower()
    return next((language for language in LANGUAGES if language == base), None)


def _weight(entry: str) -> float:
    _, _, weight = entry.partition(";q=")
    try:
        return float(weight) if weight else 1.0
    except ValueError:
        return 0.0
