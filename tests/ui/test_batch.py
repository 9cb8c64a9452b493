"""The handlers of many pictures against a real engine: the fake model in a worker process."""

import io
import json
import zipfile
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from page_kit import file_of, scene, until, write
from wording import SAY

from demo.captioning import export
from demo.engine.devices import GIB, Device
from demo.errors import ConfigError, InvalidInput, PictureError
from demo.types import GenerateRequest, Message
from demo.ui import jobs, markup
from demo.ui.app import build_app
from demo.ui.batch import PAGE, STEP, Viewer
from demo.ui.handlers import batch
from demo.ui.language import load_languages

CPU = Device("cpu", "CPU", "cpu", 16 * GIB, 8 * GIB)
CARD = Device("cuda:0", "Card", "cuda", 24 * GIB, 24 * GIB)


def nobody():
    return False


def somebody():
    return True


def uploads(context, count, *, start=0):
    return [
        write(context.store.folder, f"up{index}/p{index}.png", file_of(scene(50 + index)))
        for index in range(start, start + count)
    ]


def turned(context, job, others_wait=nobody):
    return list(batch.turn(context, job, others_wait))


def entries_in(path):
    with zipfile.ZipFile(path) as made:
        return [json.loads(line) for line in made.read("captions.jsonl").splitlines()], made.namelist()


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")  # gradio's queue makes one for its locks
def test_a_turn_that_finds_another_one_at_work_leaves_the_page_its_number(make):
    context = make()
    page = build_app(context)
    events = next(function.fn.__self__ for function in page.fns.values() if function.name == "work")
    visit = SimpleNamespace(query_params={}, cookies={}, headers={})
    viewer = Viewer(batch.begin(context, uploads(context, 3), "short"))
    with closing(events.work(visit, viewer, 1)) as first:
        assert next(first)[0] == 1
        assert [values[0] for values in events.work(visit, viewer, 2)] == [gr.skip()]
        assert events.follow(visit, viewer, 2)[0] == gr.skip()
    assert events.follow(visit, viewer, 2)[0] == 3  # nobody is at it: it is this page's turn


def test_a_job_captions_uploads_and_archives_and_tells_of_broken_files(make):
    context = make()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("in/a.png", file_of(scene(77)))
        made.writestr("../b.png", file_of(scene()))
    packed = write(context.store.folder, "z/many.zip", out.getvalue())
    broken = write(context.store.folder, "b/broken.png", b"no picture")
    job = batch.begin(context, [*uploads(context, 2), packed, broken], "short", prefix="a photo: ", suffix=" #x")
    turned(context, job)
    assert job.phase == "done"
    assert str(job.progress).startswith("5 of 5 · 2 could not be captioned")
    path = batch.results(context, job)
    assert context.store.folder in Path(path).parents
    lines, names = entries_in(path)
    assert sorted(names) == ["captions.csv", "captions.jsonl", "in/a.txt", "p0.txt", "p1.txt"]
    told = {line["file"]: line.get("error") or line["caption"] for line in lines}
    assert told["in/a.png"].startswith("a photo: You asked: Describe")
    assert told["in/a.png"].endswith("turn 1. #x")
    assert "77 x 200" in told["in/a.png"]
    assert "leads out" in told["many.zip/b.png"]
    assert "not a picture" in told["broken.png"]


def test_no_path_of_the_server_is_shown_or_given_away(make):
    context = make()
    broken = write(context.store.folder, "b/broken.png", b"no picture")
    job = batch.begin(context, [*uploads(context, 1), broken], "short")
    turned(context, job)
    table = "".join(jobs.captions(SAY, Viewer(job))["rows"])
    with zipfile.ZipFile(batch.results(context, job)) as made:
        given = b"".join(made.read(name) for name in made.namelist()).decode()
    assert str(context.store.folder) not in table + given + str(job.progress)
    assert "data:image/webp;base64," in table


def test_an_instruction_reaches_the_model(make):
    context = make()
    job = batch.begin(context, uploads(context, 1), "short", "  Name colours. ")
    turned(context, job)
    (entry,) = job.entries.values()
    assert "one short sentence. Name colours. I see" in entry.caption


