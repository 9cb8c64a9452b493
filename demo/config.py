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
Compile = Literal["auto", "graphs", "off"]

BUNDLED_MODEL = "bundled"
REMOTE_MODEL = "remote"  # whatever a server has


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
    slots: int | None = None  # answers at a time in each replica; None: as many as there is room for
    is_batch: bool = False  # nobody waits for a single answer; more at a time are worth their memory
    swap: bool = False  # models that do not fit the cards together take turns on them
    compile: Compile = "auto"  # graphs: steps recorded as CUDA graphs; auto: where there is room for them
    revision: str | None = None
    trust_remote_code: bool = False
    endpoints: tuple[str, ...] = ()  # servers that answer in place of models of our own, one a replica

    def __post_init__(self) -> None:
        if self.endpoints:
            self._check_nothing_is_placed()
        if self.trust_remote_code and self.revision is None:
            raise ConfigError(
                "--trust-remote-code needs a pinned revision",
                remedy="Add --revision with the commit whose code you have read.",
            )

    def _check_nothing_is_placed(self) -> None:
        """Where a model goes, and in which form, is for the server to say."""
        silent = EngineConfig()
        own = ("placement", "devices", "max_memory", "dtype", "quantize", "offload", "context", "swap", "compile")
        for name in (*own, "revision", "trust_remote_code"):
            if getattr(self, name) != getattr(silent, name):
                flag = f"--{name.replace('_', '-')}"
                remedy = "Leave one of the two out; the server decides on that."
                raise ConfigError(f"{flag} means nothing to a model behind --endpoint", remedy=remedy)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    auth: tuple[str, str] | None = None
    api_key: str | None = None
    max_queue: int = 32
    root_path: str = ""  # under which a proxy shows the page
    state: str | None = None  # the folder for what outlives the process; None: the user's own for such things
