"""`transformers serve` with the engine's checkpoint, as its users meet it: a server in a process of its own, over HTTP.

Owns the process. It is asked through the demo's own ``--endpoint``, which adds a few milliseconds. It knows the classes
of transformers alone, so that our own CogVLM cannot be compared with it. Times are seconds.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from tempfile import TemporaryFile
from typing import IO
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from demo.catalog import ModelSpec
from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import detect
from demo.engine.manager import plan_all

START_S = 600.0
SAID = 2000  # letters of what a server that did not start said last
SERVE = "from transformers.cli.transformers import main; main()"


@contextmanager
def serving(config: EngineConfig, spec: ModelSpec, *, slots: int) -> Iterator[EngineConfig]:
    """Starts it where the engine's first replica would be, in its dtype; the configuration that asks it."""
    placement = plan_all(config, {"chat": spec}, detect())[spec].placement_of(0, threads=None)
    device = next(iter(placement.device_map.values()))
    port = _free_port()
    arguments = ["serve", spec.source, "--host", "127.0.0.1", "--port", str(port)]
    with TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments, "--device", device, "--dtype", placement.dtype],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"},
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", said)
            model = ModelChoice(f"{spec.source}?family={spec.family}")
            silent = EngineConfig()
            yield replace(silent, models=(model,), endpoints=(f"http://127.0.0.1:{port}/v1",), slots=slots)
        finally:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen, url: str, said: IO[bytes]) -> None:
    opener = build_opener(ProxyHandler({}))
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        with suppress(URLError, OSError):
            opener.open(url, timeout=5).close()
            return
        time.sleep(0.2)
    said.seek(0)
    last = said.read().decode(errors="replace")[-SAID:]
    raise SystemExit(f"transformers serve did not start (exit code {process.poll()}):\n{last}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
