"""What the caption command tells on stderr of a job, without a model."""

from demo.captioning.progress import Progress
from demo.captioning.room import Room
from demo.captioning.terminal import _Shown
from demo.cli import Caption


def always():
    return True


def short_of_memory(places):
    """A room in which memory ran out as soon as it was full."""
    room = Room(places)
    seats = [room.enter(always, always) for _ in range(places)]
    room.leave_short(seats[-1])
    return room


def test_a_shortage_before_the_first_look_is_told_once(capsys):
    shown, room = _Shown(Caption(("a",), "short", json=False, out=None), Progress(3), False), short_of_memory(4)
    shown.room(room)
    shown.room(room)
    assert capsys.readouterr().err.count("from now on at most 2 at a time") == 1


def test_nothing_is_told_of_memory_that_is_enough(capsys):
    shown = _Shown(Caption(("a",), "short", json=False, out=None), Progress(3), False)
    shown.room(Room(4))
    assert capsys.readouterr().err == ""
