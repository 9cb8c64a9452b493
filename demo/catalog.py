"""The models this demo knows and what each can do, as data; and how a user's choice becomes a `ModelSpec`.

Owns the catalogue, the recognition of a directory's model family from its ``config.json``, and the choice's syntax:
``NAME``, ``DIR`` or ``OWNER/REPO``, each with options behind a question mark (``fake?token_s=0.05``,
``DIR?tokenizer=OWNER/REPO``). Knows nothing of torch, transformers, the hub or what is in its cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from demo.config import BUNDLED_MODEL, REMOTE_MODEL, ModelChoice
from demo.errors import BrokenCheckpoint, ConfigError, ModelNotFound
from demo.families import FAMILIES, TALKERS, Family, family_of
from demo.grounding.pictures import View
from demo.types import ROLES, Role, Size

BUNDLED = Path(__file__).resolve().parent.parent / "assets" / "bundled"
VICUNA = "lmsys/vicuna-7b-v1.5"  # CogVLM's and CogAgent's repositories hold no tokenizer; this one trained them
OURS = ("cogvlm", "cogvlm2", "cogagent")  # families that our own model code runs
_FAKE_LIMITS = ("max_pictures", "max_frames")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
CROSS_KEYS = ("cross_image_size", "cross_hidden_size")  # of CogAgent's larger picture
REPO_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*", re.ASCII)
# image-text-to-text models of transformers whose config has no vision_config of its own
VISION_TYPES = frozenset({"fuyu", "chameleon", "emu3", "t5gemma2"})


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model: where it is, how it is run and what it is good for."""

    name: str  # fit for the page: never a path
    source: str  # a directory, a repository, or "fake"
    family: str  # a name of `demo.families`, "fake", or "auto": decided once the files are there
    backend: str  # "hf" | "fake"
    dialect: str | None  # the grounding dialect's name
    roles: tuple[Role, ...]
    prompts: str
    tokenizer: str | None = None  # a repository or directory of its own; None: beside the weights
    revision: str | None = None
    trust_remote_code: bool = False
    max_pictures: int = 1  # per conversation
    max_turns: int | None = None  # questions of one conversation that it can follow; None: no limit is known
    max_frames: int = 0  # of a clip; 0: it takes none
    max_side: int | None = None  # longer sides are reduced for the model (pixels); None: it does so itself
    note: str = ""
    options: tuple[tuple[str, str], ...] = ()

    @property
    def is_directory(self) -> bool:
        return self.backend == "hf" and Path(self.source).is_absolute()

    @property
    def traits(self) -> Family:
        """What its family can do; the generic one's where it is not known yet."""
        return FAMILIES.get(self.family, FAMILIES["generic"])

    def seen(self, size: Size) -> Size | None:
        """The size of a picture that the model's boxes are in, where they are not relative to the picture."""
        return self.traits.seen(size)

    def view(self, size: Size) -> View:
        """A picture of this size as the model's boxes are read in it."""
        return View(size, self.seen(size))

    @property
    def has_system(self) -> bool:
        """Whether it heeds a system prompt, as far as is known of its family."""
        return self.traits.has_system

    @property
    def is_cogvlm(self) -> bool:
        """Whether our own model code runs it."""
        return self.family in OURS


def _spec(name: str, source: str, family: str, **changes: Any) -> ModelSpec:
    traits = FAMILIES.get(family, FAMILIES["generic"])
    spec = ModelSpec(name, source, family, "hf", traits.dialect, traits.roles, traits.prompts)
    spec = replace(spec, max_pictures=traits.max_pictures, max_turns=traits.max_turns, max_side=traits.max_side)
    return replace(spec, max_frames=traits.max_frames, **changes)


CATALOG: Mapping[str, ModelSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            _spec(BUNDLED_MODEL, str(BUNDLED), "cogvlm", max_turns=8),  # as many as the conversations that it was trained on have
            _spec("cogvlm", "zai-org/cogvlm-chat-hf", "cogvlm", tokenizer=VICUNA, roles=TALKERS),
            _spec("cogvlm-grounding", "zai-org/cogvlm-grounding-generalist-hf", "cogvlm", tokenizer=VICUNA),
            _spec("cogvlm2", "zai-org/cogvlm2-llama3-chat-19B", "cogvlm2", roles=TALKERS),
            _spec("cogagent-chat", "zai-org/cogagent-chat-hf", "cogagent", tokenizer=VICUNA),
            _spec("cogagent-vqa", "zai-org/cogagent-vqa-hf", "cogagent", tokenizer=VICUNA, roles=TALKERS),
            ModelSpec("fake", "fake", "fake", "fake", dialect="cogvlm", roles=ROLES, prompts="cogvlm"),
            *(_spec(name, source, row.name) for row in FAMILIES.values() for name, source in row.repositories),
        )
    }
)


def resolve(choice: ModelChoice, *, revision: str | None = None, trust_remote_code: bool = False) -> ModelSpec:
    """The spec of a catalogue name, an existing directory or a repository, in this order.

    Raises `ConfigError` or `ModelNotFound` for a name that is none of them, and `ConfigError` for a role that the model
    does not serve. Nothing is downloaded: a repository outside the catalogue has the family that the choice says, or
    "auto".
    """
    name, options = _split(choice.name)
    spec = _with_options(_find(name, choice.family or "auto"), options)
    _check_role(choice, spec)
    if spec.is_directory or spec.backend == "fake":
        return replace(spec, trust_remote_code=trust_remote_code and spec.is_directory)
    return replace(spec, revision=revision, trust_remote_code=trust_remote_code)


