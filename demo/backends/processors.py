"""Loads what prepares a model's input: its tokenizer, and the part that reads pictures.

Owns the way round torchvision, which transformers asks for wherever a processor has a part for videos: that part is
left out where torchvision is not installed, since clips come as pictures. Knows nothing of weights.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoProcessor, AutoTokenizer
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from demo.catalog import ModelSpec
from demo.errors import ConfigError

NAMING_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")

log = logging.getLogger(__name__)


def load(directory: Path, spec: ModelSpec) -> Any:
    """The processor of a model's directory; raises `ConfigError` where it needs what is not installed."""
    how = {"local_files_only": True, "trust_remote_code": spec.trust_remote_code}
    try:
        return AutoProcessor.from_pretrained(directory, **how)
    except (ImportError, ValueError) as error:  # the latter where the repository has one file for the whole processor
        if not _asks_for_torchvision(error):
            raise
        log.info("torchvision is not installed: %s is prepared for pictures only, not for videos", spec.name)
    try:
        return _without_videos(directory)
    except (ImportError, ValueError) as error:  # some read pictures with it too
        if not _asks_for_torchvision(error):
            raise
        remedy = "Install the torchvision that belongs to your torch, or choose another model."
        raise ConfigError(
            "The model's pictures cannot be read without torchvision", value=spec.name, remedy=remedy
        ) from error


def _asks_for_torchvision(error: BaseException | None) -> bool:
    """Whether that is what it says, or what it was caused by."""
    while error is not None:
        if "orchvision" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _without_videos(directory: Path) -> Any:
    """The model's processor without the part that reads videos, which is all that needs torchvision."""
    full: Any = _class_of(directory)

    class PicturesOnly(full):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            is_left_out = argument is None or argument_name == "video_processor"
            return None if is_left_out else super().check_argument_for_proper_class(argument_name, argument)

        def __repr__(self) -> str:  # the library logs it, as JSON of all its parts
            return str(full.__name__)

    readers = {"tokenizer": AutoTokenizer, "image_processor": AutoImageProcessor}
    parts = {name: cls.from_pretrained(directory, local_files_only=True) for name, cls in readers.items()}
    parts["video_processor"] = _VideosLeftOut(parts["image_processor"])
    settings, how = full.get_processor_dict(directory, local_files_only=True)
    return PicturesOnly.from_args_and_dict([parts.get(name) for name in full.get_attributes()], settings, **how)


class _VideosLeftOut:
    """Stands where a processor has its part for videos, which is never given one, but is asked for its settings."""

    def __init__(self, pictures: Any) -> None:
        self._pictures = pictures

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__.get("_pictures"), name, None)


def _class_of(directory: Path) -> Any:
    """The class that the files name, or else the one of the model's type."""
    named = next(filter(None, (_named_in(directory / file) for file in NAMING_FILES)), "")
    if hasattr(transformers, named):
        return getattr(transformers, named)
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    if type(config) not in PROCESSOR_MAPPING:
        remedy = "Install a newer transformers, or choose another model."
        raise ConfigError("Nothing says how this model's input is prepared", value=config.model_type, remedy=remedy)
    return PROCESSOR_MAPPING[type(config)]


def _named_in(file: Path) -> str:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    named = settings.get("processor_class") if isinstance(settings, dict) else None
    return named if isinstance(named, str) else ""


def pin_pixels(processor: Any, spec: ModelSpec) -> None:
    """Have pictures resized within the limits that the page assumes when it reads boxes in pixels of the result."""
    if spec.traits.pixels is None:
        return
    least, most = spec.traits.pixels
    pictures = processor.image_processor
    pictures.size = {"shortest_edge": least, "longest_edge": most}
    for name in ("min_pixels", "max_pixels"):  # they would go before the size
        if getattr(pictures, name, None) is not None:
            setattr(pictures, name, None)
