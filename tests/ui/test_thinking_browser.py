"""The reasoning of a model that thinks aloud, as a visitor meets it: open while it is written, then put away."""

import pytest
from playwright.sync_api import expect
from visit_kit import BOX, visitors

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def page(open_page):
    return open_page("fake?token_s=0.05&thought_tokens=40&tokens=60")


@pytest.fixture
def tab(browser, page):
    with visitors(browser) as open_:
        yield open_(page.url, permissions=["clipboard-read", "clipboard-write"])


def test_a_thought_is_open_while_it_is_written_and_closed_once_the_answer_begins(tab):
    tab.fill(BOX, "Hello")
    tab.press(BOX, "Enter")
    thought = tab.locator("#conversation .bot details.reasoning")
    expect(thought).to_have_attribute("open", "", timeout=20_000)
    expect(thought.locator("summary")).to_contain_text("Thinking for")
    expect(thought).to_contain_text("Let me look")
    expect(thought.locator("summary")).to_contain_text("Thought for", timeout=20_000)
    expect(thought).not_to_have_attribute("open", "")
    expect(tab.locator("#conversation .bot")).to_contain_text("You asked: Hello")
    expect(tab.locator("#conversation .bot .remark").filter(has_text="tokens").last).to_be_visible(timeout=20_000)
    tab.get_by_role("button", name="Copy answer").click()
    tab.wait_for_function("navigator.clipboard.readText().then(text => text.startsWith('You asked: Hello'))")
    assert "Let me look" not in tab.evaluate("navigator.clipboard.readText()")
    thought.locator("summary").click()
    expect(thought.locator("div")).to_be_visible()
    is_quoted = "parts => parts.filter(part => getComputedStyle(part).borderLeftWidth !== '0px').length"
    assert tab.locator("#conversation .bot div").evaluate_all(is_quoted) == 1  # the thought, and nothing around it


def test_the_grounding_tab_says_that_the_model_thinks_and_shows_the_answer_only(tab):
    tab.get_by_role("tab", name="Grounding").click()
    tab.get_by_role("button", name="the apples").first.click()
    tab.locator("#ground-run").click()
    expect(tab.locator("#ground-line")).to_contain_text("Thinking for", timeout=20_000)
    expect(tab.locator("#ground-drawn img")).to_be_visible(timeout=20_000)
    assert "Let me look" not in tab.locator("#ground-text").inner_text()
