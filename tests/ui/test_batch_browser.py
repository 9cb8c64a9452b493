"""Many pictures in headless Chromium: a whole job of the bundled model, and jobs that are paused, stopped and left."""

import io
import json
import re
import signal
import zipfile
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_kit import Page, file_of, free_port, scene, write
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
        tab.get_by_role("tab", name=re.compile("Captioning|描述")).click()
        tab.get_by_role("button", name=re.compile("Many pictures|批量描述")).click()
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
    expect(tab.locator("#batch-files")).to_contain_text(re.compile(r"\d\s[KM]?B"), timeout=30_000)
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
    assert tab.locator("#batch-table img").first.evaluate("image => image.naturalWidth") == 160
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
    expect(tab.locator("#batch-download")).to_be_enabled()
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
    expect(tab.locator("#batch-table tr")).to_have_count(13)
    expect(tab.locator("#batch-span")).to_have_text("13–25 of 25")
    tab.click("#batch-older")
    expect(tab.locator("#batch-span")).to_have_text("1–24 of 25")
    expect(tab.locator("#batch-table tr").last).to_contain_text("in/0.png")
    expect(tab.locator("#batch-older")).to_be_disabled()
    tab.click("#batch-newer")
    expect(tab.locator("#batch-table tr").first).to_contain_text("in/24.png")
    expect(tab.locator("#batch-newer")).to_be_disabled()


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


def found_again(tab, count):
    tab.get_by_role("tab", name="Captioning").click()
    expect(tab.locator("#batch-line")).to_contain_text(f"of {count}")


def captions_of(tab):
    with tab.expect_download() as download:
        tab.click("#batch-download")
    with zipfile.ZipFile(download.value.path()) as made:
        return [json.loads(line)["file"] for line in made.read("captions.jsonl").splitlines()]


def test_a_reloaded_page_finds_its_job_and_goes_on(opened, open_page, tmp_path):
    journal = tmp_path / "asked"
    page = open_page(f"fake?token_s=0.02&journal={journal}")
    tab = opened(page)
    give(tab, archive(14))
    expect(tab.locator("#batch-line")).to_contain_text(re.compile(r"\b[2-9] of 14"), timeout=DONE_MS)
    tab.reload()
    found_again(tab, 14)
    expect(tab.locator("#batch-table tr").first).to_be_visible()
    expect(tab.locator("#batch-table")).to_contain_text("in/0.png")
    tab.click("#batch-pause")
    expect(tab.locator("#batch-line")).to_contain_text(re.compile(r"Paused: \d+ of 14"), timeout=30_000)
    paused = tab.locator("#batch-line").inner_text()
    tab.reload()
    found_again(tab, 14)
    expect(tab.locator("#batch-line")).to_contain_text(paused.split(" ·")[0])
    expect(tab.locator("#batch-start")).to_be_disabled()
    tab.click("#batch-pause")
    expect(tab.locator("#batch-line")).to_contain_text("Done: 14 of 14", timeout=DONE_MS)
    tab.reload()
    found_again(tab, 14)
    assert captions_of(tab) == [f"in/{index}.png" for index in range(14)]
    tab.click("#batch-clear")
    expect(tab.locator("#batch-table")).to_contain_text("listed here")
    tab.reload()
    tab.get_by_role("tab", name="Captioning").click()
    expect(tab.get_by_role("button", name="Many pictures")).to_be_visible()
    expect(tab.locator("#batch-line")).not_to_be_visible()
    assert not list(page.log.with_suffix(".state").glob("batches/*"))
    # One answer was under way at the reload, which is asked for again.
    assert journal.read_text().count("begin") <= 15


def test_a_job_outlives_the_demo(opened, tmp_path):
    journal, port = tmp_path / "asked", free_port()
    with Page(f"fake?token_s=0.02&journal={journal}", tmp_path / "log.txt", port=port) as page:
        tab = opened(page.wait())
        give(tab, archive(20))
        expect(tab.locator("#batch-line")).to_contain_text(re.compile(r"\b[4-9] of 20"), timeout=DONE_MS)
        tab.evaluate("window.before = true")
        page.process.send_signal(signal.SIGKILL)
        page.process.wait()
    before = journal.read_text().count("begin")
    (kept,) = (tmp_path / "log.state" / "batches").glob("*/captions.jsonl")
    done = len(kept.read_text().splitlines())
    with Page(f"fake?journal={journal}", tmp_path / "log.txt", port=port) as page:
        page.wait()
        tab.wait_for_function("!window.before")  # it reloads itself once its server is back; a visit would meet that
        found_again(tab, 20)
        expect(tab.locator("#batch-line")).to_contain_text(re.compile(r"was interrupted.* \d+ of 20"))
        tab.click("#batch-pause")
        expect(tab.locator("#batch-line")).to_contain_text("Done: 20 of 20", timeout=DONE_MS)
        assert captions_of(tab) == [f"in/{index}.png" for index in range(20)]
    assert done >= 4
    # What was under way is asked for again, and no more.
    assert journal.read_text().count("begin") - before == 20 - done


