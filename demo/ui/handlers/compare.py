"""One question about one picture, put to two settings or two models: each side is an answer of its own.

Owns which models can be chosen, and what is said of a side's settings beside its answer. No gradio, no look.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from demo.errors import InvalidInput
from demo.types import ROLES, Message, Role, Sampling
from demo.ui.context import UiContext
from demo.ui.handlers.answering import Answer, answering
from demo.ui.handlers.chat import checked_question, system_of
from demo.ui.handlers.sampling import Controls, sampling_of
from demo.ui.notes import Note, note


def models(context: UiContext) -> dict[str, Role]:
    """The loaded models by name, each with a role that it serves; the role tells apart those of one name."""
    specs = {role: spec for role in ROLES if (spec := context.spec(role)) is not None}
    found: dict[str, Role] = {}
    for role, spec in specs.items():
        if not any(specs[other] == spec for other in found.values()):
            found[f"{spec.name} ({role})" if spec.name in found else spec.name] = role
    return found


def side(
    context: UiContext,
    model: str | None,
    picture: str | None,
    question: str | None,
    system: str | None,
    controls: Controls = (),
) -> Generator[Answer, None, None]:
    """One side's answer. A picture is not needed. Raises the family's errors."""
    known = models(context)
    role = known.get(model or "")
    if role is None:
        raise InvalidInput("No such model is loaded", value=model, remedy=f"Choose one of: {', '.join(known)}.")
    asked, sampling = checked_question(context, question), sampling_of(*controls)
    pictures = (context.store.open(picture),) if picture else ()
    messages = (*system_of(context, role, system), Message("user", asked, pictures))
    for answer in answering(context, role, messages, sampling):
        yield replace(answer, remark=(*answer.remark, _said(sampling))) if answer.state == "done" else answer


def _said(sampling: Sampling) -> Note:
    if sampling.temperature == 0:
        return note("compare.greedy")
    return note("compare.sampled", temperature=f"{sampling.temperature:g}")
