"""Under what circumstances a benchmark ran: hardware, versions, commit, how busy the machine was.

Owns the reading of those, in the words of the last line of JSON that each benchmark prints. Imports no framework.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from demo.engine.devices import cpu_threads, detect

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "transformers", "accelerate", "torchao", "bitsandbytes")


def circumstances(commit_given: str | None = None) -> dict[str, object]:
    """Hardware, versions, commit and how busy the machine is besides; a commit is given where git does not say it."""
    devices = [f"{device.id}: {device.name}" for device in detect()]
    installed = {name: version for name in PACKAGES if (version := _version(name)) is not None}
    versions = {"python": platform.python_version(), **installed}
    load = round(os.getloadavg()[0], 2)
    machine = {"cpu": cpu_model(), "cores": cpu_threads(), "devices": devices}
    return {**machine, "versions": versions, "commit": commit_given or commit(), "load_before": load}


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def commit() -> str:
    """The commit that was measured, marked where the demo's files differ from it."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+changes"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()


def save(path: Path | None, result: dict[str, Any]) -> None:
    """Write a result that can be read while more is being measured; nowhere to write is fine."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
