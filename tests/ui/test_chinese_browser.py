"""A Chinese page says nothing in English, whatever is opened on it: what it shows, and what it tells who hears it."""

import re

import pytest
from page_kit import chromium, file_of, scene, write
from playwright.sync_api import expect
from visit_kit import BOX, show

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TABS = ("对话", "定位", "描述", "对比", "状态")
CAMERA = ("--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")

# Names: of languages, formats, devices, units, keys, settings, of the model, and of the files that the test gives.
NAMES = re.compile(
    r"\b(English|API|JSON Lines|JSON|Markdown|COCO|YOLO|CSV|Parquet|zip|JPEG|PNG|WebP|GIF|BMP|TIFF|AVIF|CPU|GiB|MiB|MB|"
    r"Ctrl|Enter|Esc|Alt|Top-[pk]|fake|x\.png|broken(\.png)?|x\.txt)\b|\.(png|txt)\b"
)
# What is in the words that a model was trained with, or that it wrote: questions, examples, answers, captions.
SHOWN = """() => {
  const THEIRS = '.example, #conversation .message-content, #conversation [aria-label], .answer, .captions .words,'
    + ' .thing, .pick, .raw, textarea, [placeholder*="the dog on the left"], pre, code, .offers';
  const isShown = element => element?.checkVisibility({visibilityProperty: true}) && !element.closest(THEIRS);
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) if (isShown(texts.currentNode.parentElement)) found.push(texts.currentNode.data);
  for (const name of ['aria-label', 'title', 'placeholder', 'alt', 'aria-valuetext'])
    for (const element of document.querySelectorAll(`[${name}]`))
      if (isShown(element)) found.push(element.getAttribute(name));
  return found;
}"""


@pytest.fixture(scope="module")
def page(open_page):
    return open_page("fake?token_s=0.01")


@pytest.fixture
def tab(browser, page):
    """In a browser of its own, with a camera that shows a test picture."""
    with browser.browser_type.launch(executable_path=chromium(), args=CAMERA) as other:
        tab = other.new_context(locale="zh-CN", permissions=["camera"]).new_page()
        show(tab, page.url)
        yield tab


def foreign(tab):
    texts = {text.strip() for text in tab.evaluate(SHOWN)}
    assert len(texts) > 20
    return {text for text in texts if re.search(r"[A-Za-z]{2}", NAMES.sub("", text))}


def open_all(tab):
    closed = tab.locator("button.label-wrap:not(.open)").locator("visible=true")
    while closed.count():
        closed.first.click()
        tab.wait_for_timeout(100)


def test_no_tab_says_anything_in_english(tab):
    for name in TABS:
        tab.get_by_role("tab", name=name, exact=True).click()
        open_all(tab)
        tab.wait_for_timeout(500)
        assert foreign(tab) == set(), name


@pytest.mark.parametrize(
    ("name", "place"), [("对话", "#chat-camera"), ("定位", "#ground-picture"), ("描述", "#caption-picture")]
)
def test_a_camera_is_used_in_chinese(tab, name, place):
    tab.get_by_role("tab", name=name, exact=True).click()
    open_all(tab)
    home = tab.locator(place)
    if place != "#chat-camera":
        home.get_by_role("button", name="用摄像头拍摄").click()
    access = home.get_by_role("button", name="点击打开摄像头")
    expect(access).to_be_visible()
    assert foreign(tab) == set()
    access.click()
    tab.wait_for_function(f"document.querySelector('{place} video')?.videoWidth > 0")
    expect(home.get_by_role("button", name="拍照")).to_be_visible()
    assert foreign(tab) == set()
    home.get_by_role("button", name="拍照").click()
    expect(tab.locator("#message .thumbnail-item" if place == "#chat-camera" else f"{place} img")).to_be_visible()
    assert foreign(tab) == set()


def test_pictures_answers_and_many_pictures_are_shown_in_chinese(tab, tmp_path):
    picture = write(tmp_path, "x.png", file_of(scene()))
    tab.set_input_files("#message input[type=file]", picture)
    expect(tab.locator("#message .thumbnail-item")).to_be_visible()
    assert foreign(tab) == set()
    tab.fill(BOX, "Where is the red dog?")
    tab.press(BOX, "Enter")
    expect(tab.locator("#conversation .bot img")).to_be_visible(timeout=20_000)
    tab.locator("#conversation button:has(img)").first.click()
    tab.wait_for_timeout(300)
    assert foreign(tab) == set()
    tab.keyboard.press("Escape")
    tab.get_by_role("tab", name="定位").click()
    tab.set_input_files("#ground-picture input[type=file]", picture)
    tab.locator("#ground-phrase :is(textarea, input)").fill("a small thing")
    tab.click("#ground-run")
    expect(tab.locator("#ground-drawn img")).to_be_visible(timeout=20_000)
    open_all(tab)
    assert foreign(tab) == set()
    tab.get_by_role("tab", name="描述").click()
    open_all(tab)
    tab.set_input_files("#batch-files input[type=file]", [picture, write(tmp_path, "broken.png", b"no picture")])
    expect(tab.locator("#batch-files")).to_contain_text("broken")
    tab.click("#batch-start")
    expect(tab.locator("#batch-line")).to_contain_text("已完成：2 / 2", timeout=20_000)
    tab.locator("#batch-format input").click()
    expect(tab.get_by_role("option").first).to_be_visible()
    assert foreign(tab) == set()


def test_what_gradio_complains_of_is_told_in_chinese(tab):
    notice = tab.locator(".toast-wrap")
    text = {"name": "x.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    tab.set_input_files("#message input[type=file]", text)
    expect(notice).to_contain_text("不支持这种文件：x.txt。只接受 图片。")
    tab.fill(BOX, "?")
    tab.route("**/queue/join*", lambda route: route.fulfill(status=503, json={"detail": "Queue is full"}))
    tab.press(BOX, "Enter")
    expect(notice).to_contain_text("当前繁忙", timeout=20_000)
    tab.context.set_offline(True)
    tab.press(BOX, "Enter")
    expect(notice).to_contain_text("正在重新连接", timeout=20_000)
    assert foreign(tab) == set()
