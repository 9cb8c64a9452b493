"""After a stop the page, the server's record, what a reload finds and what the model is told next are the same.

Whatever of the stopped run comes late, in another order or never.
"""

import asyncio
import re
import threading
from dataclasses import dataclass, replace

import pytest
from gradio import FileData
from page_kit import file_of, scene, write
from stage_kit import Tab

from demo.ui.app import build_app
from demo.ui.handlers import answering
from demo.ui.pictures import PictureStore

# gradio's queue makes an event loop for its locks and never closes it
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")

CHAT = "conversation"
FATES = (
    "shown before",
    "shown after",  # it was in the session, and comes to the page after the stop
    "late",  # it comes to the session after the stop, and then to the page
    "not shown",  # it comes to the session after the stop, and never to the page
    "shown never",  # it was in the session before the stop, and never comes to the page
    "lost",  # gradio drops what the run made
)


@dataclass(frozen=True, slots=True)
class Meeting(PictureStore):
    """Two events that look at their pictures go on only when both have looked."""

    both: threading.Barrier

    def adopt(self, path, **options):
        adopted = PictureStore.adopt(self, path, **options)
        self.both.wait(timeout=30)
        return adopted


class Listening:
    """An engine, and what it was asked."""

    def __init__(self, engine):
        self._engine, self.requests = engine, []

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def stream(self, request):
        self.requests.append(request)
        return self._engine.stream(request)


@pytest.fixture
def engine_and_page(make, monkeypatch):
    monkeypatch.setattr(answering, "UPDATE_S", 0.0)  # a view for each word
    context = make(tokens=5)
    engine = Listening(context.engine)
    return engine, build_app(replace(context, engine=engine))


def words(messages):
    """Of the answer to the first question, as it is shown."""
    texts = [part["text"] for part in messages[1]["content"] if part["type"] == "text"]
    return re.sub(r"<span class='(remark|pending)[^>]*>.*?</span>|<[^>]+>", "", " ".join(texts)).split()


async def asks(tab, question):
    tab.types("message", {"text": question, "files": []})
    await tab.does("send", CHAT)


async def stops_after(tab, run, num_views, fate, place=CHAT):
    """The last of so many views has this fate. Returns what the stop shows; None where the run ended before."""
    for number in range(num_views):
        if (view := await run.makes()) is None:
            return None
        if number < num_views - 1:
            await view.lands()
    steps = {
        "shown before": ("arrives", "shown", "stop"),
        "shown after": ("arrives", "stop", "shown"),
        "late": ("stop", "arrives", "shown"),
        "not shown": ("stop", "arrives"),
        "shown never": ("arrives", "stop"),
        "lost": ("stop",),
    }[fate]
    for step in steps:
        if step == "stop":
            await tab.does("stop", place)
            at_once = tab.shows(place)
        elif num_views and step == "arrives":
            await view.arrives()
        elif num_views:
            view.is_shown()
    return at_once


async def stays(engine, page, tab, token):
    """What the page shows of the first answer is what a reload finds, what the model is told and what is shown then."""
    shown = tab.shows(CHAT)
    again = Tab(page)
    await again.loads(token)
    assert again.shows(CHAT) == shown
    await asks(tab, "And now?")
    assert tab.shows(CHAT)[:2] == shown
    await tab.begins("answer", CHAT).ends()
    assert tab.shows(CHAT)[:2] == shown
    told = [message.text.split() for message in engine.requests[-1].messages if message.speaker == "assistant"]
    assert told == ([words(shown)] if words(shown) else [])
    assert [turn["role"] for turn in tab.shows(CHAT)] == ["user", "assistant"] * 2
    return shown


async def reports(tab, times):
    """gradio tells the page that it ended the run."""
    for _ in range(times):
        await tab.does("give_back", CHAT)


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "runs on"])
def test_all_agree_after_a_stop_between_any_two_views(engine_and_page, is_cancelled):
    engine, page = engine_and_page

    async def line_after_stop(fate, num_views):
        """None where the run has fewer views."""
        tab = Tab(page)
        token = await tab.loads()
        await asks(tab, "Who are you?")
        run = tab.begins("answer", CHAT)
        if (at_once := await stops_after(tab, run, num_views, fate)) is None:
            return None
        if is_cancelled:
            await run.is_cancelled()
            await reports(tab, 1 + num_views % 2)
        else:
            await run.ends()
        shown = await stays(engine, page, tab, token)
        assert shown == at_once, (fate, num_views)
        return re.findall(r"Stopped\.|first after", str(shown))

    async def plays(fate):
        lines = []
        while (line := await line_after_stop(fate, len(lines))) is not None:
            lines += line
        assert len(lines) > 6
        assert lines == ["Stopped."] * (len(lines) - 1) + ["first after"]  # the last view has all of the answer

    for fate in FATES:
        asyncio.run(plays(fate))


