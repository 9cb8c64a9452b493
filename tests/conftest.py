"""What all tests share: at the end of the session no worker process may be left, and CI skips no browser test."""

import os
import time
from pathlib import Path

import pytest

if not any(Path(card).exists() for card in ("/dev/nvidia0", "/dev/kfd")):  # to be said before Triton is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

GRACE_S = 5.0  # for a process that is just ending


@pytest.fixture(scope="session", autouse=True)
def no_worker_outlives_the_session():
    yield
    end_s = time.monotonic() + GRACE_S
    while (left := workers_of(os.getpid())) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert not left, f"worker processes were left behind: {left}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Without a browser the page's tests are skipped; where CI is set, one is expected and a skip is a failure."""
    report = yield
    if report.skipped and os.environ.get("CI") and item.get_closest_marker("browser"):
        report.outcome = "failed"
    return report


def workers_of(parent: int) -> list[int]:
    """The living processes that multiprocessing spawned for ``parent`` (Linux only; elsewhere none is seen)."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_worker(path, parent)]


def _is_worker(path: Path, parent: int) -> bool:
    try:
        state, parent_id = (path / "stat").read_text().rpartition(")")[2].split()[:2]
        return int(parent_id) == parent and state != "Z" and b"spawn_main" in (path / "cmdline").read_bytes()
    except OSError:  # it ended while we looked
        return False
