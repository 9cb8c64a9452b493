"""The flags of the command line as data: name, help, choices, and how a value is read.

Owns the tables that the parser, the environment twins and the README are made of. Knows nothing of argparse or of what
a command does. Defaults are where the fields are, in `demo.config`; the help repeats them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from demo.config import Compile, DType, ModelChoice, Quantization
from demo.engine.devices import parse_bytes
from demo.errors import ConfigError
from demo.types import ROLES, Role

CaptionStyle = Literal["short", "detailed", "grounded"]
Existing = Literal["skip", "overwrite", "append"]
Export = Literal["parquet", "zip"]


def _text(value: str) -> str:
    return value


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. ``metavar`` None makes it a switch; ``many`` lets it be given several times."""

    name: str
    metavar: str | None
    help: str
    parse: Callable[[str], Any] = _text
    choices: tuple[str, ...] = ()
    many: bool = False
    short: str = ""
    also: str = ""  # another variable that is read where the twin is not set

    @property
    def key(self) -> str:
        return self.name.lstrip("-").replace("-", "_")

    @property
    def variable(self) -> str:
        """Its twin in the environment."""
        return "DEMO_" + self.key.upper()

    def told_by(self, environ: Mapping[str, str]) -> str:
        """What the environment says, "" where it says nothing."""
        return environ.get(self.variable, "") or environ.get(self.also, "")


# --- how values are read


def _device_list(value: str) -> tuple[int, ...]:
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts) or len(set(parts)) != len(parts):
        raise ConfigError("--devices is not a list of card numbers", value=value, remedy="Write it like 0,1.")
    return tuple(int(part) for part in parts)


def _budgets(value: str) -> dict[int, int]:
    budgets: dict[int, int] = {}
    for part in value.split(","):
        card, equals, size = part.partition("=")
        if not equals or not card.strip().isdecimal() or int(card) in budgets:
            raise ConfigError("--max-memory is not CARD=SIZE", value=part, remedy="Write it like 0=20GiB,1=22GiB.")
        budgets[int(card)] = parse_bytes(size)
    return budgets


def _login(value: str) -> tuple[str, str]:
    user, colon, password = value.partition(":")
    if not (user and colon and password):  # the value may hold a password, so it is not repeated
        raise ConfigError("--auth is not USER:PASSWORD", remedy="Write it like --auth ada:correct-horse.")
    return user, password


def _endpoint(value: str) -> str:
    """An address of an API, to which a bare host is completed: http://host:8000 is http://host:8000/v1."""
    url = urlsplit(value.strip())
    try:
        is_address = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:  # a port that is none
        is_address = False
    if not is_address or url.query or url.fragment or url.username:
        remedy = "Write it like http://127.0.0.1:8000/v1."
        raise ConfigError("--endpoint is not the address of an API", value=value, remedy=remedy)
    return f"{url.scheme}://{url.netloc}{url.path.rstrip('/') or '/v1'}"


def _root_path(value: str) -> str:
    """A path, or the whole address that visitors see."""
    path = value.strip().rstrip("/")
    if path and not re.fullmatch(r"(?:https?://[\w.:\[\]-]+)?(?:/[\w.~-]+)*", path, re.ASCII):
        raise ConfigError("--root-path is not a path", value=value, remedy="Write it like /demo.")
    return path


