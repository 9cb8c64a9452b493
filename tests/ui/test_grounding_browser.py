"""The grounding tab in headless Chromium, with the fake model: phrases, regions, choices, files, nothing that jumps."""

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_kit import file_of, scene, until, write
from PIL import Image
from playwright.sync_api import expect
from visit_kit import DESK, PHONE, SHIFTS, visitors

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FIELDS = [f"#ground-{name} input" for name in ("x0", "y0", "x1", "y1")]
ROWS = "#ground-table tbody tr"


@pytest.fixture(scope="module")
def page(open_page):
    return open_page("fake?token_s=0.03")


@pytest.fixture(scope="module")
def slow(open_page):
    """What moves within half a second of a click is not counted."""
    return open_page("fake?token_s=0.12")


@pytest.fixture
def visit(browser, page):
    """Opens the tab as a new visitor."""
    with visitors(browser) as open_:

        def visit(language="en", at=page, **options):
            tab = open_(f"{at.url}/?lang={language}", script=SHIFTS, accept_downloads=True, **options)
            tab.get_by_role("tab").nth(1).click()
            expect(tab.locator("#ground-run")).to_be_visible()
            return tab

        yield visit


def give(tab, path):
    tab.set_input_files("#ground-picture input[type=file]", path)
    expect(tab.locator("#ground-picture img")).to_be_visible()
    tab.locator("#ground-picture img").evaluate("image => image.decode()")


def find(tab, phrases):
    tab.locator("#ground-phrase textarea").fill(phrases)
    tab.locator("#ground-run").click()


def is_done(tab):
    expect(tab.locator("#ground-stop")).to_be_enabled()
    expect(tab.locator("#ground-run, #ground-ask").locator("visible=true")).to_be_enabled(timeout=30_000)


def region(tab):
    return [int(tab.locator(field).input_value()) for field in FIELDS]


def on_picture(tab, x, y):
    """A place in the picture, in fractions of what is seen of it, as one of the screen."""
    return tab.locator("#ground-picture img").evaluate(
        """(image, [x, y]) => {
          const box = image.getBoundingClientRect();
          const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
          return [box.x + box.width / 2 + (x - 0.5) * image.naturalWidth * scale,
                  box.y + box.height / 2 + (y - 0.5) * image.naturalHeight * scale];
        }""",
        [x, y],
    )


def drag(tab, begin, end):
    tab.locator("#ground-picture img").scroll_into_view_if_needed()
    tab.mouse.move(*on_picture(tab, *begin))
    tab.mouse.down()
    tab.mouse.move(*on_picture(tab, 0.4, 0.4), steps=3)
    tab.mouse.move(*on_picture(tab, *end), steps=3)
    tab.mouse.up()


def violations(tab):
    found = Axe().run(tab).response["violations"]
    grave = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    return [(violation["id"], [node["target"] for node in violation["nodes"]]) for violation in grave]


def test_what_a_stopped_run_found_is_chosen_and_taken_away_like_all_else(visit, tmp_path):
    tab = visit()
    give(tab, write(tmp_path, "park.png", file_of(scene())))
    find(tab, "very " * 300)
    expect(tab.locator("#ground-text")).to_contain_text("very very", timeout=15_000)
    tab.locator("#ground-stop").click()
    expect(tab.locator("#ground-line")).to_have_text("Stopped. · nothing found so far")
    expect(tab.locator("#ground-as-boxes")).to_be_disabled()
    find(tab, f"the dog; {'very ' * 300}")
    expect(tab.locator("#ground-line")).to_contain_text("phrase 2 of 2", timeout=15_000)
    expect(tab.locator("#ground-text [data-only]")).to_have_count(0)
    tab.locator("#ground-stop").click()
    expect(tab.locator("#ground-line")).to_have_text("Stopped.")
    word = tab.locator("#ground-text [data-only]")
    expect(word).to_have_text("dog")
    word.click()
    expect(word).to_have_attribute("aria-pressed", "true")
    expect(tab.locator("#ground-drawn img")).to_be_visible()
    tab.wait_for_timeout(500)  # for all that was on its way
    expect(word).to_have_attribute("aria-pressed", "true")
    for name in ("drawn", "boxes", "coco", "yolo"):
        expect(tab.locator(f"#ground-as-{name}")).to_be_enabled()
    with tab.expect_download() as download:
        tab.locator("#ground-as-boxes").click()
    assert [one["label"] for one in json.loads(download.value.path().read_text())] == ["the dog"]
    assert violations(tab) == []


