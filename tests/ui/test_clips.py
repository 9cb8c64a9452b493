"""Clips in the chat tab: taken by models that follow them, shown by one frame, and refused by others with a reason."""

import io
from contextlib import closing

import pytest
from page_kit import file_of, scene, write
from PIL import Image
from wording import english

from demo.errors import ClipError, InvalidInput
from demo.ui.conversation import Conversation
from demo.ui.handlers import chat

VIDEO = b"\x00\x00\x00\x20ftypisom" + bytes(64)


def animation(num_frames=20, size=(320, 200)):
    frames = [Image.new("RGB", size, (10 * n, 0, 0)) for n in range(num_frames)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


def accepted(context, question, *files, conversation=None):
    paths = tuple(write(context.store.folder, name, data) for name, data in files)
    return chat.accept(context, chat.Draft(question, paths), conversation or Conversation())


def answered(context, conversation):
    with closing(chat.answer(context, conversation)) as steps:
        return list(steps)[-1]


def test_a_clip_is_sent_as_frames_and_shown_by_one_of_them(make):
    context = make(max_frames=8)
    done = answered(context, accepted(context, "What happens?", ("a.gif", animation())))
    assert "a clip of 8 frames up to 1.9 s" in done.last.answer
    (shown,) = done.last.pictures
    assert shown.note == "A clip; the model is shown 8 frames of it, up to 1.9 s."
    with Image.open(shown.shown) as image:
        assert 60 < image.convert("RGB").getpixel((0, 0))[0] < 130  # from its middle
    again = answered(context, accepted(context, "And then?", conversation=done))
    assert "a clip of 8 frames" in again.last.answer
    assert "only" not in english(again.last.remark)
    other = answered(context, accepted(context, "And this?", ("c.gif", animation(5)), conversation=again))
    assert "a clip of 5 frames" in other.last.answer
    assert "saw the newest clip only" in english(other.last.remark)


def test_a_clip_leaves_room_for_a_picture(make):
    context = make(max_frames=8)
    conversation = accepted(context, "?", ("a.gif", animation()), ("b.png", file_of(scene())))
    message = chat.messages_of(conversation, context.store, frame_side=448)[0]
    assert (len(message.pictures), len(message.clips)) == (1, 1)
    with pytest.raises(InvalidInput, match="Too many clips"):
        accepted(context, "?", ("a.gif", animation()), ("c.gif", animation()))
    with pytest.raises(InvalidInput, match="Too many pictures"):
        accepted(context, "?", ("b.png", file_of(scene())), ("d.png", file_of(scene())))


def test_a_model_that_follows_no_clips_is_shown_the_first_frame_and_refuses_videos(make):
    context = make()
    done = answered(context, accepted(context, "What is it?", ("a.gif", animation())))
    assert "a picture of 320 x 200 pixels" in done.last.answer
    assert "only its first frame is used" in done.last.pictures[0].note
    with pytest.raises(ClipError, match="looks at pictures only"):
        accepted(context, "?", ("a.mp4", VIDEO))


def test_a_box_in_an_answer_about_a_clip_is_drawn_on_a_frame(make):
    context = make(max_frames=4)
    turn = answered(context, accepted(context, "Where is the dog in frame 1?", ("a.gif", animation()))).last
    assert [region.picture for region in turn.regions] == [0]
    with Image.open(turn.drawn) as drawn:
        assert drawn.convert("RGB").getpixel((300, 190)) == (0, 0, 0)  # the first one is black
