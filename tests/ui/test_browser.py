"""The page in headless Chromium, with the fake model: what a visitor does, and what they see."""

import base64
import re
import time
from contextlib import suppress

import pytest
from page_kit import file_of, scene, write
from PIL import Image
from playwright.sync_api import TimeoutError, expect
from visit_kit import BOX, FULL, PHONE, visitors

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LONG = "tell " * 600  # the fake repeats the question, 30 words a second
ANSWER = "#conversation .bot .message-content"


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    return tmp_path_factory.mktemp("journal") / "journal"


@pytest.fixture(scope="module")
def page(open_page, journal):
    return open_page(f"fake?token_s=0.03&journal={journal}", max_queue=1)


@pytest.fixture
def visit(browser, page):
    with visitors(browser, allowed=FULL) as open_:
        yield lambda **options: open_(page.url, **options)


def picture(tmp_path, name="scene.png", **options):
    return write(tmp_path, name, file_of(scene(**options)))


def ask(tab, question, *files):
    for file in files:
        tab.set_input_files("#message input[type=file]", file)
        expect(tab.locator("#message .thumbnail-item, #message .thumbnails img").first).to_be_visible()
    tab.fill(BOX, question)
    tab.press(BOX, "Enter")


def finished(tab):
    """The line of figures under the last answer: it is there once the answer is done."""
    return tab.locator("#conversation .bot .remark").filter(has_text="tokens").last


def ended(journal, times):
    """Whether so many answers were left by the worker."""
    end_s = time.monotonic() + 20
    while journal.read_text().count("end") < times:
        if time.monotonic() > end_s:
            return False
        time.sleep(0.05)
    return True


def begun(journal):
    return journal.read_text().count("begin") if journal.exists() else 0


def open_tab(tab, name):
    tab.get_by_role("tab", name=name).click()


def scrolls_sideways(tab):
    return tab.evaluate("document.documentElement.scrollWidth > window.innerWidth")


# --- chat


def test_a_newcomer_sees_what_is_loaded_and_that_it_is_ready(visit):
    tab = visit()
    expect(tab.locator("#title h1")).to_have_text("Ask a picture")
    expect(tab.locator("#about")).to_contain_text(
        re.compile("Chat.*answers questions.*Grounding.*Captioning", re.DOTALL)
    )
    expect(tab.locator("#status")).to_contain_text("fake")
    expect(tab.locator("#status")).to_contain_text("Ready")
    expect(tab.locator("#status")).to_contain_text("CPU")


def test_an_answer_about_a_picture_streams_and_the_conversation_goes_on(visit, tmp_path):
    tab = visit()
    ask(tab, "What is " + "very " * 40 + "nice?", picture(tmp_path))
    expect(tab.locator(ANSWER).first).to_contain_text("You asked: What is very", timeout=15_000)
    early = tab.locator(ANSWER).first.inner_text()
    expect(finished(tab)).to_be_visible(timeout=20_000)
    late = tab.locator(ANSWER).first.inner_text()
    assert len(late) > len(early)
    assert "a picture of 320 x 200 pixels" in late
    expect(finished(tab)).to_contain_text(re.compile(r"\d+ tokens · \d+ tokens/s · first after \d+ ms"))
    ask(tab, "And now?")
    expect(tab.locator(ANSWER).filter(has_text="this is turn 3")).to_be_visible(timeout=15_000)
    expect(tab.locator("#conversation .user img")).to_have_count(1)


def test_boxes_are_drawn_in_the_conversation_in_the_colour_of_their_words(visit, tmp_path):
    tab = visit()
    ask(tab, "Where is the red dog?", picture(tmp_path))
    expect(finished(tab)).to_be_visible(timeout=15_000)
    word = tab.locator("#conversation .bot .thing")
    expect(word).to_have_text("red dog")
    assert "[[" not in tab.locator(ANSWER).first.inner_text()
    colour = word.evaluate("word => getComputedStyle(word).getPropertyValue('--thing')").strip()
    drawn = tab.locator("#conversation .bot img")
    expect(drawn).to_be_visible()
    assert colour in _colours(tab, drawn)
    assert colour not in _colours(tab, tab.locator("#conversation .user img"))


