"""What is around the tabs, in headless Chromium: accessibility, languages, nothing that jumps, installing, a proxy."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_kit import file_of, scene, write
from playwright.sync_api import expect
from proxy_kit import Proxy
from visit_kit import BOX, DESK, PHONE, SHIFTS, visitors

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ANSWER = "#conversation .bot .message-content"
TABS = {"en": ("Chat", "Grounding", "Captioning", "Compare", "Status"), "zh": ("对话", "定位", "描述", "对比", "状态")}
STATUS = 4
PREFIX = "/some/prefix"
LONG = "tell " * 200


@pytest.fixture(scope="module")
def page(open_page):
    return open_page("fake?token_s=0.02", max_queue=4)


@pytest.fixture
def visit(browser, page):
    with visitors(browser) as open_:

        def visit(url=None, **options):
            tab = open_(url or f"{page.url}/", **options)
            expect(tab.locator("#status .replica")).to_be_visible()
            return tab

        yield visit


def open_tab(tab, index, language="en"):
    tab.get_by_role("tab", name=TABS[language][index], exact=True).click()


def ask(tab, question):
    tab.fill(BOX, question)
    tab.press(BOX, "Enter")


def finished(tab):
    return tab.locator("#conversation .bot .remark").filter(has_text=re.compile("token|词元"))


# --- accessibility


# Colours that are on their way are nobody's.
SETTLED = """() => Promise.all(
  document.getAnimations().filter(it => it instanceof CSSTransition).map(it => it.finished.catch(() => 0)))"""


def violations(tab):
    """What axe calls serious or critical, with the places."""
    found = Axe().run(tab).response["violations"]
    grave = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    return [(violation["id"], [node["target"] for node in violation["nodes"]]) for violation in grave]


@pytest.mark.parametrize(
    ("language", "viewport", "scheme"),  # each with each other at least once
    [("en", DESK, "light"), ("en", PHONE, "dark"), ("zh", DESK, "dark"), ("zh", PHONE, "light")],
    ids=["en-desktop-light", "en-phone-dark", "zh-desktop-dark", "zh-phone-light"],
)
def test_no_tab_has_a_grave_obstacle_for_anyone(visit, page, tmp_path, scheme, viewport, language):
    tab = visit(f"{page.url}/?lang={language}", viewport=viewport, color_scheme=scheme)
    tab.locator(".offers summary").click()
    tab.set_input_files("#message input[type=file]", write(tmp_path, "scene.png", file_of(scene())))
    expect(tab.locator("#message img").first).to_be_visible()
    ask(tab, "Where is the red dog?")
    expect(tab.locator("#conversation .bot img")).to_be_visible(timeout=20_000)
    assert violations(tab) == []
    tab.locator(".offers summary").click()
    for index in range(1, STATUS + 1):
        open_tab(tab, index, language)
        if index == STATUS:
            expect(tab.locator("#panel .card").first).to_be_visible()
        else:
            tab.get_by_role("tabpanel").locator(".sampling button").first.click()
            run = tab.locator("#ground-run, #caption-run, #compare-run").locator("visible=true")
            run.click()  # nothing to ask about: an error is shown
            expect(tab.locator(".line.error").locator("visible=true").first).to_be_visible()
            expect(run).to_be_enabled()
            tab.evaluate(SETTLED)
        assert violations(tab) == []


def test_the_tests_of_accessibility_see_what_they_should(visit):
    tab = visit()
    tab.evaluate("document.querySelector('h1').style.color = '#eeeeee'")
    tab.evaluate("document.querySelector('.languages').innerHTML = '<button></button>'")
    assert {name for name, _ in violations(tab)} == {"color-contrast", "button-name"}


REACHED = """() => {
  const canBeUsed = element => element.checkVisibility({visibilityProperty: true}) && !element.disabled
    && element.tabIndex >= 0 && !element.closest('[aria-hidden=true], .visually-hidden');
  const controls = [...document.querySelectorAll('button, a[href], input, textarea, summary')].filter(canBeUsed);
  window.unreached = new Set(controls);
  window.invisible = [];
  document.addEventListener('focusin', event => {
    unreached.delete(event.target);
    const around = [target => target, target => target.closest('label'), target => target.closest('.block')];
    const {target} = event, styles = around.map(find => getComputedStyle(find(target) ?? target));
    if (!styles.some(style => style.outlineStyle !== 'none' || style.boxShadow !== 'none'))
      invisible.push(target.outerHTML.slice(0, 160));
  });
  return controls.length;
}"""


@pytest.mark.parametrize("index", range(5), ids=TABS["en"])
def test_every_control_is_reached_by_the_keyboard_and_shows_that_it_is(visit, index):
    tab = visit()
    open_tab(tab, index)
    if index == STATUS:
        expect(tab.locator("#panel .card").first).to_be_visible()
    tab.evaluate("document.activeElement.blur()")
    count = tab.evaluate(REACHED)
    assert count > 5
    for _ in range(count + 10):
        tab.keyboard.press("Tab")
    assert tab.evaluate("[...unreached].map(element => element.outerHTML.slice(0, 160))") == []
    assert tab.evaluate("invisible") == []


def test_tabs_and_what_is_folded_open_by_the_keyboard(visit):
    tab = visit()
    tab.locator(".offers summary").focus()
    tab.keyboard.press("Enter")
    expect(tab.locator(".offers code").first).to_be_visible()
    tab.get_by_role("tab", name="Status", exact=True).focus()
    tab.keyboard.press("Enter")
    expect(tab.locator("#panel .card").first).to_be_visible()


@pytest.mark.parametrize(
    "look", [{}, {"viewport": PHONE, "color_scheme": "dark", "locale": "zh-CN"}], ids=["desk", "phone"]
)
def test_keys_ask_stop_and_open_the_tabs(visit, look):
    tab = visit(**look)
    tab.evaluate("document.activeElement.blur()")
    tab.keyboard.press("/")
    expect(tab.locator(BOX)).to_be_focused()
    tab.keyboard.type("Count to a thousand / slowly")
    expect(tab.locator(BOX)).to_have_value("Count to a thousand / slowly")
    tab.keyboard.press("Control+Enter")
    expect(tab.locator("#message .stop-button")).to_be_visible()
    tab.keyboard.press("Escape")
    expect(tab.locator("#message .stop-button")).to_have_count(0)
    tab.keyboard.press("Alt+2")
    expect(tab.locator("#ground-phrase")).to_be_visible()
    tab.locator("button.example:visible").first.click()
    expect(tab.locator("#ground-picture img").first).to_be_visible()
    tab.keyboard.press("Control+Enter")
    expect(tab.locator("#ground-stop")).to_be_enabled()
    tab.keyboard.press("Escape")
    expect(tab.locator("#ground-stop")).to_be_disabled()
    tab.keyboard.press("Alt+5")
    expect(tab.locator("#panel .card").first).to_be_visible()
    tab.keyboard.press("Alt+1")
    expect(tab.locator(BOX)).to_be_visible()


# Presses Enter in the box as a keyboard or an input method does, and waits for no frame, timer or message: how often
# the page has asked by then.
ENTER = """async how => {
  const real = window.fetch, asked = [];
  window.fetch = (...it) => { asked.push(String(it[0])); return real(...it); };
  const box = document.querySelector('#message textarea');
  box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, cancelable: true, ...how}));
  for (let turn = 0; turn < 500; turn++) await null;
  window.fetch = real;
  return asked.filter(url => url.includes('/run/predict')).length;
}"""


@pytest.mark.parametrize(
    ("how", "asked"),
    [({}, 1), ({"isComposing": True}, 0), ({"keyCode": 229}, 0), ({"shiftKey": True}, 0), ({"repeat": True}, 0)],
    ids=["plain", "composing", "composed", "new line", "held"],
)
def test_enter_sends_before_the_next_frame_and_not_where_it_takes_a_word_or_begins_a_line(visit, how, asked):
    tab = visit()
    tab.fill(BOX, "狗")
    assert tab.evaluate(ENTER, how) == asked
    expect(tab.locator("#conversation .user-row")).to_have_count(asked)
    expect(tab.locator(BOX)).to_have_value("" if asked else "狗")


# --- first sight


def test_a_newcomer_sees_what_is_loaded_where_what_it_does_and_three_examples(visit):
    tab = visit()
    expect(tab.locator("#status")).to_contain_text(re.compile("fake.*CPU.*Ready", re.DOTALL))
    expect(tab.locator("#about .roles li")).to_have_count(3)
    examples = tab.locator("button.example:visible")
    expect(examples).to_have_count(3)
    assert all(box["y"] + box["height"] <= DESK["height"] for box in (one.bounding_box() for one in examples.all()))


def test_a_model_for_photos_is_offered_with_its_plan_and_a_command_to_copy(visit):
    tab = visit(permissions=["clipboard-read", "clipboard-write"])
    tab.get_by_text("For photos, start another model").click()
    offers = tab.locator(".offers li")
    expect(offers).to_have_count(3)
    expect(offers.nth(1)).to_contain_text(re.compile(r"qwen2\.5-vl-7b.*19\.5 GiB needed", re.DOTALL))
    offers.nth(1).get_by_role("button", name="Copy").click()
    assert tab.evaluate("navigator.clipboard.readText()").startswith("python launch.py --model qwen2.5-vl-7b")


# --- two languages


def test_the_browsers_language_is_spoken_from_labels_to_answers_of_events(visit):
    tab = visit(locale="zh-CN")
    expect(tab.locator("h1")).to_have_text("看图问答")
    assert tab.title() == "看图问答"
    assert tab.evaluate("document.documentElement.lang") == "zh-CN"
    expect(tab.locator("#status")).to_contain_text("就绪")
    expect(tab.locator("#status")).to_contain_text("无人排队")
    open_tab(tab, STATUS, "zh")
    expect(tab.locator("#panel")).to_contain_text("计划与实际")
    tab.wait_for_timeout(2_500)  # a refresh
    expect(tab.locator("#panel")).to_contain_text("计划与实际")


def test_the_switch_changes_the_language_and_is_remembered(visit, page):
    tab = visit()
    expect(tab.locator("#status")).to_contain_text("Ready")
    tab.get_by_role("link", name="中文").click()
    expect(tab.locator("#status")).to_contain_text("就绪")
    tab.goto(page.url)
    expect(tab.locator("h1")).to_have_text("看图问答")
    expect(tab.locator("#status")).to_contain_text("就绪")
    tab.get_by_role("link", name="English").click()
    expect(tab.locator("h1")).to_have_text("Ask a picture")
    expect(tab.locator("#status")).to_contain_text("Ready")


# --- nothing jumps


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desktop", "phone"])
def test_the_status_moves_nothing_while_an_answer_is_written_elsewhere(visit, viewport):
    watched, other = visit(viewport=viewport, script=SHIFTS), visit()
    open_tab(watched, STATUS)
    expect(watched.locator("#panel .card").first).to_be_visible()
    watched.wait_for_timeout(1_000)
    watched.evaluate("shifts.length = 0")
    ask(other, LONG)
    expect(watched.locator("#status")).to_contain_text("Answering", timeout=15_000)
    expect(finished(other)).to_be_visible(timeout=30_000)
    expect(watched.locator("#status")).to_contain_text("Ready", timeout=15_000)
    expect(watched.locator("#panel .chart path")).to_have_attribute("d", re.compile("M"), timeout=15_000)
    assert watched.evaluate("shifts") == []


# --- installing


def test_the_page_can_be_installed(visit):
    tab = visit()
    session = tab.context.new_cdp_session(tab)
    found = session.send("Page.getAppManifest")
    assert found["errors"] == []
    assert found["url"].endswith("/manifest.json?lang=en")
    errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [error["errorId"] for error in errors if error["errorId"] != "in-incognito"] == []


# --- behind a proxy


@pytest.fixture(scope="module")
def told(open_page):
    """A page that is told its prefix, for proxies that do not say it."""
    return open_page("fake?token_s=0.02", root_path=PREFIX)


@pytest.fixture(params=["the proxy says it", "a flag says it"])
def proxy(request):
    """Asked for before `visit`, so that it is there until the tabs are closed."""
    says_prefix = request.param == "the proxy says it"
    page = request.getfixturevalue("page" if says_prefix else "told")
    with Proxy(page.port, PREFIX, says_prefix=says_prefix) as proxy:
        yield proxy


def test_behind_a_proxy_under_a_prefix_everything_works_and_streams(proxy, visit, tmp_path):
    tab = visit(f"{proxy.url}?lang=zh")
    expect(tab.locator("h1")).to_have_text("看图问答")
    assert tab.context.cookies()[0]["path"] == f"{PREFIX}/"
    tab.set_input_files("#message input[type=file]", write(tmp_path, "scene.png", file_of(scene())))
    expect(tab.locator("#message img").first).to_be_visible()
    ask(tab, f"{LONG} Where is the red dog?")
    expect(tab.locator(ANSWER).first).to_contain_text("the red dog", timeout=15_000)
    expect(tab.locator("#conversation .bot img")).to_be_visible(timeout=15_000)
    _is_loaded(tab.locator("#conversation .bot img"))
    _is_loaded(tab.locator("#conversation .user img"))
    ask(tab, LONG)
    growing = tab.locator(ANSWER).filter(has_text="You asked").last
    expect(growing).to_contain_text("tell tell", timeout=15_000)
    early = len(growing.inner_text())
    expect(tab.locator("#message .stop-button")).to_be_visible()  # unbuffered: it is still being written
    expect(finished(tab)).to_have_count(2, timeout=30_000)
    assert len(growing.inner_text()) > early
    open_tab(tab, STATUS, "zh")
    expect(tab.locator("#panel .card").first).to_be_visible()
    assert tab.context.new_cdp_session(tab).send("Page.getAppManifest")["errors"] == []
    assert proxy.strays == []


def _is_loaded(image):
    assert image.first.evaluate("async image => { await image.decode(); return image.naturalWidth; }") > 0
