"""Boxes in a conversation about several pictures: each is drawn on a copy of its own."""

from contextlib import closing

import pytest
from page_kit import file_of, scene, write
from PIL import Image
from wording import SAY

from demo.ui.conversation import Conversation
from demo.ui.handlers import chat
from demo.ui.transcript import Transcript


@pytest.fixture
def ask(make):
    context = make(max_pictures=3)

    def ask(question, *sizes, conversation=None):
        files = tuple(write(context.store.folder, f"{size[0]}.png", file_of(scene(*size))) for size in sizes)
        asked = chat.accept(context, chat.Draft(question, files), conversation or Conversation())
        with closing(chat.answer(context, asked)) as steps:
            return list(steps)[-1]

    return ask


def size_of(path):
    with Image.open(path) as image:
        return image.size


def test_a_box_is_drawn_on_the_picture_that_the_question_names(ask):
    turn = ask("Where is the dog in image 1?", (320, 200), (100, 50)).last
    assert [(region.picture, region.box.x0, region.box.y1) for region in turn.regions] == [(0, 32, 80)]
    assert size_of(turn.drawn) == (320, 200)
    assert turn.also_drawn == ()


def test_without_a_word_it_is_the_newest_picture_also_of_an_earlier_turn(ask):
    first = ask("Where is the dog?", (320, 200), (100, 50))
    assert size_of(first.last.drawn) == (100, 50)
    second = ask("Where is the cat?", (60, 60), conversation=first)
    assert size_of(second.last.drawn) == (60, 60)
    third = ask("Where is the cat in the first picture?", conversation=second)
    assert size_of(third.last.drawn) == (320, 200)


def test_boxes_in_two_pictures_are_drawn_on_a_copy_of_each(ask):
    question = "Compare: image 1, a dog [[100,200,300,400]] and image 2, a cat [[100,200,300,400]]"  # it is repeated
    conversation = ask(question, (320, 200), (100, 50))
    turn = conversation.last
    assert [region.picture for region in turn.regions] == [0, 1]
    assert [size_of(path) for path in (turn.drawn, *turn.also_drawn)] == [(320, 200), (100, 50)]
    shown = [part for part in Transcript().messages(SAY, conversation)[1]["content"] if isinstance(part, dict)]
    assert [part["alt_text"].rpartition(": ")[2] for part in shown] == ["dog", "cat"]
