"""The compare tab in headless Chromium, with two fake models: both sides are written at once, one button stops both."""

import re

import pytest
from page_kit import file_of, scene, until, write
from playwright.sync_api import expect
from visit_kit import DESK, PHONE, SHIFTS, visitors

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LONG = "tell " * 400


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    return tmp_path_factory.mktemp("journal") / "journal"


@pytest.fixture(scope="module")
def page(open_page, journal):
    models = ["fake?token_s=0.02", f"captioning=fake?token_s=0.02&journal={journal}"]
    return open_page(models, max_queue=2)


@pytest.fixture
def tab(browser, page):
    with visitors(browser) as open_:
        tab = open_(page.url, viewport={"width": 1280, "height": 1000})
        tab.get_by_role("tab", name="Compare").click()
        yield tab


def side(tab, place, part):
    return tab.locator(f"#compare-{place}-{part}")


def test_both_sides_are_written_at_once_each_with_its_model_and_settings(tab, tmp_path):
    tab.set_input_files("#compare-picture input[type=file]", write(tmp_path, "scene.png", file_of(scene())))
    expect(tab.locator("#compare-picture img")).to_be_visible()
    chosen = [side(tab, place, "model").locator("input:checked").input_value() for place in ("left", "right")]
    assert chosen == ["fake", "fake (captioning)"]
    panel = tab.get_by_role("tabpanel")
    panel.get_by_text("System prompt", exact=True).nth(1).click()
    side(tab, "right", "system").locator("textarea").fill("Be brief.")
    panel.get_by_text("How the answer is chosen").nth(1).click()
    temperature = panel.get_by_role("spinbutton", name=re.compile("Temperature"))
    expect(temperature).to_have_value("0")  # it has come alive
    tab.wait_for_timeout(200)
    temperature.fill("0.7")
    tab.keyboard.press("Tab")
    expect(temperature).to_have_value("0.7")
    tab.locator("#compare-question textarea").fill("tell " * 60)
    tab.locator("#compare-run").click()
    for place in ("left", "right"):
        expect(side(tab, place, "text")).to_contain_text("tell tell", timeout=15_000)
        expect(side(tab, place, "line")).to_contain_text("Writing")
    expect(tab.locator("#compare-run")).to_be_disabled()
    for place, settings in (("left", "always the likeliest word"), ("right", "temperature 0.7")):
        expect(side(tab, place, "line")).to_contain_text(settings, timeout=20_000)
        expect(side(tab, place, "text")).to_contain_text("a picture of 320 x 200")
    expect(side(tab, "right", "text")).to_contain_text("I was told: Be brief.")
    expect(side(tab, "left", "text")).not_to_contain_text("I was told")
    expect(tab.locator("#compare-run")).to_be_enabled()
    expect(tab.locator("#compare-stop")).to_be_disabled()


def test_one_stop_ends_both_and_both_can_be_asked_again(tab, journal):
    before = journal.read_text().count("end") if journal.exists() else 0
    tab.locator("#compare-run").click()
    for place in ("left", "right"):
        expect(side(tab, place, "line").locator(".error")).to_have_text("The question is empty. Type a question first.")
    expect(tab.locator("#compare-run")).to_be_enabled()
    tab.locator("#compare-question textarea").fill(LONG)
    tab.locator("#compare-run").click()
    for place in ("left", "right"):
        expect(side(tab, place, "text")).to_contain_text("tell tell", timeout=15_000)
    tab.locator("#compare-stop").click()
    for place in ("left", "right"):
        expect(side(tab, place, "line")).to_have_text("Stopped.")
        expect(side(tab, place, "text")).to_contain_text("tell tell")
    assert until(lambda: journal.read_text().count("end") > before)
    expect(tab.locator("#compare-run")).to_be_enabled()
    tab.locator("#compare-question textarea").fill("Where is the dog?")
    tab.locator("#compare-run").click()
    for place in ("left", "right"):
        expect(side(tab, place, "line")).to_contain_text("tokens", timeout=15_000)


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desktop", "phone"])
def test_nothing_moves_while_both_sides_are_written_and_drawn(browser, page, tmp_path, viewport):
    with visitors(browser) as open_:
        tab = open_(page.url, viewport=viewport, script=SHIFTS)
        tab.get_by_role("tab", name="Compare").click()
        tab.set_input_files("#compare-picture input[type=file]", write(tmp_path, "scene.png", file_of(scene())))
        expect(tab.locator("#compare-picture img")).to_be_visible()
        for question in ("tell " * 120, "Where is the red dog?"):
            tab.locator("#compare-question textarea").fill(question)
            tab.locator("#compare-run").click()
            side(tab, "left", "line").scroll_into_view_if_needed()
            side(tab, "left", "text").evaluate("element => element.scrollIntoView({block: 'start'})")
            tab.wait_for_timeout(700)  # what an input moves in its first half second is no shift
            tab.evaluate("shifts.length = 0")
            for place in ("left", "right"):
                expect(side(tab, place, "line")).to_contain_text("likeliest word", timeout=30_000)
            tab.wait_for_timeout(300)
            assert tab.evaluate("shifts") == []
        expect(side(tab, "left", "drawn").locator("img")).to_be_visible()