def _colours(tab, image):
    """The colours of a picture of the page, as hex."""
    shades = image.evaluate(
        """async image => {
          await image.decode();
          const canvas = document.createElement('canvas');
          canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
          const context = canvas.getContext('2d');
          context.drawImage(image, 0, 0);
          const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
          const found = new Set();
          for (let i = 0; i < data.length; i += 4) found.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
          return [...found];
        }"""
    )
    return {f"#{shade:06x}" for shade in shades}


def test_stop_keeps_the_words_so_far_and_frees_the_model(visit, journal):
    tab = visit()
    before = begun(journal)
    ask(tab, LONG)
    expect(tab.locator(ANSWER).first).to_contain_text("tell tell tell", timeout=15_000)
    tab.locator("#message .stop-button").click()
    expect(tab.locator("#conversation .bot .remark")).to_have_text("Stopped.")
    assert ended(journal, before + 1)
    assert int(journal.read_text().split()[-1]) < 400  # of the 600 and more it would have written
    kept = tab.locator(ANSWER).first.inner_text()
    assert kept.startswith("You asked: tell")
    ask(tab, "Are you there?")
    expect(tab.locator(ANSWER).filter(has_text="Are you there?")).to_be_visible(timeout=15_000)
    assert tab.locator(ANSWER).first.inner_text() == kept


def test_retry_undo_and_clear(visit, tmp_path):
    tab = visit()
    buttons = {name: tab.get_by_role("button", name=name, exact=True) for name in ("Retry", "Undo", "Clear")}
    expect(buttons["Retry"]).to_be_disabled()
    ask(tab, "What is it?", picture(tmp_path))
    expect(finished(tab)).to_be_visible(timeout=15_000)
    buttons["Retry"].click()
    expect(finished(tab)).to_be_hidden(timeout=15_000)
    expect(finished(tab)).to_be_visible(timeout=15_000)
    expect(tab.locator("#conversation .user.message")).to_have_count(1)
    buttons["Undo"].click()
    expect(tab.locator("#conversation .message")).to_have_count(0)
    expect(tab.locator(BOX)).to_have_value("What is it?")
    tab.press(BOX, "Enter")
    expect(tab.locator(ANSWER).first).to_contain_text("320 x 200", timeout=15_000)  # its picture came back too
    buttons["Clear"].click()
    expect(tab.locator("#conversation .message")).to_have_count(0)
    ask(tab, "New?")
    expect(tab.locator(ANSWER).first).to_contain_text("no picture, and this is turn 1", timeout=15_000)


def test_clear_in_the_middle_of_an_answer_stops_it(visit, journal):
    tab = visit()
    before = begun(journal)
    ask(tab, LONG)
    expect(tab.locator(ANSWER).first).to_contain_text("tell tell", timeout=15_000)
    tab.get_by_role("button", name="Clear", exact=True).click()
    expect(tab.locator("#conversation .message")).to_have_count(0)
    assert ended(journal, before + 1)
    tab.wait_for_timeout(500)  # for all that was on its way
    expect(tab.locator("#conversation .message")).to_have_count(0)
    expect(tab.locator("#chat-notice")).to_be_hidden()


def held_cancel(tab):
    """The model is stopped at once, but the page hears of it only when what this returns is called.

    On a busy machine the answer may be over before the page asks for its end, of which it then hears nothing.
    """
    held = []
    tab.route("**/gradio_api/cancel", lambda route: held.append((route, route.fetch())))

    def release():
        for route, answer in held:
            route.fulfill(response=answer)
        tab.wait_for_timeout(500)  # for the page to do what it does on hearing it

    return release


def test_retry_right_after_stop_is_not_called_refused_when_gradio_tells_late_of_the_stop(visit, journal):
    tab = visit()
    release = held_cancel(tab)
    before = begun(journal)
    ask(tab, LONG)
    expect(tab.locator(ANSWER).first).to_contain_text("tell tell tell", timeout=15_000)
    tab.locator("#message .stop-button").click()
    expect(tab.locator("#conversation .bot .remark")).to_have_text("Stopped.")
    tab.get_by_role("button", name="Retry", exact=True).click()
    expect(tab.locator("#conversation .bot .remark")).to_have_count(0)
    expect(tab.locator(ANSWER).first).to_contain_text("tell tell", timeout=15_000)
    release()
    expect(tab.locator("#chat-notice")).to_be_hidden()
    expect(tab.locator("#message .stop-button")).to_be_visible()  # the second one is still being written
    tab.locator("#message .stop-button").click()
    expect(tab.locator("#conversation .bot .remark")).to_have_text("Stopped.")
    assert ended(journal, before + 2)


