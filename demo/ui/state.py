"""The folder for what outlives the process: which one it is, and that one demo at a time writes into it.

Owns the choice and the lock, which the operating system frees when its process ends, however it ends. Two demos with
one folder would both work at a job that both were shown. Knows nothing of what is in the folder.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from demo.errors import ConfigError

LOCK = "lock"

log = logging.getLogger(__name__)


def default_folder(environ: Mapping[str, str]) -> Path | None:
    """Where programs keep what is to survive a restart; see the XDG base directories. None for a user without a home,
    as in many a container."""
    base = Path(environ.get("XDG_STATE_HOME", ""))
    try:
        return (base if base.is_absolute() else Path("~/.local/state").expanduser()) / "vlm-demo"
    except RuntimeError:
        return None


@contextlib.contextmanager
def state_folder(given: str | None, environ: Mapping[str, str]) -> Iterator[Path | None]:
    """This process's own while the context lasts; None where nothing is to be kept.

    Raises `ConfigError` where another demo has the folder that was asked for. Nobody asked for the default one: a
    second demo beside the first starts without it, and tells what that costs.
    """
    folder = Path(given).absolute() if given else default_folder(environ)
    if folder is None:
        yield None
        return
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire()
    except Timeout:
        if given:
            remedy = "End that one, or give this one a folder of its own with --state."
            raise ConfigError("Another demo keeps its jobs in this folder", value=folder, remedy=remedy) from None
        log.warning(
            "another demo keeps its jobs in %s; this one's end with it, unless --state gives it a folder", folder
        )
        yield None
        return
    except (OSError, NotImplementedError) as error:  # whoever begins a job there is told that it cannot be kept
        log.warning("%s cannot be locked: %s", folder, error)
    try:
        yield folder
    finally:
        lock.release()
