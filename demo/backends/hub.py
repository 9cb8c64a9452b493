"""Turns a `ModelSpec` into a local directory, downloading it from the hub where it is not there yet.

Owns the choice of files (safetensors and text, never pickles), the pinning of a revision to a commit, the free-space
check, the progress in bytes and the telling apart of what can go wrong. Runs in the worker only. HF_HOME, HF_TOKEN,
HF_ENDPOINT and HF_HUB_OFFLINE are huggingface_hub's own and are honoured by it. Knows nothing of torch or models.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # the transport's own root; which library that is differs between versions of huggingface_hub
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import WeakFileLock, filter_repo_objects, tqdm

from demo.backends.base import Progress
from demo.backends.checkpoint import refuse_without_safetensors
from demo.catalog import ModelSpec
from demo.errors import DemoError, DiskFull, ModelGated, ModelNotFound, ModelUnavailable, NoNetwork

TEXT_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
WEIGHT_FILES = ("*.safetensors",)
CODE_FILES = ("*.py",)
IGNORED = (
    "*/*",
    "consolidated*",
)  # other formats in subfolders; a second copy of the weights in its maker's own format
ROOM = 1.1  # free space asked for, in sizes of what is missing
TIMEOUT_S = 10.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One repository at one revision, and which of its files."""

    repo: str
    revision: str | None
    patterns: tuple[str, ...]
    has_weights: bool

    def chosen(self, names: Sequence[str]) -> list[str]:
        return list(filter_repo_objects(names, allow_patterns=list(self.patterns), ignore_patterns=list(IGNORED)))

    def snapshot(self, **how: Any) -> Path:
        patterns = {"allow_patterns": list(self.patterns), "ignore_patterns": list(IGNORED)}
        return Path(snapshot_download(self.repo, **patterns, **how))


def fetch_model(spec: ModelSpec, progress: Progress) -> Path:
    """The directory of a model's weights and texts, downloaded or completed if need be."""
    if spec.is_directory:
        return _existing(Path(spec.source))
    patterns = TEXT_FILES + WEIGHT_FILES + (CODE_FILES if spec.trust_remote_code else ())
    return _fetch(_Wanted(spec.source, spec.revision, patterns, has_weights=True), progress)


def fetch_tokenizer(spec: ModelSpec, progress: Progress) -> Path | None:
    """The directory of a tokenizer of its own; None when it lies beside the weights."""
    if spec.tokenizer is None:
        return None
    if Path(spec.tokenizer).is_absolute():
        return _existing(Path(spec.tokenizer))
    return _fetch(_Wanted(spec.tokenizer, None, TEXT_FILES, has_weights=False), progress)


def _existing(directory: Path) -> Path:
    if not directory.is_dir():
        raise ModelNotFound("The model's directory is not there", value=directory.name, remedy="Check --model.")
    return directory


def _fetch(wanted: _Wanted, progress: Progress) -> Path:
    progress(f"looking up {wanted.repo}", None)
    with _translated(wanted):
        if constants.HF_HUB_OFFLINE:
            return _cached(wanted)
        try:
            found = HfApi().model_info(wanted.repo, revision=wanted.revision, files_metadata=True, timeout=TIMEOUT_S)
        except (HTTPError, OSError) as error:
            if _is_refusal(error):
                raise
            path = _cached(wanted)
            log.warning("The hub cannot be reached (%s); %s is taken from the cache", type(error).__name__, wanted.repo)
            return path
        return _download(wanted, found, progress)


def _is_refusal(error: Exception) -> bool:
    """Whether the hub answered about this model, rather than not at all or with a fault of its own."""
    response = getattr(error, "response", None)
    return isinstance(error, HfHubHTTPError) and response is not None and response.status_code < 500


def _cached(wanted: _Wanted) -> Path:
    return wanted.snapshot(revision=wanted.revision, local_files_only=True)


def _download(wanted: _Wanted, found: Any, progress: Progress) -> Path:
    sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    names = wanted.chosen(list(sizes))
    if wanted.has_weights and not any(name.endswith(".safetensors") for name in names):
        refuse_without_safetensors(list(sizes), wanted.repo)
    log.info("%s is pinned to commit %s", wanted.repo, found.sha)
    cache = Path(constants.HF_HUB_CACHE).expanduser()
    home = cache / f"models--{wanted.repo.replace('/', '--')}"
    home.mkdir(parents=True, exist_ok=True)
    # replicas start together: the second one waits here, so that it neither counts the room nor downloads twice
    with _lock(cache / ".locks" / home.name):
        missing_bytes = sum(sizes[name] for name in names if not _is_cached(wanted.repo, name, found.sha))
        _check_room(home, missing_bytes, wanted.repo)
        bar = _progress_bar(progress, wanted.repo, missing_bytes)
        path = wanted.snapshot(revision=found.sha, tqdm_class=bar, max_workers=4)
        _remember(home, wanted.revision or constants.DEFAULT_REVISION, found.sha)
    return path


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(folder / "demo.lock"):
        yield


