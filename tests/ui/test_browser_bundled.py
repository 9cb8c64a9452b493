"""The bundled model in headless Chromium: each tab's question about an example, its words and its places.

The truth lies beside each example picture as NAME.json: ``{"objects": [{"name": NOUN, "box": [x0, y0, x1, y1]}]}``,
in pixels.
"""

import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError, expect

from demo.grounding import cogvlm
from demo.grounding.geometry import iou
from demo.types import Box, Size

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"
ANSWER = "#conversation .bot .message-content"
BOX = "#message textarea"
DONE_MS = 60_000
SIZE = (960, 640)  # of the example pictures
NUMBERS = ("no", "one", "two", "three", "four")

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def page(open_page):
    return open_page("bundled")


@pytest.fixture
def tab(browser, page):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.goto(page.url)
    expect(tab.locator(BOX)).to_be_editable(timeout=30_000)
    yield tab
    context.close()


def examples(kind):
    return [entry for entry in json.loads((EXAMPLES / "examples.json").read_text()) if entry["tab"] == kind]


def truth(entry):
    """The things in an example's picture: (noun, box)."""
    things = json.loads((EXAMPLES / entry["file"]).with_suffix(".json").read_text())["objects"]
    return [(thing["name"], Box(*thing["box"])) for thing in things]


def named(words, text):
    """How many of the nouns a text names, in the singular or the plural."""
    return sum(1 for word in set(words) if re.search(rf"\b{re.escape(word)}(?:e?s)?\b", text, re.IGNORECASE))


def found(tab, prefix):
    """The table's rows: (label, box)."""
    rows = tab.locator(f"#{prefix}-table tbody tr")
    cells = [rows.nth(index).locator("th, td").all_inner_texts() for index in range(rows.count())]
    return [(cell[0], Box(*map(float, cell[1:]))) for cell in cells]


def assert_found(boxes, asked):
    """Each thing has a box of its own, and no box is left over."""
    assert len(boxes) == len(asked), (boxes, asked)
    assert all(max(iou(box, true) for box in boxes) >= 0.5 for true in asked), (boxes, asked)


def finished(tab):
    return tab.locator("#conversation .bot .remark").filter(has_text="tokens").last


def test_the_heading_says_what_the_model_is_made_for(tab):
    expect(tab.locator("#about .note")).to_contain_text("photos are not its world")


def test_what_the_model_takes_is_in_the_log_in_its_workers_words(page):
    assert re.search(r"INFO demo\.backends\.proving: cpu holds \d+ bytes of weights", page.log.read_text())


def test_an_example_of_the_chat_is_answered_with_what_is_in_it(tab):
    entry = examples("chat")[0]
    tab.locator("button.example:visible").first.click()
    expect(tab.locator(BOX)).to_have_value(entry["question"])
    expect(tab.locator("#message img")).to_be_visible()
    tab.press(BOX, "Enter")
    expect(finished(tab)).to_be_visible(timeout=DONE_MS)
    cats = [box for noun, box in truth(entry) if noun == "cat"]
    assert NUMBERS[len(cats)] in tab.locator(ANSWER).first.inner_text()
    tab.fill(BOX, "Where are they?")
    tab.press(BOX, "Enter")
    expect(tab.locator("#conversation .bot .remark")).to_have_count(2, timeout=DONE_MS)
    expect(tab.locator("#conversation .bot .thing")).to_contain_text("cats")
    expect(tab.locator("#conversation .bot img")).to_be_visible()
    tab.locator("#conversation summary").click()
    found_ones = cogvlm.parse(tab.locator("#conversation details code").inner_text(), Size(*SIZE))
    assert_found([region.box for region in found_ones], cats)


def test_every_example_of_the_grounding_tab_is_found_where_it_is(tab):
    for index, entry in enumerate(examples("grounding")):
        tab.reload()  # so that nothing of the example before is read
        tab.get_by_role("tab", name="Grounding").click()
        tab.locator("button.example:visible").nth(index).click()
        expect(tab.get_by_label("What to look for")).to_have_value(entry["phrase"])
        expect(tab.locator("#ground-picture img")).to_be_visible()
        tab.get_by_role("button", name="Find it").click()
        expect(tab.locator("#ground-line")).to_contain_text("tokens", timeout=DONE_MS)
        expect(tab.locator("#ground-drawn img")).to_be_visible()
        asked = [box for noun, box in truth(entry) if noun in entry["phrase"]]
        if entry["phrase"].endswith("on the left"):
            asked = [min(asked, key=lambda box: box.x0)]
        assert_found([box for _, box in found(tab, "ground")], asked)