def _number(name: str, low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.strip().isdecimal() or not low <= int(value) <= high:
            raise ConfigError(f"{name} is out of range", value=value, remedy=f"Choose a number from {low} to {high}.")
        return int(value)

    return parse


def _model(value: str) -> ModelChoice:
    """``NAME`` or ``ROLE=NAME``; options of a model (``fake?token_s=0.1``) and paths may hold an equals sign too."""
    role, equals, name = value.partition("=")
    if not equals or not role.replace("-", "").replace("_", "").isalpha():
        role, name = "", value
    elif role not in ROLES:
        raise ConfigError("Unknown role", value=role, remedy=f"Roles are: {', '.join(ROLES)}.")
    if not name.strip():
        raise ConfigError("--model names no model", value=value, remedy="Write NAME, OWNER/REPO, DIR or ROLE=NAME.")
    return ModelChoice(name.strip(), cast(Role, role) if role else None)


# --- the tables

_DTYPES: tuple[str, ...] = get_args(DType)
_QUANTIZATIONS: tuple[str, ...] = get_args(Quantization)
_COMPILES: tuple[str, ...] = get_args(Compile)
_STYLES: tuple[str, ...] = get_args(CaptionStyle)
_EXISTING: tuple[str, ...] = get_args(Existing)
_EXPORTS: tuple[str, ...] = get_args(Export)

ENGINE_FLAGS = (
    Flag(
        "--model",
        "[ROLE=]MODEL",
        "a name from `launch.py models`, a repository of the Hugging Face hub (OWNER/REPO) or a directory; may be "
        "given several times, ROLE= (chat, grounding, captioning) gives one role its own model (default: bundled)",
        parse=_model,
        many=True,
    ),
    Flag(
        "--placement",
        "WHERE",
        "single: one card; replicate: a whole copy on each card; shard: one copy over all cards; RxG: R copies over "
        "G cards each, like 2x2; cpu: main memory; auto: as many copies as fit, each on as few cards as it takes, or "
        "the CPU where there is no card (default: auto)",
    ),
    Flag("--devices", "N,N", "use only these cards, by number (default: all)", parse=_device_list),
    Flag("--max-memory", "N=SIZE,...", "use at most so much of a card, like 0=20GiB,1=22GiB", parse=_budgets),
    Flag(
        "--dtype",
        "TYPE",
        "the weights' number type; auto: the checkpoint's own on a card, float32 on a CPU if it fits (default: auto)",
        choices=_DTYPES,
    ),
    Flag("--quantize", "TYPE", "store the weights in fewer bits (default: none)", choices=_QUANTIZATIONS),
    Flag(
        "--offload",
        None,
        "allow layers in main memory when the cards are full; never done unasked (placements auto, single and shard)",
    ),
    Flag(
        "--context",
        "N",
        "plan for conversations of so many tokens, refuse longer ones (default: what the model takes, at most 8192)",
        parse=_number("--context", 64, 10_000_000),
    ),
    Flag(
        "--slots",
        "N",
        "answers that each replica makes at a time, out of one batch (default: as many as there is room for beside the "
        "weights, at most 16, for caption 32, on a CPU 8)",
        parse=_number("--slots", 1, 64),
    ),
    Flag(
        "--compile",
        "WHAT",
        "graphs: have the steps of a model on cards recorded as CUDA graphs at the load; off: not, and compile no "
        "kernels (default: auto, where there is room for them)",
        choices=_COMPILES,
    ),
    Flag("--swap", None, "models that do not fit together take turns on the card"),
    Flag(
        "--endpoint",
        "URL",
        "an OpenAI-compatible server (vLLM, SGLang, transformers serve, another demo) that answers in place of a model "
        "of our own; may be given several times, each is a replica. --model says how it is asked; a key of theirs goes "
        "into DEMO_ENDPOINT_KEY",
        parse=_endpoint,
        many=True,
    ),
    Flag("--revision", "REV", "the commit, tag or branch of a hub repository (default: its newest commit)"),
    Flag(
        "--trust-remote-code",
        None,
        "run Python code that comes with a repository; needs --revision, so that it cannot change unseen",
    ),
)

SERVE_FLAGS = (
    # Spaces tells its address and port through Gradio's own variables.
    Flag(
        "--host",
        "ADDRESS",
        "the address the page listens on; 0.0.0.0 for all (default: 127.0.0.1)",
        also="GRADIO_SERVER_NAME",
    ),
    Flag(
        "--port",
        "N",
        "the page's port; 0 takes any free one (default: 7860)",
        parse=_number("--port", 0, 65535),
        also="GRADIO_SERVER_PORT",
    ),
    Flag("--share", None, "also open a public link through Gradio's servers"),
    Flag("--auth", "USER:PASSWORD", "ask visitors of the page to log in", parse=_login),
    Flag(
        "--api-key",
        "KEY",
        "what a request to /v1 or /metrics must carry as bearer token, where it has not the login of --auth",
    ),
    Flag(
        "--max-queue",
        "N",
        "how many requests may wait before new ones are turned away (default: 32)",
        parse=_number("--max-queue", 1, 10_000),
    ),
    Flag(
        "--root-path",
        "PATH",
        "the path under which a reverse proxy shows the page, like /demo, where its X-Forwarded-Prefix does not say it",
        parse=_root_path,
        also="GRADIO_ROOT_PATH",
    ),
    Flag(
        "--state",
        "FOLDER",
        "where the page's jobs of many pictures are kept, for a day at most, so that they can go on after a restart; "
        "for one demo at a time (default: $XDG_STATE_HOME/vlm-demo, which is ~/.local/state/vlm-demo)",
    ),
    Flag("--plan", None, "print where the models would go and what they need, and exit; loads nothing"),
    Flag("--json", None, "with --plan: print it as one JSON object"),
    Flag("--assume", "CARDS", "with --plan: plan for these cards instead of what is here, like 2x24GiB"),
)

CHAT_FLAGS = (Flag("--question", "TEXT", "answer this once and exit; else a conversation begins", short="-q"),)
GROUND_FLAGS = (
    Flag("--json", None, "print the answer and its boxes as one JSON object"),
    Flag("--out", "FILE", "write a copy of the picture with the boxes drawn (.png, .jpg or .webp)"),
)
CAPTION_FLAGS = (
    Flag("--style", "STYLE", "short, detailed, or grounded with boxes (default: short)", choices=_STYLES),
    Flag("--instruction", "TEXT", "also tell the model this, like 'Name the colours.'"),
    Flag(
        "--words",
        "N",
        "ask for captions of about so many words (default: as the style is)",
        _number("--words", 1, 1000),
    ),
    Flag("--prefix", "TEXT", "put this before each caption, as it is"),
    Flag("--suffix", "TEXT", "put this after each caption, as it is"),
    Flag("--json", None, "print one JSON object per picture and line"),
    Flag(
        "--out",
        "FOLDER",
        "also write each caption to a text file named like its picture, and all of them to captions.jsonl, as they "
        "come, and to captions.csv; the same command goes on where an interrupted one ended",
    ),
    Flag(
        "--existing",
        "WHAT",
        "with --out, where a picture has a caption there already: skip leaves it alone, overwrite makes another, "
        "append adds one on a line of its own (default: skip)",
        choices=_EXISTING,
    ),
    Flag(
        "--export",
        "FORMAT",
        "with --out, also write all captions to captions.parquet (needs pyarrow) or captions.zip at the end; may be "
        "given several times",
        choices=_EXPORTS,
        many=True,
    ),
)

FLAGS: Mapping[str, tuple[Flag, ...]] = MappingProxyType(
    {
        "serve": (*ENGINE_FLAGS, *SERVE_FLAGS),
        "chat": (*ENGINE_FLAGS, *CHAT_FLAGS),
        "ground": (*ENGINE_FLAGS, *GROUND_FLAGS),
        "caption": (*ENGINE_FLAGS, *CAPTION_FLAGS),
        "models": (),
    }
)
