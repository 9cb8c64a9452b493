"""Captions of many pictures, from a real engine with the fake model."""

import threading
import time
from contextlib import closing

import pytest
from captioning_kit import png

from demo.captioning.captioner import Captioner, Wishes
from demo.captioning.progress import Progress, duration
from demo.captioning.room import Room
from demo.captioning.work import work
from demo.captioning.worklist import work_list
from demo.engine.events import Done, Token
from demo.errors import ConfigError
from demo.imaging import open_picture
from demo.types import Usage

ASKED = "You asked: Describe the image in one short sentence."


def never():
    return False


def results(items, captioner, **options):
    return [result for result in work(items, captioner, **options) if result is not None]


# --- one picture


def test_a_caption_has_its_boxes_prefix_suffix_and_instruction(captioner):
    picture = open_picture(png(100, 100))
    known = captioner("grounded")
    caption = known.caption(picture, never)
    assert caption.text == "A small thing in front of a plain background."
    assert [region.label for region in caption.regions] == ["small thing"]
    wishes = Wishes("short", instruction="Name colours.", prefix="a photo: ", suffix=" #art")
    message = wishes.message(known.prompts, picture)
    assert message.text.endswith("sentence. Name colours.")
    assert [message.text[begin:end] for begin, end in message.own] == ["Describe the image in one short sentence."]


def test_prefix_and_suffix_are_around_the_models_words(captioner):
    caption = captioner(wishes=Wishes("short", prefix="a photo: ", suffix=" #art")).caption(open_picture(png()), never)
    assert caption.text.startswith(f"a photo: {ASKED}")
    assert caption.text.endswith("turn 1. #art")


class Looping:
    """An engine whose model goes in circles unless it is told not to repeat itself."""

    def __init__(self, cured_by=1.1):
        self.penalties = []
        self._cured_by = cured_by

    def stream(self, request):
        self.penalties.append(request.sampling.repetition_penalty)
        is_cured = request.sampling.repetition_penalty >= self._cured_by
        yield Token(request.request_id, "A quiet street." if is_cured else "a car and " * 50)
        yield Done(request.request_id, "stop" if is_cured else "length", Usage(1, 50, 0.1, 0.2))


def test_a_caption_that_loops_is_asked_for_once_more_with_a_penalty(captioner):
    known, engine = captioner(), Looping()
    caption = Captioner(engine, known.spec, known.prompts, known.wishes).caption(open_picture(png()), never)
    assert engine.penalties == [1.0, 1.2]
    assert caption.text == "A quiet street."
    assert caption.note == "asked twice"


def test_a_caption_that_goes_on_looping_is_kept_and_this_is_told(captioner):
    known, engine = captioner(), Looping(cured_by=9)
    caption = Captioner(engine, known.spec, known.prompts, known.wishes).caption(open_picture(png()), never)
    assert len(engine.penalties) == 2
    assert "repeats itself" in caption.note
    assert "cut off after 50 tokens" in caption.note


# --- many


def test_every_picture_is_captioned_once_and_a_broken_one_is_told_of(folder, captioner):
    found = results(work_list([folder]).items, captioner())
    assert len(found) == 7
    assert len({result.item.key for result in found}) == 7
    (broken,) = [result for result in found if result.error]
    assert broken.item.name.name == "broken.png"
    assert "not a picture" in broken.error
    widths = {result.item.name.name: f"{result.size.width} x" for result in found if result.caption}
    assert all(widths[result.item.name.name] in result.caption.text for result in found if result.caption)


def all_ready(asker):
    """An engine begins with the first replica that is ready, and others come later."""
    while any(replica.state != "idle" for replica in asker.engine.snapshot().replicas):
        time.sleep(0.01)
    return asker


def test_the_next_pictures_are_sent_ahead_to_cards(folder, captioner, tmp_path):
    journal = tmp_path / "journal"
    asker = all_ready(captioner(replicas=2, slots=2, token_s=0.1, journal=journal))
    assert (asker.engine.capacity, asker.engine.places) == (4, 8)
    items = [item for item in work_list([folder]).items if item.name.name != "broken.png"]
    assert len(results(items, asker, room=Room(asker.engine.places))) == 6
    assert [line.split()[0] for line in journal.read_text().splitlines()][:6] == ["begin"] * 6


def test_all_replicas_work_at_once(folder, captioner, tmp_path):
    journal = tmp_path / "journal"
    asker = all_ready(captioner(replicas=2, token_s=0.05, journal=journal))
    results(work_list([folder / "more", folder / "p0.png", folder / "p1.png"]).items, asker, room=Room(2))
    replicas = asker.engine.snapshot().replicas
    assert [replica.served for replica in replicas] == [2, 2]
    begun_and_ended = [line.split()[0] for line in journal.read_text().splitlines()]
    assert begun_and_ended[:2] == ["begin", "begin"]  # the second did not wait for the first


