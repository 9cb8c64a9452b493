"""One page a module, and handlers with a real engine: the fake model in a worker process."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from page_kit import Page, chromium
from playwright.sync_api import sync_playwright

from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import GIB, Device
from demo.engine.manager import ModelManager
from demo.engine.replica import RestartPolicy
from demo.engine.telemetry import Monitor
from demo.ui.context import make_context

CPU = Device("cpu", "CPU", "cpu", 16 * GIB, 8 * GIB)
READY_S = 60.0


@pytest.fixture(scope="module")
def open_page(tmp_path_factory):
    """Starts pages, each in its own process: ``open_page("fake?token_s=0.1", max_queue=1)``."""
    pages = []

    def build(model="fake", *, wait=True, **server):
        page = Page(model, tmp_path_factory.mktemp("page") / "log.txt", **server)
        pages.append(page)
        return page.wait() if wait else page

    yield build
    with ThreadPoolExecutor() as pool:  # all at once: each takes a second
        list(pool.map(Page.__exit__, pages))


@pytest.fixture
def make(tmp_path):
    """Builds a context: ``make(token_s=0.1)`` gives the fake its options."""
    managers, monitors = [], []

    def build(*, wait=True, slots=None, device=CPU, **options):
        query = "&".join(f"{name}={value}" for name, value in options.items())
        config = EngineConfig(models=(ModelChoice(f"fake?{query}" if query else "fake"),), slots=slots)
        managers.append(ModelManager(config, devices=[device], restart=RestartPolicy(first_s=0.05)))
        managers[-1].start()
        if wait:
            assert managers[-1].wait_ready(READY_S)
        (tmp_path / "uploads").mkdir(exist_ok=True)
        monitors.append(Monitor(managers[-1].snapshot))
        return make_context(managers[-1], look=monitors[-1].look, folder=tmp_path / "uploads", state=tmp_path / "state")

    yield build
    for owner in (*monitors, *managers):
        owner.close()


@pytest.fixture(scope="module")  # no wider: while it lives, the thread counts as running an event loop
def browser():
    """Headless Chromium. Where there is none, tests are skipped by people and failed by CI."""
    path = chromium()
    if path is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no chromium; install Debian's package")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
