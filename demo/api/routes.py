"""The routes beside the page: /livez and /healthz for supervisors, /metrics for Prometheus.

None goes through the page's queue. The first two answer anyone, for whoever restarts the demo has no login; /metrics
asks for the page's login or the key of --api-key where one of them is set. Owns that question, which `demo.api.chat`
asks too. Knows nothing of the page.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from demo.api.health import health
from demo.api.metrics import CONTENT_TYPE, metrics_text

if TYPE_CHECKING:
    from demo.engine.manager import ManagerSnapshot
    from demo.engine.telemetry import Status


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes are given of the running demo. ``is_logged_in`` is None where the page asks for no login."""

    snapshot: Callable[[], ManagerSnapshot]
    look: Callable[[], Status]
    waiting: Callable[[], int]
    queue_is_alive: Callable[[], bool]
    is_logged_in: Callable[[Request], bool] | None = None
    api_key: str | None = None


def add_routes(app: FastAPI, service: Service) -> None:
    """On the app that gradio's launch returned; routes added before are lost."""

    async def livez() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def healthz() -> JSONResponse:
        report = health(service.snapshot(), service.queue_is_alive())
        return JSONResponse(report, status_code=200 if report["status"] == "ok" else 503)

    def metrics(request: Request) -> Response:  # in a thread, as a look may wait for the driver
        if not may_read(service, request):
            return refusal()
        return Response(metrics_text(service.look(), waiting=service.waiting()), media_type=CONTENT_TYPE)

    add_route(app, "/livez", livez)
    add_route(app, "/healthz", healthz)
    add_route(app, "/metrics", metrics)


def may_read(service: Service, request: Request) -> bool:
    """Whether this request may see more than a supervisor does."""
    if service.api_key is None and service.is_logged_in is None:
        return True
    if service.api_key is not None and _bears(request, service.api_key):
        return True
    return service.is_logged_in is not None and service.is_logged_in(request)


def _bears(request: Request, key: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Headers come decoded as Latin-1, in which every byte is a character.
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), key.encode())


def refusal() -> Response:
    message = "This needs the page's login, or the key of --api-key as a bearer token."
    headers = {"WWW-Authenticate": "Bearer"}
    error = {"message": message, "type": "authentication_error", "param": None, "code": "unauthorized"}
    return JSONResponse({"error": error}, status_code=401, headers=headers)


def add_route(app: FastAPI, path: str, route: Callable[..., Any], *methods: str) -> None:
    """Before all routes that were added until now; without ``methods`` it is read."""
    app.add_api_route(path, route, methods=[*methods] or ["GET"], include_in_schema=False)
    app.router.routes.insert(0, app.router.routes.pop())  # before gradio's route for any path
