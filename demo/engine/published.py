"""What the hub tells of a model before it is downloaded: its commit, its small files and its weights' headers.

Owns these questions; none of them is an error here, for the worker meets it again and says what to do. Knows nothing
of models. Runs in the process that serves the page, where huggingface_hub is imported when it is needed.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path

from demo.engine.headers import Stored, total

SMALL_FILES = ("config.json", "preprocessor_config.json")
LOOK_UP_S = 10.0  # the longest that a plan waits for the hub

log = logging.getLogger(__name__)


def cached_directory(repository: str, revision: str | None) -> Path | None:
    """Where the hub's cache has a repository's files; None if it does not, and some may still be missing."""
    hub = importlib.import_module("huggingface_hub")
    cached = hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(cached).parent if isinstance(cached, str) else None


def preview(repository: str, revision: str | None) -> tuple[Path | None, Stored | None]:
    """The cache's folder of a repository with the configuration in it, and what its weight files hold.

    Either is None where the hub does not say.
    """
    hub = importlib.import_module("huggingface_hub")
    try:
        # Asked first, for it is the one question that the client does not repeat for half a minute without a network.
        found = hub.HfApi().model_info(repository, revision=revision, timeout=LOOK_UP_S)
    except _hub_errors() as error:
        log.info("%s cannot be looked up on the hub (%s)", repository, type(error).__name__)
        return None, None
    names = [file.rfilename for file in found.siblings or ()]
    has_weights = any(name.endswith(".safetensors") for name in names)
    directory = _fetch(repository, found.sha, [name for name in SMALL_FILES if name in names])
    return directory, _stored_at(repository, found.sha) if has_weights else None


def _fetch(repository: str, commit: str, names: Sequence[str]) -> Path | None:
    hub = importlib.import_module("huggingface_hub")
    try:
        paths = [Path(hub.hf_hub_download(repository, name, revision=commit)) for name in names]
    except _hub_errors() as error:
        log.info("The configuration of %s cannot be fetched (%s)", repository, type(error).__name__)
        return None
    return paths[0].parent if paths else None


def _stored_at(repository: str, commit: str) -> Stored | None:
    hub = importlib.import_module("huggingface_hub")
    try:
        found = hub.get_safetensors_metadata(repository, revision=commit)
    except _hub_errors() as error:
        log.info("The headers of %s cannot be read (%s)", repository, type(error).__name__)
        return None
    files = found.files_metadata.values()
    return total(((tensor.dtype, tensor.parameter_count) for tensor in file.tensors.values()) for file in files)


def _hub_errors() -> tuple[type[Exception], ...]:
    """What may go wrong there. None of it is the planner's to tell: the worker meets it again, and says what to do."""
    errors = importlib.import_module("huggingface_hub.errors")
    parsing = errors.NotASafetensorsRepoError, errors.SafetensorsParsingError
    return (*parsing, errors.HTTPError, OSError, ValueError)  # the transport's root, whichever library that is