def test_what_is_wrong_is_said_before_the_job_begins(make, tmp_path):
    context = make()
    outside = write(tmp_path, "outside.png", file_of(scene()))
    empty = write(context.store.folder, "e/empty.zip", b"PK\x05\x06" + bytes(18))
    cut = write(context.store.folder, "c/cut.zip", b"PK\x03\x04" + bytes(30))
    for paths, error, says in (
        ([], InvalidInput, "There are no pictures"),
        (None, InvalidInput, "There are no pictures"),
        ([outside], PictureError, "not on the server"),
        ([empty], InvalidInput, "empty.zip: There are no pictures in it."),
        ([cut], InvalidInput, "cut.zip: The archive is damaged"),
    ):
        with pytest.raises(error, match=says):
            batch.begin(context, paths, "short")
    paths = uploads(context, 1)
    with pytest.raises(ConfigError, match="no such caption style"):
        batch.begin(context, paths, "poem")
    with pytest.raises(InvalidInput, match="prefix is too long"):
        batch.begin(context, paths, "short", prefix="x" * 30_000)
    with pytest.raises(InvalidInput, match="temperature"):
        batch.begin(context, paths, "short", controls=[99])


def test_an_archive_without_pictures_among_others_is_told_as_other_bad_files_are(make):
    context = make()
    empty = write(context.store.folder, "e/empty.zip", b"PK\x05\x06" + bytes(18))
    job = batch.begin(context, [empty, *uploads(context, 1)], "short")
    turned(context, job)
    told = {entry.file: entry.error for entry in job.entries.values()}
    assert told == {"empty.zip": "There are no pictures in it.", "p0.png": ""}


def test_an_archive_of_texts_alone_is_no_bad_file(make):
    context = make()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("p0.txt", "by hand")
    texts = write(context.store.folder, "t/captions.zip", out.getvalue())
    for existing in ("skip", "overwrite"):
        job = batch.begin(context, [texts, *uploads(context, 1)], "short", existing=existing)
        turned(context, job)
        assert [entry.file for entry in job.entries.values()] == ["p0.png"]


def test_more_pictures_than_a_job_may_have_are_refused(make, monkeypatch):
    context = make()
    monkeypatch.setattr(batch, "MOST_PICTURES", 2)
    with pytest.raises(InvalidInput, match="too many pictures"):
        batch.begin(context, uploads(context, 3), "short")


def test_a_turn_ends_after_one_picture_when_somebody_waits_and_asks_for_the_next(make):
    context = make()
    job = batch.begin(context, uploads(context, 3), "short")
    for done in (1, 2, 3):
        assert job.wants_turn
        turned(context, job, somebody)
        assert job.progress.done == done
    assert job.phase == "done"
    assert not job.wants_turn


def test_who_asks_meanwhile_waits_for_one_caption_at_most(make, tmp_path):
    context = make(token_s=0.02, journal=tmp_path / "asked")
    job = batch.begin(context, uploads(context, 4), "short")
    with closing(batch.turn(context, job, nobody)) as turn:
        assert until(lambda: next(turn) is not None and (tmp_path / "asked").exists())
        before = (tmp_path / "asked").read_text().count("begin")
        question = GenerateRequest("question", "chat", (Message("user", "Hello"),))
        words = [getattr(event, "text", "") for event in context.engine.stream(question)]
        list(turn)
    assert "".join(words).startswith("You asked: Hello")
    begun = [line.split()[1] for line in (tmp_path / "asked").read_text().splitlines() if line.startswith("begin")]
    assert begun.index("question") <= before + 1
    while job.wants_turn:
        turned(context, job)
    assert job.progress.done == 4


