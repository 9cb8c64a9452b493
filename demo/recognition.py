"""Which family a repository belongs to that the catalogue does not name: its ``config.json`` says, before a download.

Owns the question to the hub's cache and then to the hub. No answer is no error: the model then chats and captions, and
whoever loads it meets the reason again. Knows nothing of what families can do.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from demo.catalog import family_in, resolve
from demo.config import EngineConfig, ModelChoice
from demo.engine.published import cached_directory, preview


def recognised(config: EngineConfig) -> EngineConfig:
    """The same configuration with the families of repositories in it. Raises `ConfigError` for a text-only model."""
    if config.endpoints:
        return config  # what a server has is told by name alone
    return replace(config, models=tuple(_recognised(choice, config.revision) for choice in config.models))


def _recognised(choice: ModelChoice, revision: str | None) -> ModelChoice:
    spec = resolve(replace(choice, role=None))
    if spec.family != "auto":
        return choice
    directory = cached_directory(spec.source, revision) or preview(spec.source, revision)[0]
    if directory is None or not Path(directory, "config.json").is_file():
        return choice
    return replace(choice, family=family_in(directory, spec.name))