def test_a_stop_after_the_end_changes_nothing(engine_and_page):
    engine, page = engine_and_page

    async def plays():
        tab = Tab(page)
        token = await tab.loads()
        await asks(tab, "Who are you?")
        await tab.begins("answer", CHAT).ends()
        done = tab.shows(CHAT)
        await tab.does("stop", CHAT)
        await reports(tab, 1)
        assert await stays(engine, page, tab, token) == done
        assert "first after" in str(done)

    asyncio.run(plays())


@pytest.mark.parametrize("reports_at", ["once", "last"])
def test_the_next_question_is_not_lost_to_a_late_view(engine_and_page, reports_at):
    _, page = engine_and_page

    async def plays():
        tab = Tab(page)
        await tab.loads()
        await asks(tab, "Who are you?")
        run = tab.begins("answer", CHAT)
        for _ in range(4):
            late = await run.makes()
        await tab.does("stop", CHAT)
        kept = tab.shows(CHAT)
        if reports_at == "once":
            await reports(tab, 1)
        await asks(tab, "And now?")
        asked = tab.shows(CHAT)
        assert (asked[:2], len(asked)) == (kept, 4)
        await late.lands()
        await run.is_cancelled()
        if reports_at == "last":
            await reports(tab, 1)
            assert tab.shows(CHAT) == asked
            assert tab.shows("message", "stop_btn")  # it still waits for its turn
        await tab.begins("answer", CHAT).ends()
        assert tab.shows(CHAT)[:2] == kept
        assert "And now?" in str(tab.shows(CHAT)[2:])
        assert "first after" in str(tab.shows(CHAT)[3])

    asyncio.run(plays())


async def stopped_and_over(page):
    """A run that saw that it was stopped, and was over before gradio's page could ask for its end."""
    tab = Tab(page)
    await tab.loads()
    await asks(tab, "Who are you?")
    run = tab.begins("answer", CHAT)
    view = await run.makes()
    await view.lands()
    await tab.does("stop", CHAT)
    await run.ends()
    return tab


def test_the_end_of_a_stopped_answer_takes_no_button_from_the_next_question(engine_and_page):
    _, page = engine_and_page

    async def plays():
        tab = await stopped_and_over(page)
        late = await tab.makes("rest", CHAT)
        await asks(tab, "And now?")
        await late.lands()
        assert tab.shows("message", "stop_btn")
        assert not tab.shows("message", "submit_btn")
        await tab.begins("answer", CHAT).ends()
        await tab.does("rest", CHAT)
        assert tab.shows("message", "submit_btn")

    asyncio.run(plays())


def test_a_question_after_a_stopped_answer_that_was_over_can_be_refused(engine_and_page):
    _, page = engine_and_page

    async def plays():
        tab = await stopped_and_over(page)
        await asks(tab, "And now?")
        await reports(tab, 1)
        assert tab.shows("message")["text"] == "And now?"
        assert tab.shows("message", "submit_btn")
        assert "And now?" not in str(tab.shows(CHAT))

    asyncio.run(plays())


def test_undo_and_retry_that_are_pressed_twice_or_too_late_change_nothing(engine_and_page):
    _, page = engine_and_page

    async def plays():
        tab = Tab(page)
        await tab.loads()
        await asks(tab, "Who are you?")
        await tab.begins("answer", CHAT).ends()
        before = tab.shows(CHAT)
        first = await tab.makes("retry", CHAT)  # and the page has not heard of it
        second = await tab.makes("retry", CHAT)
        undone = await tab.makes("undo", CHAT)
        for view in (first, second, undone):
            await view.lands()
        await reports(tab, 1)  # it was refused
        assert tab.shows(CHAT) == before
        assert tab.shows("message", "submit_btn")

    asyncio.run(plays())


