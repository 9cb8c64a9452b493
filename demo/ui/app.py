"""Starts and ends the page: port, upload folder, server.

Owns what the server is started with, and what others may ask of it while it runs. gradio is imported here only when a
page is really wanted. Seconds end in ``_s``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from demo.config import ServerConfig
from demo.errors import ConfigError
from demo.ui.context import UiContext, Waiting

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI, Request

ASSETS = Path(__file__).resolve().parents[2] / "assets"
LEAVE_S = 1.0  # for open streams to deliver their last words
RANKS_S = 2  # how often those who wait are told their places; told at each change, all would cost all others


def check_port(host: str, port: int) -> None:
    """Refuse a port that is taken, while nothing has been loaded yet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a port"
            remedy = f"({reason}) End what uses it, or choose another with --port."
            raise ConfigError(
                "The page cannot be served at this address", value=f"{host}:{port}", remedy=remedy
            ) from None


@contextlib.contextmanager
def upload_folder() -> Iterator[Path]:
    """A folder of this process's own for uploads, which is gone when it ends. gradio is told by its variable."""
    if given := os.environ.get("GRADIO_TEMP_DIR"):
        yield Path(given)
        return
    folder = Path(tempfile.mkdtemp(prefix="vlm-demo-")).resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield folder
    finally:
        os.environ.pop("GRADIO_TEMP_DIR", None)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class RunningPage:
    """The page while it is up; ``app`` takes further routes."""

    app: FastAPI
    url: str
    share_url: str | None
    waiting: Waiting
    queue_is_alive: Callable[[], bool]

    def is_logged_in(self, request: Request) -> bool:
        """Whether the browser carries the cookie that the page's login gave it."""
        app: Any = self.app
        names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
        return any(request.cookies.get(name) in app.tokens for name in names)


@contextlib.contextmanager
def running(context: UiContext, config: ServerConfig) -> Iterator[RunningPage]:
    """The page, up while the context lasts."""
    page = build_app(context)
    app, url, share_url = launch(page, context, config)
    try:
        yield RunningPage(app, url, share_url, lambda: len(page._queue), lambda: not page._queue.stopped)
    finally:
        _close(page)


def build_app(context: UiContext) -> gr.Blocks:
    """The page with its queue, not yet served."""
    _prepare_gradio()
    from demo.ui.page import build_page
    from demo.ui.security import harden_queue

    page = build_page(context)
    page.queue(
        max_size=context.limits.queue,
        api_open=False,
        default_concurrency_limit=context.engine.capacity,
        status_update_rate=RANKS_S,
    )
    harden_queue(page)
    return page


def launch(page: gr.Blocks, context: UiContext, config: ServerConfig) -> tuple[Any, str, str | None]:
    """Serve a built page from a thread; returns the app, its address and, with ``share``, the public one."""
    from starlette.middleware import Middleware

    from demo.ui.front import ICONS, Front
    from demo.ui.labels import translations
    from demo.ui.page import blocks_of
    from demo.ui.security import Shield
    from demo.ui.sessions import Sessions
    from demo.ui.theme import make_theme

    app, url, share_url = page.launch(
        server_name=config.host,
        server_port=config.port,
        share=config.share,
        auth=config.auth,
        inbrowser=has_desktop(sys.platform, os.environ, sys.stdout),
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        max_threads=max(40, 2 * context.engine.capacity + 20),
        max_file_size=context.limits.file_bytes,
        app_kwargs={
            "middleware": [
                Middleware(Shield, max_body_bytes=context.limits.body_bytes),
                Middleware(Front, languages=context.languages, limits=context.limits, keeps_page=config.auth is None),
            ],
            "openapi_url": None,
        },
        theme=make_theme(),
        i18n=translations(context.languages, blocks_of(context)),
        css_paths=[ASSETS / "style.css"],
        favicon_path=ICONS / "icon-64.png",
        root_path=config.root_path,
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,  # its icons are drawn in any size for anyone; the page's own manifest is the `Front`'s
    )
    app.state_holder = Sessions(page)
    return app, url, share_url


def has_desktop(platform: str, environ: Mapping[str, str], out: TextIO) -> bool:
    """Whether somebody sits at this machine, in front of a screen that a browser can open on."""
    if not out.isatty() or environ.get("SSH_CONNECTION"):
        return False
    return platform in ("darwin", "win32") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def _prepare_gradio() -> None:
    """gradio reads these once, when it is imported."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # gradio asks itself whether it is up
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")  # else each request costs more than the last
    # gradio looks at its own address while it starts, which a proxy would not know
    local = {"127.0.0.1", "localhost", *filter(None, os.environ.get("no_proxy", "").split(","))}
    os.environ["no_proxy"] = ",".join(sorted(local))


def _close(page: gr.Blocks) -> None:
    """End the server. Tabs that are open keep connections alive, and are not waited for."""
    server = page.server
    timer = threading.Timer(LEAVE_S, setattr, (server, "force_exit", True))
    timer.daemon = True
    timer.start()
    page.close(verbose=False)
    timer.cancel()