def test_pausing_finishes_what_is_under_way_and_going_on_does_the_rest_once(make, tmp_path):
    context = make(token_s=0.03, journal=tmp_path / "asked")
    job = batch.begin(context, uploads(context, 3), "short")
    with closing(batch.turn(context, job, nobody)) as turn:
        next(turn)
        job.pause()
        list(turn)
    assert job.phase == "paused"
    assert 1 <= job.progress.done < 3
    assert turned(context, job) == []
    assert len(entries_in(batch.results(context, job))[0]) == job.progress.done
    job.resume()
    turned(context, job)
    assert job.phase == "done"
    begun = [line for line in (tmp_path / "asked").read_text().splitlines() if line.startswith("begin")]
    assert len(begun) == 3


def test_two_turns_at_once_do_not_work_at_one_job(make):
    context = make(token_s=0.01)
    job = batch.begin(context, uploads(context, 2), "short")
    with closing(batch.turn(context, job, nobody)) as turn:
        next(turn)
        assert turned(context, job) == []
        list(turn)
    assert job.progress.done == 2


@pytest.mark.parametrize("ending", ["stopped", "closed"])
def test_stop_and_a_closed_page_end_the_answer_under_way(make, tmp_path, ending):
    context = make(tokens=2000, token_s=0.02, journal=tmp_path / "asked")
    job = batch.begin(context, uploads(context, 3), "short")
    turn = batch.turn(context, job, nobody)
    assert until(lambda: next(turn) is False and (tmp_path / "asked").exists())
    if ending == "stopped":
        job.stop()
        list(turn)
        assert job.phase == "stopped"
        job.resume()  # a late press
        assert not job.wants_turn
    else:
        turn.close()
    assert not job.at_work.locked()
    assert until(lambda: "end" in (tmp_path / "asked").read_text())
    assert until(lambda: context.engine.snapshot().replicas[0].state == "idle")
    lines = (tmp_path / "asked").read_text().split()
    assert lines.count("begin") == 1
    assert int(lines[-1]) < 2000
    assert len(job.left) == 3


@pytest.mark.parametrize(("ending", "tells"), [("pause", True), ("stop", False)])
def test_how_long_it_may_take_is_said_of_what_can_go_on(make, ending, tells):
    context = make()
    job = batch.begin(context, uploads(context, 3), "short")
    with closing(batch.turn(context, job, nobody)) as turn:
        assert until(lambda: next(turn) is not None and job.progress.made)
        getattr(job, ending)()
    assert job.progress.left
    assert "1 of 3" in jobs.job_html(SAY, job)
    assert ("left" in jobs.job_html(SAY, job)) is tells


def test_what_would_befall_every_picture_pauses_the_job_and_says_so(make):
    context = make(wait=False, fail_load="broken_checkpoint")
    job = batch.begin(context, uploads(context, 2), "short")
    turned(context, job)
    assert job.phase == "paused"
    assert "not to load" in job.error.said(SAY)
    assert len(job.left) == 2


def test_what_is_sent_does_not_grow_with_the_job_and_every_caption_can_be_read(make):
    context = make()
    count = 2 * PAGE + 6
    job = batch.begin(context, uploads(context, count), "short")
    viewer = Viewer(job)
    assert (viewer.span, viewer.has_older) == ((1, 0), False)
    turned(context, job)
    assert len(job.entries) == count
    rows = list(job.rows(*viewer.span))
    assert PAGE - STEP < len(rows) <= PAGE
    assert [row.name for row in rows] == [f"p{index}.png" for index in range(count - len(rows), count)]
    assert all(0 < len(row.preview) < 20_000 for row in rows)
    seen = []
    while True:
        seen += [row.name for row in job.rows(*viewer.span)]
        if not viewer.has_older:
            break
        viewer.older()
        assert not viewer.follows
        assert viewer.span[1] - viewer.span[0] == PAGE - 1
    assert set(seen) == {f"p{index}.png" for index in range(count)}
    assert viewer.span == (1, PAGE)
    viewer.older()
    assert viewer.span == (1, PAGE)
    while not viewer.follows:
        viewer.newer()
    assert viewer.span[1] == count


