"""The README's pictures, made by driving the real demo: ``python tests/screenshots.py [MODEL]``.

Starts the demo, asks each tab about an example in headless Chromium, and writes assets/screenshots/*.png.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "ui")]

from page_kit import Page, chromium  # noqa: E402

FOLDER = ROOT / "assets" / "screenshots"
DESK = {"viewport": {"width": 1180, "height": 1040}, "device_scale_factor": 1.5}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
DONE_MS = 120_000
MOST_BYTES = 250_000


def chat(tab: Tab) -> None:
    """A place is asked for, then something that only the picture tells."""
    tab.locator("button.example:visible").nth(1).click()
    expect(tab.locator("#message img")).to_be_visible()
    _ask(tab, 1)
    tab.fill("#message textarea", "How many fish are there?")
    _ask(tab, 2)


def _ask(tab: Tab, turn: int) -> None:
    tab.press("#message textarea", "Enter")
    done = tab.locator("#conversation .bot .remark").filter(has_text="tokens")
    expect(done).to_have_count(turn, timeout=DONE_MS)


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


def status(tab: Tab) -> None:
    """After an answer, so that there is a speed to show."""
    tab.fill("#message textarea", "Hello!")
    _ask(tab, 1)
    tab.get_by_role("tab", name="Status").click()
    expect(tab.locator("#panel .card").first).to_be_visible()


SHOTS = (
    ("chat", chat, DESK),
    ("grounding", grounding, DESK),
    ("captioning", captioning, DESK),
    ("dark", chat, {**DESK, "color_scheme": "dark"}),
    ("phone", grounding, PHONE),
    ("status", status, DESK),
)


def _save(data: bytes, path: Path) -> None:
    """As small as it goes; all colours where that fits, otherwise the 256 that matter most."""
    with Image.open(io.BytesIO(data)) as image:
        page = image.convert("RGB")
    page.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        page.quantize(256, Image.Quantize.MEDIANCUT, kmeans=2).save(path, optimize=True)


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
            _save(tab.screenshot(full_page=True), FOLDER / f"{name}.png")
            print(f"assets/screenshots/{name}.png")
            tab.context.close()
        browser.close()


if __name__ == "__main__":
    main()