def test_the_model_begins_before_the_page_comes_for_the_answer(visit, journal):
    tab = visit()
    held = []
    tab.route("**/gradio_api/queue/join*", lambda route: held.append(route))
    before = begun(journal)
    ask(tab, "Quick?")
    expect(tab.locator("#conversation .bot .pending")).to_be_visible()
    tab.wait_for_timeout(1_000)
    assert len(held) == 1
    assert ended(journal, before + 1)
    expect(tab.locator("#conversation .bot .pending")).to_be_visible()  # nothing of it is shown yet
    held.pop().continue_()
    expect(finished(tab)).to_be_visible(timeout=15_000)
    expect(tab.locator("#message .stop-button")).to_have_count(0)
    ask(tab, LONG)
    expect(tab.locator("#message .stop-button")).to_be_visible()
    tab.locator("#message .stop-button").click()
    expect(tab.locator("#conversation .bot .remark").last).to_have_text("Stopped.")
    assert ended(journal, before + 2)  # although gradio knows of no answer
    held.pop().continue_()
    tab.unroute("**/gradio_api/queue/join*")
    ask(tab, "Are you there?")
    expect(tab.locator(ANSWER).filter(has_text="Are you there?")).to_be_visible(timeout=15_000)
    assert begun(journal) == before + 3  # and none was made twice
    tab.complaints.clear()  # gradio's page cancels a request of which it has no number yet, and is told so


def test_a_reload_frees_the_model_and_the_page_works_again(visit, journal):
    tab = visit()
    before = begun(journal)
    ask(tab, LONG)
    expect(tab.locator(ANSWER).first).to_contain_text("tell tell", timeout=15_000)
    tab.reload()
    tab.complaints.clear()  # gradio's page complains of its own connections, which the reload cut
    assert ended(journal, before + 1)
    expect(tab.locator(BOX)).to_be_editable()
    ask(tab, "Still there?")
    expect(tab.locator(ANSWER).filter(has_text="Still there?")).to_be_visible(timeout=15_000)


def test_when_the_queue_is_full_the_question_comes_back_and_the_waiting_one_can_be_stopped(visit, tmp_path, journal):
    first, second, third = visit(), visit(), visit()
    ask(first, LONG)
    expect(first.locator(ANSWER).first).to_contain_text("tell", timeout=15_000)
    ask(second, "I wait.")
    expect(second.locator("#conversation .bot .pending")).to_contain_text("Waiting")
    expect(third.locator("#status")).to_contain_text("1 waiting", timeout=10_000)
    ask(third, "Me too?", picture(tmp_path))
    expect(third.locator("#chat-notice")).to_contain_text("All places in the queue are taken")
    expect(third.locator(BOX)).to_have_value("Me too?")
    expect(third.locator("#message img")).to_be_visible()
    second.locator("#message .stop-button").click()
    expect(second.locator("#conversation .bot .remark")).to_have_text("Stopped.")
    before = begun(journal)
    first.locator("#message .stop-button").click()
    expect(first.locator("#conversation .bot .remark")).to_have_text("Stopped.")
    third.press(BOX, "Enter")
    expect(third.locator(ANSWER).first).to_contain_text("Me too? I see a picture of 320 x 200", timeout=15_000)
    expect(third.locator("#chat-notice")).to_be_hidden()
    assert begun(journal) == before + 1  # the one that was stopped while it waited never began


# --- what is sent in


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("notes.png", b"just words", "not a picture"),
        ("empty.png", b"", "empty"),
        ("cut.png", file_of(scene(900, 700, "red"), "BMP")[:9000], "damaged or cut short"),
        ("huge.png", file_of(Image.new("1", (8000, 8000))), "too large"),
    ],
    ids=["text", "empty", "truncated", "huge"],
)
def test_a_bad_file_gets_one_sentence_and_the_conversation_goes_on(visit, tmp_path, name, data, words):
    tab = visit()
    ask(tab, "What is it?", write(tmp_path, name, data))
    expect(tab.locator("#chat-notice .error")).to_contain_text(words)
    expect(tab.locator("#conversation .message")).to_have_count(0)
    expect(tab.locator(BOX)).to_have_value("What is it?")
    tab.locator("#message .delete-button").first.click()
    tab.press(BOX, "Enter")
    expect(tab.locator(ANSWER).first).to_contain_text("no picture", timeout=15_000)


