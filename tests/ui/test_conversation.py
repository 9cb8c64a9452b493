import pytest

from demo.types import Size
from demo.ui.conversation import Conversation
from demo.ui.notes import note
from demo.ui.pictures import StoredPicture


def picture(name):
    return StoredPicture(name, name, Size(10, 10))


def conversation(*turns):
    """Finished turns of (question, pictures), the last one open."""
    made = Conversation()
    for question, *names in turns:
        made = made.asked(question, tuple(picture(name) for name in names))
    return made


def questions(made):
    return [turn.question for turn in made.turns]


@pytest.mark.parametrize(
    ("turns", "most", "seen"),
    [
        ([("a", "p"), ("b",), ("c",)], 1, ["a", "b", "c"]),
        ([("a", "p"), ("b",), ("c", "q")], 1, ["c"]),
        ([("a", "p"), ("b",), ("c", "q"), ("d",)], 1, ["c", "d"]),
        ([("a",), ("b", "p")], 1, ["a", "b"]),  # nothing is left out, so talk before the picture stays
        ([("a", "p"), ("b", "q"), ("c", "r")], 2, ["b", "c"]),
        ([("a", "p", "q"), ("b", "r")], 2, ["b"]),
        ([("a", "p", "q", "r")], 2, ["a"]),  # refused earlier; here it must not vanish
        ([], 1, []),
    ],
)
def test_the_model_sees_the_last_turns_whose_pictures_it_can_take(turns, most, seen):
    assert questions(conversation(*turns).seen(most)) == seen


def test_stopping_keeps_what_was_written_and_closes_the_turn():
    from dataclasses import replace

    open_one = conversation(("a",))
    writing = open_one.with_last(replace(open_one.last, state="answering", answer="half"))
    stopped = writing.stopped()
    assert not stopped.is_open
    assert (stopped.last.state, stopped.last.answer) == ("stopped", "half")
    assert stopped.stopped() == stopped


def test_asking_again_forgets_the_answer_and_keeps_the_question_and_its_picture():
    from dataclasses import replace

    asked = conversation(("a", "p"))
    done = asked.with_last(replace(asked.last, state="done", answer="x", drawn="d", remark=(note("answer.looking"),)))
    assert done.asked_again() == asked


def test_nothing_can_be_stopped_or_asked_again_before_the_first_question():
    assert Conversation().stopped() == Conversation().asked_again() == Conversation()
