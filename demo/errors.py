"""The demo's own error family. Every error says three facts: what is wrong, with which value, and what to do.

Owns the classes, their exit codes and HTTP statuses, and the way an error crosses a process boundary (as its
``kind`` and its message, since exceptions may not pickle). Knows nothing of who raises or shows them.
"""

from __future__ import annotations

from typing import ClassVar


class DemoError(Exception):
    """Root of the family. ``str(error)`` is one or two sentences fit for any user: no path of the server, no trace."""

    kind: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, what: str, *, value: object = None, remedy: str = "") -> None:
        self.what = what
        self.value = value
        self.remedy = remedy
        shown = "" if value is None else f" ({value})"
        super().__init__(f"{what}{shown}. {remedy}".strip())


class ConfigError(DemoError):
    """A flag, an environment variable or a combination of them is wrong."""

    kind = "config"
    exit_code = 2
    http_status = 400


class DoesNotFit(DemoError):
    """The plan does not fit the devices; the message carries the arithmetic."""

    kind = "does_not_fit"
    exit_code = 2
    http_status = 503


class InvalidInput(DemoError):
    """What a user sent cannot be used as it is."""

    kind = "invalid_input"
    exit_code = 2
    http_status = 400


class PictureError(InvalidInput):
    """A file is not a picture this demo opens, or it is broken, empty or too large."""

    kind = "picture"


class ClipError(InvalidInput):
    """A file is not a clip that this demo opens, or it is broken, empty, too large or too long."""

    kind = "clip"


class ContextTooLong(InvalidInput):
    """The conversation does not fit the model's context."""

    kind = "context_too_long"


class ModelUnavailable(DemoError):
    """A model cannot be had. The subclasses tell the reasons apart."""

    kind = "model_unavailable"
    http_status = 503


class ModelNotFound(ModelUnavailable):
    """No such repository, revision or directory."""

    kind = "model_not_found"
    exit_code = 2


class ModelGated(ModelUnavailable):
    """The repository exists, but this user may not read it (yet)."""

    kind = "model_gated"


class NoNetwork(ModelUnavailable):
    """The hub cannot be reached, and the model is not in the cache."""

    kind = "no_network"


class DiskFull(ModelUnavailable):
    """Not enough room for the download."""

    kind = "disk_full"


class UnsafeWeights(ModelUnavailable):
    """Only pickled weights, or remote code that was not asked for."""

    kind = "unsafe_weights"
    exit_code = 2


class BrokenCheckpoint(ModelUnavailable):
    """Files are missing, truncated or do not match the model."""

    kind = "broken_checkpoint"


class OutOfMemory(DemoError):
    """A device ran out of memory while answering."""

    kind = "out_of_memory"
    http_status = 503


class ReplicaDied(DemoError):
    """The process that was answering ended; another one is being started."""

    kind = "replica_died"
    http_status = 503


class EndpointDown(DemoError):
    """A server that answers in a model's place cannot be reached; it may come back."""

    kind = "endpoint_down"
    http_status = 503


class Busy(DemoError):
    """Every place, in the queue too, is taken."""

    kind = "busy"
    http_status = 503


class ShuttingDown(DemoError):
    """The demo is stopping and takes no more requests."""

    kind = "shutting_down"
    http_status = 503


def _family(root: type[DemoError]) -> dict[str, type[DemoError]]:
    found = {root.kind: root}
    for child in root.__subclasses__():
        found.update(_family(child))
    return found


def from_kind(kind: str, message: str) -> DemoError:
    """Rebuild an error that crossed a process boundary; an unknown kind becomes a plain `DemoError`."""
    cls = _family(DemoError).get(kind, DemoError)
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.what, error.value, error.remedy = message, None, ""
    return error
