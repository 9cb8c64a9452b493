"""How to start a model for photos: the recommended ones, each with its plan for this machine and the command.

Owns the markup; pure, of `demo.engine.recommended.Offer`. Bytes are shown as GiB.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from demo.engine.plans import Load
from demo.engine.recommended import Offer
from demo.ui.figures import device_words, size_words
from demo.ui.language import Texts
from demo.ui.memory import share_words

PARTS = ("weights", "kv_cache", "activations", "reserve")
_COPY = "navigator.clipboard?.writeText(this.previousElementSibling.textContent)"


def offers_html(say: Texts, offers: Sequence[Offer]) -> str:
    """Closed until somebody wants it; nothing where there are no offers."""
    if not offers:
        return ""
    scale = max(offer.plan.tried.load.total for offer in offers if offer.plan.tried is not None)
    rows = "".join(_offer(say, offer, scale) for offer in offers)
    return (
        f"<details class='offers'><summary>{html.escape(say('offers.title'))}</summary>"
        f"<p>{html.escape(say('offers.how'))}</p><ul>{rows}</ul></details>"
    )


def _offer(say: Texts, offer: Offer, scale: int) -> str:
    roles = say("page.comma").join(say(f"role.{role}") for role in offer.spec.roles)
    about = f"{roles} · {say('offers.download', size=size_words(offer.download_bytes))}"
    load = offer.plan.tried.load if offer.plan.tried is not None else Load()
    kind = "fits" if offer.plan.fits else "almost" if offer.flags else "short"
    return (
        f"<li class='{kind}'><h3>{html.escape(offer.spec.name)} <span>{html.escape(about)}</span></h3>"
        f"{_bar(load, scale)}<p class='figures'>{_figures(say, load)}</p>"
        f"<p class='verdict'>{html.escape(_verdict(say, offer))}</p>"
        f"<div class='command'><code>{html.escape(offer.command)}</code>"
        f"<button type='button' onclick='{_COPY}'>{html.escape(say('offers.copy'))}</button></div></li>"
    )


def _place(say: Texts, offer: Offer, device: str) -> str:
    return say("offers.place", device=device_words(say, device), size=size_words(offer.free_bytes[device]))


def _bar(load: Load, scale: int) -> str:
    parts = "".join(f"<i class='{part}' style='width:{share_words(getattr(load, part), scale)}'></i>" for part in PARTS)
    return f"<div class='track' aria-hidden='true'>{parts}</div>"


def _figures(say: Texts, load: Load) -> str:
    parts = "".join(
        f"<span class='{part}'>{html.escape(say(f'offers.{part}', size=size_words(getattr(load, part))))}</span>"
        for part in PARTS
    )
    return f"<b>{html.escape(say('offers.needs', size=size_words(load.total)))}</b>{parts}"


def _verdict(say: Texts, offer: Offer) -> str:
    plan = offer.plan
    short = size_words(plan.shortfall_bytes)
    if not plan.fits:
        return say("offers.with", short=short, flags=offer.flags) if offer.flags else say("offers.short", short=short)
    places = dict.fromkeys(device for replica in plan.replicas for device in replica.loads)
    where = ", ".join(_place(say, offer, device) for device in places)
    return say.counted("offers.fits", len(plan.replicas), where=where, dtype=plan.dtype)
