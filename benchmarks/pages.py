"""The page in a process of its own, as a user starts it: where it is, what its processor time and memory are.

Owns its start and its end. Bytes are integers, seconds end in ``_s``.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from benchmarks.circumstances import ROOT
from benchmarks.residence import resident_bytes

READY_S = 300.0
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Page:
    """``with Page("fake", "--max-queue", "400") as page: ...``; entered once the model answers."""

    def __init__(self, model: str, *flags: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the page
        command = [sys.executable, "launch.py", "--model", model, "--port", str(self.port), *flags]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=self._log, stderr=self._log)

    def __enter__(self) -> Page:
        end_s = time.monotonic() + READY_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > end_s:
                self._log.seek(0)
                raise SystemExit(f"The page did not start:\n{self._log.read()[-2000:]}")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()

    def get(self, path: str) -> str:
        with _direct.open(f"{self.url}{path}", timeout=30) as answer:
            return str(answer.read().decode())

    def tokens_per_s(self) -> float:
        """Of the engine's last answer, as its worker counted it."""
        found = re.search(r"^demo_tokens_per_s\{.*\} (\S+)$", self.get("/metrics"), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def cpu_s(self) -> float:
        """Processor time of the process that serves the page, without the model's."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        return resident_bytes(self._process.pid)

    def _is_ready(self) -> bool:
        try:
            return bool(self.get("/healthz"))
        except (OSError, urllib.error.URLError):
            return False
