"""The proof that nothing a visitor does loads a model again: the counter that the page shows and /metrics serves."""

import re

import pytest
from gradio_client import Client
from playwright.sync_api import expect

PARAMETERS = 1_000_000


@pytest.fixture(scope="module")
def page(open_page):
    return open_page(f"fake?parameters={PARAMETERS}")


def metrics(page):
    return page.get("/metrics")[2].decode()


def loads(page):
    return re.findall(r"^demo_replica_loads_total\{.*\} (\d+)$", metrics(page), re.MULTILINE)


def test_a_second_client_and_the_api_never_load_again(page):
    for _ in range(2):
        client = Client(page.url, verbose=False)
        assert "You asked" in client.predict("Hello", api_name="/chat")[0]
    assert page.get("/")[0] == page.get("/config")[0] == page.get("/healthz")[0] == 200
    assert loads(page) == ["1"]
    resident = re.findall(r"^demo_(?:resident|planned_weight)_bytes\{.*\} (\d+)$", metrics(page), re.MULTILINE)
    assert resident == [str(4 * PARAMETERS)] * 2


@pytest.mark.browser
@pytest.mark.slow
def test_a_second_tab_and_a_reload_never_load_again_and_the_page_says_so(page, browser):
    tabs = [browser.new_page() for _ in range(2)]
    for tab in tabs:
        tab.goto(page.url)
        expect(tab.locator("#message textarea")).to_be_editable(timeout=30_000)
        tab.reload()
        expect(tab.locator("#message textarea")).to_be_editable(timeout=30_000)
        tab.fill("#message textarea", "Hello?")
        tab.press("#message textarea", "Enter")
        expect(tab.locator("#conversation .bot .message-content").first).to_contain_text("Hello?", timeout=15_000)
        for name in ("Grounding", "Captioning", "Status"):
            tab.get_by_role("tab", name=name).click()
        expect(tab.locator("#panel")).to_contain_text("once, in")
        expect(tab.locator("#panel")).to_contain_text("4 MiB on CPU, as planned")
    assert loads(page) == ["1"]
    for tab in tabs:
        tab.close()
