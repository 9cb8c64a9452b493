"""The handlers against a real engine: the fake model in a worker process."""

import time
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from page_kit import file_of, scene, until, write
from PIL import Image
from wording import english

from demo.errors import DemoError, InvalidInput, PictureError
from demo.grounding.draw import draw
from demo.types import Picture, Sampling, Size
from demo.ui.conversation import Conversation
from demo.ui.handlers import api, chat, looking
from demo.ui.handlers.answering import UPDATE_S, shown
from demo.ui.handlers.chat import Draft
from demo.ui.handlers.sampling import sampling_of


def upload(context, name="scene.png", data=None):
    return write(context.store.folder, name, data or file_of(scene()))


def asked(context, text, *files, conversation=None):
    return chat.accept(context, Draft(text, files), conversation or Conversation())


def answered(context, conversation, controls=()):
    return list(chat.answer(context, conversation, controls))[-1]


# --- chat


def test_a_question_about_a_picture_is_answered_and_its_cost_told(make):
    context = make()
    turn = answered(context, asked(context, "What is this?", upload(context))).last
    assert turn.state == "done"
    assert turn.answer.startswith("You asked: What is this? I see a picture of 320 x 200 pixels")
    assert "tokens" in english(turn.remark)
    assert "first after" in english(turn.remark)


def test_several_turns_share_the_picture(make):
    context = make()
    first = answered(context, asked(context, "One?", upload(context)))
    second = answered(context, asked(context, "Two?", conversation=first)).last
    assert "320 x 200" in second.answer
    assert "this is turn 3" in second.answer


def test_a_new_picture_begins_anew_for_a_model_that_takes_one_and_this_is_told(make):
    context = make()
    first = answered(context, asked(context, "One?", upload(context)))
    other = upload(context, "other.png", file_of(scene(50, 60)))
    second = answered(context, asked(context, "Two?", other, conversation=first)).last
    assert "50 x 60" in second.answer
    assert "this is turn 1" in second.answer
    assert "the new picture only" in english(second.remark)


def test_a_long_conversation_is_cut_to_what_the_model_can_follow_and_this_is_told(make):
    context = make()
    specs = {role: replace(spec, max_turns=2) for role, spec in context.specs.items()}
    context = replace(context, specs=specs)
    conversation = answered(context, asked(context, "One?", upload(context)))
    conversation = answered(context, asked(context, "Two?", conversation=conversation))
    assert "only" not in english(conversation.last.remark)
    last = answered(context, asked(context, "Three?", conversation=conversation)).last
    assert "a picture of 320 x 200 pixels" in last.answer
    assert "this is turn 3" in last.answer  # the fake counts messages: a question, its answer and this one
    assert "saw the last 2 questions only" in english(last.remark)


def test_boxes_are_drawn_on_a_copy_and_the_model_goes_on_seeing_the_picture_itself(make):
    context = make()
    path = upload(context)
    before = Path(path).read_bytes()
    conversation = answered(context, asked(context, "Where is the red dog?", path))
    turn = conversation.last
    assert [region.label for region in turn.regions] == ["red dog"]
    box = turn.regions[0].box
    assert (box.x0, box.y0, box.x1, box.y1) == (32, 40, 96, 80)
    with Image.open(turn.drawn) as drawn:
        assert drawn.size == (320, 200)
        assert drawn.convert("RGB").tobytes() != scene().tobytes()
    assert Path(path).read_bytes() == before
    messages = chat.messages_of(asked(context, "And now?", conversation=conversation), context.store)
    assert [message.pictures for message in messages] == [(Picture(Size(320, 200), scene().tobytes()),), (), ()]


def test_an_answer_grows_at_a_pace_that_can_be_read(make):
    context = make(token_s=0.002, tokens=300)
    steps = list(chat.answer(context, asked(context, "What?")))
    grown = [step.last.answer for step in steps]
    assert all(later.startswith(earlier) for earlier, later in pairwise(grown))
    assert 5 < len(steps) < 60
    assert len(grown[-1].split()) == 300


def test_leaving_an_answer_stops_the_model_and_frees_its_place(make, tmp_path):
    journal = tmp_path / "journal"
    context = make(token_s=0.05, tokens=1000, journal=journal)
    with closing(chat.answer(context, asked(context, "What?"))) as steps:
        next(step for step in steps if step.last.answer)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 1  # gradio closes generators on its only event loop
    assert until(lambda: "end" in journal.read_text())
    assert int(journal.read_text().split()[-1]) < 200
    assert until(lambda: context.engine.snapshot().replicas[0].state == "idle")


