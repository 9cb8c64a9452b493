"""A conversation as it is shown: what was shown before changes nothing, and only a turn that changed is made anew."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from wording import SAY

from demo.ui.conversation import Conversation
from demo.ui.language import load_languages
from demo.ui.transcript import Transcript

CHINESE = load_languages().texts["zh"]
CHANGES = {
    "ask": lambda conversation: conversation.asked("Why?", ()),
    "write": lambda conversation: _grown(conversation, "answering", " a *dog*"),
    "finish": lambda conversation: _grown(conversation, "done", "."),
    "stop": Conversation.stopped,
    "undo": Conversation.without_last,
    "again": Conversation.asked_again,
    "edit": lambda conversation: conversation.until(len(conversation.turns) // 2).asked("No, why?", ()),
    "clear": lambda conversation: Conversation(),
}


def _grown(conversation, state, words):
    if (last := conversation.last) is None:
        return conversation
    return conversation.with_last(replace(last, state=state, answer=last.answer + words))


@given(st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.sampled_from([SAY, CHINESE]))))
def test_whatever_was_shown_before_a_conversation_looks_as_it_does_to_a_newcomer(changes):
    conversation, transcript = Conversation(), Transcript()
    for change, say in changes:
        conversation = CHANGES[change](conversation)
        assert transcript.messages(say, conversation) == Transcript().messages(say, conversation)


def test_only_a_turn_that_changed_is_made_anew():
    conversation, transcript = Conversation().asked("What?", ()).stopped().asked("Why?", ()), Transcript()
    question, answer, *last = transcript.messages(SAY, conversation)
    shown = transcript.messages(SAY, CHANGES["write"](conversation))
    assert shown[0] is question
    assert shown[1] is answer
    assert shown[2:] != last
    assert transcript.messages(CHINESE, conversation)[1] != answer