def test_a_stretch_that_may_not_go_on_does_one_picture_a_place_and_leaves_the_rest(folder, captioner):
    asker = captioner(replicas=2)
    items = [item for item in work_list([folder]).items if item.name.name != "broken.png"]
    assert len(results(items, asker, room=Room(2), may_go_on=never)) == 2
    assert len(results(items, asker, may_go_on=never)) == 1


def test_closing_stops_at_once_and_frees_the_place(folder, captioner, tmp_path):
    journal = tmp_path / "journal"
    asker = captioner(tokens=1000, token_s=0.05, journal=journal)
    stretch = work(work_list([folder]).items[1:], asker)
    with closing(stretch):
        next(stretch)
        end_s = time.monotonic() + 30
        while not journal.exists() and time.monotonic() < end_s:
            next(stretch)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5
    end_s = time.monotonic() + 30
    while "end" not in journal.read_text() and time.monotonic() < end_s:
        time.sleep(0.02)
    lines = [line.split() for line in journal.read_text().splitlines()]
    assert [line[0] for line in lines] == ["begin", "end"]
    assert int(lines[1][2]) < 1000
    end_s = time.monotonic() + 30
    while any(thread.name.startswith("captioning") for thread in threading.enumerate()) and time.monotonic() < end_s:
        time.sleep(0.02)
    assert not any(thread.name.startswith("captioning") for thread in threading.enumerate())


@pytest.mark.parametrize("fault", ["oom_at", "fail_at", "die_at"])
def test_a_picture_that_the_model_fails_at_is_told_of_and_the_rest_goes_on(fault, folder, captioner, tmp_path):
    asker = captioner(**{fault: 2, "once": tmp_path / "once"})
    found = results(work_list([folder / "more", folder / "p0.png"]).items, asker)
    assert [bool(result.error) for result in found] == [True, False, False]


def test_where_memory_runs_out_fewer_are_asked_at_a_time_and_none_is_lost(folder, captioner, tmp_path):
    journal, room = tmp_path / "journal", Room(4)
    asker = captioner(slots=4, most_at_once=2, token_s=0.01, journal=journal)
    found = results(work_list([folder, folder / "broken.png"]).items, asker, room=room)
    assert sorted(result.item.name.name for result in found if result.caption) == [
        f"p{number}.png" for number in range(6)
    ]
    assert [result.item.name.name for result in found if result.error] == ["broken.png"]
    assert (room.limit, room.is_short) == (2, True)
    open_, most = 0, []
    for line in journal.read_text().splitlines():
        open_ += 1 if line.startswith("begin") else -1
        most.append(open_)
    assert max(most) > 2
    assert max(most[-6:]) <= 2
    assert len([line for line in journal.read_text().splitlines() if line.startswith("begin")]) > 6


def test_a_picture_that_memory_is_too_small_for_alone_fails_and_the_others_are_asked_together_again(folder, captioner):
    room = Room(3)
    asker = captioner(slots=3, most_width=64, token_s=0.01)  # p5.png is 65 wide
    found = results(work_list([folder / "more", folder / "p0.png", folder / "p1.png"]).items, asker, room=room)
    assert {result.item.name.name: bool(result.error) for result in found} == {
        "p4.png": False,
        "p5.png": True,
        "p0.png": False,
        "p1.png": False,
    }
    assert "ran out of memory" in next(result.error for result in found if result.error)
    assert room.limit == 3


def test_others_come_first_while_there_is_no_room_and_one_picture_at_a_time_goes_on(folder, captioner, tmp_path):
    journal = tmp_path / "journal"
    asker = captioner(slots=3, token_s=0.01, journal=journal)
    items = work_list([folder / "more", folder / "p0.png", folder / "p1.png"]).items
    assert len(results(items, asker, room=Room(3), is_free=never)) == 4
    assert [line.split()[0] for line in journal.read_text().splitlines()] == ["begin", "end"] * 4


def test_what_would_befall_every_picture_ends_the_work(folder, captioner):
    with pytest.raises(ConfigError, match="no such caption style"):
        results(work_list([folder / "more"]).items, captioner("poem"))


# --- progress


def test_progress_tells_pace_and_time_left_of_this_run():
    progress = Progress(10, done=2)
    assert str(progress) == "2 of 10"
    for second in range(1, 5):
        progress = progress.after(is_error=second == 4, worked_s=2.0 * second)
    assert str(progress) == "6 of 10 · 1 could not be captioned · 30.0 a minute · about 8 s left"


@pytest.mark.parametrize(
    ("seconds_s", "told"), [(0.2, "1 s"), (59.6, "1 min 00 s"), (61, "1 min 01 s"), (7300, "2 h 01 min")]
)
def test_durations_are_told_in_two_units_at_most(seconds_s, told):
    assert duration(seconds_s) == told