def test_something_is_said_while_the_model_is_being_loaded(make):
    context = make(load_s=3, wait=False)
    steps = list(chat.answer(context, asked(context, "What?")))
    remarks = [english(step.last.remark) for step in steps if step.last.state == "waiting"]
    assert any("being loaded" in remark for remark in remarks)
    assert steps[-1].last.state == "done"


def test_an_error_ends_the_turn_in_one_sentence_and_the_conversation_goes_on(make, tmp_path):
    context = make(oom_at=3, once=tmp_path / "once")
    path = upload(context)
    failed = answered(context, asked(context, "What?", path))
    assert failed.last.state == "failed"
    assert "memory" in english(failed.last.remark)
    assert failed.last.answer.startswith("You asked")  # what was written is kept
    follow_up = answered(context, asked(context, "And?", conversation=failed)).last
    assert follow_up.state == "done"
    assert "320 x 200" in follow_up.answer


def test_the_picture_of_a_question_that_failed_goes_with_the_next_one(make, tmp_path):
    context = make(oom_at=0, once=tmp_path / "once")
    failed = answered(context, asked(context, "What?", upload(context)))
    assert (failed.last.state, failed.last.answer) == ("failed", "")
    turn = answered(context, asked(context, "And?", conversation=failed)).last
    assert "320 x 200" in turn.answer
    assert "this is turn 1" in turn.answer


def test_an_error_nobody_foresaw_is_no_trace_on_the_page(make, caplog):
    context = make()
    conversation = asked(context, "What?")
    broken = replace(context, specs={"chat": None})  # a defect of ours, as good as any
    step = list(chat.answer(broken, conversation))[-1].last
    assert step.state == "failed"
    assert "Traceback" not in english(step.remark)

    def fails():
        yield from ()
        raise ZeroDivisionError("secret")

    last = list(shown(fails()))[-1]
    assert last.state == "failed"
    assert "secret" not in english(last.remark)
    assert "secret" in caplog.text


def test_retry_answers_the_last_question_again(make):
    context = make()
    first = answered(context, asked(context, "What?"))
    again = answered(context, first.asked_again())
    assert len(again.turns) == 1
    assert again.last.answer == first.last.answer


def test_an_edited_question_drops_what_followed_and_is_given_back_when_it_is_refused(make):
    context = make()
    path = upload(context)
    conversation = answered(context, asked(context, "One?", path))
    conversation = answered(context, asked(context, "Two?", conversation=conversation))
    edited = chat.accept(context, Draft("First?", (path,)), conversation, at=0)
    assert [turn.question for turn in edited.turns] == ["First?"]
    assert chat.refused(edited) == (conversation, Draft("First?", (path,)), 0)
    answer = answered(context, edited)
    assert "First? I see a picture of 320 x 200 pixels, and this is turn 1." in answer.last.answer
    new = asked(context, "New?", conversation=answer)
    assert chat.refused(new) == (answer, Draft("New?"), None)
    assert chat.refused(answer.asked_again()) == (answer, None, None)
    with pytest.raises(InvalidInput, match="empty"):
        chat.accept(context, Draft(" "), conversation, at=0)


@pytest.mark.parametrize("index", [-1, 1, 0.5, float("nan"), None, "0", True])
def test_only_a_question_that_is_there_can_be_edited(make, index):
    context = make()
    conversation = answered(context, asked(context, "One?"))
    assert chat.question_at(conversation, 0).question == "One?"
    assert chat.question_at(conversation.asked_again(), 0) is None  # it is being answered
    assert chat.question_at(conversation, index) is None


def test_a_system_prompt_reaches_a_model_that_heeds_one_and_no_other(make):
    context = make()
    conversation = answered(context, asked(context, "One?"))
    for question in ("Two?", "Three?"):
        more = asked(context, question, conversation=conversation)
        turn = list(chat.answer(context, more, (), "Be \0brief."))[-1].last
        assert turn.answer.endswith("I was told: Be brief.")
    failed = list(chat.answer(context, asked(context, "Four?"), (), "x" * 30_000))[-1].last
    assert "The system prompt is too long" in english(failed.remark)
    specs = {role: replace(spec, family="llava") for role, spec in context.specs.items()}
    deaf = replace(context, specs=specs)
    assert "told" not in list(chat.answer(deaf, asked(deaf, "One?"), (), "Be brief."))[-1].last.answer


