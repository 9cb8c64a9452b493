"""Middleware that gives a browser what it asks before gradio's page runs: the page itself, its manifest and its icons.

Owns these addresses, the choice of language, and the prefix under which a proxy shows the page. Pure ASGI; all else
passes through to gradio. What is in the page is `demo.ui.opening`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from demo.ui.context import Limits
from demo.ui.language import COOKIE, PARAMETER, TAGS, Language, Languages, Texts
from demo.ui.opening import PAPER, KeptPages, OpenedPage, Opening
from demo.ui.security import App, Message, Receive, Scope, Send

ICONS = Path(__file__).resolve().parents[2] / "assets" / "icons"
TYPES: Mapping[str, str] = {".svg": "image/svg+xml", ".png": "image/png"}
ACCENT = "#226a64"  # of the theme
YEAR_S, DAY_S = 31_536_000, 86_400
# What gradio makes of the page's address
_SEEN_AT = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")
_PREFIX = re.compile(r"(?:/[\w.~-]+)+")

Headers = Sequence[tuple[bytes, bytes]]


class Front:
    """Stands inside the `Shield`. ``keeps_page`` is for pages that are the same for all: without a login."""

    def __init__(self, app: App, *, languages: Languages, limits: Limits, keeps_page: bool) -> None:
        self._app = app
        self._languages = languages
        self._icons = {f"/icons/{path.name}": path for path in ICONS.iterdir() if path.suffix in TYPES}
        self._openings = {name: Opening(say, languages.english, limits) for name, say in languages.texts.items()}
        self._kept = KeptPages() if keeps_page else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = _under_prefix(scope)
        path, is_read = _path(scope), scope["method"] in ("GET", "HEAD")
        if is_read and path == "/manifest.json":
            shown = manifest(self._languages.of(HTTPConnection(scope)))
            await _answer(send, json.dumps(shown).encode(), "application/manifest+json")
        elif is_read and path in self._icons:
            icon = self._icons[path]
            await _answer(send, icon.read_bytes(), TYPES[icon.suffix], max_age_s=DAY_S)
        elif scope["method"] == "GET" and path == "/":
            await self._open(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = HTTPConnection(scope)
        language = self._languages.of(visit).language
        key = _key(visit, language) if self._kept is not None else None
        page = self._kept.get(key) if self._kept is not None and key is not None else None
        if page is None:
            made = _Made(send)
            await self._app(scope, receive, made)
            if made.page is None:  # something else was answered
                return
            page = self._openings[language].opened(made.page)
            if self._kept is not None and key is not None:
                self._kept.keep(key, page)
        await _send_page(send, page, visit, language)


class _Made:
    """Holds gradio's page back, and passes on whatever else is answered."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._body: bytes | None = None
        self.page: bytes | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_page(message):
            self._body = b""
        elif self._body is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                self.page = self._body


async def _send_page(send: Send, page: OpenedPage, visit: HTTPConnection, language: Language) -> None:
    takes_packed = "gzip" in visit.headers.get("accept-encoding", "")
    body = page.packed if takes_packed else page.plain
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-cache"),
        (b"vary", b"Cookie, Accept-Language, Accept-Encoding"),
        *([(b"content-encoding", b"gzip")] if takes_packed else []),
        *_cookie(visit, language),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _cookie(visit: HTTPConnection, language: Language) -> Headers:
    """A language that was chosen is remembered."""
    if PARAMETER not in visit.query_params:
        return ()
    place = f"{urlsplit(visit.scope.get('root_path', '')).path}/"
    # in another site's frame, as on Spaces, only such a cookie is kept
    how = "SameSite=None; Secure; Partitioned" if _is_secure(visit) else "SameSite=Lax"
    return [(b"set-cookie", f"{COOKIE}={language}; Path={place}; Max-Age={YEAR_S}; {how}".encode("latin-1"))]


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


def _key(visit: HTTPConnection, language: Language) -> Hashable:
    """What tells pages apart; None for an address that asks for more than the page."""
    if set(visit.query_params) & {"deep_link", "page"}:
        return None
    seen_at = tuple(visit.headers.get(name) for name in _SEEN_AT)
    return language, visit.url.scheme, visit.scope.get("root_path", ""), seen_at


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
    if start["status"] != 200:
        return False
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
