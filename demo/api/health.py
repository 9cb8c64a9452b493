"""What supervisors are told: whether a question would be answered. Pure; the routes are in `demo.api.routes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demo.engine.manager import ManagerSnapshot

_ABLE = ("idle", "busy", "parked")


def health(snapshot: ManagerSnapshot, queue_is_alive: bool) -> dict[str, Any]:
    """ "ok" once a replica can take a question, "loading" before, "failed" when none ever will."""
    states = [replica.state for replica in snapshot.replicas]
    if not queue_is_alive:
        status = "failed"
    elif any(state in _ABLE for state in states):
        status = "ok"
    else:
        status = "loading" if any(state in ("starting", "loading") for state in states) else "failed"
    return {"status": status, "model": snapshot.model, "replicas": states, "waiting": snapshot.waiting}