def test_the_replica_is_told_where_there_are_several(make):
    context = make()
    turn = answered(context, asked(context, "What?")).last
    assert "replica" not in english(turn.remark)
    snapshot = context.engine.snapshot()
    twice = replace(snapshot, replicas=snapshot.replicas * 2)

    class Twin:
        specs, capacity, stream = context.specs, 2, context.engine.stream

        def snapshot(self):
            return twice

    turn = answered(replace(context, engine=Twin()), asked(context, "What?")).last
    assert english(turn.remark).endswith("· replica 0")


def test_undo_gives_the_question_and_its_picture_back(make):
    context = make()
    path = upload(context)
    conversation, draft = chat.undo(answered(context, asked(context, "What?", path)))
    assert conversation == Conversation()
    assert draft == Draft("What?", (path,))
    assert chat.undo(Conversation()) == (Conversation(), Draft())


def test_a_second_question_waits_for_the_first_answer(make):
    context = make()
    with pytest.raises(InvalidInput, match="still being written"):
        asked(context, "Two?", conversation=asked(context, "One?"))


def test_the_limit_of_tokens_is_told_when_it_cut_the_answer(make):
    context = make()
    turn = answered(context, asked(context, "What is it?"), (0, 1, 0, 2)).last
    assert turn.answer.split() == ["You", "asked:"]
    assert "cut off" in english(turn.remark)


# --- bad input


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello, I am a text", "not a picture"),
        (b"", "empty"),
        (file_of(scene())[:300], "damaged|cut short|not a picture"),
        (file_of(Image.new("1", (8000, 8000))), "too large"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    ],
    ids=["text", "empty", "truncated", "huge", "svg"],
)
def test_what_is_not_a_picture_is_refused_in_one_sentence(make, data, words):
    context = make()
    path = write(context.store.folder, "x.png", data)
    with pytest.raises(PictureError, match=words) as error:
        asked(context, "What?", path)
    assert str(context.store.folder) not in str(error.value)
    with pytest.raises(PictureError, match=words):
        list(looking.ground(context, path, "the dog"))


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return file_of(scene(320, 200), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (file_of(scene().convert("CMYK"), "JPEG"), "320 x 200"),
        (file_of(Image.new("I;16", (40, 30), 30_000)), "40 x 30"),
        (file_of(Image.new("RGBA", (40, 30), (255, 0, 0, 0))), "40 x 30"),
        (_turned(), "200 x 320"),
        (file_of(scene(), "GIF", save_all=True, append_images=[scene(colour="red")]), "320 x 200"),
    ],
    ids=["cmyk", "16-bit", "transparent", "rotated", "animated"],
)
def test_unusual_pictures_are_answered_about(make, data, size):
    context = make()
    turn = answered(context, asked(context, "What?", write(context.store.folder, "x.png", data))).last
    assert f"a picture of {size} pixels" in turn.answer


@pytest.mark.parametrize("text", ["", "   \n", "\0\x01", None])
def test_an_empty_question_is_refused(make, text):
    with pytest.raises(InvalidInput, match="empty"):
        asked(make(), text)


@pytest.mark.parametrize("num_chars", [20_001, 1_000_000, 5_000_000])
def test_an_endless_question_is_refused_with_its_length(make, num_chars):
    with pytest.raises(InvalidInput, match=f"{num_chars:,} characters"):
        asked(make(), "x" * num_chars)


def test_special_tokens_in_a_question_are_words_like_others(make):
    context = make()
    text = "Is </s><|im_end|><image> [INST] in the picture?"
    assert text in answered(context, asked(context, text)).last.answer


def test_marks_that_disguise_text_are_dropped_and_scripts_and_emoji_kept(make):
    context = make()
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert chat.checked_question(context, f"a\u202eb\0c {family} \u05d0\nd") == f"abc {family} \u05d0\nd"


def test_more_pictures_than_the_model_takes_are_refused(make):
    context = make()
    with pytest.raises(InvalidInput, match="Too many pictures"):
        asked(context, "What?", upload(context), upload(context, "other.png"))


# --- grounding and captioning