def test_several_phrases_then_one_word_alone_then_a_row_as_the_region_then_asked_about(visit, tmp_path):
    tab = visit()
    give(tab, write(tmp_path, "my park.png", file_of(scene())))
    find(tab, "the dog; the cat\nthe sun")
    is_done(tab)
    expect(tab.locator("#ground-line")).to_contain_text("3 of 3 phrases found")
    expect(tab.locator(ROWS)).to_have_count(3)
    words = tab.locator("#ground-text button.thing")
    expect(words).to_have_text(["dog", "cat", "sun"])
    colours = words.evaluate_all(
        "words => words.map(word => getComputedStyle(word).getPropertyValue('--thing').trim())"
    )
    assert len(set(colours)) == 3
    drawn = tab.locator("#ground-drawn img")
    all_of_them = drawn.get_attribute("src")
    words.nth(1).focus()
    tab.keyboard.press("Enter")  # a word is a button
    expect(drawn).not_to_have_attribute("src", all_of_them)
    expect(words.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(words.nth(1)).to_be_focused()
    tab.keyboard.press("Enter")
    expect(drawn).to_have_attribute("src", all_of_them)
    expect(words.nth(1)).to_have_attribute("aria-pressed", "false")
    tab.locator(f"{ROWS} button").nth(2).click()
    expect(drawn).not_to_have_attribute("src", all_of_them)
    assert region(tab) == [32, 40, 96, 80]
    expect(tab.locator("#ground-picture .marked")).to_be_visible()
    tab.locator(FIELDS[2]).fill("160")
    tab.locator("#ground-question textarea").fill("What is this?")
    assert violations(tab) == []
    tab.locator("#ground-ask").click()
    is_done(tab)
    expect(tab.locator("#ground-text")).to_contain_text("What is this?")
    assert tab.locator(f"{ROWS} td").all_inner_texts() == ["32", "40", "160", "80"]


def test_what_was_found_is_shown_raw_and_parsed_and_can_be_taken_away(visit, tmp_path):
    tab = visit()
    buttons = {name: tab.locator(f"#ground-as-{name}") for name in ("drawn", "boxes", "coco", "yolo")}
    give(tab, write(tmp_path, "my park.png", file_of(scene())))
    for button in buttons.values():
        expect(button).to_be_disabled()
    find(tab, "the dog")
    is_done(tab)
    saved = {}
    for name, button in buttons.items():
        expect(button).to_be_enabled()
        with tab.expect_download() as waited:
            button.click()
        saved[name] = waited.value
    names = [one.suggested_filename for one in saved.values()]
    assert names == ["my_park-boxes.png", "my_park-boxes.json", "my_park-coco.json", "my_park-yolo.zip"]
    with Image.open(saved["drawn"].path()) as image:
        assert image.size == (320, 200)
    boxes = json.loads(saved["boxes"].path().read_text())
    assert boxes == [{"label": "dog", "box": [32, 40, 96, 80], "box_normalized": [0.1, 0.2, 0.3, 0.4]}]
    assert json.loads(saved["coco"].path().read_text())["annotations"][0]["bbox"] == [32, 40, 64, 40]
    tab.get_by_role("tabpanel").get_by_text("The model's own words").click()
    expect(tab.locator("#ground-raw textarea")).to_have_value("the dog [[100,200,300,400]]")
    assert json.loads(tab.locator("#ground-parsed textarea").input_value()) == boxes
    left, right = (tab.locator(f"#ground-{name}").bounding_box() for name in ("raw", "parsed"))
    assert left["y"] == right["y"]
    assert left["x"] < right["x"]


def test_a_region_is_drawn_in_pixels_of_the_picture_itself_and_shown_where_it_is(visit, tmp_path):
    tab = visit()
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn: 3000 x 2000 pixels are seen as 2000 x 3000
    give(tab, write(tmp_path, "turned.jpg", file_of(scene(3000, 2000), "JPEG", exif=turned)))
    tab.get_by_label("Ask about a region").check()
    tip = tab.locator("#ground-tip")
    expect(tip).to_contain_text("Drag a rectangle")
    drag(tab, (0.9, 0.6), (0.2, 0.2))
    slack = 2 * 3000 / 250  # the picture is some 250 px high
    assert region(tab) == pytest.approx([400, 600, 1800, 1800], abs=slack)
    expect(tip).to_contain_text("The region is marked")
    mark = tab.locator("#ground-picture .marked").bounding_box()
    x0, y0 = on_picture(tab, 0.2, 0.2)
    x1, y1 = on_picture(tab, 0.9, 0.6)
    tab.get_by_label("Find things").check()
    expect(tab.locator("#ground-picture .marked")).to_be_hidden()
    tab.get_by_label("Ask about a region").check()
    expect(tab.locator("#ground-picture .marked")).to_be_visible()
    seen = [mark["x"], mark["y"], mark["x"] + mark["width"], mark["y"] + mark["height"]]
    assert seen == pytest.approx([x0, y0, x1, y1], abs=4)
    tab.mouse.click(*on_picture(tab, 0.5, 0.5))  # two taps
    expect(tip).to_contain_text("Now tap the opposite corner")
    tab.mouse.click(*on_picture(tab, 0.25, 0.75))
    expect(tip).to_contain_text("The region is marked")
    assert region(tab) == pytest.approx([500, 1500, 1000, 2250], abs=slack)
    tab.locator(FIELDS[0]).fill("0")  # the keyboard's way
    wide = pytest.approx(on_picture(tab, 0.5, 0)[0] - on_picture(tab, 0, 0)[0], abs=4)
    assert until(lambda: tab.locator("#ground-picture .marked").bounding_box()["width"] == wide)
    tab.locator("#ground-ask").click()
    is_done(tab)
    expect(tab.locator("#ground-text")).to_contain_text("a picture of 2000 x 3000 pixels")
    corners = [int(text) for text in tab.locator(f"{ROWS} td").all_inner_texts()]
    assert corners == region(tab)
    give(tab, write(tmp_path, "other.png", file_of(scene())))
    expect(tab.locator("#ground-picture .marked")).to_be_hidden()
    assert region(tab) == [0, 0, 0, 0]  # it was of another picture
    tab.locator("#ground-ask").click()
    expect(tab.locator("#ground-line .error")).to_contain_text("There is no region in the picture")


def test_a_region_goes_with_its_picture(visit, tmp_path):
    tab = visit()
    picture = write(tmp_path, "scene.png", file_of(scene()))
    give(tab, picture)
    tab.get_by_label("Ask about a region").check()
    drag(tab, (0.2, 0.2), (0.8, 0.8))
    expect(tab.locator("#ground-picture .marked")).to_be_visible()
    tab.locator("#ground-picture").get_by_label("Remove Image").click()
    expect(tab.locator("#ground-picture img")).to_have_count(0)
    expect(tab.locator("#ground-picture .marked")).to_be_hidden()
    assert until(lambda: region(tab) == [0, 0, 0, 0])
    expect(tab.locator("#ground-tip")).to_contain_text("Drag a rectangle")
    give(tab, picture)
    drag(tab, (0.2, 0.2), (0.8, 0.8))
    tab.mouse.click(*on_picture(tab, 0.5, 0.5))  # half of another one
    expect(tab.locator("#ground-tip")).to_contain_text("Now tap the opposite corner")
    tab.locator("#ground-picture").get_by_label("Remove Image").click()
    expect(tab.locator("#ground-picture .marked")).to_be_hidden()
    expect(tab.locator("#ground-tip")).to_contain_text("Drag a rectangle")


def test_a_region_is_tapped_on_a_touch_screen(visit, tmp_path):
    tab = visit("zh", viewport=PHONE, has_touch=True, is_mobile=True)
    give(tab, write(tmp_path, "scene.png", file_of(scene(1200, 900))))
    tab.get_by_label("问某个区域").check()
    tab.locator("#ground-picture img").scroll_into_view_if_needed()
    tab.touchscreen.tap(*on_picture(tab, 0.25, 0.25))
    expect(tab.locator("#ground-tip")).to_contain_text("请再点对角的位置")
    tab.touchscreen.tap(*on_picture(tab, 0.75, 0.5))
    assert region(tab) == pytest.approx([300, 225, 900, 450], abs=8)
    mark = tab.locator("#ground-picture .marked").bounding_box()
    assert [mark["x"], mark["y"]] == pytest.approx(on_picture(tab, 0.25, 0.25), abs=4)
    assert not tab.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    tab.locator("#ground-ask").click()
    is_done(tab)
    expect(tab.locator("#ground-as-coco")).to_be_enabled()
    expect(tab.locator("#ground-table caption")).to_contain_text("像素")
    lines = tab.locator(".downloads button:visible").evaluate_all("all => all.map(it => it.offsetHeight)")
    assert len(lines) == 4
    assert len(set(lines)) == 1  # no name is broken over two


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desktop", "phone"])
def test_nothing_moves_while_answers_are_written_and_drawn(visit, tmp_path, viewport):
    tab = visit(viewport=viewport)
    give(tab, write(tmp_path, "scene.png", file_of(scene())))
    for _ in range(2):  # the second time over the first result
        find(tab, f"the {'very ' * 60}big dog; the cat\nthe sun; a tree; the sea; a moon")
        tab.wait_for_timeout(700)  # what an input moves in its first half second is no shift
        tab.evaluate("shifts.length = 0")
        expect(tab.locator("#ground-line")).to_contain_text("6 of 6 phrases found", timeout=30_000)
        expect(tab.locator(ROWS)).to_have_count(6)
        tab.wait_for_timeout(300)
        assert tab.evaluate("shifts") == []
    expect(tab.locator("#ground-drawn img")).to_be_in_viewport()


def settled(tab):
    """Wait until nothing has moved for a while, which takes a busy machine longer, and forget what has."""
    before = -1
    while (count := tab.evaluate("shifts.length")) != before:
        before = count
        tab.wait_for_timeout(1000)
    tab.evaluate("shifts.length = 0")


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 1400}, PHONE], ids=["desktop", "phone"])
def test_nothing_moves_while_a_caption_with_boxes_is_written_and_drawn(visit, slow, tmp_path, viewport):
    tab = visit(at=slow, viewport=viewport)
    tab.get_by_role("tab").nth(2).click()
    tab.set_input_files("#caption-picture input[type=file]", write(tmp_path, "scene.png", file_of(scene())))
    expect(tab.locator("#caption-picture img")).to_be_visible()
    for style in ("With boxes", "Detailed", "With boxes"):
        tab.locator("#caption-style").get_by_label(style).check()
        tab.locator("#caption-run").evaluate("button => button.scrollIntoView()")  # all that follows is in sight
        settled(tab)  # what the choice moves is no shift of the answer
        tab.locator("#caption-run").click()
        expect(tab.locator("#caption-line")).not_to_contain_text("tokens")  # of the one before
        expect(tab.locator("#caption-line")).to_contain_text("tokens", timeout=30_000)
        tab.wait_for_timeout(300)
        assert tab.evaluate("shifts") == []


