from demo.history import pictures_of, recent
from demo.types import Clip, Message, Picture, Size

PICTURE = Picture(Size(1, 1), bytes(3))
OTHER = Picture(Size(1, 1), bytes([1, 2, 3]))


def talk(num_turns, *first_pictures):
    """Questions 0, 1, … and their answers; the last question has none yet."""
    messages = []
    for turn in range(num_turns):
        pictures = tuple(first_pictures) if turn == 0 else ()
        messages += [Message("user", f"question {turn}", pictures), Message("assistant", f"answer {turn}")]
    return messages[:-1]


def test_a_conversation_that_is_short_enough_is_shown_whole():
    assert recent(talk(5, PICTURE), 5) == tuple(talk(5, PICTURE))
    assert recent(talk(50, PICTURE), None) == tuple(talk(50, PICTURE))


def test_of_a_longer_one_the_last_turns_are_shown_with_the_picture_they_are_about():
    shown = recent(talk(9, PICTURE), 2)
    assert [message.text for message in shown] == ["question 7", "answer 7", "question 8"]
    assert [message.pictures for message in shown] == [(PICTURE,), (), ()]


def test_pictures_keep_their_order():
    messages = talk(3, PICTURE)
    messages[2] = Message("user", "and this?", (OTHER,))
    assert recent(messages, 2)[0].pictures == (PICTURE, OTHER)
    assert recent(messages, 1)[0].pictures == (PICTURE, OTHER)


def test_clips_of_turns_left_out_go_with_the_first_that_is_kept_and_their_frames_count_as_pictures():
    old, new = (Clip((Picture(Size(1, 1), bytes(3)),) * 2, (0.0, 1.0)) for _ in range(2))
    still = Picture(Size(2, 1), bytes(6))
    talk = [Message("user", "1", clips=(old,)), Message("assistant", "a"), Message("user", "2", (still,), clips=(new,))]
    (kept,) = recent(talk, 1)
    assert (kept.pictures, kept.clips) == ((still,), (old, new))
    assert pictures_of(talk) == (*old.frames, still, *new.frames)