def test_a_question_of_a_megabyte_and_an_empty_one_get_one_sentence(visit):
    tab = visit()
    tab.fill(BOX, "x" * 1_000_000)
    tab.press(BOX, "Enter")
    expect(tab.locator("#chat-notice .error")).to_contain_text("1,000,000 characters", timeout=20_000)
    tab.fill(BOX, "   ")
    tab.press(BOX, "Enter")
    expect(tab.locator("#chat-notice .error")).to_contain_text("question is empty")
    ask(tab, "Hello?")
    expect(tab.locator(ANSWER).first).to_contain_text("Hello?", timeout=15_000)


def test_markup_of_users_and_models_is_only_text(visit):
    """The fake repeats what it is asked, so this goes through both sides; the visit fails on any foreign request."""
    tab = visit()
    payload = (
        "<img src=http://127.0.0.1:9/a.png onerror=alert(1)> ![x](http://127.0.0.1:9/b.png) <script>alert(2)</script> "
        "<form action=http://127.0.0.1:9><input type=password></form> [a](javascript:alert(3)) </s><|im_end|><image> "
        "<div style='position:fixed;inset:0'>over</div>"
    )
    ask(tab, payload)
    expect(finished(tab)).to_be_visible(timeout=20_000)
    for text in (
        tab.locator("#conversation .user .message-content").inner_text(),
        tab.locator(ANSWER).first.inner_text(),
    ):
        assert payload in text
    live = "img, form, script, input, a, [style*=fixed]"
    assert tab.locator("#conversation .message-content").locator(live).count() == 0


def give(tab, kind):
    """Paste or drop a picture of 123 x 45 pixels into the box."""
    place = BOX if kind == "paste" else "#message .full-container, #message [role=group]"
    script = """([selector, data, kind]) => {
      const bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], 'pasted.png', {type: 'image/png'}));
      const options = {bubbles: true, cancelable: true};
      const event = kind === 'paste' ? new ClipboardEvent('paste', {...options, clipboardData: transfer})
                                     : new DragEvent('drop', {...options, dataTransfer: transfer});
      document.querySelector(selector).dispatchEvent(event);
    }"""
    data = base64.b64encode(file_of(scene(123, 45))).decode()
    for _ in range(5):  # gradio's page is deaf to it in its very first moments
        tab.evaluate(script, [place, data, kind])
        with suppress(TimeoutError):
            tab.locator("#message img").wait_for(timeout=4_000)
            break
    expect(tab.locator("#message img")).to_have_count(1)


def test_a_picture_can_be_pasted_and_dropped(visit):
    tab = visit()
    for kind in ("paste", "drop"):
        give(tab, kind)
        tab.fill(BOX, f"By {kind}?")
        tab.press(BOX, "Enter")
        expect(tab.locator(ANSWER).filter(has_text=f"By {kind}? I see a picture of 123 x 45")).to_be_visible(
            timeout=15_000
        )
        expect(finished(tab)).to_be_visible(timeout=15_000)
        tab.get_by_role("button", name="Clear", exact=True).click()


def test_what_is_added_while_the_conversation_is_being_cleared_stays(visit):
    tab = visit()
    ask(tab, "Hello?")
    expect(finished(tab)).to_be_visible(timeout=15_000)
    held = []
    tab.route("**/gradio_api/run/**", lambda route: held.append((route, route.fetch())))
    tab.get_by_role("button", name="Clear", exact=True).click()
    give(tab, "drop")
    for route, answer in held:
        route.fulfill(response=answer)
    expect(tab.locator("#conversation .message")).to_have_count(0)
    expect(tab.locator("#message img")).to_have_count(1)


# --- grounding and captioning


def test_a_phrase_is_found_drawn_and_listed_in_pixels(visit, tmp_path):
    tab = visit()
    open_tab(tab, "Grounding")
    tab.set_input_files("#ground-picture input[type=file]", picture(tmp_path))
    expect(tab.locator("#ground-picture img")).to_be_visible()
    tab.get_by_label("What to look for").fill("the red dog")
    tab.get_by_role("button", name="Find it").click()
    row = tab.locator("#ground-table tbody tr")
    expect(row).to_have_count(1, timeout=15_000)
    assert row.locator("th, td").all_inner_texts() == ["red dog", "32", "40", "96", "80"]
    drawn = tab.locator("#ground-drawn img")
    expect(drawn).to_be_visible()
    colours = [
        tab.locator(place).evaluate("it => getComputedStyle(it).getPropertyValue('--thing').trim()")
        for place in ("#ground-text .thing", "#ground-table .swatch")
    ]
    assert colours[0] == colours[1]
    assert colours[0] in _colours(tab, drawn)
    expect(tab.locator("#ground-raw textarea")).to_be_hidden()
    tab.get_by_role("tabpanel").get_by_text("The model's own words").click()
    expect(tab.locator("#ground-raw textarea")).to_have_value("the red dog [[100,200,300,400]]")


