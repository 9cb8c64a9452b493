"""Finding phrases and asking about regions, against a real engine: the fake model in a worker process."""

import json
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from page_kit import file_of, scene, until, write
from PIL import Image
from wording import SAY

from demo.errors import ConfigError, InvalidInput
from demo.grounding.palette import COLOURS, rgb
from demo.prompts import load_prompts
from demo.types import Box, Size
from demo.ui import results
from demo.ui.handlers import looking
from demo.ui.handlers.answering import Answer, shown
from demo.ui.notes import line_of
from demo.ui.results import Kept


@pytest.fixture
def path(tmp_path):
    """An upload of 320 x 200 pixels."""
    return write(tmp_path / "uploads", "a park.png", file_of(scene()))


def last(steps):
    return list(steps)[-1]


def colours_of(drawn):
    with Image.open(drawn) as image:
        return {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}


# --- phrases


def test_several_phrases_are_asked_one_after_the_other_and_have_a_colour_each(make, path):
    context = make(token_s=0.01)
    steps = list(looking.ground(context, path, "the dog; the cat"))
    done = steps[-1]
    assert done.state == "done"
    assert [step.state for step in steps].count("done") == 1
    assert [region.label for region in done.regions] == ["the dog", "the cat"]
    assert [part.asked for part in done.parts] == ["the dog", "the cat"]
    assert done.text == "the dog [[100,200,300,400]]\nthe cat [[100,200,300,400]]"
    assert [done.text[slice(*region.label_span)] for region in done.regions] == ["dog", "cat"]
    assert [done.text[slice(*region.box_span)] for region in done.regions] == ["[[100,200,300,400]]"] * 2
    assert {rgb(COLOURS[0]), rgb(COLOURS[1])} <= colours_of(done.drawn)
    first = next(step for step in steps if step.parts and step.parts[0].is_done)
    assert first.drawn is not None  # while the next one is still looked for
    assert "2 of 2 phrases found" in line_of(SAY, done.remark)
    assert any("phrase 2 of 2" in line_of(SAY, step.remark) for step in steps)


def test_one_phrase_keeps_the_models_own_word_for_what_it_found(make, path):
    done = last(looking.ground(make(), path, "the red dog"))
    assert [region.label for region in done.regions] == ["red dog"]
    assert "tokens" in line_of(SAY, done.remark)


def test_a_phrase_that_was_not_found_is_named(make, path):
    context = make(box="nowhere")  # no box that could be read
    done = last(looking.ground(context, path, "the <i>unicorn</i>; the cat"))
    assert done.regions == ()
    assert done.drawn is None
    text = results.view(SAY, done).text
    assert "Not found: the &lt;i&gt;unicorn&lt;/i&gt;" in text
    assert "Not found: the cat" in text
    assert "0 of 2 phrases found" in line_of(SAY, done.remark)


def test_a_failure_keeps_what_the_phrases_before_it_found(make, path, tmp_path):
    context = make(oom_at=2, once=tmp_path / "once", box="1,2,3,4")
    steps = list(shown(looking.ground(context, path, "a; the very big cat; c")))
    assert steps[-1].state == "failed"
    assert [region.label for region in steps[-1].regions][:1] == ["a"]
    assert steps[-1].drawn is not None


def test_leaving_in_the_middle_of_the_second_phrase_stops_the_model_and_the_third_is_never_asked(make, path, tmp_path):
    journal = tmp_path / "journal"
    context = make(token_s=0.05, journal=journal)
    with closing(looking.ground(context, path, f"a; {'very ' * 200}; c")) as steps:
        next(step for step in steps if len(step.parts) == 2 and step.parts[1].text)
    assert until(lambda: journal.read_text().count("end") == 2)
    assert until(lambda: context.engine.snapshot().replicas[0].state == "idle")
    assert journal.read_text().count("begin") == 2
    assert int(journal.read_text().split()[-1]) < 100  # of the 200 words


def test_too_many_phrases_and_no_picture_are_refused(make, path):
    context = make()
    with pytest.raises(InvalidInput, match=r"Too many phrases at once \(13\)\. Ask for 12 at most"):
        last(looking.ground(context, path, ";".join(map(str, range(13)))))
    for nothing in (" ", ";;;"):
        with pytest.raises(InvalidInput, match=r"The phrase is empty\. Type a phrase first\."):
            last(looking.ground(context, path, nothing))
    with pytest.raises(InvalidInput, match="no picture"):
        last(looking.ground(context, None, "dog"))


def stopped_at(context, path, phrase, is_reached):
    """What a run leaves that is stopped at the first step of which this is true."""
    with closing(looking.ground(context, path, phrase)) as steps:
        return looking.stopped(context, next(step for step in steps if is_reached(step)), path)


