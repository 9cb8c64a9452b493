"""Where a thought ends and the answer begins, whatever the model writes and however it is cut into pieces."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demo.reasoning import BRACKETS, CHANNEL, THINK, THINK_ANSWER, Reasoned, opened, split

BOX = "<|begin_of_box|>[[94,598,177,991]]<|end_of_box|>"


@pytest.mark.parametrize(
    ("tags", "text", "expected"),
    [
        ((THINK,), "A dog.", Reasoned("", "A dog.")),
        ((THINK,), "<think>\nHm, a dog.\n</think>\n\nA dog.", Reasoned("Hm, a dog.", "A dog.")),
        ((THINK,), "\n<think>Hm", Reasoned("Hm", "", is_thinking=True)),
        ((THINK,), "<think>\n\n</think>\n\nA dog.", Reasoned("", "A dog.")),  # where thinking was switched off
        ((THINK,), "Hm, a dog.\n</think>\n\nA dog.", Reasoned("Hm, a dog.", "A dog.")),  # opened by a server's prompt
        ((THINK,), "HTML has no </think>, of course.", Reasoned("", "HTML has no </think>, of course.")),
        ((THINK,), "It is <think>", Reasoned("", "It is <think>")),
        ((THINK_ANSWER,), f"<think>Hm</think><answer>It is {BOX}.</answer>", Reasoned("Hm", f"It is {BOX}.")),
        ((THINK_ANSWER,), f"<think>Hm</think>\nIt is {BOX}.", Reasoned("Hm", f"It is {BOX}.")),
        ((CHANNEL,), "<|channel>thought\nHm\n<channel|>A dog.", Reasoned("Hm", "A dog.")),
        ((THINK, BRACKETS), "[THINK]Hm[/THINK]A dog.", Reasoned("Hm", "A dog.")),
        ((), "<think>Hm</think>A dog.", Reasoned("", "<think>Hm</think>A dog.")),  # no model of this family thinks
    ],
)
def test_a_thought_is_told_from_the_answer(tags, text, expected):
    assert split(text, tags) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<", Reasoned("", "", is_thinking=True)),
        ("<thi", Reasoned("", "", is_thinking=True)),
        ("<b", Reasoned("", "<b")),
        ("<think>Hm</thi", Reasoned("Hm", "", is_thinking=True)),
        ("<think>Hm</think>", Reasoned("Hm", "")),
        ("<think>Hm</think><ans", Reasoned("Hm", "")),
        ("<think>Hm</think><answer>A dog.</answe", Reasoned("Hm", "A dog.")),
    ],
)
def test_half_a_tag_is_shown_as_neither(text, expected):
    assert split(text, (THINK_ANSWER,), is_growing=True) == expected


def test_half_a_tag_at_the_very_end_was_the_answer():
    assert split("a < b <", (THINK,)).answer == "a < b <"
    assert split("<", (THINK,)).answer == "<"


PIECES = st.lists(
    st.one_of(
        st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "<", "</", "\n", " ", "a dog", BOX]),
        st.text(max_size=4),
    ),
    max_size=12,
).map("".join)
TAGS = st.sampled_from([(), (THINK,), (THINK_ANSWER,), (CHANNEL,), (THINK, BRACKETS)])


@given(text=PIECES, tags=TAGS)
@example(text="<think>a</think><answer>b</answer>", tags=(THINK_ANSWER,))
@example(text="</think>a\n</answer>", tags=(THINK_ANSWER,))
def test_what_was_shown_is_never_taken_back_while_a_thought_that_was_opened_grows(text, tags):
    text = (tags[0].open if tags else "") + text
    before = Reasoned("", "")
    for end in range(len(text) + 1):
        now = split(text[:end], tags, is_growing=True)
        assert now.thought.startswith(before.thought)
        assert now.answer.startswith(before.answer)
        before = now
    last = split(text, tags)
    assert last.thought.startswith(before.thought)
    assert last.answer.rstrip().startswith(before.answer.rstrip())


@given(text=st.text(max_size=60), tags=TAGS)
def test_a_text_without_tags_is_an_answer_to_the_letter(text, tags):
    if not any(mark in text for pair in tags for mark in (pair.open, pair.close)):
        assert split(text, tags) == Reasoned("", text)


@pytest.mark.parametrize(
    ("prompt", "tag"),
    [
        ("<|im_start|>assistant\n<think>\n", "<think>"),
        ("<|assistant|>\n<think></think>\n", ""),
        ("<|turn>model\n<|channel>thought\n", "<|channel>thought\n"),
        ("<|turn>model\n<|channel>thought\n<channel|>", ""),
        ("assistant:", ""),
    ],
)
def test_a_prompt_that_opens_the_thought_is_known_by_its_end(prompt, tag):
    assert opened(prompt, (THINK, CHANNEL)) == tag