def test_errors_on_the_other_tabs_are_one_sentence_and_they_go_on(visit, tmp_path):
    tab = visit()
    open_tab(tab, "Grounding")
    tab.get_by_label("What to look for").fill("the dog")
    tab.get_by_role("button", name="Find it").click()
    expect(tab.locator("#ground-line .error")).to_have_text("There is no picture. Add one first.")
    tab.set_input_files("#ground-picture input[type=file]", write(tmp_path, "x.png", b"no picture"))
    tab.wait_for_timeout(500)
    tab.get_by_role("button", name="Find it").click()
    expect(tab.locator("#ground-line .error")).to_contain_text("not a picture that can be opened")
    tab.locator("#ground-picture").get_by_role("button", name="Clear").or_(
        tab.locator("#ground-picture").get_by_role("button", name="Remove Image")
    ).first.click()
    tab.set_input_files("#ground-picture input[type=file]", picture(tmp_path))
    tab.get_by_role("button", name="Find it").click()
    expect(tab.locator("#ground-table tbody tr")).to_have_count(1, timeout=15_000)
    expect(tab.locator("#ground-line .error")).to_have_count(0)


def test_captions_come_in_three_styles(visit, tmp_path):
    tab = visit()
    open_tab(tab, "Captioning")
    tab.set_input_files("#caption-picture input[type=file]", picture(tmp_path))
    expect(tab.locator("#caption-picture img")).to_be_visible()
    tab.get_by_role("button", name="Describe it").click()
    expect(tab.locator("#caption-text")).to_contain_text("one short sentence", timeout=15_000)
    expect(tab.locator("#caption-line")).to_contain_text("tokens", timeout=15_000)
    expect(tab.locator("#caption-drawn img")).to_have_count(0)
    tab.get_by_label("With boxes").check()
    tab.get_by_role("button", name="Describe it").click()
    expect(tab.locator("#caption-drawn img")).to_be_visible(timeout=15_000)
    expect(tab.locator("#caption-text")).to_have_text("A small thing in front of a plain background.")
    expect(tab.locator("#caption-text .thing")).to_have_text("small thing")


def test_stop_on_the_grounding_tab(visit, tmp_path, journal):
    tab = visit()
    before = begun(journal)
    open_tab(tab, "Grounding")
    stop = tab.locator("#ground-stop")
    expect(stop).to_be_disabled()
    tab.set_input_files("#ground-picture input[type=file]", picture(tmp_path))
    expect(tab.locator("#ground-picture img")).to_be_visible()
    tab.get_by_label("What to look for").fill(LONG)
    tab.get_by_role("button", name="Find it").click()
    expect(tab.locator("#ground-text")).to_contain_text("tell tell", timeout=15_000)
    stop.click()
    expect(tab.locator("#ground-line")).to_contain_text("Stopped.")
    expect(stop).to_be_disabled()
    expect(tab.locator("#ground-run")).to_be_enabled()
    expect(tab.locator("#ground-text")).to_contain_text("tell tell")
    assert ended(journal, before + 1)


def test_a_run_right_after_stop_is_not_called_refused_when_gradio_tells_late_of_the_stop(visit, tmp_path, journal):
    tab = visit()
    release = held_cancel(tab)
    before = begun(journal)
    open_tab(tab, "Grounding")
    tab.set_input_files("#ground-picture input[type=file]", picture(tmp_path))
    expect(tab.locator("#ground-picture img")).to_be_visible()
    tab.get_by_label("What to look for").fill(LONG)
    tab.get_by_role("button", name="Find it").click()
    expect(tab.locator("#ground-text")).to_contain_text("tell tell", timeout=15_000)
    tab.locator("#ground-stop").click()
    expect(tab.locator("#ground-line")).to_contain_text("Stopped.")
    tab.get_by_label("What to look for").fill("now " * 600)
    tab.get_by_role("button", name="Find it").click()
    expect(tab.locator("#ground-text")).to_contain_text("now now", timeout=15_000)
    release()
    expect(tab.locator("#ground-line .error")).to_have_count(0)
    expect(tab.locator("#ground-stop")).to_be_enabled()  # the second one is still being written
    tab.locator("#ground-stop").click()
    expect(tab.locator("#ground-line")).to_contain_text("Stopped.")
    assert ended(journal, before + 2)  # although gradio no longer knew of it