def test_pictures_that_failed_are_tried_again(opened, open_page, tmp_path):
    page = open_page("fake")
    tab = opened(page, locale="zh-CN")
    give(tab, write(tmp_path, "x.png", file_of(scene())), write(tmp_path, "broken.png", b"no picture" * 99))
    expect(tab.locator("#batch-line")).to_contain_text("已完成：2 / 2 · 1 张无法描述", timeout=DONE_MS)
    (kept,) = page.log.with_suffix(".state").glob("batches/*/pictures/*")
    kept.write_bytes(file_of(scene(111)))
    tab.get_by_role("button", name="重试失败的图片").click()
    expect(tab.locator("#batch-table")).to_contain_text("111 x 200", timeout=DONE_MS)
    expect(tab.locator("#batch-line")).to_have_text(re.compile("已完成：2 / 2(?!.*无法描述)"))
    expect(tab.locator("#batch-again")).to_be_hidden()


def test_a_second_tab_shows_what_the_first_one_does_without_being_touched(opened, open_page):
    tab = opened(open_page("fake?token_s=0.02"))
    give(tab, archive(30))
    expect(tab.locator("#batch-table tr").first).to_be_visible(timeout=DONE_MS)
    kept = tab.evaluate("JSON.stringify(sessionStorage)")
    other = tab.context.new_page()  # as when a tab is duplicated
    other.add_init_script(f"for (const [key, value] of Object.entries({kept})) sessionStorage.setItem(key, value)")
    other.goto(tab.url)
    other.get_by_role("tab", name="Captioning").click()
    line, button = other.locator("#batch-line"), other.locator("#batch-pause")
    expect(line.locator(".busy")).to_contain_text(re.compile(r"\d+ of 30"))
    tab.click("#batch-pause")
    expect(line).to_contain_text(re.compile(r"Paused: \d+ of 30"), timeout=10_000)
    expect(button).to_have_text("Go on")
    tab.click("#batch-pause")
    expect(line.locator(".busy")).to_be_visible(timeout=5_000)
    expect(button).to_have_text("Pause")
    count = line.inner_text()
    expect(line).not_to_have_text(count)  # it goes on to follow
    button.click()
    expect(tab.locator("#batch-line")).to_contain_text("Paused:", timeout=10_000)
    button.click()
    expect(tab.locator("#batch-line .busy")).to_be_visible(timeout=5_000)
    other.click("#batch-stop")
    for shown in (line, tab.locator("#batch-line")):
        expect(shown).to_contain_text("Stopped:", timeout=10_000)


# The values of shifts that no input of the last half second explains.
SHIFTS = """
window.shifts = [];
new PerformanceObserver(list => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput)
    shifts.push([entry.value, entry.sources.map(({node}) => node?.id ?? node?.nodeName ?? '')]);
}).observe({type: 'layout-shift', buffered: true});
"""


