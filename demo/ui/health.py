"""The routes for supervisors: /livez says that the process answers, /healthz whether a question would be answered.

Neither goes through the page's queue, and both answer without a login.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from demo.ui.context import Engine


def add_health_routes(app: FastAPI, engine: Engine, queue_is_alive: Callable[[], bool]) -> None:
    """On the app that gradio's launch returned; routes added before are lost."""

    async def livez() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def healthz() -> JSONResponse:
        report = health(engine, queue_is_alive())
        return JSONResponse(report, status_code=200 if report["status"] == "ok" else 503)

    for path, route in (("/livez", livez), ("/healthz", healthz)):
        app.add_api_route(path, route, methods=["GET"], include_in_schema=False)
        app.router.routes.insert(0, app.router.routes.pop())  # before gradio's route for any path


def health(engine: Engine, queue_is_alive: bool) -> dict[str, Any]:
    """ "ok" once a replica can take a question, "loading" before, "failed" when none ever will."""
    snapshot = engine.snapshot()
    states = [replica.state for replica in snapshot.replicas]
    if not queue_is_alive:
        status = "failed"
    elif any(state in ("idle", "busy") for state in states):
        status = "ok"
    else:
        status = "loading" if any(state in ("starting", "loading") for state in states) else "failed"
    return {"status": status, "model": snapshot.model, "replicas": states, "waiting": snapshot.waiting}