def test_two_events_of_one_double_click_ask_once(make, monkeypatch):
    context = make()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(context.store.folder))  # where uploads land
    meeting = Meeting(context.store.folder, threading.Barrier(2))
    page = build_app(replace(context, store=meeting))
    picture = write(context.store.folder, "scene.png", file_of(scene()))

    async def plays():
        tab = Tab(page)
        await tab.loads()
        tab.types("message", {"text": "Where is the dog?", "files": [FileData(path=picture).model_dump()]})
        first, second = await asyncio.gather(tab.makes("send", CHAT), tab.makes("send", CHAT))
        for view in (first, second):
            await view.lands()
        assert tab.holds("send", CHAT) == 1
        assert tab.shows("message")["text"] == ""
        await tab.begins("answer", CHAT).ends()
        assert [turn["role"] for turn in tab.shows(CHAT)] == ["user", "assistant"]

    asyncio.run(plays())


def test_a_question_that_is_refused_as_another_is_answered_leaves_that_one_alone(engine_and_page):
    _, page = engine_and_page

    async def plays():
        tab = Tab(page)
        await tab.loads()
        tab.types("message", {"text": "Who are you?", "files": []})
        first = await tab.makes("send", CHAT)
        second = await tab.makes("send", CHAT)  # the page has not heard of the first yet
        for view in (first, second):
            await view.lands()
        assert tab.holds("send", CHAT) == 1  # else the page would ask for the answer once more
        assert "still being written" in str(tab.shows("chat-notice"))

    asyncio.run(plays())


TABS = {  # what begins, runs and reports, and where it is shown
    "chat": ("send", "answer", "give_back", CHAT),
    "grounding": ("start", "answers", "failed", "ground-line"),
    "compare": ("start", "compare", "failed", "compare-left-line"),
}


@pytest.mark.parametrize("is_known", [True, False], ids=["waits in the queue", "not known to the page yet"])
@pytest.mark.parametrize("events", TABS.values(), ids=TABS)
def test_the_next_question_is_not_refused_by_a_second_report_of_the_stop_before(engine_and_page, events, is_known):
    _, page = engine_and_page
    begin, run, report, place = events

    async def plays():
        tab = Tab(page)
        tab.types("message", {"text": "Who are you?", "files": []})
        await tab.does(begin, place)
        first = tab.begins(run, place)
        await (await first.makes()).arrives()
        await tab.does("stop", place)
        await first.is_cancelled()
        await tab.does(report, place)
        tab.types("message", {"text": "And now?", "files": []})
        begun = await tab.makes(begin, place)
        await begun.arrives()
        if is_known:
            begun.is_shown()
            tab.waits(run, place)
        shown = tab.shows(place)
        await tab.does(report, place)
        begun.is_shown()
        assert not is_known or tab.shows(place) == shown
        assert "could not be taken" not in str([tab.shows(name) for name in ("message", "chat-notice", place)])
        second = tab.begins(run, place)
        assert await second.makes() is not None
        await second.is_cancelled()

    asyncio.run(plays())


def test_what_was_cleared_stays_cleared_whatever_comes_late(engine_and_page):
    engine, page = engine_and_page

    async def plays():
        tab = Tab(page)
        token = await tab.loads()
        await asks(tab, "Who are you?")
        run = tab.begins("answer", CHAT)
        for _ in range(4):
            late = await run.makes()
        await tab.does("clear", CHAT)
        await late.lands()
        await run.is_cancelled()
        await reports(tab, 1)
        assert tab.shows(CHAT) == []
        again = Tab(page)
        await again.loads(token)
        assert again.shows(CHAT) is None  # nothing to show
        await asks(tab, "And now?")
        await tab.begins("answer", CHAT).ends()
        assert [message.speaker for message in engine.requests[-1].messages] == ["user"]

    asyncio.run(plays())


# --- the tabs that look at one picture

PARTS = ("line", "text", "drawn", "table", "raw", "parsed", "as-boxes")


@pytest.fixture
def context_and_page(make, monkeypatch, tmp_path):
    monkeypatch.setattr(answering, "UPDATE_S", 0.0)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    context = make()
    return context, build_app(context)


def looks(tab):
    return {name: tab.shows(f"ground-{name}") for name in PARTS}


