"""The heading: the title and the choice of language; what the loaded models can do and what not; what is said of them.

Owns the markup; pure, of what does not change while the page is up. The line between the two is `demo.ui.status`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from demo.catalog import ModelSpec
from demo.engine.recommended import Offer
from demo.types import ROLES, Role
from demo.ui.language import LANGUAGES, NAMES, PARAMETER, TAGS, Texts
from demo.ui.offers import offers_html

Specs = Mapping[Role, ModelSpec]


def title_html(say: Texts) -> str:
    """The languages are links, which work without a script: the server remembers what was chosen."""
    links = "".join(
        f"<a href='?{PARAMETER}={language}' lang='{TAGS[language]}' hreflang='{TAGS[language]}'"
        f"{' aria-current=true' if language == say.language else ''}>{NAMES[language]}</a>"
        for language in LANGUAGES
    )
    nav = f"<nav class='languages' aria-label='{html.escape(say('page.languages'))}'>{links}</nav>"
    return f"<div class='title'><h1>{html.escape(say('page.title'))}</h1>{nav}</div>"


def about_html(say: Texts, specs: Specs, offers: Sequence[Offer] = ()) -> str:
    is_named = len({spec.name for spec in specs.values()}) > 1
    roles = "".join(_role(say, role, specs, is_named=is_named) for role in ROLES)
    notes = dict.fromkeys(spec.note for spec in specs.values() if spec.note)
    told = "".join(f"<p class='note'>{html.escape(say.told(note))}</p>" for note in notes)
    return (
        f"<ul class='roles' aria-label='{html.escape(say('about.roles'))}'>{roles}</ul>{told}{offers_html(say, offers)}"
    )


def _role(say: Texts, role: Role, specs: Specs, *, is_named: bool) -> str:
    title = f"<b>{html.escape(say(f'role.{role}'))}</b>"
    if role not in specs:
        return f"<li class='off'>{title} <span>{html.escape(say(f'about.not.{role}'))}</span></li>"
    words = say(f"about.does.{role}")
    if is_named:
        words = say("about.by", does=words, model=specs[role].name)
    return f"<li>{title} <span>{html.escape(words)}</span></li>"
