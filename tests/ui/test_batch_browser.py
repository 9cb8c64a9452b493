"""Many pictures in headless Chromium: a whole job of the bundled model, and jobs that are paused, stopped and left."""

import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from page_kit import file_of, scene
from playwright.sync_api import expect

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"
DONE_MS = 120_000

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def opened(browser, open_page):
    """Opens the part of a page: ``opened(open_page("bundled"))``."""
    contexts = []

    def build(page, **look):
        contexts.append(browser.new_context(**{"viewport": {"width": 1180, "height": 1000}, **look}))
        tab = contexts[-1].new_page()
        tab.goto(page.url)
        tab.get_by_role("tab", name="Captioning").click()
        tab.get_by_role("button", name="Many pictures").click()
        expect(tab.locator("#batch-start")).to_be_visible()
        return tab

    yield build
    for context in contexts:
        context.close()


def archive(count):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        for index in range(count):
            opened.writestr(f"in/{index}.png", file_of(scene(100 + index)))
    return {"name": "many.zip", "mimeType": "application/zip", "buffer": out.getvalue()}


def give(tab, *files):
    tab.locator("#batch-files input[type=file]").set_input_files(list(files))
    expect(tab.locator("#batch-files")).to_contain_text("KB", timeout=30_000)
    tab.click("#batch-start")


def test_the_example_pictures_are_captioned_and_downloaded(opened, open_page, tmp_path):
    tab = opened(open_page("bundled"))
    pictures = sorted(EXAMPLES.glob("*.png"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture" * 200)
    tab.locator("#batch").get_by_label("Prefix").fill("a drawing: ")
    give(tab, *map(str, pictures), str(broken))
    expect(tab.locator("#batch-line")).to_contain_text("Done: 7 of 7", timeout=DONE_MS)
    expect(tab.locator("#batch-line")).to_contain_text("1 could not be captioned")
    expect(tab.locator("#batch-table tr")).to_have_count(7)
    expect(tab.locator("#batch-table img")).to_have_count(6)
    assert tab.locator("#batch-table img").first.evaluate("image => image.naturalWidth") == 96
    assert "/" not in tab.locator("#batch-table").inner_text()
    with tab.expect_download() as download:
        tab.click("#batch-download")
    with zipfile.ZipFile(download.value.path()) as made:
        lines = [json.loads(line) for line in made.read("captions.jsonl").splitlines()]
        assert {line["file"] for line in lines} == {path.name for path in [*pictures, broken]}
        nouns = {thing["name"] for thing in json.loads((EXAMPLES / "park.json").read_text())["objects"]}
        caption = made.read("park.txt").decode()
        assert caption.startswith("a drawing: ")
        assert sum(noun in caption for noun in nouns) >= 2, caption
        assert str(tmp_path) not in made.read("captions.jsonl").decode()


def test_a_job_is_stopped_and_another_begun(opened, open_page):
    tab = opened(open_page("fake?token_s=0.02"))
    give(tab, archive(30))
    expect(tab.locator("#batch-table tr").first).to_be_visible(timeout=DONE_MS)
    tab.click("#batch-stop")
    expect(tab.locator("#batch-line")).to_contain_text("Stopped:", timeout=5_000)
    expect(tab.locator("#batch-start")).to_be_enabled()
    expect(tab.locator("#batch-download")).to_be_visible()
    count = tab.locator("#batch-line").inner_text()
    tab.wait_for_timeout(1_500)
    assert tab.locator("#batch-line").inner_text() == count
    assert "30 of 30" not in count
    expect(tab.locator(".status .replica")).to_have_class(re.compile("idle"), timeout=10_000)
    tab.click("#batch-start")
    expect(tab.locator("#batch-line")).to_contain_text(re.compile(r"\b[1-9] of 30"), timeout=DONE_MS)
    tab.click("#batch-stop")
    expect(tab.locator("#batch-line")).to_contain_text("Stopped:")


def test_a_job_is_paused_gone_on_with_and_lets_a_question_through_meanwhile(opened, open_page):
    page = open_page("fake?token_s=0.02")
    tab = opened(page)
    give(tab, archive(25))
    expect(tab.locator("#batch-table tr").first).to_be_visible(timeout=DONE_MS)
    tab.get_by_role("tab", name="Chat").click()
    tab.fill("#message textarea", "Hello?")
    tab.press("#message textarea", "Enter")
    expect(tab.locator("#conversation .bot .remark").filter(has_text="tokens")).to_be_visible(timeout=30_000)
    tab.get_by_role("tab", name="Captioning").click()
    expect(tab.locator("#batch-line")).not_to_contain_text("Done")  # the question did not wait for the job
    tab.click("#batch-pause")
    expect(tab.locator("#batch-line")).to_contain_text(re.compile(r"Paused: \d+ of 25"), timeout=30_000)
    expect(tab.locator("#batch-pause")).to_have_text("Go on")
    tab.click("#batch-pause")
    expect(tab.locator("#batch-line")).to_contain_text("Done: 25 of 25", timeout=DONE_MS)
    expect(tab.locator("#batch-table tr")).to_have_count(12)
    expect(tab.locator("#batch-table caption")).to_contain_text("13 before")


def test_a_closed_tab_ends_its_job(opened, open_page, tmp_path):
    journal = tmp_path / "asked"
    page = open_page(f"fake?token_s=0.02&journal={journal}")
    tab = opened(page)
    give(tab, archive(40))
    expect(tab.locator("#batch-table tr").first).to_be_visible(timeout=DONE_MS)
    tab.close()
    other = opened(page)
    expect(other.locator(".status .replica")).to_have_class(re.compile("idle"), timeout=20_000)
    count = len(journal.read_text().splitlines())
    other.wait_for_timeout(2_000)
    assert len(journal.read_text().splitlines()) == count < 80
