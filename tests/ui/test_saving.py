"""A conversation with pictures, saved and opened by the page's handlers against a real engine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from page_kit import file_of, scene, write
from wording import SAY, english

from demo.errors import DemoError, InvalidInput, PictureError
from demo.ui.context import Limits
from demo.ui.conversation import Conversation
from demo.ui.handlers import chat, compare, transfer


def talk(context, *turns):
    conversation = Conversation()
    for question, *data in turns:
        files = tuple(write(context.store.folder, f"{index}.png", one) for index, one in enumerate(data))
        conversation = list(chat.answer(context, chat.accept(context, chat.Draft(question, files), conversation)))[-1]
    return conversation


def reopened(context, change=lambda whole: None, conversation=None):
    made = transfer.saved_json(
        context, SAY, conversation or talk(context, ("Where is the dog?", file_of(scene()))), "Hi"
    )
    whole = json.loads(Path(made).read_text(encoding="utf-8"))
    change(whole)
    return transfer.opened(context, write(context.store.folder, "again.json", json.dumps(whole).encode()))


def test_everything_comes_back_and_the_conversation_goes_on(make):
    context = make(max_pictures=2, thought_tokens=4)
    before = talk(context, ("Where is the dog?", file_of(scene(64, 48))), ("Where is the cat?", file_of(scene(99, 33))))
    after, system = reopened(context, conversation=before)
    assert system == "Hi"
    for old, new in zip(before.turns, after.turns, strict=True):
        kept = ("question", "state", "answer", "thought", "regions", "dialect")
        assert [getattr(old, name) for name in kept] == [getattr(new, name) for name in kept]
        assert [context.store.open(picture.path) for picture in old.pictures] == [
            context.store.open(picture.path) for picture in new.pictures
        ]
        assert Path(old.drawn).read_bytes() == Path(new.drawn).read_bytes()
    more = list(chat.answer(context, chat.accept(context, chat.Draft("More?"), after)))[-1].last
    assert "a picture of 99 x 33 pixels, and this is turn 5" in more.answer


def test_what_was_saved_for_people_comes_back_with_the_copies_and_boxes_where_the_things_are_on_them(make):
    context = make(max_pictures=2)
    before = talk(context, ("Where is the dog?", file_of(scene(2560, 1200))), ("Where is the cat?", file_of(scene())))
    made = transfer.saved_markdown(context, SAY, before, "Hi")
    after, system = transfer.opened(context, write(context.store.folder, "again.md", Path(made).read_bytes()))
    assert system == "Hi"
    for old, new, scale in zip(before.turns, after.turns, (0.5, 1), strict=True):
        kept = ("question", "state", "answer", "dialect")
        assert [getattr(old, name) for name in kept] == [getattr(new, name) for name in kept]
        assert [picture.size.width * scale for picture in old.pictures] == [p.size.width for p in new.pictures]
        for region, moved in zip(old.regions, new.regions, strict=True):
            assert (region.label, region.box_span, region.picture) == (moved.label, moved.box_span, moved.picture)
            assert moved.box.x1 == pytest.approx(region.box.x1 * scale)
            assert moved.box.y0 == pytest.approx(region.box.y0 * scale)
        assert old.regions
        assert new.drawn
    more = list(chat.answer(context, chat.accept(context, chat.Draft("More?"), after)))[-1].last
    assert "this is turn 5" in more.answer


def put(name, value):
    return lambda whole: whole["turns"][0].update({name: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("files", ["bm8gcGljdHVyZQ=="]), "not a picture"),
        (put("drawn", ["bm8gcGljdHVyZQ=="]), "not a picture"),
        (put("files", ["/etc/passwd"]), "no conversation|not a picture"),
        (put("question", " \0 "), "question is empty"),
        (put("question", "x" * 20_001), "question is too long"),
    ],
)
def test_what_is_in_a_file_is_looked_at_like_an_upload(make, change, words):
    with pytest.raises(InvalidInput, match=words):
        reopened(make(), change)


def test_boxes_of_a_syntax_that_nobody_knows_are_left_out(make):
    turn = reopened(make(), put("dialect", "../../x"))[0].last
    assert (turn.dialect, turn.regions, turn.drawn) == (None, (), None)


@pytest.mark.parametrize("path", [None, "", "/etc/passwd", "\0"])
def test_only_uploads_are_opened(make, path):
    with pytest.raises(PictureError, match="not on the server"):
        transfer.opened(make(), path)


def test_too_much_is_neither_saved_nor_opened(make):
    context = replace(make(), limits=Limits(file_bytes=2_000))
    conversation = talk(context, ("What?", file_of(scene(), "BMP")))
    with pytest.raises(InvalidInput, match="too large for one file"):
        transfer.saved_json(context, SAY, conversation, "")
    assert "data:image/png" in Path(transfer.saved_markdown(context, SAY, conversation, "")).read_text(encoding="utf-8")
    with pytest.raises(InvalidInput, match="file is too large"):
        transfer.opened(context, write(context.store.folder, "x.json", b" " * 3_000))


def test_an_open_answer_and_an_empty_conversation_are_not_saved(make):
    context = make()
    with pytest.raises(InvalidInput, match="nothing to save"):
        transfer.saved_json(context, SAY, Conversation(), "")
    with pytest.raises(InvalidInput, match="still being written"):
        transfer.saved_markdown(context, SAY, Conversation().asked("What?", ()), "")


# --- comparing


def test_a_side_has_its_own_settings_and_says_them(make):
    context = make()
    *_, left = compare.side(context, "fake", None, "What?", "Be brief.", (0, 1, 0, 3))
    assert left.text.split() == ["You", "asked:", "What?"]
    assert english(left.remark).endswith("cut off at the limit of new tokens · always the likeliest word")
    *_, right = compare.side(context, "fake", None, "What?", "Be brief.", (0.5,))
    assert right.text.endswith("I was told: Be brief.")
    assert english(right.remark).endswith("temperature 0.5")
    with pytest.raises(DemoError, match="No such model is loaded"):
        list(compare.side(context, "other", None, "What?", ""))


def test_models_are_told_apart_by_their_roles_only_where_their_names_do_not(make):
    context = make()
    assert compare.models(context) == {"fake": "chat"}
    spec = context.specs["chat"]
    other, third = replace(spec, options=(("tokens", "3"),)), replace(spec, name="third")
    context = replace(context, specs={"chat": spec, "grounding": other, "captioning": third})
    assert compare.models(context) == {"fake": "chat", "fake (grounding)": "grounding", "third": "captioning"}
