"""Conversations as files: whatever was saved is opened again as it was, and nothing else is opened."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.errors import InvalidInput
from demo.types import Box, Region
from demo.ui.language import load_languages
from demo.ui.thinking import Thought
from demo.ui.transfer import KIND, MOST_TURNS, Saved, SavedTurn, from_json, to_json
from demo.ui.transfer_markdown import from_markdown, is_markdown, to_markdown

SAY = load_languages().english
TEXT = st.text('ab \n[]<>`\\"\u00e9\u732b\U0001f600\u202e\0', max_size=20) | st.sampled_from(
    [" -->", "<!-- vlm-demo conversation {}", "![a](data:image/png;base64,QUJD)", "# a", "---", "\\--"]
)
COORDINATE = st.floats(-1e6, 1e6)


@st.composite
def regions(draw, num_chars):
    def span():
        return tuple(sorted((draw(st.integers(0, num_chars)), draw(st.integers(0, num_chars)))))

    xs, ys = (sorted((draw(COORDINATE), draw(COORDINATE))) for _ in range(2))
    label_span = draw(st.sampled_from([None, span()]))
    picture = draw(st.none() | st.integers(0, 9))
    return Region(draw(TEXT), Box(xs[0], ys[0], xs[1], ys[1]), label_span, span(), picture)


@st.composite
def turns(draw):
    answer = draw(TEXT)
    return SavedTurn(
        question=draw(TEXT),
        files=tuple(draw(st.lists(st.binary(max_size=20), max_size=3))),
        state=draw(st.sampled_from(["done", "stopped", "failed"])),
        answer=answer,
        thought=draw(st.none() | st.builds(Thought, TEXT, st.floats(0, 1e4), st.booleans())),
        regions=tuple(draw(st.lists(regions(len(answer)), max_size=3))),
        drawn=tuple(draw(st.lists(st.binary(max_size=20), max_size=2))),
        dialect=draw(st.none() | TEXT),
    )


CONVERSATIONS = st.builds(Saved, st.lists(turns(), max_size=4).map(tuple), TEXT, TEXT)


@given(CONVERSATIONS)
def test_what_was_saved_is_opened_as_it_was(saved):
    assert from_json(to_json(saved).encode()) == saved


@given(CONVERSATIONS)
def test_what_was_saved_for_people_is_opened_as_it_was(saved):
    data = to_markdown(SAY, saved).encode()
    assert is_markdown(data)
    assert from_markdown(data) == saved
    assert from_markdown(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n") + b"\r\n") == saved  # an editor was here
    assert not is_markdown(to_json(saved).encode())


@given(CONVERSATIONS.filter(lambda saved: any(turn.files or turn.drawn for turn in saved.turns)))
def test_markdown_that_lost_a_picture_is_refused(saved):
    text = to_markdown(SAY, saved)
    start = text.index("![")
    with pytest.raises(InvalidInput, match="pictures"):
        from_markdown((text[:start] + text[text.index(")", start) + 1 :]).encode())


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("", "of another kind"),
        ("<!-- vlm-demo conversation {} ", "of another kind"),
        ("<!-- vlm-demo conversation {} -->", "of another kind"),
        ("<!-- vlm-demo conversation [1] -->", "of another kind"),
        ("<!-- vlm-demo conversation { -->", "not JSON"),
        ('<!-- vlm-demo conversation {"turns": [{"files": true}]} -->', "pictures"),
        ('<!-- vlm-demo conversation {"turns": [{"files": 1000000000}]} -->', "pictures"),
        ('<!-- vlm-demo conversation {"turns": 5} -->', "of another kind"),
    ],
)
def test_markdown_that_was_not_saved_here_is_refused(rest, words):
    with pytest.raises(InvalidInput, match=words):
        from_markdown(f"# Notes\n\n{rest}\n".encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_conversation_or_refused(data):
    with pytest.raises(InvalidInput, match="no conversation"):
        from_json(data)


ODD = (None, True, -1, 10**400, 0.5, float("nan"), "", "\u202eword", "A" * 9, [], {}, [[]], [None] * 4, {"a": 1})


@given(CONVERSATIONS.filter(lambda saved: saved.turns), st.data())
def test_a_file_with_anything_in_the_place_of_something_is_opened_or_refused(saved, data):
    whole = json.loads(to_json(saved))
    where = whole
    while isinstance(where, (dict, list)) and where:
        keys = list(where) if isinstance(where, dict) else range(len(where))
        place = data.draw(st.sampled_from(list(keys)))
        if not isinstance(where[place], (dict, list)) or data.draw(st.booleans()):
            where[place] = data.draw(st.sampled_from(ODD))
            break
        where = where[place]
    with suppress(InvalidInput):
        opened = from_json(json.dumps(whole).encode())
        assert from_json(to_json(opened).encode()) == opened


def file_with(**changes):
    turn = json.loads(to_json(Saved((SavedTurn("What?"),))))["turns"][0]
    whole = {"kind": KIND, "version": 1, "model": "m", "system": "", "turns": [{**turn, **changes}]}
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"kind": "other"}', "of another kind"),
        (file_with(question=5), "question"),
        (file_with(question="\ud800"), "question"),
        (file_with(question="x" * 200_001), "200,001 characters"),
        (file_with(files=["%"]), "files"),
        (file_with(files=[5]), "files"),
        (file_with(files=[""] * 65), "65 files"),
        (file_with(drawn=[""] * 65), "65 drawn"),
        (file_with(state="waiting"), "state"),
        (file_with(thought={"text": "a", "seconds": float("nan"), "is_open": False}), "thought"),
        (file_with(thought={"text": "a", "seconds": 10**400, "is_open": False}), "thought"),
        (file_with(boxes=[{"label": "a", "box": [0, 0, 1], "box_span": [0, 0]}]), "box"),
        (file_with(boxes=[{"label": "a", "box": [0, 0, 1, 1], "box_span": [0, 9]}]), "boxes"),
        (file_with(boxes=[{"label": "a", "box": [2, 0, 1, 1], "box_span": [0, 0]}]), "box"),
        (file_with(boxes=[{"label": "a", "box": [0, 0, 1, True], "box_span": [0, 0]}]), "box"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence_that_names_the_place(data, words):
    with pytest.raises(InvalidInput, match=words) as error:
        from_json(data)
    assert len(str(error.value)) < 200


def test_endless_conversations_are_refused():
    many = Saved((SavedTurn("What?"),) * (MOST_TURNS + 1))
    with pytest.raises(InvalidInput, match="201 turns"):
        from_json(to_json(many).encode())
    with pytest.raises(InvalidInput, match="66 files"):
        from_json(to_json(Saved((SavedTurn("a", (b"",) * 33),) * 2)).encode())


def test_markdown_holds_the_pictures_and_no_foreign_markup():
    picture = b"\x89PNG and so on"
    turn = SavedTurn(
        "Is <b>this</b>\na [trap](http://x)?", (picture,), answer="**No** ![x](http://x/y.png)", line="9 tokens"
    )
    text = to_markdown(SAY, Saved((turn,), "a model", "Be brief."))
    assert f"data:image/png;base64,{base64.b64encode(picture).decode()}" in text
    assert "> Be brief" in text
    assert "**No**" in text  # a model's emphasis is meant
    assert "![x](" not in text
    assert "<b>" not in text
    assert "[trap](" not in text
