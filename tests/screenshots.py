"""The README's pictures, made by driving the real demo: ``python tests/screenshots.py [MODEL]``.

Starts the demo, asks each tab about its first example in headless Chromium, and writes assets/screenshots/*.png.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page as Tab
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "ui")]

from page_kit import Page, chromium  # noqa: E402

FOLDER = ROOT / "assets" / "screenshots"
DESK = {"viewport": {"width": 1180, "height": 820}, "device_scale_factor": 1.5}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
DONE_MS = 120_000


def chat(tab: Tab) -> None:
    tab.locator("button.example:visible").first.click()
    expect(tab.locator("#message img")).to_be_visible()
    tab.press("#message textarea", "Enter")
    expect(tab.locator("#conversation .bot .remark").filter(has_text="tokens")).to_be_visible(timeout=DONE_MS)


def grounding(tab: Tab) -> None:
    _look(tab, "Grounding", "ground")


def captioning(tab: Tab) -> None:
    _look(tab, "Captioning", "caption")


def _look(tab: Tab, name: str, prefix: str) -> None:
    tab.get_by_role("tab", name=name).click()
    tab.locator("button.example:visible").first.click()
    expect(tab.locator(f"#{prefix}-picture img")).to_be_visible()
    tab.click(f"#{prefix}-run")
    expect(tab.locator(f"#{prefix}-line")).to_contain_text("tokens", timeout=DONE_MS)


SHOTS = (
    ("chat", chat, DESK),
    ("grounding", grounding, DESK),
    ("captioning", captioning, DESK),
    ("dark", chat, {**DESK, "color_scheme": "dark"}),
    ("phone", grounding, PHONE),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="bundled")
    model = parser.parse_args().model
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Page(model, Path(folder) / "log") as page, sync_playwright() as play:
        page.wait()
        browser = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for name, steps, look in SHOTS:
            tab = browser.new_context(**look).new_page()
            tab.goto(page.url)
            expect(tab.locator("#message textarea")).to_be_editable(timeout=30_000)
            steps(tab)
            tab.wait_for_timeout(2_500)  # the status line comes to rest
            tab.screenshot(path=FOLDER / f"{name}.png", full_page=True)
            print(f"assets/screenshots/{name}.png")
            tab.context.close()
        browser.close()


if __name__ == "__main__":
    main()
