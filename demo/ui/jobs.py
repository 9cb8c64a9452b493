"""How a job of many pictures looks: how far it is, how fast it goes, and a page of its captions.

Owns the words and the markup; pure, of a `Batch`. What is foreign in it goes through `demo.ui.markup`. Seconds end in
``_s``.
"""

from __future__ import annotations

import html

from demo.captioning.progress import Progress
from demo.ui import markup
from demo.ui.batch import Batch, Viewer
from demo.ui.language import Texts

NOTHING = "<div class='job'></div>"  # before the first job; what is there keeps its place
Captions = str | dict[str, int | list[str]]
# The table that a browser makes of `captions`, the newest first. An element with a name for each number: gradio else
# puts new texts into old rows, which then change their heights.
TABLE = """${!value || !value.rows ? value : '<captions-' + value.number + '><table class="captions"><tbody>'
  + value.rows.slice().reverse().join('') + '</tbody></table></captions-' + value.number + '>'}"""


def job_html(say: Texts, batch: Batch) -> str:
    """A bar and a line below it."""
    progress = batch.progress
    words = progress_words(say, progress, goes_on=batch.is_open)
    if batch.room.is_short:
        words += f" · {say('batch.short', count=batch.room.limit)}"
    if batch.keeping != "kept" and batch.is_open:
        words += f" · {say(f'batch.not_kept.{batch.keeping}')}"
    made, total = progress.done + progress.failed, progress.total
    bar = f"<progress aria-label='{html.escape(say('batch.bar'))}' max='{total}' value='{made}'></progress>"
    return f"<div class='job'>{bar}{_line(say, batch, words)}</div>"


def refusal_html(say: Texts, error: str) -> str:
    """Why there is no job; an archive's fault is named after it."""
    name, colon, reason = error.partition(": ")
    words = say.told(error)
    if words == error and colon:
        words = f"{name}: {say.told(reason)}"
    return f"<div class='job'>{markup.line(words, 'error')}</div>"


def captions(say: Texts, viewer: Viewer) -> Captions:
    """The captions that a tab shows, as `TABLE` takes them: in the order in which they came, so that a page that grows
    is sent as what it grew by."""
    if viewer.batch is None or not viewer.batch.entries:
        return f"<p class='line hint'>{html.escape(say('batch.hint'))}</p>"
    first, last = viewer.span
    rows = viewer.batch.rows(first, last)
    return {
        "number": last,
        "rows": [markup.caption_row(say, row.name, row.text, row.note, row.is_error, row.preview) for row in rows],
    }


def span_html(say: Texts, viewer: Viewer) -> str:
    """Which of the captions are shown."""
    first, last = viewer.span
    words = say("batch.span", first=f"{first:,}", last=f"{last:,}", total=f"{viewer.count:,}") if last else ""
    return f"<p class='line'>{html.escape(words)}</p>"


def progress_words(say: Texts, progress: Progress, *, goes_on: bool) -> str:
    """How long it may take is said of a job that goes on, or can."""
    parts = [say("batch.progress", done=progress.done + progress.failed, total=progress.total)]
    if progress.failed:
        parts.append(say("batch.failed", count=progress.failed))
    if progress.made:
        parts.append(_rate(say, progress.per_s))
    if goes_on and progress.left and progress.left_s is not None:
        parts.append(say("batch.left", time=_duration(say, progress.left_s)))
    return " · ".join(parts)


def _line(say: Texts, batch: Batch, words: str) -> str:
    if batch.error is not None:
        return markup.line(f"{batch.error.said(say)} {words}", "error")
    if batch.phase == "running":
        return markup.line(words, "busy")
    if batch.phase == "paused" and batch.found is not None:
        return markup.line(f"{batch.found.said(say)} {words}", "remark")
    is_finishing = batch.phase == "paused" and batch.at_work.locked()
    return markup.line(say(f"batch.at.{'finishing' if is_finishing else batch.phase}", progress=words), "remark")


def _rate(say: Texts, per_s: float) -> str:
    if per_s >= 1:
        return say("batch.per_second", rate=f"{per_s:.1f}")
    return say("batch.per_minute", rate=f"{60 * per_s:.1f}")


def _duration(say: Texts, seconds_s: float) -> str:
    """In two units at most."""
    whole = max(1, round(seconds_s))
    if whole < 60:
        return say("time.seconds", seconds=whole)
    minutes, seconds = divmod(whole, 60)
    if minutes < 60:
        return say("batch.minutes", minutes=minutes, seconds=f"{seconds:02}")
    return say("batch.hours", hours=minutes // 60, minutes=f"{minutes % 60:02}")
