"""Whether the installed packages are those that this demo was tested with, before anything of them is imported.

Owns the comparison with ``requirements.txt`` and its verdicts: what is missing or of an older generation cannot work
and is refused, anything else outside the tested range is told and tried. Imports none of the packages it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from demo.errors import ConfigError

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"
Part = Literal["page", "models"]
# What each part of the demo cannot do without; packages in no row are missed only by what uses them, which says so.
NEEDED: Mapping[Part, frozenset[str]] = MappingProxyType(
    {
        "page": frozenset({"filelock", "gradio", "numpy", "pillow"}),
        "models": frozenset(
            {"accelerate", "huggingface-hub", "jinja2", "numpy", "pillow", "safetensors", "tokenizers", "torch"}
            | {"transformers"}
        ),
    }
)

Installed = Callable[[str], "str | None"]  # a package's name -> its version, None where it is not installed


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One package that is not as it was tested, in words and with what to do about it."""

    what: str
    remedy: str
    is_fatal: bool


def installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check(
    parts: Sequence[Part],
    *,
    refuses: bool = True,
    installed: Installed = installed_version,
    file: Path = REQUIREMENTS,
) -> list[str]:
    """Sentences about packages outside the tested range.

    Raises `ConfigError` for the first that cannot work, unless nothing is run and all are only told.
    """
    found = list(mismatches(parts, requirements(file), installed))
    fatal = next((one for one in found if one.is_fatal), None)
    if refuses and fatal is not None:
        raise ConfigError(fatal.what, remedy=fatal.remedy)
    return [f"{one.what}. {one.remedy}" for one in found]


def requirements(file: Path) -> list[Requirement]:
    """What the file asks for on this platform; nothing where there is no file, as in a copy of the package alone."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    wanted = []
    for line in lines:
        text = line.partition("#")[0].strip()
        if text and not text.startswith("-"):
            wanted.append(_parsed(text))
    return [one for one in wanted if one.marker is None or one.marker.evaluate()]


def mismatches(parts: Sequence[Part], wanted: Sequence[Requirement], installed: Installed) -> Iterator[Mismatch]:
    needed = frozenset().union(*(NEEDED[part] for part in parts))
    for one in wanted:
        is_needed = canonicalize_name(one.name) in needed
        version = installed(one.name)
        remedy = f'Run: pip install "{one.name}{one.specifier}".'
        if version is None:
            if is_needed:
                yield Mismatch(f"{one.name} is not installed", remedy, is_fatal=True)
        elif is_needed and not one.specifier.contains(version, prereleases=True):
            what = f"{one.name} {version} is installed, and this demo was tested with {one.specifier}"
            yield Mismatch(what, remedy, is_fatal=_is_older_generation(version, one))


def _is_older_generation(version: str, wanted: Requirement) -> bool:
    """Of a smaller first number than the oldest that is supported."""
    lowest = min((Version(one.version) for one in wanted.specifier if one.operator in (">=", "==", "~=")), default=None)
    try:
        return lowest is not None and Version(version).major < lowest.major
    except InvalidVersion:
        return False


def _parsed(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ConfigError("requirements.txt cannot be read", value=text, remedy="Restore the file.") from error