# --- the status tab


def test_the_status_tab_shows_memory_and_loads_and_follows_what_happens(visit):
    first, second = visit(), visit()
    open_tab(first, "Status")
    panel = first.locator("#panel")
    expect(panel.locator(".card h3").first).to_contain_text("Ready")
    expect(panel).to_contain_text("Loaded")
    expect(panel).to_contain_text("once, in")
    meter = panel.get_by_role("meter", name="Memory in use on CPU")
    expect(meter).to_be_visible()
    assert 0 < int(meter.get_attribute("aria-valuenow")) < int(meter.get_attribute("aria-valuemax"))
    assert re.fullmatch(r"[\d.]+ .iB of [\d.]+ GiB used, .* planned, .* at most", meter.get_attribute("aria-valuetext"))
    ask(second, LONG)
    expect(panel.locator(".card h3").first).to_contain_text("Answering", timeout=15_000)
    second.locator("#message .stop-button").click()
    expect(panel.locator(".card h3").first).to_contain_text("Ready", timeout=15_000)


def test_the_panel_costs_nothing_while_its_tab_is_closed(visit):
    tab = visit()
    panels = []
    tab.on("response", lambda answer: panels.append(answer) if _holds_panel(answer) else None)
    open_tab(tab, "Status")
    expect(tab.locator("#panel .card").first).to_be_visible()
    tab.wait_for_timeout(5_000)
    assert panels
    open_tab(tab, "Chat")
    tab.wait_for_timeout(1_000)
    panels.clear()
    tab.wait_for_timeout(5_000)
    assert not panels


def _holds_panel(answer):
    return "run/predict" in answer.url and "class='panel'" in answer.text()


# --- how it looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scroll(visit, tmp_path, scheme):
    tab = visit(viewport=PHONE, color_scheme=scheme, is_mobile=True)
    assert not scrolls_sideways(tab)
    ask(tab, f"Where is the {'very' * 30} long dog?", picture(tmp_path, width=900, height=300))
    expect(finished(tab)).to_be_visible(timeout=20_000)
    assert not scrolls_sideways(tab)
    for name, prefix in (("Grounding", "ground"), ("Captioning", "caption")):
        open_tab(tab, name)
        expect(tab.locator(f"#{prefix}-run")).to_be_visible()
        assert not scrolls_sideways(tab)
    open_tab(tab, "Status")  # without a menu for what does not fit the row of tabs
    expect(tab.locator("#panel .card").first).to_be_visible()
    assert not scrolls_sideways(tab)


def test_the_last_answer_can_be_copied(visit):
    tab = visit(permissions=["clipboard-read", "clipboard-write"])
    ask(tab, "Where is the red dog?")
    expect(finished(tab)).to_be_visible(timeout=15_000)
    tab.get_by_role("button", name="Copy answer").click()
    assert tab.evaluate("navigator.clipboard.readText()") == tab.locator(ANSWER).first.inner_text().strip()


def test_the_sampling_controls_are_closed_and_reach_the_model(visit):
    tab = visit()
    limit = tab.get_by_role("tabpanel").get_by_label("Most new tokens").first
    expect(limit).to_be_hidden()
    tab.get_by_role("tabpanel").get_by_text("How the answer is chosen").click()
    expect(tab.get_by_role("spinbutton", name=re.compile("Most new tokens")).first).to_have_value("512")
    tab.wait_for_timeout(200)  # gradio may lose what is typed while the folded part comes alive
    tab.get_by_role("spinbutton", name=re.compile("Most new tokens")).first.fill("3")
    tab.keyboard.press("Tab")
    ask(tab, "What is this about?")
    expect(tab.locator("#conversation .bot .remark")).to_contain_text("cut off", timeout=15_000)
    assert tab.locator(ANSWER).first.inner_text().strip() == "You asked: What"