def _is_cached(repo: str, name: str, commit: str) -> bool:
    return isinstance(try_to_load_from_cache(repo, name, revision=commit), str)


def _check_room(folder: Path, missing_bytes: int, repo: str) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if missing_bytes * ROOM > free_bytes:
        raise _disk_full(f"{repo} needs {_shown(int(missing_bytes * ROOM))}, {_shown(free_bytes)} are free")


def _disk_full(value: str) -> DiskFull:
    remedy = "Free some space, or set HF_HOME to a folder on a larger disk."
    return DiskFull("There is not enough room for the download", value=value, remedy=remedy)


def _remember(home: Path, revision: str, commit: str) -> None:
    """Note which commit a branch or tag stood for, so that it is found again without the network."""
    if revision != commit:
        ref = home / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit, encoding="utf-8")


def _progress_bar(progress: Progress, repo: str, total_bytes: int) -> type[tqdm]:
    """A tqdm class that prints nothing and reports the bytes of all files together."""
    shown = -1.0

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts_bytes = kwargs.get("unit") == "B"
            self.done_bytes = 0
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            nonlocal shown
            self.done_bytes += int(n or 0)
            fraction = min(1.0, self.done_bytes / max(1, total_bytes))
            # two bars count the same bytes (received, written): the one ahead is shown, in steps of half a percent
            if self.counts_bytes and (fraction >= shown + 0.005 or shown < fraction == 1.0):
                shown = fraction
                progress(f"downloading {repo}, {_shown(self.done_bytes)} of {_shown(total_bytes)}", fraction)

    return Bar


def _shown(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"


@contextmanager
def _translated(wanted: _Wanted) -> Iterator[None]:
    """Turn what huggingface_hub raises into the demo's own errors."""
    try:
        yield
    except DemoError:
        raise
    except (HTTPError, OSError, HFValidationError) as error:
        raise _as_ours(error, wanted) from error


def _as_ours(error: Exception, wanted: _Wanted) -> ModelUnavailable:
    match error:
        case GatedRepoError():
            remedy = "Accept the terms on the model's page, then set HF_TOKEN to a token of that account."
            return ModelGated(
                "The model is gated: its owner asks for terms to be accepted", value=wanted.repo, remedy=remedy
            )
        case RepositoryNotFoundError():
            remedy = "Check the spelling; a private repository needs HF_TOKEN."
            return ModelNotFound("The hub has no such model", value=wanted.repo, remedy=remedy)
        case RevisionNotFoundError():
            value = f"{wanted.repo}, revision {wanted.revision}"
            return ModelNotFound("The model has no such revision", value=value, remedy="Check --revision.")
        case HFValidationError():
            return ModelNotFound("This is not the name of a repository", value=wanted.repo, remedy="Write OWNER/REPO.")
        case HfHubHTTPError() if _status(error) in (401, 403):
            remedy = "Check that HF_TOKEN is valid and may read this model."
            return ModelGated("The hub does not accept the token", value=wanted.repo, remedy=remedy)
        case OSError() if _has_no_room(error):
            return _disk_full(wanted.repo)
        case PermissionError():
            remedy = "Set HF_HOME to a folder that can be written to."
            return ModelUnavailable("The hub's cache cannot be written to", value=wanted.repo, remedy=remedy)
    return _unreachable(error, wanted)


def _status(error: HfHubHTTPError) -> int | None:
    return error.response.status_code if error.response is not None else None


def _has_no_room(error: BaseException | None) -> bool:
    """Whether a full disk is at the bottom of it: the hub's client wraps some errors in others."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__
    return False


def _unreachable(error: Exception, wanted: _Wanted) -> NoNetwork:
    if constants.HF_HUB_OFFLINE or isinstance(error, OfflineModeIsEnabled):
        return NoNetwork(
            "HF_HUB_OFFLINE is set, and the model is not (wholly) in the cache",
            value=wanted.repo,
            remedy="Start once without HF_HUB_OFFLINE, or point HF_HOME at a cache that holds the model.",
        )
    log.info("The hub's answer: %s", error)
    what = "The hub cannot be reached, and the model is not in the cache"
    if not isinstance(error, LocalEntryNotFoundError):
        what = "The download was interrupted"
    remedy = "Check the network and start again: files that are complete are kept."
    return NoNetwork(what, value=wanted.repo, remedy=remedy)