def test_a_stopped_run_leaves_what_it_found_as_if_it_had_ended(make, path):
    context = make(token_s=0.02)
    left = stopped_at(context, path, f"the dog; {'very ' * 200}", lambda step: len(step.parts) == 2)
    assert [region.label for region in left.regions] == ["the dog"]
    assert rgb(COLOURS[0]) in colours_of(left.drawn)
    view = results.view(SAY, left)
    assert "data-only='w0'" in view.text
    assert "data-only='r0'" in view.table
    assert json.loads(view.parsed)[0]["box"] == [32, 40, 96, 80]
    assert "Not found" not in view.text  # of a phrase that was not looked for to the end
    assert all(results.files(context, left, path).files)
    assert line_of(SAY, left.remark) == "Stopped."
    assert results.chosen(context, Kept(left, path), "w0")[0] == left.drawn


def test_a_box_that_was_found_in_half_an_answer_is_drawn(make, path):
    context = make(token_s=0.02, box="1,2,3,4")
    left = stopped_at(context, path, f"{'very ' * 5} big", lambda step: bool(step.regions))
    assert left.drawn is not None
    assert results.files(context, left, path).boxes


def test_a_run_that_was_stopped_before_it_found_anything_says_so_and_leaves_no_files(make, path):
    context = make(token_s=0.02)
    left = stopped_at(context, path, "very " * 200, lambda step: bool(step.text))
    assert left.regions == ()
    assert left.drawn is None
    assert line_of(SAY, left.remark) == "Stopped. · nothing found so far"
    assert results.files(context, left, path).files == [None] * 4
    assert "very" in results.view(SAY, left).text


def test_a_picture_that_is_gone_is_no_hindrance_to_stopping(make, path):
    context = make(token_s=0.02)
    with closing(looking.ground(context, path, "the dog")) as steps:
        found = next(step for step in steps if step.regions)
    Path(path).unlink()
    assert looking.stopped(context, found, path).regions == found.regions


def test_a_region_is_called_by_the_words_so_far_when_they_are_stopped(make, path):
    context = make(token_s=0.02)
    with closing(looking.describe(context, path, (32, 40, 96, 80))) as steps:
        left = looking.stopped(context, next(step for step in steps if "What" in step.text), path)
    (region,) = left.regions
    assert region.box == Box(32, 40, 96, 80)
    assert region.label.startswith("You asked: What")
    assert line_of(SAY, left.remark) == "Stopped."
    with closing(looking.describe(context, path, (32, 40, 96, 80))) as steps:
        begun = next(steps)
    left = looking.stopped(context, begun, path)
    assert (left.regions, left.drawn, line_of(SAY, left.remark)) == ((), begun.drawn, "Stopped.")


def test_every_instance_is_asked_for_in_the_familys_words(make, path):
    context = make()
    both = replace(context.prompts["grounding"], ground_all="Where are all {phrase}?")
    context = replace(context, prompts={**context.prompts, "grounding": both})
    assert last(looking.ground(context, path, "dogs", every=True)).text.startswith("all dogs [[")
    assert last(looking.ground(context, path, "dogs")).text.startswith("dogs [[")


# --- regions


def test_a_region_is_asked_about_as_the_model_writes_boxes_and_is_called_what_was_said(make, path):
    steps = list(looking.describe(make(), path, (96, 80, 32, 40)))
    done = steps[-1]
    assert done.text.startswith("You asked: What is in the box [[100,200,300,400]]?")
    (region,) = done.regions
    assert region.box == Box(32, 40, 96, 80)
    assert region.label.startswith("You asked: What is in the box? I see a picture")  # the box is no part of its name
    assert "[[" not in results.view(SAY, done).text
    assert steps[0].drawn is not None  # the region is shown before anything is said of it
    assert rgb(COLOURS[0]) in colours_of(steps[0].drawn)


def test_an_answer_that_nothing_is_there_is_no_things_name(make, path):
    context = make()
    said = "You asked: What is in the box? I see a picture of 320 x 200 pixels, and this is turn 1."
    taught = replace(context.prompts["grounding"], nothing=said)
    done = last(looking.describe(replace(context, prompts={"grounding": taught}), path, (32, 40, 96, 80)))
    assert done.regions == ()
    assert rgb(COLOURS[0]) in colours_of(done.drawn)  # where was looked is still shown
    assert "What is in the box" in results.view(SAY, done).text


def test_a_question_about_a_region_takes_the_place_of_its_description(make, path):
    done = last(looking.describe(make(), path, (32, 40, 96, 80), " Is it {box} red? "))
    assert done.text.startswith("You asked: Look at [[100,200,300,400]]. Is it {box} red?")


def test_an_answer_about_other_boxes_keeps_those(make, path):
    """The fake repeats the question, and so its box."""
    done = last(looking.describe(make(), path, (32, 40, 96, 80), "Or the cat at [[500,500,900,900]]?"))
    assert [region.box.x0 for region in done.regions] == [32, 160]


