"""What a visitor does with a conversation: edits it, waits for it, saves it, finds it again; in headless Chromium."""

import json
import re

import pytest
from page_kit import chromium, file_of, scene, write
from playwright.sync_api import expect
from visit_kit import BOX, FULL, PHONE, show, visitors

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ANSWER = "#conversation .bot .message-content"
LONG = "tell " * 300


@pytest.fixture(scope="module")
def page(open_page):
    return open_page("fake?token_s=0.02&max_pictures=2", max_queue=2)


@pytest.fixture(scope="module")
def slow(open_page):
    """Its long answers outlast whatever is done meanwhile."""
    return open_page("fake?token_s=0.1", max_queue=2)


@pytest.fixture
def visit(browser, page):
    with visitors(browser, allowed=FULL) as open_:
        yield lambda where=page, **options: open_(where.url, **options)


def ask(tab, question, *files):
    for file in files:
        tab.set_input_files("#message input[type=file]", file)
        expect(tab.locator("#message .thumbnail-item").first).to_be_visible()
    tab.fill(BOX, question)
    tab.press(BOX, "Enter")


def finished(tab, count=1):
    expect(tab.locator("#conversation .bot .remark").filter(has_text=re.compile("token|Stopped"))).to_have_count(
        count, timeout=20_000
    )


def open_file(tab, path):
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Open a saved file").click()
    chooser.value.set_files(path)


def test_an_earlier_question_is_edited_and_what_followed_is_dropped(visit, tmp_path):
    tab = visit()
    picture = write(tmp_path, "scene.png", file_of(scene()))
    for number, question in enumerate(("What *is* it?", "And <b>there</b>?", "Why?"), 1):
        ask(tab, question, *([picture] if number == 1 else []))
        finished(tab, number)
    tab.fill(BOX, "half a thought")
    tab.get_by_role("button", name="Edit this question").nth(1).click()
    expect(tab.locator("#chat-notice")).to_contain_text("You are editing question 2")
    expect(tab.locator(BOX)).to_have_value("And <b>there</b>?")  # as it was typed
    tab.get_by_role("button", name="Keep it as it was").click()
    expect(tab.locator(BOX)).to_have_value("half a thought")
    expect(tab.locator("#chat-notice")).to_be_hidden()
    tab.get_by_role("button", name="Edit this question").first.click()
    expect(tab.locator(BOX)).to_have_value("What *is* it?")
    expect(tab.locator("#message .thumbnail-item")).to_have_count(1)
    tab.fill(BOX, "  ")
    tab.press(BOX, "Enter")  # refused, and nothing is dropped yet
    expect(tab.locator("#chat-notice .error")).to_contain_text("empty")
    expect(tab.locator("#conversation .user-row")).to_have_count(3)
    ask(tab, "What was it?")
    expect(tab.locator("#conversation .user-row")).to_have_count(1)
    expect(tab.locator(ANSWER).first).to_contain_text(
        "What was it? I see a picture of 320 x 200 pixels, and this is turn 1"
    )
    expect(tab.get_by_role("button", name="Keep it as it was")).to_be_hidden()
    finished(tab)


def test_a_reloaded_tab_finds_its_conversation_and_each_tab_has_its_own(visit, page, tmp_path):
    tab = visit()
    ask(tab, "Where is the dog?", write(tmp_path, "scene.png", file_of(scene())))
    finished(tab)
    other = tab.context.new_page()
    show(other, page.url)
    other.wait_for_timeout(500)
    expect(other.locator("#conversation .message")).to_have_count(0)
    tab.reload()
    expect(tab.locator("#conversation img")).to_have_count(2)  # the picture, and its copy with the box
    ask(tab, "And now?")
    expect(tab.locator(ANSWER).filter(has_text="turn 3")).to_be_visible(timeout=15_000)
    finished(tab, 2)
    ask(tab, LONG)
    expect(tab.locator(ANSWER).last).to_contain_text("Writing", timeout=15_000)
    tab.reload()
    expect(tab.locator("#conversation .user-row")).to_have_count(3)
    expect(tab.locator("#conversation .bot .remark").last).to_have_text("Stopped.")
    expect(tab.locator("#conversation .bot").last).to_contain_text("tell tell")
    tab.get_by_role("button", name="Clear", exact=True).click()
    expect(tab.locator("#conversation .message")).to_have_count(0)
    tab.reload()
    expect(tab.locator(BOX)).to_be_editable()
    tab.wait_for_timeout(500)
    expect(tab.locator("#conversation .message")).to_have_count(0)
    tab.complaints.clear()  # gradio's page complains of its own connections, which the reloads cut


