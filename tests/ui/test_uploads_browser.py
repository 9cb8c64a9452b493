"""What Chromium shows beside an input of many files, and when more was chosen than is taken."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def page(open_page):
    return open_page("fake")


@pytest.fixture
def opened(browser, page):
    """Opens the part of many pictures: ``opened("zh-CN")``."""
    contexts = []

    def build(language="en"):
        contexts.append(browser.new_context(locale=language))
        tab = contexts[-1].new_page()
        tab.goto(page.url)
        tab.get_by_role("tab", name=re.compile("Captioning|描述")).click()
        tab.get_by_role("button", name=re.compile("Many pictures|批量描述")).click()
        return tab

    yield build
    for context in contexts:
        context.close()


@pytest.fixture
def chosen(tmp_path):
    """Gives an input files of so many megabytes."""

    def choose(tab, **sizes):
        paths = [tmp_path / name.replace("_", ".") for name in sizes]
        for path, size in zip(paths, sizes.values(), strict=True):
            with path.open("wb") as file:
                file.truncate(size * 1_000_000)
        tab.locator("#batch-files input[type=file]").set_input_files(paths)

    return choose


def told(tab):
    return tab.get_by_test_id("toast-text")


def test_the_limits_are_told_beside_the_input(opened):
    limits = opened().locator("#batch-limits")
    expect(limits).to_be_visible()
    expect(limits).to_contain_text("At most 64 MB at a time, 50 MB a file and 2,000 pictures.")
    expect(limits).to_contain_text("python launch.py caption FOLDER")


def test_files_that_are_too_large_together_are_refused_with_the_limit_and_a_way_out(opened, chosen):
    tab = opened()
    chosen(tab, a_png=30, b_png=30, c_png=30)
    expect(told(tab)).to_have_text(
        "These files are too large together (90 MB): at most 64 MB are taken at a time. Choose fewer at a time, or "
        "caption the whole folder in a terminal: python launch.py caption FOLDER",
        timeout=30_000,
    )


def test_a_file_that_is_too_large_is_named_with_the_limit_that_stands_beside_the_input(opened, chosen):
    tab = opened()
    chosen(tab, big_zip=51)
    expect(told(tab)).to_have_text(
        'Too large: "big.zip". At most 50 MB a file are taken. Make it smaller, split an archive, or caption it in a '
        "terminal: python launch.py caption PATH"
    )


def test_both_are_told_in_chinese(opened, chosen):
    tab = opened("zh-CN")
    expect(tab.locator("#batch-limits")).to_contain_text("每次最多 64 MB")
    chosen(tab, big_zip=51)
    expect(told(tab)).to_contain_text('太大："big.zip"。每个文件最多 50 MB。')
    tab.get_by_test_id("toast-close").click()
    chosen(tab, a_png=40, b_png=40)
    expect(told(tab)).to_contain_text("这些文件合计太大（80 MB）：每次最多 64 MB。", timeout=30_000)
