"""The demo's configuration as frozen data: what the command line and the environment boil down to.

Owns the fields, their defaults and the checks between them. Knows nothing of argv (see `demo.cli`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from demo.errors import ConfigError
from demo.types import Role

DType = Literal["auto", "bfloat16", "float16", "float32"]
Quantization = Literal["none", "int8", "int4"]

BUNDLED_MODEL = "bundled"


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model as the user named it (catalogue name, repository or directory) and the role it is for; None is all.

    ``family`` is what a repository that the catalogue does not name was found to be; see `demo.recognition`.
    """

    name: str
    role: Role | None = None
    family: str | None = None


@dataclass(frozen=True, slots=True)
class EngineConfig:
    models: tuple[ModelChoice, ...] = (ModelChoice(BUNDLED_MODEL),)
    placement: str = "auto"
    devices: tuple[int, ...] | None = None
    max_memory: dict[int, int] = field(default_factory=dict)  # card -> bytes
    dtype: DType = "auto"
    quantize: Quantization = "none"
    offload: bool = False
    context: int | None = None  # tokens that are planned for; None: what the model can take, at most 8192
    swap: bool = False  # models that do not fit the cards together take turns on them
    revision: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.trust_remote_code and self.revision is None:
            raise ConfigError(
                "--trust-remote-code needs a pinned revision",
                remedy="Add --revision with the commit whose code you have read.",
            )


@dataclass(frozen=True, slots=True)
class ServerConfig:
    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    auth: tuple[str, str] | None = None
    api_key: str | None = None
    max_queue: int = 32
    root_path: str = ""  # under which a proxy shows the page