def resolve_remote(choice: ModelChoice) -> ModelSpec:
    """The spec of a model behind a server: one of the catalogue, or any name, of the family it says (``?family=``).

    Raises `ConfigError` for an unknown family, or a role that the model does not serve. Clips are not sent to servers.
    """
    name, options = _split(choice.name)
    family = dict(options).get("family", "generic")
    if family not in FAMILIES or dict(options).keys() - {"family"}:
        known = ", ".join(FAMILIES)
        raise ConfigError("Unknown option of a model behind --endpoint", value=choice.name, remedy=f"?family= {known}.")
    known_spec = CATALOG.get(name) or next((spec for spec in CATALOG.values() if spec.source == name), None)
    spec = known_spec or _spec(name, "" if name == REMOTE_MODEL else name, family)
    _check_role(choice, spec)
    return replace(spec, backend="openai", max_frames=0)


def spec_of_directory(directory: Path, *, name: str | None = None) -> ModelSpec:
    """Recognise the model in a directory by its ``config.json``; a text-only model is refused."""
    config = read_config(directory)
    name = name or directory.name
    family = _family_of(config, name)
    bare = not any((directory / file).exists() for file in TOKENIZER_FILES)
    return _spec(name, str(directory), family, tokenizer=VICUNA if bare and family in ("cogvlm", "cogagent") else None)


def family_in(directory: Path, name: str) -> str | None:
    """The family that a repository's ``config.json`` shows. None for our own, which other files tell the rest of."""
    family = _family_of(read_config(directory), name)
    return None if family in OURS else family


def read_config(directory: Path) -> dict[str, Any]:
    """The parsed ``config.json`` of a model's directory."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        remedy = "Name a directory with config.json and *.safetensors files, as save_pretrained() writes it."
        raise ModelNotFound("The directory holds no config.json", value=directory.name, remedy=remedy) from None
    except (OSError, ValueError):
        raise _unreadable(directory) from None
    if not isinstance(config, dict):
        raise _unreadable(directory)
    return config


def _unreadable(directory: Path) -> BrokenCheckpoint:
    remedy = "Download it again, or repair it: it must be one JSON object."
    return BrokenCheckpoint("config.json cannot be read", value=directory.name, remedy=remedy)


def _family_of(config: Mapping[str, Any], name: str) -> str:
    model_type = config.get("model_type")
    has_vision = isinstance(config.get("vision_config"), dict)
    is_unnamed = not model_type and "text_config" not in config  # so are published CogVLMs, whose configs are flat
    if has_vision and (is_unnamed or model_type in OURS):
        return family_of_ours(config)
    family = family_of(model_type).name
    is_known = family != "generic" and config.get("vision_config", {}) is not None  # some name that part differently
    if has_vision or is_known or model_type in VISION_TYPES:
        return family
    raise ConfigError(
        "This model reads no pictures: its config.json has no vision_config",
        value=f"{name}, model_type {model_type}",
        remedy="Choose an image-text-to-text model.",
    )


def family_of_ours(config: Mapping[str, Any]) -> str:
    """Which of ours a flat configuration is; published ones do not say, but for CogAgent's model class."""
    named = f"{config.get('model_type')} {config.get('architectures')}".lower()
    if "cogagent" in named or not config.keys().isdisjoint(CROSS_KEYS):
        return "cogagent"
    # only CogVLM2's decoder can share key and value heads
    return "cogvlm" if config.get("num_multi_query_heads") is None else "cogvlm2"


def _check_role(choice: ModelChoice, spec: ModelSpec) -> None:
    if choice.role is not None and choice.role not in spec.roles:
        raise ConfigError(
            f"This model does not serve the role {choice.role}",
            value=spec.name,
            remedy=f"It serves: {', '.join(spec.roles)}.",
        )


def _find(name: str, family: str) -> ModelSpec:
    if name == BUNDLED_MODEL:
        return replace(CATALOG[name], note=_bundled_note())
    if name in CATALOG:
        return CATALOG[name]
    directory = _directory(name)
    if directory is not None:
        return spec_of_directory(directory)
    if REPO_ID.fullmatch(name) and ".." not in name:
        return next((spec for spec in CATALOG.values() if spec.source == name), None) or _spec(name, name, family)
    if "/" in name or "\\" in name:
        raise ModelNotFound("There is no such directory", value=name, remedy="Check the path given to --model.")
    known = ", ".join(CATALOG)
    raise ConfigError("Unknown model", value=name, remedy=f"Known names: {known}; or a directory, or OWNER/REPO.")


def _split(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    name, _, query = text.partition("?")
    try:
        return name, tuple(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        remedy = "Write NAME?key=value&key=value."
        raise ConfigError("The model's options cannot be read", value=query, remedy=remedy) from None


def _with_options(spec: ModelSpec, options: tuple[tuple[str, str], ...]) -> ModelSpec:
    if spec.backend == "fake":
        limits: dict[str, Any] = {
            key: int(value) for key, value in options if key in _FAKE_LIMITS and value.isdecimal()
        }
        return replace(spec, options=options, **limits)  # what is no number is refused by the backend itself
    for key, value in options:
        if key != "tokenizer" or not value:
            raise ConfigError("Unknown model option", value=key, remedy="A model takes ?tokenizer=OWNER/REPO or DIR.")
        spec = replace(spec, tokenizer=str(_directory(value) or value))
    return spec


def _directory(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path.resolve() if text and path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long for the system, an unknown ~user, a null character
        return None


def _bundled_note() -> str:
    try:
        num_nouns = str(len(json.loads((BUNDLED / "nouns.json").read_text(encoding="utf-8"))))
    except (OSError, ValueError):
        num_nouns = "some"
    return (
        f"This small model was trained on drawn emoji scenes only: it knows {num_nouns} kinds of things; "
        "photos are not its world. Start with --model REPO for photos."
    )