def test_whoever_waits_sees_the_place_in_the_queue_and_who_finds_it_full_how_long_it_may_take(visit, slow):
    tabs = [visit(slow) for _ in range(4)]
    ask(tabs[0], "Quick?")
    finished(tabs[0])  # so that it is known how long an answer takes
    ask(tabs[0], LONG)
    expect(tabs[0].locator(ANSWER).last).to_contain_text("Writing", timeout=15_000)
    for number, words in ((1, "You are next"), (2, "1 ahead of you")):
        ask(tabs[number], "Me?")
        expect(tabs[number].locator("#chat-ahead")).to_contain_text(words, timeout=10_000)
    expect(tabs[1].locator(".edit-question")).to_be_hidden()
    tabs[3].fill(BOX, "And me?")
    tabs[3].press(BOX, "Enter")
    expect(tabs[3].locator("#chat-notice .error")).to_contain_text(
        re.compile(r"All places in the queue are taken; one may be free in about \d+ (s|minutes?)\.")
    )
    expect(tabs[3].locator(BOX)).to_have_value("And me?")
    tabs[1].locator("#message .stop-button").click()
    expect(tabs[2].locator("#chat-ahead")).to_contain_text("You are next", timeout=10_000)
    tabs[0].locator("#message .stop-button").click()
    finished(tabs[2])
    expect(tabs[2].locator("#chat-ahead")).to_be_hidden()


def test_a_conversation_is_saved_and_opened_again_in_both_kinds(visit, tmp_path):
    tab = visit()
    tab.get_by_role("tabpanel").get_by_text("System prompt", exact=True).click()
    tab.locator("#system textarea").fill("Be brief.")
    ask(tab, "Where is the red dog?", write(tmp_path, "scene.png", file_of(scene())))
    finished(tab)
    ask(tab, "What did I tell you?")
    expect(tab.locator(ANSWER).filter(has_text="I was told: Be brief.")).to_be_visible(timeout=15_000)
    finished(tab, 2)
    tab.get_by_text("Save or open a conversation").click()
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save as JSON").click()
    assert download.value.suggested_filename == "conversation.json"
    saved = tmp_path / "conversation.json"
    download.value.save_as(saved)
    whole = json.loads(saved.read_text(encoding="utf-8"))
    assert [turn["question"] for turn in whole["turns"]] == ["Where is the red dog?", "What did I tell you?"]
    assert whole["system"] == "Be brief."
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save as Markdown").click()
    for_people = tmp_path / "conversation.md"
    download.value.save_as(for_people)
    assert for_people.read_text(encoding="utf-8").count("](data:image/png;base64,") == 2
    tab.get_by_role("button", name="Clear", exact=True).click()
    expect(tab.locator("#conversation .message")).to_have_count(0)

    fresh = visit()
    fresh.get_by_text("Save or open a conversation").click()
    fresh.get_by_role("button", name="Save as JSON").click()
    expect(fresh.locator("#files-line .error")).to_contain_text("There is nothing to save")
    open_file(fresh, write(tmp_path, "bad.json", b'{"a": 1}'))
    expect(fresh.locator("#files-line .error")).to_contain_text("no conversation that can be opened")
    open_file(fresh, str(for_people))
    expect(fresh.locator("#conversation .bot .thing")).to_have_text("red dog")
    expect(fresh.locator("#conversation img")).to_have_count(2)
    fresh.get_by_role("button", name="Clear", exact=True).click()
    expect(fresh.locator("#conversation .message")).to_have_count(0)
    open_file(fresh, str(saved))
    expect(fresh.locator("#conversation img")).to_have_count(2)
    expect(fresh.locator("#files-line")).to_be_hidden()
    expect(fresh.locator("#conversation .bot .thing")).to_have_text("red dog")
    expect(fresh.locator("#conversation .bot .remark").first).to_have_text("From a file")
    ask(fresh, "Go on?")
    expect(fresh.locator(ANSWER).filter(has_text="turn 6")).to_be_visible(timeout=15_000)  # with what it was told
    expect(fresh.locator(ANSWER).filter(has_text="a picture of 320 x 200")).to_have_count(2)


CAMERA = ("--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


def test_tasks_and_the_camera_fill_the_box_in_chinese_on_a_phone(browser, page):
    """In a browser of its own, with a camera that shows a test picture."""
    kind = browser.browser_type
    with kind.launch(executable_path=chromium(), args=CAMERA) as other:
        tab = other.new_context(viewport=PHONE, locale="zh-CN", permissions=["camera"]).new_page()
        show(tab, page.url)
        tab.get_by_role("button", name="识别文字").click()
        expect(tab.locator(BOX)).to_have_value(re.compile("Write down all the text"))
        expect(tab.locator(BOX)).to_be_focused()
        tab.get_by_text("用摄像头拍照").click()
        camera = tab.locator("#chat-camera")
        camera.locator("[title='允许使用摄像头'] button").click()
        tab.wait_for_function("document.querySelector('#chat-camera video')?.videoWidth > 0")
        camera.get_by_role("button", name="拍照").click()
        expect(tab.locator("#message .thumbnail-item")).to_have_count(1)
        expect(camera.locator("[title='允许使用摄像头'] button")).to_be_visible()  # free for the next one
        tab.press(BOX, "Enter")
        expect(tab.locator(ANSWER).first).to_contain_text(re.compile(r"a picture of \d+ x \d+"), timeout=15_000)
