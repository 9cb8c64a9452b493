"""The command line: argv and the environment boil down to one frozen `Command`, and `main` carries it out.

Owns the parsing of the flags (see `demo.flags`), of their environment twins (``--max-queue`` is ``DEMO_MAX_QUEUE``)
and the exit codes: 0 fine, 2 wrong use or does not fit, 1 anything else. Imports nothing heavy before it knows what is
wanted, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NoReturn

from demo.config import BUNDLED_MODEL, REMOTE_MODEL, EngineConfig, ModelChoice, ServerConfig
from demo.errors import ConfigError, DemoError
from demo.flags import ENGINE_FLAGS, FLAGS, SERVE_FLAGS, CaptionStyle, Existing, Export, Flag
from demo.types import ROLES

_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off", ""})
_ASK_HELP = "See python launch.py --help."


# --- what can be asked of the demo


@dataclass(frozen=True, slots=True)
class Serve:
    """Open the page."""

    server: ServerConfig


@dataclass(frozen=True, slots=True)
class ShowPlan:
    """Print where the models would go; ``assume`` describes cards that need not be there."""

    json: bool
    assume: str | None


@dataclass(frozen=True, slots=True)
class ShowModels:
    """List the catalogue."""


@dataclass(frozen=True, slots=True)
class Chat:
    """Answer ``question`` once, or hold a conversation where it is None."""

    images: tuple[str, ...]
    question: str | None


@dataclass(frozen=True, slots=True)
class Ground:
    """Find ``phrase``, or each of several, in a picture; ``out`` is a file for the drawn copy."""

    image: str
    phrase: str
    json: bool
    out: str | None


@dataclass(frozen=True, slots=True)
class Caption:
    """Caption files, folders and archives; ``out`` is a folder for the results."""

    paths: tuple[str, ...]
    style: CaptionStyle
    json: bool
    out: str | None
    existing: Existing = "skip"
    export: tuple[Export, ...] = ()
    instruction: str = ""
    words: int = 0
    prefix: str = ""
    suffix: str = ""


Task = Serve | ShowPlan | ShowModels | Chat | Ground | Caption


@dataclass(frozen=True, slots=True)
class Command:
    """One call of the program."""

    engine: EngineConfig
    task: Task


# --- parsing


def parse_args(argv: Sequence[str], environ: Mapping[str, str]) -> Command:
    """The command that argv and, where argv is silent, the environment ask for. Raises `ConfigError`.

    ``--help`` prints and raises SystemExit(0), as argparse does.
    """
    given = vars(_build_parser().parse_args(list(argv)))
    name = given.pop("command", None) or "serve"
    own = {flag.key for flag in FLAGS[name]}
    for flag in SERVE_FLAGS:
        if flag.key in given and flag.key not in own:
            raise ConfigError(f"{flag.name} does not go with {name}", remedy=_ASK_HELP)
    values = {flag.key: _value(flag, name, given, environ) for flag in FLAGS[name]}
    return Command(_engine(values, is_batch=name == "caption"), _task(name, values, given))


def _value(flag: Flag, command: str, given: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    """What argv says before and after the sub-command, else the environment; None, False or () where none does."""
    if flag.metavar is None:
        is_given = given.get(flag.key) or given.get(f"{command}.{flag.key}")
        return bool(is_given) or _switch(flag, flag.told_by(environ))
    texts = [*given.get(flag.key, ()), *given.get(f"{command}.{flag.key}", ())]
    parsed = tuple(_parsed(flag, text) for text in texts or _split(flag, flag.told_by(environ)))
    return parsed if flag.many else (parsed[-1] if parsed else None)


def _switch(flag: Flag, text: str) -> bool:
    if text.strip().lower() not in _YES | _NO:
        raise ConfigError(f"{flag.variable} is neither on nor off", value=text, remedy="Use 1 or 0.")
    return text.strip().lower() in _YES


def _split(flag: Flag, text: str) -> list[str]:
    """Several values in one variable are separated by blanks and may be quoted."""
    if not flag.many:
        return [text] if text.strip() else []
    try:
        return shlex.split(text)
    except ValueError:
        raise ConfigError(f"{flag.variable} has an open quotation mark", value=text) from None


def _parsed(flag: Flag, text: str) -> Any:
    if flag.choices and text not in flag.choices:
        raise ConfigError(
            f"{flag.name} has no such choice", value=text, remedy=f"Use one of: {', '.join(flag.choices)}."
        )
    return flag.parse(text)


def _engine(values: Mapping[str, Any], *, is_batch: bool) -> EngineConfig:
    models = _models(values.get("model", ()), default=REMOTE_MODEL if values.get("endpoint") else BUNDLED_MODEL)
    names = (field.name for field in fields(EngineConfig) if field.name not in ("models", "endpoints", "is_batch"))
    endpoints = tuple(values.get("endpoint", ()))
    return EngineConfig(models=models, endpoints=endpoints, is_batch=is_batch, **_given(values, *names))


def _models(choices: Sequence[ModelChoice], *, default: str) -> tuple[ModelChoice, ...]:
    """At most one model a role; roles without one of their own get the one for all."""
    roles = [choice.role for choice in choices]
    twice = next((choice for choice in choices if roles.count(choice.role) > 1), None)
    if twice:
        remedy = f"Give each role its own, like --model chat=NAME; roles are: {', '.join(ROLES)}."
        raise ConfigError(f"Two models are named for {twice.role or 'all roles'}", value=twice.name, remedy=remedy)
    if None in roles or set(roles) == set(ROLES):
        return tuple(choices)
    return (ModelChoice(default), *choices)


def _task(name: str, values: Mapping[str, Any], given: Mapping[str, Any]) -> Task:
    if name == "models":
        return ShowModels()
    if name == "chat":
        return Chat(tuple(given["images"]), values["question"])
    if name == "ground":
        return Ground(given["image"], given["phrase"], values["json"], values["out"])
    if name == "caption":
        chosen = _given(
            values, "style", "json", "out", "existing", "export", "instruction", "words", "prefix", "suffix"
        )
        return Caption(tuple(given["paths"]), **{"style": "short", "out": None, **chosen})
    if values["plan"]:
        return ShowPlan(values["json"], values["assume"])
    for flag in ("json", "assume"):
        if values[flag]:
            raise ConfigError(f"--{flag} goes with --plan", remedy=_ASK_HELP)
    names = (field.name for field in fields(ServerConfig))
    return Serve(ServerConfig(**_given(values, *names)))


def _given(values: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Only what was given, so that the defaults stay where the fields are."""
    return {key: values[key] for key in keys if values.get(key) is not None}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message[:1].upper() + message[1:], remedy=_ASK_HELP)


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="launch.py",
        description="Talk with open vision-language models about pictures, find things in pictures, caption them.",
        epilog="Every flag has a twin in the environment: --max-queue is DEMO_MAX_QUEUE; several models in DEMO_MODEL "
        "are separated by blanks. Exit codes: 0 fine, 2 wrong use or does not fit, 1 anything else.",
        allow_abbrev=False,
    )
    _add(parser.add_argument_group("models and devices"), ENGINE_FLAGS)
    _add(parser.add_argument_group("the page, and planning"), SERVE_FLAGS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name, help_, positionals in (
        ("chat", "ask about pictures in the terminal", (("images", "IMAGE", "*", "picture files, or a clip"),)),
        (
            "ground",
            "find something in a picture",
            (
                ("image", "IMAGE", None, "a picture file"),
                ("phrase", "PHRASE", None, "what to find, like 'the red car'; several are parted by semicolons"),
            ),
        ),
        ("caption", "caption pictures", (("paths", "PATH", "+", "picture files, folders of them, and zip archives"),)),
        ("models", "list the models known by name", ()),
    ):
        sub = commands.add_parser(name, help=help_, description=help_.capitalize() + ".", allow_abbrev=False)
        for dest, metavar, nargs, words in positionals:
            sub.add_argument(dest, metavar=metavar, nargs=nargs, help=words)
        _add(sub, (flag for flag in FLAGS[name] if flag not in ENGINE_FLAGS), scope=f"{name}.")
        if name != "models":
            _add(sub.add_argument_group("models and devices"), ENGINE_FLAGS, scope=f"{name}.")
    return parser


def _add(group: argparse._ActionsContainer, flags: Iterable[Flag], scope: str = "") -> None:
    """Flags that are not given leave no trace. The scope keeps those after a sub-command apart from those before it."""
    for flag in flags:
        names = [flag.short, flag.name] if flag.short else [flag.name]
        options: dict[str, Any] = {"dest": scope + flag.key, "default": argparse.SUPPRESS, "help": flag.help}
        if flag.metavar is None:
            group.add_argument(*names, action="store_true", **options)
        else:
            group.add_argument(*names, action="append", metavar=flag.metavar, **options)


# --- carrying it out


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Carry out the command and return the exit code. Errors of ours are one line on stderr, without a trace."""
    try:
        command = parse_args(sys.argv[1:] if argv is None else argv, os.environ if environ is None else environ)
        _set_up_logging(command.task)
        return _run(command)
    except DemoError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return 1
    except BrokenPipeError:  # whoever read the answer, like `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed at the exit
        return 1


def _set_up_logging(task: Task) -> None:
    from demo.engine.libraries import LOG_FORMAT

    level = logging.INFO if isinstance(task, Serve) else logging.CRITICAL  # a terminal shows errors, not their traces
    logging.basicConfig(level=level, format=LOG_FORMAT, stream=sys.stderr)


def _check_versions(command: Command) -> None:
    """Refuse packages that cannot work, and warn of those that nobody has tried; only of what the command uses."""
    from demo import versions
    from demo.catalog import resolve

    runs_models = not command.engine.endpoints and any(
        resolve(replace(choice, role=None)).backend == "hf" for choice in command.engine.models
    )
    parts: list[versions.Part] = ["page"] if isinstance(command.task, Serve) else []
    if runs_models:
        parts.append("models")
    for warning in versions.check(parts, refuses=not isinstance(command.task, ShowPlan)):
        sys.stderr.write(f"warning: {warning}\n")


def _run(command: Command) -> int:
    """Only what the task needs is imported: neither help nor a plan waits for the page's framework."""
    task = command.task
    if not isinstance(task, ShowModels):
        from demo.recognition import recognised

        _check_versions(command)
        command = replace(command, engine=recognised(command.engine))
    if isinstance(task, Serve):
        from demo.serving import serve

        serve(command.engine, task.server)
        return 0
    if isinstance(task, ShowPlan | ShowModels):
        from demo import report

        return report.show_plan(task, command.engine) if isinstance(task, ShowPlan) else report.show_models()
    from demo import terminal

    return terminal.run(task, command.engine)
