"""The open tab is in the page's address: it stays through a reload, and a link leads to it. In headless Chromium."""

import pytest
from page_kit import until
from playwright.sync_api import expect
from visit_kit import BOX, PHONE, visitors

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def page(open_page):
    return open_page()


def is_open(tab, number):
    tabs = tab.get_by_role("tab")
    expect(tabs.nth(number)).to_have_attribute("aria-selected", "true", timeout=15_000)
    expect(tabs.and_(tab.locator("[aria-selected=true]"))).to_have_count(1)


@pytest.mark.parametrize("options", [{}, {"viewport": PHONE}], ids=["desktop", "phone"])
def test_a_reload_and_a_change_of_the_language_stay_on_the_tab(browser, page, options):
    with visitors(browser) as open_:
        tab = open_(page.url, **options)
        is_open(tab, 0)
        tab.get_by_role("tab", name="Captioning").click()
        assert until(lambda: tab.url.endswith("/#captioning"))
        tab.reload()
        is_open(tab, 2)
        expect(tab.locator("#caption-run")).to_be_visible()
        tab.get_by_role("link", name="中文").click()
        expect(tab.get_by_role("tab").nth(2)).to_have_text("描述")
        is_open(tab, 2)
        tab.keyboard.press("Alt+1")
        assert until(lambda: tab.url.endswith("/?lang=zh"))
        tab.reload()
        is_open(tab, 0)
        expect(tab.locator(BOX)).to_be_editable()
        tab.complaints.clear()  # gradio's page complains of its own connections, which the reloads cut


def test_a_link_leads_to_a_tab_that_then_works(browser, page):
    with visitors(browser) as open_:
        tab = open_(page.url)
        tab.goto("about:blank")
        tab.goto(f"{page.url}/#status")
        is_open(tab, 4)
        expect(tab.locator("#panel .card").first).to_be_visible()
        tab.evaluate("location.hash = '#grounding'")
        is_open(tab, 1)
        expect(tab.locator("#ground-run")).to_be_visible()
        tab.goto("about:blank")
        tab.goto(f"{page.url}/#nothing-here")
        expect(tab.locator(BOX)).to_be_editable(timeout=15_000)
        is_open(tab, 0)
        tab.complaints.clear()  # as above
