"""Thoughts on the page: their clock, their place above the answer, and that nothing else is made of them."""

from contextlib import closing

from page_kit import file_of, scene
from wording import SAY, english

from demo.reasoning import THINK
from demo.ui.conversation import Conversation
from demo.ui.handlers import api, chat, looking
from demo.ui.thinking import Thinker, Thought, pending, thought_markdown
from demo.ui.transcript import Transcript

THOUGHT = "Let me look: perhaps [[000,000,999,999]]. Let me"


def upload(context):
    path = context.store.folder / "scene.png"
    path.write_bytes(file_of(scene()))
    return str(path)


def answered(context, question, conversation=None, files=(), controls=()):
    asked = chat.accept(context, chat.Draft(question, tuple(files)), conversation or Conversation())
    with closing(chat.answer(context, asked, controls)) as steps:
        return list(steps)


def test_the_clock_of_a_thought_stops_where_the_answer_begins():
    times = iter(range(100))
    thinker = Thinker((THINK,), clock=lambda: next(times))
    assert thinker.add("<think>Hm") == ""
    assert thinker.thought.is_open
    assert thinker.add(", a dog</think>It is") == "It is"
    assert not thinker.thought.is_open
    taken_s = thinker.thought.seconds_s
    assert thinker.add(" a dog.") == thinker.finish() == "It is a dog."
    assert thinker.thought == Thought("Hm, a dog", taken_s, is_open=False)


def test_a_model_that_does_not_think_has_no_thought():
    thinker = Thinker((THINK,))
    assert thinker.add("A dog.") == "A dog."
    assert thinker.thought is None
    assert pending(SAY, thinker.thought) == ""


def test_a_thought_is_open_while_it_is_written_and_closed_above_the_answer():
    writing = thought_markdown(SAY, Thought("a <b>", 3.24, is_open=True), is_growing=True)
    assert writing.startswith("<details class='reasoning' open><summary>Thinking for 3.2 s</summary>")
    assert "<b>" not in writing
    assert "<details class='reasoning'><summary>Thought for 3.2 s<" in thought_markdown(
        SAY, Thought("a", 3.24, False), is_growing=True
    )
    assert "came to no answer" in thought_markdown(SAY, Thought("a", 3.24, True), is_growing=False)


def test_a_turn_keeps_thought_and_answer_apart_and_draws_the_answers_box_only(make):
    context = make(thought_tokens=7)
    steps = answered(context, "Where is the dog?", files=[upload(context)])
    turn = steps[-1].last
    assert turn.thought.text == THOUGHT
    assert not turn.thought.is_open
    assert turn.answer == "the dog [[100,200,300,400]]"
    assert [(region.box.x0, region.box.y1) for region in turn.regions] == [(32, 80)]
    assert all("think>" not in step.last.answer for step in steps)
    thought, answer, *_ = Transcript().messages(SAY, steps[-1])[1]["content"]
    assert "Thought for" in thought
    assert "dog" in answer


def test_later_turns_are_sent_without_earlier_thoughts(make):
    context = make(thought_tokens=7)
    first = answered(context, "Hello", files=[upload(context)])[-1]
    second = chat.accept(context, chat.Draft("And now?"), first)
    sent = chat.messages_of(second, context.store)
    assert [message.speaker for message in sent] == ["user", "assistant", "user"]
    assert sent[1].text == first.last.answer
    assert "Let me look" not in sent[1].text


def test_an_answer_that_was_cut_off_while_thinking_says_so_and_is_no_answer(make):
    context = make(thought_tokens=50)
    controls = (0, 1, 0, 10, 1, None)  # the fourth is the most new tokens
    turn = answered(context, "Hello", controls=controls)[-1].last
    assert turn.answer == ""
    assert turn.thought.is_open
    assert "cut off before the answer, still thinking" in english(turn.remark)


def test_grounding_and_captions_hold_the_answer_only(make):
    context = make(thought_tokens=7)
    path = upload(context)
    for steps in (looking.ground(context, path, "the dog"), looking.caption(context, path, "grounded")):
        with closing(steps):
            last = list(steps)[-1]
        assert "Let me look" not in last.text
        assert len(last.regions) == 1


def test_an_endpoint_answers_without_the_thought(make):
    context = make(thought_tokens=7)
    with closing(api.chat(context, "Hello", None, None)) as steps:
        text, _ = list(steps)[-1]
    assert text.startswith("You asked: Hello")
