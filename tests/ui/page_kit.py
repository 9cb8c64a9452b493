"""The page in a process of its own, as a user starts it, with the fake model; and pictures to show it."""

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
READY_S = 120.0


def until(condition, timeout_s=30.0):
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True


class Page:
    """A running page: ``url``, its log, and how it ended."""

    def __init__(self, model, log, **server):
        self.port = server.pop("port", None) or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = Path(log)
        options = {"model": model, "port": self.port, **server}
        several = {name: value if isinstance(value, list) else [value] for name, value in options.items()}
        flags = [
            word
            for name, values in several.items()
            for value in values
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        # What outlives it is not the user's; a page that takes this one's place finds it under the same log.
        env = {**os.environ, "OMP_NUM_THREADS": "1", "DEMO_STATE": str(self.log.with_suffix(".state"))}
        env.pop("GRADIO_TEMP_DIR", None)
        with self.log.open("wb") as out:
            command = [sys.executable, "launch.py", *flags]
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out)

    def wait(self, path="/healthz"):
        """Until the page answers 200 at this path; the log says why if it never does."""
        end_s = time.monotonic() + READY_S
        while self.status(path) != 200:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end_s, self.log.read_text()
            time.sleep(0.1)
        return self

    def status(self, path, **request):
        with contextlib.suppress(OSError):
            return self.get(path, **request)[0]

    def get(self, path, **request):
        """Status, headers and body of a request, whatever the status is."""
        asked = urllib.request.Request(self.url + path, **request)
        try:
            with _direct.open(asked, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def end(self, number=signal.SIGTERM, timeout_s=30.0):
        """Tell it to end; returns its exit code and how long it took."""
        started_s = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        return code, time.monotonic() - started_s

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            try:
                self.end()
            finally:
                self.process.kill()


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def chromium():
    """The browser's executable, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scene(width=320, height=200, colour="#bcd7e8"):
    return Image.new("RGB", (width, height), colour)


def file_of(image, format="PNG", **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def write(folder, name, data):
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)