def test_while_captions_come_the_newest_page_mostly_grows_at_its_end(make):
    context = make()
    job = batch.begin(context, uploads(context, 2 * PAGE), "short")
    viewer, sent, shown = Viewer(job), 0, []
    while job.wants_turn:
        turned(context, job, somebody)
        rows = jobs.captions(SAY, viewer)["rows"]
        assert PAGE - STEP < len(rows) <= PAGE or len(rows) == len(job.entries)
        sent += len(rows) - len(shown) if rows[: len(shown)] == shown else len(rows)
        shown = rows
    assert sent <= 2 * (2 * PAGE)  # two rows a caption, where whole pages would be twenty


def test_earlier_captions_stand_still_while_new_ones_come(make):
    context = make()
    job = batch.begin(context, uploads(context, PAGE + 9), "short")
    viewer = Viewer(job)
    while len(job.entries) <= PAGE:
        turned(context, job, somebody)
    viewer.older()
    shown = jobs.captions(SAY, viewer)
    turned(context, job)
    assert len(job.entries) == PAGE + 9
    assert jobs.captions(SAY, viewer) == shown
    assert f"1–{PAGE} of {PAGE + 9}" in jobs.span_html(SAY, viewer)


def test_hostile_names_and_captions_are_only_characters():
    row = markup.caption_row(SAY, "<img src=x>.png", "<script>alert(1)</script>", "<b>", False, b"")
    assert "<script" not in row
    assert "<img" not in row


@pytest.mark.parametrize(
    ("device", "slots", "places"), [(CPU, 3, 3), (CARD, 2, 4)], ids=["cpu", "card, which prepares ahead"]
)
def test_a_job_uses_every_slot_and_leaves_room_for_who_asks(make, tmp_path, device, slots, places):
    context = make(device=device, slots=slots, token_s=0.02, journal=tmp_path / "asked")
    job = batch.begin(context, uploads(context, 9), "short")
    with closing(batch.turn(context, job, nobody)) as turn:
        assert until(lambda: next(turn) is not None and job.progress.done >= 1)
        question = GenerateRequest("question", "chat", (Message("user", "Hello"),))
        assert any(getattr(event, "text", "") for event in context.engine.stream(question))
        assert job.progress.done < 9  # the question did not wait for the job
        list(turn)
    assert (job.progress.done, job.phase) == (9, "done")
    lines = [line.split() for line in (tmp_path / "asked").read_text().splitlines()]
    open_, most = 0, 0
    for what, name, *_ in lines:
        if name != "question":
            open_ += 1 if what == "begin" else -1
            most = max(most, open_)
    assert most == places
    begun = [name for what, name, _ in lines if what == "begin"]
    assert begun.index("question") < 9


def test_what_memory_is_too_small_for_is_remembered_by_the_job(make):
    context = make(slots=4, most_at_once=1, token_s=0.02)
    job = batch.begin(context, uploads(context, 6), "short")
    turned(context, job)
    assert (job.progress.done, job.progress.failed) == (6, 0)
    assert job.room.limit == 1
    assert "memory ran out: 1 at a time" in jobs.job_html(SAY, job)
    assert "内存不足" in jobs.job_html(load_languages().texts["zh"], job)


@pytest.mark.parametrize("name", ["zip", "txt", "csv", "jsonl"])
def test_results_have_the_format_that_was_chosen(make, name):
    context = make()
    job = batch.begin(context, uploads(context, 1), "short", words=25)
    turned(context, job)
    job.choose(name)
    job.choose("exe")
    path = Path(batch.results(context, job))
    assert path.name == export.FORMATS[name].file
    data = path.read_bytes()
    if name in ("zip", "txt"):
        with zipfile.ZipFile(path) as made:
            data = made.read("p0.txt")
    assert b"Use about 25 words." in data


def test_a_length_that_is_none_is_refused(make):
    context = make()
    with pytest.raises(InvalidInput, match="no such length"):
        batch.begin(context, uploads(context, 1), "short", words=7)


# --- captions that are there already


