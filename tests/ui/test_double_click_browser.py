"""A double click where one click is meant, in headless Chromium: one question, and one whole answer."""

import pytest
from playwright.sync_api import expect
from visit_kit import BOX, visitors

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ASKED = "tell " * 60  # outlasts the clicks by far


@pytest.fixture(scope="module")
def page(open_page):
    return open_page(["fake?token_s=0.02", "captioning=fake?token_s=0.02"], slots=2)


@pytest.fixture
def tab(browser, page, request):
    with visitors(browser) as open_:
        yield open_(page.url, **getattr(request, "param", {}))


def click_twice(tab, button, between_ms):
    """Where the button was, whatever is there by the second click."""
    box = tab.locator(button).bounding_box()
    place = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.click(*place)
    tab.wait_for_timeout(between_ms)
    tab.mouse.click(*place, click_count=2)


@pytest.mark.parametrize("tab", [{}, {"reduced_motion": "reduce"}], indirect=True, ids=["moving", "still"])
def test_a_double_click_on_send_asks_once_and_stops_nothing(tab):
    for number, between_ms in enumerate((30, 80, 150), 1):
        tab.fill(BOX, ASKED)
        click_twice(tab, "#message .submit-button", between_ms)
        costs = tab.locator("#conversation .bot .remark")
        expect(costs.filter(has_text="token")).to_have_count(number, timeout=15_000)
        expect(costs.filter(has_text="Stopped")).to_have_count(0)
        expect(tab.locator("#conversation .user-row")).to_have_count(number)
        expect(tab.locator("#chat-notice")).to_be_hidden()


def test_the_stop_button_takes_a_click_soon_after_it_came(tab):
    tab.fill(BOX, "tell " * 400)
    tab.click("#message .submit-button")
    tab.locator("#message .stop-button").wait_for()
    tab.wait_for_timeout(600)
    tab.click("#message .stop-button")
    expect(tab.locator("#conversation .bot .remark")).to_have_text("Stopped.")


def test_a_double_click_on_ask_both_gets_one_whole_answer_on_each_side(tab):
    tab.get_by_role("tab", name="Compare").click()
    for between_ms in (30, 80, 150):
        tab.locator("#compare-question textarea").fill(f"{ASKED} {between_ms}")
        click_twice(tab, "#compare-run", between_ms)
        for place in ("left", "right"):
            expect(tab.locator(f"#compare-{place}-text")).to_contain_text(f"tell {between_ms}", timeout=15_000)
            expect(tab.locator(f"#compare-{place}-line")).to_contain_text("tokens")
        expect(tab.locator("#compare-run")).to_be_enabled()
        expect(tab.locator("#compare-stop")).to_be_disabled()


@pytest.mark.parametrize("between_ms", [30, 150])
@pytest.mark.parametrize(("name", "kind"), [("Grounding", "ground"), ("Captioning", "caption")])
def test_a_double_click_on_a_picture_s_question_gets_one_whole_answer(tab, name, kind, between_ms):
    tab.get_by_role("tab", name=name).click()
    tab.get_by_role("tabpanel").locator(".example").first.click()
    expect(tab.locator(f"#{kind}-picture img")).to_be_visible()
    click_twice(tab, f"#{kind}-run", between_ms)
    expect(tab.locator(f"#{kind}-line")).to_contain_text("token", timeout=15_000)
    expect(tab.locator(f"#{kind}-run")).to_be_enabled()
    expect(tab.locator(f"#{kind}-stop")).to_be_disabled()