def test_on_a_phone_no_empty_place_is_left_before_boxes_were_asked_for(visit):
    tab = visit(viewport=PHONE)
    tab.get_by_role("tab").nth(2).click()
    for style in ("Short", "With boxes"):
        tab.locator("#caption-style").get_by_label(style).check()
        above = tab.locator("#captioning .gr-accordion", has_text="The model's own words").bounding_box()
        below = tab.locator("#captioning .block.examples-head").bounding_box()
        assert 0 < below["y"] - above["y"] - above["height"] < 30


def test_a_result_is_no_obstacle_for_anyone(visit, tmp_path):
    """In the dark here; in the light in the first journey."""
    tab = visit("zh", color_scheme="dark")
    give(tab, write(tmp_path, "scene.png", file_of(scene())))
    find(tab, f"the {'very ' * 80}big dog; the cat")
    is_done(tab)
    expect(tab.locator("#ground-text button").first).to_be_visible()
    tab.locator("#ground-text button").first.click()
    tab.get_by_role("tabpanel").get_by_text("模型原话").click()
    expect(tab.locator("#ground-raw textarea")).to_be_visible()
    assert violations(tab) == []
    expect(tab.locator("#ground-line")).to_have_text(re.compile(r"2 个短语中找到 2 个 · [\d.]+ 秒"))
