"""What a browser is given before gradio's page runs: the visitor's language, the page's name and icons, its own place.

Owns the head of the page, the manifest that makes it installable, its icons, and the prefix under which a proxy shows
it. Pure ASGI; gradio's own answers pass through it. Knows nothing of the page's parts.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from demo.ui.language import COOKIE, PARAMETER, TAGS, Languages, Texts
from demo.ui.security import App, Message, Receive, Scope, Send

ASSETS = Path(__file__).resolve().parents[2] / "assets"
ICONS = ASSETS / "icons"
SCRIPT = ASSETS / "page.js"
PAPER, NIGHT, ACCENT = "#f8f8f6", "#131312", "#226a64"  # of the theme
YEAR_S = 31_536_000
TYPES: Mapping[str, str] = {".svg": "image/svg+xml", ".png": "image/png"}

# Others' names and pictures in gradio's template, and its manifest, which is not looked for under a prefix
_FOREIGN = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*|<link rel="manifest"[^>]*>')
_CHARSET = re.compile(rb'<meta charset="utf-8" />')
_PREFIX = re.compile(r"(?:/[\w.~-]+)+")

Headers = Sequence[tuple[bytes, bytes]]


class Front:
    """Middleware inside the `Shield`."""

    def __init__(self, app: App, *, languages: Languages) -> None:
        self._app = app
        self._languages = languages
        self._icons = {f"/icons/{path.name}": path for path in ICONS.iterdir() if path.suffix in TYPES}
        script = SCRIPT.read_text(encoding="utf-8")
        self._pages = {name: Opening(say, languages.english, script) for name, say in languages.texts.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = _under_prefix(scope)
        path, is_read = _path(scope), scope["method"] in ("GET", "HEAD")
        say = self._languages.of(HTTPConnection(scope))
        if is_read and path == "/manifest.json":
            await _answer(send, json.dumps(manifest(say)).encode(), "application/manifest+json")
        elif is_read and path in self._icons:
            icon = self._icons[path]
            await _answer(send, icon.read_bytes(), TYPES[icon.suffix], max_age_s=86_400)
        elif scope["method"] == "GET" and path == "/":
            await self._app(scope, receive, _Sending(scope, send, self._pages[say.language]))
        else:
            await self._app(scope, receive, send)


class Opening:
    """Gradio's page with our head in it, in one language."""

    def __init__(self, say: Texts, english: Texts, script: str) -> None:
        self.language = say.language
        self._tag = TAGS[say.language]
        self._gradios, self._ours = (f'"title":{json.dumps(it("page.title"))}'.encode() for it in (english, say))
        self._head = head(say, script).encode()

    def opened(self, page: bytes) -> bytes:
        page = _FOREIGN.sub(b"", page)
        page = page.replace(b'lang="en"', f'lang="{self._tag}"'.encode(), 1).replace(self._gradios, self._ours, 1)
        return _CHARSET.sub(lambda found: found[0] + self._head, page, count=1)


class _Sending:
    """The answer to a visit: the page, and a cookie where a language was chosen."""

    def __init__(self, scope: Scope, send: Send, opening: Opening) -> None:
        self._visit = HTTPConnection(scope)
        self._send = send
        self._opening = opening
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_page(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_page(self._start)

    async def _send_page(self, start: Message) -> None:
        body = self._opening.opened(self._body)
        kept = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
        added = [(b"content-length", str(len(body)).encode()), (b"vary", b"Cookie, Accept-Language")]
        await self._send({**start, "headers": [*kept, *added, *self._cookie()]})
        await self._send({"type": "http.response.body", "body": body})

    def _cookie(self) -> Headers:
        if PARAMETER not in self._visit.query_params:
            return ()
        place = f"{urlsplit(self._visit.scope.get('root_path', '')).path}/"
        # in another site's frame, as on Spaces, only such a cookie is kept
        how = "SameSite=None; Secure; Partitioned" if _is_secure(self._visit) else "SameSite=Lax"
        cookie = f"{COOKIE}={self._opening.language}; Path={place}; Max-Age={YEAR_S}; {how}"
        return [(b"set-cookie", cookie.encode("latin-1"))]


def head(say: Texts, script: str) -> str:
    title, about = html.escape(say("page.title")), html.escape(say("page.description"))
    page = json.dumps({"tag": TAGS[say.language], "picture": say("page.picture")})
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


def manifest(say: Texts) -> dict[str, Any]:
    """What an installed page is called and looks like; its addresses are relative to where it is shown."""
    icons = [("icon-192.png", "192x192", "any"), ("icon-512.png", "512x512", "any")]
    icons += [("maskable-512.png", "512x512", "maskable")]
    return {
        "id": "./",
        "name": say("page.title"),
        "short_name": say("page.title"),
        "description": say("page.description"),
        "lang": TAGS[say.language],
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": PAPER,
        "theme_color": ACCENT,
        "icons": [
            {"src": f"./icons/{name}", "sizes": sizes, "type": "image/png", "purpose": purpose}
            for name, sizes, purpose in icons
        ],
    }


def _under_prefix(scope: Scope) -> Scope:
    """Where a proxy says under which prefix it shows the page, gradio is told with the host: it asks nothing else.

    ``--root-path`` says the same for proxies that do not.
    """
    said = {name: value for name, value in scope["headers"] if name in (b"x-forwarded-host", b"x-forwarded-prefix")}
    prefix = said.get(b"x-forwarded-prefix", b"").decode("latin-1").rstrip("/")
    if scope.get("root_path") or not _PREFIX.fullmatch(prefix):
        return scope
    connection = HTTPConnection(scope)
    host = said.get(b"x-forwarded-host", connection.headers.get("host", "").encode("latin-1")).partition(b",")[0]
    others = [pair for pair in scope["headers"] if pair[0] != b"x-forwarded-host"]
    shown = (b"x-forwarded-host", host.strip() + prefix.encode())
    return {**scope, "root_path": prefix, "headers": [*others, shown]}


def _path(scope: Scope) -> str:
    """The address without the prefix, for proxies that leave it there."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


def _is_page(start: Message) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in start["headers"])


def _is_secure(visit: HTTPConnection) -> bool:
    return visit.url.scheme == "https" or visit.headers.get("x-forwarded-proto", "").startswith("https")


async def _answer(send: Send, body: bytes, kind: str, *, max_age_s: int = 0) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", f"public, max-age={max_age_s}".encode() if max_age_s else b"no-cache"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
