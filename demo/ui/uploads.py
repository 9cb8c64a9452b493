"""What a visitor is told of how much may be uploaded: before, beside the input, and after it was too much.

Owns these words, in place of gradio's own, and the megabytes in them (of a million bytes). The limits are enforced by
gradio in the browser, a file's, and by the `Shield`, a request's. Knows no components.
"""

from __future__ import annotations

from collections.abc import Mapping

from demo.ui.context import Limits
from demo.ui.language import Texts

# What gradio's notice says of a file that is too large, and of the shield's answer; {} is anything.
_FILE = "File(s) exceed the maximum allowed size of {}: {}"
_REQUEST = "HTTP 413: The request is too large ({}). {}"


def limits_html(say: Texts, limits: Limits, *, most_pictures: int) -> str:
    command = "<code>python launch.py caption FOLDER</code>"
    shown = say("uploads.limits", **_most(limits), pictures=f"{most_pictures:,}", command=command)
    return f"<p class='line remark'>{shown}</p>"


def refusals(say: Texts, limits: Limits) -> Mapping[str, str]:
    """By gradio's words, ours; {1} and {2} in them stand for what gradio said in these places."""
    return {
        _FILE: say("uploads.file", **_most(limits), names="{2}"),
        _REQUEST: say("uploads.together", **_most(limits), size="{1}"),
    }


def too_large(num_bytes: int | None, most_bytes: int) -> str:
    """What programs are told, and the page finds the size in; None where none was declared."""
    most = _in_mb(most_bytes)
    size = f"more than {most}" if num_bytes is None else _in_mb(num_bytes)
    return f"The request is too large ({size}). At most {most} are taken at a time."


def _most(limits: Limits) -> Mapping[str, str]:
    return {"file": _in_mb(limits.file_bytes), "together": _in_mb(limits.body_bytes)}


def _in_mb(num_bytes: int) -> str:
    return f"{num_bytes // 1_000_000:,} MB"
