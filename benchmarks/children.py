"""Measurements in processes of their own: each prints one JSON object last, and none may take for ever.

Owns the starting, the time limit and what is told of a process that failed. Knows nothing of what is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.circumstances import ROOT

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Child:
    """A process that prints one JSON object on its last line, and how long it may take."""

    arguments: Sequence[str]
    limit_s: float

    def run(self) -> Row:
        """What it printed; of one that failed, the end of what it said."""
        started_s = time.perf_counter()
        code, out, said = self._finish()
        seconds_s = round(time.perf_counter() - started_s, 1)
        try:
            return {**json.loads(out.splitlines()[-1]), "seconds_s": seconds_s}
        except (IndexError, ValueError, TypeError):
            lines = [line for line in said.splitlines() if line.strip()]
            return {"outcome": "crashed", "code": code, "error": " / ".join(lines[-4:])[-600:], "seconds_s": seconds_s}

    def exit_code(self) -> Row:
        """How it ended, for a program that prints no JSON."""
        started_s = time.perf_counter()
        code, _, said = self._finish()
        lines = [line for line in said.splitlines() if line.strip()]
        return {
            "code": code,
            "said": lines[-1] if lines else "",
            "seconds_s": round(time.perf_counter() - started_s, 1),
        }

    def _finish(self) -> tuple[int, str, str]:
        process = subprocess.Popen(
            [sys.executable, *self.arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, said = process.communicate(timeout=self.limit_s)
        except subprocess.TimeoutExpired:
            process.kill()  # the engine's workers end with it
            out, said = process.communicate()
            said += f"\nended after {self.limit_s:.0f} s"
        return process.returncode, out, said