def captioned(context):
    """Two pictures of three with a caption, one of them in an archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("in/a.png", file_of(scene(77)))
        made.writestr("in/a.txt", "first\r\nsecond\n")
        made.writestr("in/b.png", file_of(scene(78)))
    packed = write(context.store.folder, "z/many.zip", out.getvalue())
    text = write(context.store.folder, "t/p0.txt", b"by hand\n")
    return [*uploads(context, 1), packed, text]


def texts_of(context, job):
    job.choose("txt")
    with zipfile.ZipFile(batch.results(context, job)) as made:
        return {name: made.read(name).decode().rstrip("\n") for name in made.namelist()}


@pytest.mark.parametrize(("existing", "asked"), [("skip", 1), ("overwrite", 3), ("append", 3)])
def test_captions_that_are_there_are_left_alone_written_anew_or_appended_to(make, tmp_path, existing, asked):
    context = make(journal=tmp_path / "asked")
    job = batch.begin(context, captioned(context), "short", existing=existing)
    turned(context, job)
    assert (job.phase, job.progress.done, job.progress.failed) == ("done", 3, 0)
    assert (tmp_path / "asked").read_text().count("begin") == asked
    texts = texts_of(context, job)
    assert sorted(texts) == ["in/a.txt", "in/b.txt", "p0.txt"]
    assert texts["in/b.txt"].startswith("You asked")
    before = {"in/a.txt": "first\nsecond", "p0.txt": "by hand"}
    for name, text in before.items():
        if existing == "skip":
            assert texts[name] == text
        elif existing == "append":
            assert texts[name].startswith(f"{text}\nYou asked")
        else:
            assert texts[name].startswith("You asked")
    rows = {row.name: row for row in job.rows(1, 3)}
    assert rows["in/a.png"].text == texts["in/a.txt"]
    assert rows["in/a.png"].note == ("there already" if existing == "skip" else "")
    shown = "".join(jobs.captions(load_languages().texts["zh"], Viewer(job))["rows"])
    assert shown.count("原有的描述") == (2 if existing == "skip" else 0)
    assert ("first<br>second" in shown) is (existing != "overwrite")


def test_where_every_picture_has_a_caption_nothing_is_asked_and_all_is_in_the_results(make, tmp_path):
    context = make(journal=tmp_path / "asked")
    text = write(context.store.folder, "t/p0.txt", b"by hand")
    job = batch.begin(context, [*uploads(context, 1), text], "short")
    assert not job.wants_turn
    turned(context, job)
    assert job.phase == "done"
    assert not (tmp_path / "asked").exists()
    lines, _ = entries_in(batch.results(context, job))
    assert [(line["caption"], line["note"]) for line in lines] == [("by hand", "there already")]


def test_a_text_that_is_no_caption_is_told_of_unless_nobody_wants_to_know(make):
    context = make()
    paths = [*uploads(context, 1), write(context.store.folder, "t/p0.txt", b"\xff")]
    job = batch.begin(context, paths, "short")
    turned(context, job)
    told = {entry.file: entry.error for entry in job.entries.values()}
    assert told == {"p0.txt": "The text is not in UTF-8. Its picture counts as one without a caption.", "p0.png": ""}
    job = batch.begin(context, paths, "short", existing="overwrite")
    turned(context, job)
    assert [entry.file for entry in job.entries.values()] == ["p0.png"]


def test_texts_alone_and_a_choice_that_is_none_begin_no_job(make):
    context = make()
    text = write(context.store.folder, "t/p0.txt", b"by hand")
    with pytest.raises(InvalidInput, match="no pictures in this"):
        batch.begin(context, [text], "short")
    with pytest.raises(InvalidInput, match="no such choice"):
        batch.begin(context, uploads(context, 1), "short", existing="keep")


def test_a_text_for_each_picture_does_not_make_an_archive_too_large(make, monkeypatch):
    context = make()
    monkeypatch.setattr(batch, "MOST_PICTURES", 3)
    monkeypatch.setattr(batch, "OTHER_FILES", 1)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for index in range(3):
            made.writestr(f"{index}.png", file_of(scene(50 + index)))
            made.writestr(f"{index}.txt", "words")
    packed = write(context.store.folder, "z/many.zip", out.getvalue())
    assert len(batch.begin(context, [packed], "short").entries) == 3