@pytest.mark.parametrize(
    ("viewport", "scheme"),
    [({"width": 1180, "height": 1000}, "light"), ({"width": 390, "height": 844}, "dark")],
    ids=["desktop", "phone"],
)
def test_nothing_moves_while_captions_come_in_and_everybody_can_use_what_is_there(
    opened, open_page, tmp_path, viewport, scheme
):
    tab = opened(open_page("fake?token_s=0.02", slots=2), viewport=viewport, color_scheme=scheme, locale="zh-CN")
    tab.evaluate(SHIFTS)
    names = [f"{'long' * (index % 9)}-{index}.png" for index in range(27)]  # more than a page
    paths = [write(tmp_path, name, file_of(scene(100 + index))) for index, name in enumerate(names)]
    give(tab, *paths)
    tab.locator("#batch-line").scroll_into_view_if_needed()
    tab.wait_for_timeout(700)
    tab.evaluate("shifts.length = 0")
    expect(tab.locator("#batch-line")).to_contain_text("已完成：27 / 27", timeout=DONE_MS)
    tab.wait_for_timeout(300)
    assert tab.evaluate("shifts") == []
    tab.click("#batch-older")
    expect(tab.locator("#batch-span")).to_have_text("第 1–24 张，共 27 张")
    tab.wait_for_timeout(700)  # what moves right after a click is not counted
    tab.evaluate("shifts.length = 0")
    table = tab.locator("#batch-table")
    assert table.evaluate("frame => frame.scrollHeight > frame.clientHeight && frame.tabIndex === 0")
    assert not tab.evaluate("document.documentElement.scrollWidth > innerWidth")
    first, second = (tab.locator("#batch-table tr").nth(index) for index in range(2))
    assert first.bounding_box()["x"] == second.bounding_box()["x"]
    tab.get_by_label("图库").check()
    expect(first).to_be_visible()
    assert first.bounding_box()["y"] == second.bounding_box()["y"]  # beside each other
    # but for gradio's list of uploads, which has one control inside another
    found = Axe().run(tab, {"exclude": [["#batch-files"]]}).response["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in grave] == []


def test_the_results_come_in_the_format_that_is_chosen(opened, open_page):
    tab = opened(open_page("fake?most_at_once=1", slots=2))
    tab.locator("#batch").get_by_label("25", exact=True).check()
    give(tab, archive(6))
    expect(tab.locator("#batch-line")).to_contain_text("Done: 6 of 6", timeout=DONE_MS)
    for name, file, says in (
        ("CSV", "captions.csv", "words."),
        ("JSON Lines", "captions.jsonl", "Use about 25 words."),
    ):
        before = tab.locator("#batch-download").get_attribute("href")
        tab.locator("#batch-format input").click()
        tab.get_by_role("option", name=name).click()
        tab.wait_for_timeout(700)
        assert before is None or tab.locator("#batch-download").get_attribute("href") != before
        with tab.expect_download() as download:
            tab.click("#batch-download")
        assert download.value.suggested_filename == file
        assert Path(download.value.path()).read_text("utf-8").count(says) >= 6


def test_captions_that_came_along_are_left_alone_or_appended_to(opened, open_page):
    tab = opened(open_page("fake"))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for index in range(2):
            made.writestr(f"{index}.png", file_of(scene(100 + index)))
        made.writestr("1.txt", "by hand")
    give(tab, {"name": "many.zip", "mimeType": "application/zip", "buffer": out.getvalue()})
    expect(tab.locator("#batch-line")).to_contain_text("Done: 2 of 2", timeout=DONE_MS)
    row = tab.locator("#batch-table tr").filter(has_text="1.png")
    expect(row.locator(".words")).to_have_text("by hand")
    expect(row.locator(".remark")).to_have_text("there already")
    tab.get_by_label("Append").check()
    tab.click("#batch-start")
    expect(row.locator(".words")).to_have_text(re.compile(r"^by hand\s*You asked"), timeout=DONE_MS)
    expect(tab.locator("#batch-line")).to_contain_text("Done: 2 of 2", timeout=DONE_MS)
    expect(row.locator(".remark")).to_have_count(0)
    files = tab.locator("#batch-files")
    tab.locator("#batch-existing").scroll_into_view_if_needed()
    heights = tab.locator("#batch-existing label").evaluate_all("all => all.map(each => each.offsetTop)")
    assert len(set(heights)) == 1  # one line
    files.get_by_label("Remove").or_(files.get_by_label("Clear")).first.click()
    picture = {"name": "p.png", "mimeType": "image/png", "buffer": file_of(scene(120))}
    give(tab, picture, {"name": "p.txt", "mimeType": "text/plain", "buffer": b"by hand too"})
    expect(tab.locator("#batch-table")).to_contain_text(re.compile(r"by hand too\s*You asked"), timeout=DONE_MS)
    expect(tab.locator("#batch-line")).to_contain_text("Done: 1 of 1", timeout=DONE_MS)


def test_one_picture_is_described_as_it_is_wished(opened, open_page, tmp_path):
    tab = opened(open_page("fake"))
    tab.evaluate(SHIFTS)
    tab.set_input_files("#caption-picture input[type=file]", write(tmp_path, "x.png", file_of(scene())))
    expect(tab.locator("#caption-picture img")).to_be_visible()
    tab.get_by_role("button", name="Length, instruction, prefix, suffix").click()
    form = tab.get_by_role("tabpanel").locator("#caption-more")
    form.get_by_label("10", exact=True).check()
    form.get_by_label("Also tell the model").fill("Name the colours.")
    form.get_by_label("Prefix").fill("a drawing: ")
    form.get_by_label("Suffix").fill(" #art")
    tab.click("#caption-run")
    asked = "a drawing: You asked: Describe the image in one short sentence. Name the colours. Use about 10 words."
    expect(tab.locator("#caption-text")).to_contain_text(re.compile(f"{re.escape(asked)}.* #art\\s*$"), timeout=15_000)
    tab.locator("#caption-style").get_by_label("With boxes").check()
    form.get_by_label("Also tell the model").fill("")
    tab.click("#caption-run")
    expect(tab.locator("#caption-text")).to_have_text(
        "a drawing: A small thing in front of a plain background. #art", timeout=15_000
    )
    expect(tab.locator("#caption-text .thing")).to_have_text("small thing")


def test_a_model_of_fixed_questions_is_not_told_what_it_would_not_heed(opened, open_page):
    tab = opened(open_page("bundled"))
    expect(tab.locator("#batch")).to_contain_text("does not follow a wish for a length or an instruction")
    expect(tab.locator("#batch").get_by_label("Also tell the model")).to_be_disabled()
    expect(tab.locator("#batch").get_by_label("Prefix")).to_be_enabled()