def test_phrases_are_found_together_one_that_is_not_there_is_named_and_a_box_is_named_back(tab):
    """There and back: what is found where is in turn asked what it is."""
    tab.get_by_role("tab", name="Grounding").click()
    tab.locator("#ground-picture input[type=file]").set_input_files(str(EXAMPLES / "park.png"))
    expect(tab.locator("#ground-picture img")).to_be_visible()
    tab.locator("#ground-phrase textarea").fill("the dog; the cats; the whale\nthe sun")
    tab.locator("#ground-run").click()
    expect(tab.locator("#ground-line")).to_contain_text("3 of 4 phrases found", timeout=DONE_MS)
    expect(tab.locator("#ground-text")).to_contain_text("Not found: the whale")
    things = truth({"file": "park.png"})
    boxes = found(tab, "ground")
    assert [label for label, _ in boxes] == ["the dog", "the cats", "the cats", "the sun"]
    assert_found([box for _, box in boxes], [box for noun, box in things if noun in ("dog", "cat", "sun")])
    tab.locator("#ground-table tbody button").nth(0).click()
    tab.locator("#ground-ask").click()
    expect(tab.locator("#ground-text")).to_contain_text("dog", timeout=DONE_MS)
    expect(tab.locator("#ground-table tbody tr")).to_have_count(1)
    (tree,) = [box for noun, box in things if noun == "tree"]
    nowhere = Box(540, 20, 720, 180)
    assert all(iou(nowhere, box) == 0 for _, box in things)
    for region, says, num_rows in ((tree, "tree", 1), (nowhere, "Nothing that I know.", 0)):
        for name, value in zip(("x0", "y0", "x1", "y1"), (region.x0, region.y0, region.x1, region.y1), strict=True):
            tab.locator(f"#ground-{name} input").fill(str(round(value)))
        tab.locator("#ground-ask").click()
        expect(tab.locator("#ground-text")).to_contain_text(says, timeout=DONE_MS)
        expect(tab.locator("#ground-table tbody tr")).to_have_count(num_rows)


def test_a_caption_with_boxes_names_the_things_and_points_at_them(tab):
    tab.get_by_role("tab", name="Captioning").click()
    entry = examples("captioning")[0]
    tab.locator("#caption-picture input[type=file]").set_input_files(str(EXAMPLES / entry["file"]))
    expect(tab.locator("#caption-picture img")).to_be_visible()
    tab.get_by_label("With boxes").check()
    tab.get_by_role("button", name="Describe it").click()
    expect(tab.locator("#caption-line")).to_contain_text("tokens", timeout=DONE_MS)
    things = truth(entry)
    caption = tab.locator("#caption-text").inner_text()
    nouns = {noun for noun, _ in things}
    assert named(nouns, caption) >= (len(nouns) + 1) // 2, caption
    boxes = [box for _, box in found(tab, "caption")]
    right = [box for box in boxes if max(iou(box, true) for _, true in things) >= 0.5]
    assert boxes
    assert len(right) >= (len(boxes) + 1) // 2


def test_stop_ends_an_answer_in_the_middle(tab):
    """A hot model that may not repeat itself rambles, which leaves time to press; should it end, it is asked again."""
    tab.get_by_role("tabpanel").locator(".example").first.click()
    expect(tab.locator(BOX)).not_to_have_value("")
    tab.get_by_role("tabpanel").get_by_text("How the answer is chosen").click()
    for name, usual in (("Temperature", "0"), ("Repetition penalty", "1")):
        number = tab.get_by_role("spinbutton", name=re.compile(name)).first
        expect(number).to_have_value(usual)
        tab.wait_for_timeout(200)  # gradio may lose what is typed while the folded part comes alive
        number.fill("2")
        tab.keyboard.press("Tab")
        expect(number).to_have_value("2")
    stopped = tab.locator("#conversation .bot .remark").filter(has_text="Stopped.")
    for attempt in range(1, 11):
        tab.fill(BOX, "Describe the image and include the coordinates [[x0,y0,x1,y1]] of every object.")
        tab.press(BOX, "Enter")
        with suppress(TimeoutError):
            tab.locator("#message .stop-button").click(timeout=3_000)
        expect(tab.locator("#conversation .bot .remark")).to_have_count(attempt, timeout=DONE_MS)
        if stopped.count() and tab.locator(ANSWER).count() > attempt:
            break
    else:
        pytest.fail("ten answers ended before Stop could be pressed")
    expect(tab.locator("#message .submit-button")).to_be_visible()
    tab.fill(BOX, "Hello")
    tab.press(BOX, "Enter")
    expect(tab.locator("#conversation .bot .remark")).to_have_count(attempt + 1, timeout=DONE_MS)