async def finds(tab, context, phrase):
    path = write(context.store.folder, "park.png", file_of(scene()))
    tab.types("ground-picture", {"path": path, "meta": {"_type": "gradio.FileData"}})
    tab.types("ground-phrase", phrase)
    await tab.does("start", "ground-line")


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "runs on"])
def test_what_was_found_can_be_used_after_a_stop_between_any_two_views(context_and_page, is_cancelled):
    context, page = context_and_page

    async def left_by(fate, num_views):
        """None where the run has fewer views."""
        tab = Tab(page)
        await finds(tab, context, "the dog; the big cat")
        run = tab.begins("answers", "ground-line")
        if await stops_after(tab, run, num_views, fate, "ground-line") is None:
            return None
        if is_cancelled:
            await run.is_cancelled()
            await tab.does("failed", "ground-line")
        else:
            await run.ends()
        left = looks(tab)
        assert (tab.shows("ground-run", "interactive"), tab.shows("ground-stop", "interactive")) == (True, False)
        has_box = bool(num_views) and "<table" in (left["table"] or "")
        assert has_box == ("data-only='w0'" in (left["text"] or "")) == ("data-only='r0'" in (left["table"] or ""))
        assert has_box == bool(left["as-boxes"]) == bool(tab.shows("ground-as-boxes", "interactive"))
        assert (left["drawn"] is not None) == has_box
        line = re.findall(r"Stopped\.(?: · nothing found so far)?|phrases found", left["line"])
        assert line, (fate, num_views, left)
        return line

    async def plays(fate):
        lines = []
        while (line := await left_by(fate, len(lines))) is not None:
            lines += line
        kinds = list(dict.fromkeys(lines))
        assert kinds == ["Stopped.", "Stopped. · nothing found so far", "phrases found"]
        assert lines.count("phrases found") == 1  # the last view has all of the answer
        assert lines.count("Stopped.") > 2

    for fate in FATES:
        asyncio.run(plays(fate))


def test_a_late_view_takes_no_run_for_the_one_that_was_asked_for_since(context_and_page):
    context, page = context_and_page

    async def plays():
        tab = Tab(page)
        await finds(tab, context, "the dog; the big cat")
        run = tab.begins("answers", "ground-line")
        for _ in range(4):
            late = await run.makes()
        await tab.does("stop", "ground-line")
        await finds(tab, context, "a sun")
        waits = tab.shows("ground-line")
        await late.lands()
        await run.is_cancelled()
        await tab.does("failed", "ground-line")
        assert tab.shows("ground-line") == waits
        assert tab.shows("ground-stop", "interactive")
        await tab.begins("answers", "ground-line").ends()
        assert "sun" in tab.shows("ground-parsed")
        assert "dog" not in str(looks(tab))

    asyncio.run(plays())


def test_the_raw_view_of_a_caption_has_the_models_words_alone(context_and_page):
    context, page = context_and_page

    async def plays():
        tab = Tab(page)
        path = write(context.store.folder, "park.png", file_of(scene()))
        tab.types("caption-picture", {"path": path, "meta": {"_type": "gradio.FileData"}})
        tab.gives("answers", "caption-line", prefix="A photo: ", suffix=" #mine")
        await tab.does("start", "caption-line")
        await tab.begins("answers", "caption-line").ends()
        own = tab.shows("caption-raw")
        assert own
        assert "A photo" not in own
        assert "#mine" not in own
        assert re.sub("<[^>]+>", "", tab.shows("caption-text")).startswith(f"A photo: {own[:20]}")
        assert "#mine" in tab.shows("caption-text")

    asyncio.run(plays())


@pytest.mark.parametrize("tab_name", ["grounding", "compare"])
def test_a_free_place_is_waited_for_where_there_is_none(engine_and_page, tab_name):
    """Else the page may still be uploading the picture."""
    _, page = engine_and_page
    begin, run, _, place = TABS[tab_name]

    async def plays():
        tab = Tab(page)
        await tab.does(begin, place)
        assert "Sending the question" in tab.shows(place)
        if tab_name == "compare":  # there is one place for both sides
            assert "Waiting for a free place" in tab.shows("compare-right-line")
        tab = Tab(page)
        tab.waits(run, place)  # as somebody else's
        await tab.does(begin, place)
        assert "Waiting for a free place" in tab.shows(place)

    asyncio.run(plays())
