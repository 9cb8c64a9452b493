"""Jobs of many pictures that outlive their page and their process, and who finds them again."""

import json
import os
import shutil
import stat
import time
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from page_kit import file_of, scene, until, write
from wording import SAY

from demo.errors import DemoError
from demo.ui import desk, jobs
from demo.ui.batch import Viewer
from demo.ui.context import make_context
from demo.ui.desk import Desk
from demo.ui.handlers import batch
from demo.ui.language import load_languages


def nobody():
    return False


def somebody():
    return True


def uploads(context, count):
    return [
        write(context.store.folder, f"up{index}/p{index}.png", file_of(scene(50 + index))) for index in range(count)
    ]


def packed(context, count):
    path = context.store.folder / "z" / "many.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as made:
        for index in range(count):
            made.writestr(f"in/a{index}.png", file_of(scene(90 + index)))
    return str(path)


def again(context):
    """The page of another process: it knows what is on the disk and nothing else; uploads are gone."""
    shutil.rmtree(context.store.folder)
    context.store.folder.mkdir()
    return make_context(context.engine, look=context.look, folder=context.store.folder, state=context.desk.folder)


def asked(path):
    return [line for line in path.read_text().splitlines() if line.startswith("begin")]


def on_disk(context):
    """What is kept, without the folder's own name."""
    root = context.desk.folder / "batches"
    return sorted(path.relative_to(root).as_posix().partition("/")[2] for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("tail", [b"", b'{"file": "p3.png", "capt', b"\xff\x00\n"], ids=["whole", "torn", "garbage"])
def test_a_job_goes_on_in_another_process_where_it_was(make, tmp_path, tail):
    context = make(journal=tmp_path / "asked")
    broken = write(context.store.folder, "b/broken.png", b"no picture")
    job = batch.begin(context, [*uploads(context, 4), broken, packed(context, 3)], "short", prefix="a ", words=25)
    for _ in range(3):
        list(batch.turn(context, job, somebody))
    assert len(asked(tmp_path / "asked")) == 3
    with next((context.desk.folder / "batches").iterdir()).joinpath("captions.jsonl").open("ab") as file:
        file.write(tail)
    before = [entry.text for entry in job.entries.values()]
    token = job.token
    del job
    context = again(context)
    job = batch.found(context, token)
    assert (job.phase, job.wants_turn) == ("paused", False)
    assert "was interrupted" in jobs.job_html(SAY, job)
    assert "3 of 8" in jobs.job_html(SAY, job)
    rows = list(job.rows(1, 3))
    assert [row.name for row in rows] == ["p0.png", "p1.png", "p2.png"]
    assert all(row.preview for row in rows)
    job.resume()
    list(batch.turn(context, job, nobody))
    assert job.phase == "done"
    assert len(asked(tmp_path / "asked")) == 7  # the broken one was never asked about
    texts = {entry.file: entry.text for entry in job.entries.values()}
    assert len(job.entries) == 8
    assert [texts[f"p{index}.png"] for index in range(3)] == before
    assert texts["in/a2.png"].startswith("a You asked: Describe the image in one short sentence. Use about 25 words.")
    with zipfile.ZipFile(batch.results(context, job)) as made:
        lines = [json.loads(line)["file"] for line in made.read("captions.jsonl").splitlines()]
    assert lines == [*(f"p{n}.png" for n in range(4)), "broken.png", *(f"in/a{n}.png" for n in range(3))]


@pytest.mark.parametrize(("existing", "found_done", "begun"), [("skip", 3, 2), ("append", 1, 4)])
def test_what_is_done_about_captions_that_are_there_outlives_the_process(make, tmp_path, existing, found_done, begun):
    context = make(journal=tmp_path / "asked")
    texts = [write(context.store.folder, f"t/p{index}.txt", b"by hand") for index in (1, 2)]
    job = batch.begin(context, [*uploads(context, 4), *texts], "short", existing=existing)
    list(batch.turn(context, job, somebody))
    token = job.token
    del job
    context = again(context)
    job = batch.found(context, token)
    assert (job.phase, job.progress.done) == ("paused", found_done)
    job.resume()
    list(batch.turn(context, job, nobody))
    assert (job.phase, job.progress.done, len(asked(tmp_path / "asked"))) == ("done", 4, begun)
    made = {entry.file: entry.text for entry in job.entries.values()}
    if existing == "skip":
        assert made["p1.png"] == made["p2.png"] == "by hand"
    else:
        assert made["p1.png"].startswith("by hand\nYou asked")
        assert made["p2.png"].startswith("by hand\nYou asked")
    assert made["p0.png"].startswith("You asked")


def test_a_job_that_was_kept_before_there_was_a_choice_goes_on(make):
    context = make()
    token = batch.begin(context, uploads(context, 2), "short").token
    file = next(context.desk.folder.rglob("job.json"))
    kept = json.loads(file.read_text())
    assert kept.pop("existing") == "skip"
    file.write_text(json.dumps({**kept, "existing": "keep"}))
    assert batch.found(again(context), token) is None  # another version's choice is not guessed at
    file.write_text(json.dumps(kept))
    context = again(context)
    job = batch.found(context, token)
    job.resume()
    list(batch.turn(context, job, nobody))
    assert (job.phase, job.progress.done) == ("done", 2)


def test_the_results_have_the_order_of_the_pictures_whichever_came_first(make):
    context = make(slots=3, token_s=0.01)
    job = batch.begin(context, uploads(context, 9), "short")
    list(batch.turn(context, job, nobody))
    job.choose("jsonl")
    lines = [json.loads(line)["file"] for line in Path(batch.results(context, job)).read_text().splitlines()]
    assert lines == [f"p{index}.png" for index in range(9)]


def test_a_reloaded_page_shares_its_job_and_no_picture_is_asked_twice(make, tmp_path):
    context = make(token_s=0.02, journal=tmp_path / "asked")
    job = batch.begin(context, uploads(context, 3), "short")
    with closing(batch.turn(context, job, nobody)) as turn:
        next(turn)
        assert batch.found(context, job.token) is job
        assert list(batch.turn(context, batch.found(context, job.token), nobody)) == []
        list(turn)
    assert job.phase == "done"
    assert len(asked(tmp_path / "asked")) == 3


def test_pictures_are_held_until_they_were_looked_at_and_nobody_else_can_read_them(make):
    context = make()
    paths = uploads(context, 3)
    job = batch.begin(context, paths, "short")
    for path in (context.desk.folder, *(p for p in context.desk.folder.rglob("*") if p.is_dir())):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert [name for name in on_disk(context) if name.startswith("pictures/")] == [f"pictures/{n}" for n in range(3)]
    assert job.token not in str(list(context.desk.folder.rglob("*")))
    for path in paths:  # as gradio does after a day
        os.unlink(path)
    list(batch.turn(context, job, nobody))
    assert (job.progress.done, job.progress.failed) == (3, 0)
    assert "pictures/0" not in on_disk(context)
    assert len([name for name in on_disk(context) if name.startswith("previews/")]) == 3
    context.desk.clear(job)
    assert on_disk(context) == []
    assert batch.found(context, job.token) is None


def test_a_stopped_job_holds_no_pictures_and_its_results_are_found(make):
    context = make()
    job = batch.begin(context, uploads(context, 3), "short")
    list(batch.turn(context, job, somebody))
    job.stop()
    assert not [name for name in on_disk(context) if name.startswith("pictures/")]
    token = job.token
    del job
    context = again(context)
    job = batch.found(context, token)
    assert (job.phase, len(job.entries)) == ("stopped", 1)
    job.resume()
    assert not job.wants_turn
    assert batch.results(context, job)


def with_a_broken_one(context, *, others):
    return [*uploads(context, others), write(context.store.folder, "b/broken.png", b"no picture")]


def mended(context):
    """The broken picture becomes a whole one, where the job keeps it."""
    for kept in context.desk.folder.glob("batches/*/pictures/*"):
        if kept.read_bytes() == b"no picture":
            kept.write_bytes(file_of(scene(111)))


def test_pictures_that_failed_are_tried_again_when_that_is_wished_also_by_another_process(make, tmp_path):
    context = make(journal=tmp_path / "asked")
    job = batch.begin(context, with_a_broken_one(context, others=2), "short")
    assert not job.can_retry
    list(batch.turn(context, job, nobody))
    assert (job.phase, job.progress.failed, job.can_retry) == ("done", 1, True)
    assert [name for name in on_disk(context) if name.startswith("pictures/")] == ["pictures/2"]
    token = job.token
    del job
    context = again(context)
    job = batch.found(context, token)
    assert (job.phase, job.can_retry) == ("done", True)
    mended(context)
    job.retry()
    assert (job.phase, job.wants_turn, job.can_retry, job.progress.failed) == ("running", True, False, 0)
    list(batch.turn(context, job, nobody))
    assert (job.phase, job.progress.done, job.progress.failed, job.can_retry) == ("done", 3, 0, False)
    assert len(asked(tmp_path / "asked")) == 3
    assert not [name for name in on_disk(context) if name.startswith("pictures/")]
    job.choose("jsonl")
    lines = [json.loads(line) for line in Path(batch.results(context, job)).read_text().splitlines()]
    assert [line["file"] for line in lines] == ["p0.png", "p1.png", "broken.png"]
    assert "111 x 200" in lines[2]["caption"]


def test_a_picture_that_fails_again_is_told_again_and_a_demo_that_dies_meanwhile_forgets_nothing(make):
    context = make()
    job = batch.begin(context, with_a_broken_one(context, others=1), "short")
    list(batch.turn(context, job, nobody))
    job.retry()
    found = again(context).desk.find(job.token, "fake")  # as it is on the disk just then
    assert (found.phase, found.progress.failed, found.can_retry) == ("done", 1, True)
    list(batch.turn(context, job, nobody))
    assert (job.phase, job.progress.failed, job.can_retry) == ("done", 1, True)


def test_going_on_asks_about_what_is_left_and_not_about_what_failed(make):
    context = make()
    broken, *others = reversed(with_a_broken_one(context, others=2))
    job = batch.begin(context, [broken, *others], "short")
    list(batch.turn(context, job, somebody))
    job.pause()
    token = job.token
    del job
    context = again(context)
    mended(context)
    job = batch.found(context, token)
    assert job.can_retry  # it rests
    job.resume()
    list(batch.turn(context, job, nobody))
    assert (job.phase, job.progress.done, job.progress.failed) == ("done", 2, 1)
    job.retry()
    job.stop()
    assert not job.can_retry
    job.retry()
    assert job.phase == "stopped"


def test_a_token_that_is_not_ours_finds_nothing(make):
    context = make()
    job = batch.begin(context, uploads(context, 1), "short")
    (name,) = os.listdir(context.desk.folder / "batches")
    guesses = ["", None, "x" * 32, name, name[:32], f"../{name[:29]}", "../../../../../../../etc/passwd", "\0" * 32]
    guesses += [job.token[:-1], f"{job.token}=", f"{job.token}\n", f" {job.token}", "é" * 32, "x" * 100_000]
    for guess in guesses:
        assert batch.found(context, guess) is None
    assert batch.found(context, job.token) is job
    assert os.listdir(context.desk.folder / "batches") == [name]


@pytest.mark.parametrize(
    "written",
    [b"", b"{", b"[]", b'{"items": [], "wishes": {"other": 1}, "model": "fake"}', b"[" * 100_000],
    ids=["empty", "torn", "list", "another version", "deep"],
)
def test_what_cannot_be_read_is_not_found(make, written):
    context = make()
    token = batch.begin(context, uploads(context, 1), "short").token
    next(context.desk.folder.rglob("job.json")).write_bytes(written)
    assert batch.found(again(context), token) is None


def test_a_list_that_was_tampered_with_names_no_file_elsewhere(make, tmp_path):
    context = make()
    token = batch.begin(context, uploads(context, 1), "short").token
    file = next(context.desk.folder.rglob("job.json"))
    secret = write(tmp_path, "secret.png", file_of(scene()))
    for named in (secret, f"../../../../{Path(secret).name}"):
        found = json.loads(file.read_text())
        found["items"][0]["file"] = named
        file.write_text(json.dumps(found))
        assert batch.found(again(context), token) is None


def test_old_jobs_are_deleted_whoever_made_them(make):
    now = [time.time()]
    context = make()
    context.desk.clock = lambda: now[0]
    job = batch.begin(context, uploads(context, 2), "short")
    list(batch.turn(context, job, somebody))
    job.pause()
    other = context.desk.folder / "other files"
    other.mkdir()
    now[0] += desk.KEPT_S - 60
    assert batch.found(context, job.token) is job
    now[0] += desk.KEPT_S + 120
    context.desk.sweep()
    assert on_disk(context) == []
    assert other.is_dir()
    job.resume()  # in a tab that was left open
    assert job.phase == "stopped"
    assert "no longer here" in jobs.job_html(SAY, job)
    token = job.token
    del job
    assert batch.found(context, token) is None


@pytest.mark.parametrize("limit", ["job_bytes", "all_bytes", "no folder", "no access", "no room"])
def test_what_cannot_be_kept_is_captioned_all_the_same_and_this_is_said(make, limit, monkeypatch):
    context = make()
    if limit == "no folder":
        context.desk.folder.parent.mkdir(exist_ok=True)
        context.desk.folder.write_text("a file")
    elif limit == "no access":  # a name that no disk takes: whatever is asked about it, the answer is an error
        context.desk.folder = context.desk.folder / ("x" * 300)
    elif limit == "no room":
        monkeypatch.setattr(desk, "FREE_BYTES", 10**18)
    else:
        setattr(context.desk, limit, 100)
    job = batch.begin(context, uploads(context, 2), "short")
    said = "it cannot be kept" if limit in ("no folder", "no access") else "too large to be kept"
    assert said in jobs.job_html(SAY, job)
    list(batch.turn(context, job, nobody))
    assert job.phase == "done"
    assert all(row.preview for row in job.rows(1, 2))
    assert "restart" not in jobs.job_html(SAY, job)
    context.desk.sweep()
    assert batch.found(context, job.token) is job  # as long as a tab shows it


def test_a_job_without_any_place_for_its_results_is_refused_in_words(make):
    context = make()
    context.desk.folder = None
    context.desk.passing = Path(write(context.store.folder, "full", b"a file"))
    with pytest.raises(DemoError) as refused:
        batch.begin(context, uploads(context, 1), "short")
    said = str(refused.value)
    assert said.startswith("The demo's folder cannot be written to (Not a directory). Whoever runs it")
    assert str(context.desk.passing) not in said
    assert "无法写入（Not a directory）。可能需要" in jobs.refusal_html(load_languages().texts["zh"], said)


def test_a_job_is_shown_where_there_is_no_room_for_a_file_with_its_results(make):
    context = make()
    job = batch.begin(context, uploads(context, 1), "short")
    list(batch.turn(context, job, nobody))
    assert batch.results(context, job)
    context.store.folder.joinpath("captions").rename(context.store.folder / "before")
    write(context.store.folder, "captions", b"a file")
    assert batch.results(context, job) is None


def test_all_jobs_together_have_a_limit(make):
    context = make()
    paths = uploads(context, 1)
    context.desk.all_bytes = 2 * os.path.getsize(paths[0])
    assert [batch.begin(context, paths, "short").keeping for _ in range(3)] == ["kept", "kept", "large"]


def test_a_job_goes_on_when_its_folder_can_no_longer_be_written(make):
    context = make()
    job = batch.begin(context, uploads(context, 3), "short")
    list(batch.turn(context, job, somebody))
    folder = job.folder.path
    (folder / "captions.jsonl").unlink()
    (folder / "captions.jsonl").mkdir()
    list(batch.turn(context, job, nobody))
    assert (job.phase, job.progress.done, job.keeping) == ("done", 3, "impossible")


def test_another_model_after_the_restart_is_named(make):
    context = make()
    token = batch.begin(context, uploads(context, 2), "short").token
    spec = context.spec("captioning")
    found = again(context).desk.find(token, "bigger")
    assert f"{spec.name} made what is here, bigger would make the rest" in jobs.job_html(SAY, found)


def test_a_page_without_a_job_and_a_cleared_one_show_nothing():
    viewer = Viewer()
    assert "listed here" in jobs.captions(SAY, viewer)
    viewer.older()
    viewer.newer()
    assert (viewer.span, viewer.follows) == ((1, 0), True)


def test_a_desk_that_is_never_used_makes_no_folder(tmp_path):
    made = Desk(tmp_path / "state", tmp_path / "up")
    made.sweep()
    assert made.find("x" * 32, "fake") is None
    assert os.listdir(tmp_path) == []


def test_jobs_that_nobody_shows_leave_the_memory(make):
    context = make()
    tokens = [batch.begin(context, uploads(context, 1), "short").token for _ in range(3)]
    assert until(lambda: len(context.desk._batches) == 0, 5)
    assert all(batch.found(context, token) for token in tokens)