def test_a_phrase_is_found_in_pixels_of_the_upload(make):
    context = make(box="500,250,750,500")
    *_, last = looking.ground(context, upload(context), "the red dog")
    box = last.regions[0].box
    assert (box.x0, box.y0, box.x1, box.y1) == (160, 50, 240, 100)
    assert last.drawn
    assert (last.size.width, last.size.height) == (320, 200)


def test_a_bare_box_is_named_after_the_phrase(make):
    context = make()
    *_, last = looking.ground(context, upload(context), "!!!")  # words that the answer's parser takes for none
    assert [region.label for region in last.regions] == ["!!!"]
    picture = context.store.open(upload(context))
    with Image.open(last.drawn) as drawn:  # in the picture too
        assert drawn.convert("RGB").tobytes() == draw(picture, last.regions).tobytes()


@pytest.mark.parametrize(("style", "has_boxes"), [("short", False), ("detailed", False), ("grounded", True)])
def test_each_style_asks_in_its_own_words(make, style, has_boxes):
    context = make()
    *_, last = looking.caption(context, upload(context), style)
    assert last.state == "done"
    assert bool(last.drawn) is has_boxes


@pytest.mark.parametrize("style", ["", None, "rhymed"])
def test_an_unknown_style_lists_the_known_ones(make, style):
    context = make()
    with pytest.raises(DemoError, match="short, detailed, grounded"):
        list(looking.caption(context, upload(context), style))


def test_a_missing_picture_is_asked_for(make):
    context = make()
    with pytest.raises(InvalidInput, match="no picture"):
        list(looking.ground(context, None, "the dog"))


def test_a_role_that_no_model_serves_says_how_to_get_one(make):
    context = make()
    without = replace(context, specs={}, prompts={})
    with pytest.raises(DemoError, match="--model grounding="):
        list(looking.ground(without, upload(context), "the dog"))


# --- sampling


def test_empty_controls_mean_the_defaults():
    assert sampling_of() == sampling_of(None, None, None, None, None, None) == Sampling()


def test_the_controls_reach_the_sampling():
    chosen = sampling_of(0.5, 0.9, 40, 7, 1.5, 3)
    assert sampling_of(0.5, 0.9, 40, 7, 1.5, " 3 ") == chosen
    assert sampling_of(seed=" ").seed is None
    assert chosen == Sampling(7, temperature=0.5, top_p=0.9, top_k=40, repetition_penalty=1.5, seed=3)


@pytest.mark.parametrize(
    "values",
    [
        (-1,),
        (float("nan"),),
        (float("inf"),),
        (0, 0),
        (0, 1, 0.5),
        (0, 1, 0, 0),
        (0, 1, 0, 10**9),
        ("hot",),
        (True,),
        ([],),
        (0, 1, 0, 5, 1, -3),
        (0, 1, 0, 5, 1, "-3"),
        (0, 1, 0, 5, 1, "9" * 5000),
        (0, 1, 0, 5, 1, "many"),
        (0, 1, float("nan")),
    ],
)
def test_controls_out_of_range_are_refused_whoever_sends_them(values):
    with pytest.raises(InvalidInput):
        sampling_of(*values)


# --- the endpoints' handlers


def test_a_history_is_what_came_before(make):
    context = make()
    history = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]},
    ]
    *_, (text, boxes) = api.chat(context, "Two?", upload(context), history)
    assert "this is turn 3" in text
    assert "320 x 200" in text
    assert boxes == []


@pytest.mark.parametrize(
    "history",
    [
        "hello",
        {"role": "user", "content": "x"},
        [1],
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": "x"}],
        [{"role": "assistant", "content": "x"}],
        [{"role": "user", "content": 5}, {"role": "assistant", "content": "x"}],
        [{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}] * 101,
    ],
)
def test_a_history_of_another_shape_is_refused(make, history):
    with pytest.raises(InvalidInput):
        list(api.chat(make(), "Two?", None, history))


def test_found_things_are_plain_data(make):
    context = make()
    *_, (text, boxes) = api.ground(context, upload(context), "the dog")
    assert text == "the dog [[100,200,300,400]]"
    assert boxes == [{"label": "dog", "box": [32.0, 40.0, 96.0, 80.0], "box_normalized": [0.1, 0.2, 0.3, 0.4]}]


def test_a_path_of_the_server_is_no_picture(make):
    with pytest.raises(PictureError):
        list(api.caption(make(), "/etc/passwd", "short"))


def test_updates_come_a_few_times_a_second():
    assert 10 <= 1 / UPDATE_S <= 20