@pytest.mark.parametrize(
    "corners",
    [
        (0, 0, 0, 0),
        (5, 5, 5, 90),
        (400, 300, 900, 900),
        (None, 1, 2, 3),
        ("1", "2", "3", "4"),
        (1, 2, 3),
        (),
        (float("nan"), 0, 10, 10),
        (0, 0, float("inf"), 10),
    ],
)
def test_what_is_no_region_of_the_picture_is_refused(make, path, corners):
    with pytest.raises(InvalidInput, match=r"no region in the picture\. Drag a rectangle"):
        last(looking.describe(make(), path, corners))


def test_a_region_is_cut_at_the_pictures_edges():
    assert looking.region_of((-50, 10, 9999.5, 20), Size(320, 200)) == Box(0, 10, 320, 20)


def test_a_model_that_is_not_asked_about_regions_refuses(make, path):
    context = make()
    context = replace(context, prompts={**context.prompts, "grounding": load_prompts("molmo")})
    with pytest.raises(ConfigError, match="does not answer questions about boxes"):
        last(looking.describe(context, path, (32, 40, 96, 80)))


# --- what is chosen among the boxes


@pytest.fixture
def kept(make, path):
    context = make()
    return context, Kept(last(looking.ground(context, path, "the dog; the cat; the sun")), path)


def test_a_word_or_a_row_shows_its_boxes_alone_and_nothing_shows_all(kept):
    context, all_of = kept
    three = [rgb(colour) for colour in COLOURS[:3]]
    for choice in ("w1", "r1"):
        drawn, copy = results.chosen(context, all_of, choice)
        assert [colour in colours_of(drawn) for colour in three] == [False, True, False]
        assert Path(copy).name == "a_park-boxes.png"
        assert Path(copy).read_bytes() == Path(drawn).read_bytes()
    for choice in ("", "w9", "r99", "r-1", "x", None, 5, "w" * 99):
        assert results.chosen(context, all_of, choice)[0] == all_of.answer.drawn


def test_nothing_is_chosen_where_nothing_was_found(kept):
    context, _ = kept
    assert results.chosen(context, Kept(), "w0") == (None, None)


def test_words_are_buttons_once_the_answer_is_done(kept):
    _, done = kept
    view = results.view(SAY, done.answer)
    assert [f"data-only='w{number}'" in view.text for number in range(4)] == [True, True, True, False]
    assert "data-only='r2' data-box='32,40,96,80'" in view.table
    growing = results.view(SAY, replace(done.answer, state="answering"))
    assert "<button" not in growing.text + growing.table
    assert growing.parsed == ""
    assert json.loads(view.parsed)[0]["box"] == [32, 40, 96, 80]


# --- files


def test_what_was_found_can_be_taken_away(kept):
    context, done = kept
    files = results.files(context, done.answer, done.picture)
    names = [Path(file).name for file in files.files]
    assert names == ["a_park-boxes.png", "a_park-boxes.json", "a_park-coco.json", "a_park-yolo.zip"]
    assert all(context.store.checked(file) for file in files.files)  # they lie where the page may serve them
    assert [one["label"] for one in json.loads(Path(files.boxes).read_text())] == ["the dog", "the cat", "the sun"]
    coco = json.loads(Path(files.coco).read_text())
    assert coco["images"][0] == {"id": 1, "file_name": "a park.png", "width": 320, "height": 200}
    assert coco["annotations"][2]["bbox"] == [32, 40, 64, 40]
    with zipfile.ZipFile(files.yolo) as archive:
        assert archive.namelist() == ["labels/a_park.txt", "classes.txt"]
        assert archive.read("labels/a_park.txt").decode().splitlines()[2] == "2 0.200000 0.300000 0.200000 0.200000"
        assert archive.read("classes.txt").decode() == "the dog\nthe cat\nthe sun\n"
    assert results.files(context, done.answer, done.picture) == files


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a/b\\c.png", "x" * 300 + ".png", "狗.png", ".png"])
def test_files_stay_in_their_folder_whatever_a_picture_is_called(kept, name):
    context, done = kept
    for file in results.files(context, done.answer, name).files:
        assert context.store.folder in Path(file).resolve().parents
        assert len(Path(file).name) < 80


def test_there_are_no_files_while_an_answer_grows_or_of_nothing(kept):
    context, done = kept
    growing = replace(done.answer, state="answering")
    for answer in (growing, Answer(state="done", size=Size(9, 9))):
        assert results.files(context, answer, done.picture).files == [None] * 4
    point = tuple(replace(region, box=Box(5, 5, 5, 5)) for region in done.answer.regions)
    files = results.files(context, replace(done.answer, regions=point), done.picture)
    assert files.boxes
    assert files.coco is files.yolo is None
