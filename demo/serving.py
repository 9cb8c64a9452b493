"""Serves the page and the routes beside it until told to stop: the one place that knows both.

Owns the order: refuse what cannot work, let the models load in the background, serve, and leave within seconds.
"""

from __future__ import annotations

import logging
import os
from contextlib import closing

from demo.api.chat import add_chat_routes
from demo.api.routes import Service, add_routes
from demo.config import BUNDLED_MODEL, EngineConfig, ServerConfig
from demo.engine.devices import detect
from demo.engine.manager import ModelManager
from demo.engine.recommended import Offer, offers
from demo.engine.telemetry import Monitor
from demo.stopping import StopSignal
from demo.ui.app import check_port, running, upload_folder
from demo.ui.context import Limits, make_context
from demo.ui.state import state_folder

SWEEP_S = 600.0  # between two looks for jobs that are too old
FOR_TRYING_OUT = frozenset({BUNDLED_MODEL, "fake"})

log = logging.getLogger(__name__)


def serve(engine_config: EngineConfig, server_config: ServerConfig) -> None:
    """Serve until SIGINT or SIGTERM. Raises the family's errors before anything is loaded."""
    check_port(server_config.host, server_config.port)
    offered = _offers(engine_config)
    with (
        state_folder(server_config.state, os.environ) as state,
        ModelManager(engine_config) as manager,
        closing(Monitor(manager.snapshot)) as monitor,
        upload_folder() as folder,
    ):
        manager.start()
        stop = StopSignal()
        limits = Limits(queue=server_config.max_queue)
        context = make_context(manager, look=monitor.look, folder=folder, state=state, limits=limits, offers=offered)
        with running(context, server_config) as page:
            service = Service(
                manager.snapshot,
                monitor.look,
                page.waiting,
                page.queue_is_alive,
                page.is_logged_in if server_config.auth else None,
                server_config.api_key,
            )
            add_routes(page.app, service)
            add_chat_routes(page.app, service, manager, max_queue=server_config.max_queue)
            log.info("the page is at %s", page.url)
            while not stop.wait(SWEEP_S):
                context.desk.sweep()


def _offers(config: EngineConfig) -> tuple[Offer, ...]:
    """Models for photos, where all that was chosen is for trying out. Planned before anything takes of the memory."""
    names = {choice.name.partition("?")[0] for choice in config.models}
    return offers(detect()) if names <= FOR_TRYING_OUT else ()
