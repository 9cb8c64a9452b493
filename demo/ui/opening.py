"""The page as a browser first gets it: gradio's, with a head of our own, in the visitor's language.

Owns what is put into that head and what is taken out, and keeps finished pages: gradio makes each anew, which costs ten
milliseconds, though they are the same for all who come by the same address. Knows nothing of requests.
"""

from __future__ import annotations

import gzip
import html
import json
import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from demo.ui.context import Limits
from demo.ui.language import PARAMETER, TAGS, Texts
from demo.ui.uploads import refusals

_ASSETS = Path(__file__).resolve().parents[2] / "assets"
SCRIPTS = tuple(_ASSETS / name for name in ("page.js", "tabs.js", "words.js", "grounding.js", "shortcuts.js"))
PAPER, NIGHT = "#f8f8f6", "#131312"  # of the theme
MOST_KEPT = 16  # one for each language and address

# Others' names and pictures in gradio's template, and its manifest, which is not looked for under a prefix
_FOREIGN = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*|<link rel="manifest"[^>]*>')
_CHARSET = re.compile(rb'<meta charset="utf-8" />')


@dataclass(frozen=True, slots=True)
class OpenedPage:
    plain: bytes
    packed: bytes  # by gzip


class Opening:
    """Makes gradio's page ours, in one language."""

    def __init__(self, say: Texts, english: Texts, limits: Limits) -> None:
        self._tag = TAGS[say.language]
        self._gradios, self._ours = (f'"title":{json.dumps(it("page.title"))}'.encode() for it in (english, say))
        script = "".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
        self._head = head(say, script, limits).encode()

    def opened(self, page: bytes) -> OpenedPage:
        page = _FOREIGN.sub(b"", page)
        page = page.replace(b'lang="en"', f'lang="{self._tag}"'.encode(), 1).replace(self._gradios, self._ours, 1)
        page = _CHARSET.sub(lambda found: found[0] + self._head, page, count=1)
        return OpenedPage(page, gzip.compress(page, compresslevel=6))


class KeptPages:
    """The newest few, by whatever tells them apart."""

    def __init__(self) -> None:
        self._pages: dict[Hashable, OpenedPage] = {}

    def get(self, key: Hashable) -> OpenedPage | None:
        return self._pages.get(key)

    def keep(self, key: Hashable, page: OpenedPage) -> None:
        self._pages[key] = page
        while len(self._pages) > MOST_KEPT:
            del self._pages[next(iter(self._pages))]


def head(say: Texts, script: str, limits: Limits) -> str:
    title, about = html.escape(say("page.title")), html.escape(say("page.description"))
    texts = {"picture": say("page.picture"), "edit": say("chat.edit"), "keys": say("page.keys")}
    page = json.dumps({"tag": TAGS[say.language], **texts, "gradio": {**say.gradios, **refusals(say, limits)}})
    return (
        f"<script>const PAGE = {page};\n{script}</script>"
        f"<title>{title}</title><meta name='description' content='{about}'>"
        f"<meta property='og:title' content='{title}'><meta property='og:description' content='{about}'>"
        f"<link rel='manifest' href='./manifest.json?{PARAMETER}={say.language}'>"
        f"<link rel='icon' type='image/svg+xml' href='./icons/icon.svg'>"
        f"<link rel='apple-touch-icon' href='./icons/icon-180.png'>"
        f"<meta name='theme-color' media='(prefers-color-scheme: light)' content='{PAPER}'>"
        f"<meta name='theme-color' media='(prefers-color-scheme: dark)' content='{NIGHT}'>"
    )
