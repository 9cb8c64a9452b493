"""What a request of the OpenAI chat API is taken for, and what is refused and why."""

import base64
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from demo.api.protocol import MAX_CHARS, MAX_MESSAGES, read_call
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.errors import DemoError, InvalidInput, ModelNotFound, PictureError
from demo.types import Message, Sampling, Size

FAKE, BUNDLED = resolve(ModelChoice("fake")), resolve(ModelChoice("bundled"))
SPECS = {"chat": FAKE, "grounding": BUNDLED, "captioning": FAKE}
HELLO = [{"role": "user", "content": "Hello?"}]


def data_url(width=5, height=3, kind="png"):
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, kind)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


def read(**fields):
    return read_call(json.dumps({"messages": HELLO, **fields}).encode(), SPECS)


def test_a_plain_question_is_asked_of_the_model_that_chats_with_the_demos_own_settings():
    call = read()
    assert (call.model, call.request.role, call.streams, call.wants_usage) == ("fake", "chat", False, False)
    assert call.request.messages == (Message("user", "Hello?"),)
    assert call.request.sampling == Sampling()
    assert read().request.request_id != call.request.request_id


def test_the_model_that_is_named_answers():
    assert read(model="bundled").request.role == "grounding"
    assert read(model="default").model == "fake"
    with pytest.raises(ModelNotFound, match=r"gpt-5.*fake, bundled"):
        read(model="gpt-5")


def test_texts_and_pictures_of_a_message_become_one_turn():
    parts = [{"type": "text", "text": "What"}, image(data_url()), {"type": "text", "text": "is it?"}]
    (message,) = read(messages=[{"role": "user", "content": parts}]).request.messages
    assert message.text == "What\nis it?"
    assert [picture.size for picture in message.pictures] == [Size(5, 3)]
    assert message.own == ()  # nothing in it is a template's


def test_a_picture_may_be_named_without_an_object_around_its_address():
    parts = [{"type": "image_url", "image_url": data_url(kind="jpeg")}]
    assert read(messages=[{"role": "user", "content": parts}]).request.messages[0].pictures


def test_sampling_is_what_was_asked_for():
    call = read(max_tokens=7, temperature=0.5, top_p=0.9, top_k=3, repetition_penalty=1.1, seed=4, stream=True)
    assert call.request.sampling == Sampling(7, 0.5, 0.9, 3, 1.1, 4)
    assert call.streams
    assert read(max_tokens=7, max_completion_tokens=9).request.sampling.max_new_tokens == 9
    assert read(max_tokens=7, max_completion_tokens=None).request.sampling.max_new_tokens == 7
    assert read(stream_options={"include_usage": True}).wants_usage


def test_an_answer_or_a_system_prompt_may_be_empty_and_a_picture_needs_no_words():
    history = [{"role": role, "content": ""} for role in ("system", "assistant")]
    asked = {"role": "user", "content": [{"type": "text", "text": ""}, image(data_url())]}
    assert [len(m.pictures) for m in read(messages=[*history, asked]).request.messages] == [0, 0, 1]


def test_the_speakers_have_the_demos_names():
    history = [{"role": role, "content": role} for role in ("developer", "user", "assistant", "user")]
    assert [m.speaker for m in read(messages=history).request.messages] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"messages": None}, "messages has to be a list"),
        ({"messages": []}, "messages has to be a list"),
        ({"messages": HELLO * (MAX_MESSAGES + 1)}, "more than 200 messages"),
        ({"messages": [{"role": "user", "content": "x" * (MAX_CHARS + 1)}]}, "1,000,000 characters"),
        ({"messages": [{"role": "tool", "content": "x"}]}, r"messages\[0\]\.role"),
        ({"messages": [{"role": "user", "content": 3}]}, r"messages\[0\]\.content has to be a text"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "Hi"}]}, "has to end with the user's"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, r"content\[0\] has to be"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, r"content\[0\] has to be"),
        (
            {"messages": [{"role": "user", "content": [image(data_url())] * 2}]},
            r"more pictures than fake looks at \(2; at most 1\)\. Leave the oldest out\.",
        ),
        ({"messages": [{"role": "system", "content": [image(data_url())]}, *HELLO]}, "only the user's"),
        ({"messages": [{"role": "user", "content": ""}]}, r"messages\[0\]\.content is empty"),
        ({"messages": [{"role": "user", "content": " \n"}]}, r"messages\[0\]\.content is empty"),
        ({"messages": [{"role": "user", "content": []}]}, r"messages\[0\]\.content is empty"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "content is empty"),
        ({"messages": [{"role": "user", "content": ""}, *HELLO]}, r"messages\[0\]\.content is empty"),
        ({"temperature": 9}, "temperature is out of range"),
        ({"temperature": "warm"}, "temperature has to be a number"),
        ({"temperature": True}, "temperature has to be a number"),
        ({"max_tokens": 0}, r"^max_tokens is out of range \(0\)"),
        ({"max_completion_tokens": 0, "max_tokens": 5}, r"^max_completion_tokens is out of range \(0\)"),
        ({"max_completion_tokens": "5"}, "^max_completion_tokens has to be a whole number"),
        ({"max_tokens": 1.5}, "max_tokens has to be a whole number"),
        ({"seed": -1}, "seed is out of range"),
        ({"stream": "yes"}, "stream has to be true or false"),
        ({"n": 2}, r"n is not supported here \(2\)\. Leave it out\.$"),
        ({"tools": [{}]}, r"tools is not supported here .*Leave it out\.$"),
        ({"stop": ["."]}, r"stop is not supported here .*Leave it out\.$"),
        ({"response_format": {"type": "json_object"}}, "response_format is not supported"),
    ],
)
def test_what_cannot_be_done_is_refused_by_the_fields_name(fields, said):
    with pytest.raises(InvalidInput, match=said):
        read(**fields)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "https://example.com/a.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "data:text/html;base64,",
        7,
        None,
    ],
)
def test_no_address_is_fetched_and_no_file_opened(url):
    with pytest.raises(InvalidInput, match=r"content\[0\]\.image_url has to be a data URL"):
        read(messages=[{"role": "user", "content": [image(url)]}])


@pytest.mark.parametrize(("data", "said"), [("!!", "is not base64"), ("aGVsbG8=", "content.0..image_url:")])
def test_what_is_no_picture_is_told_with_its_place(data, said):
    with pytest.raises(InvalidInput, match=said):
        read(messages=[{"role": "user", "content": [image(f"data:image/png;base64,{data}")]}])


def test_a_picture_that_is_too_large_is_refused_as_everywhere():
    with pytest.raises(InvalidInput) as refused:
        read(messages=[{"role": "user", "content": [image(data_url(7000, 7000))]}])
    assert "megapixels" in str(refused.value) or "pixels" in str(refused.value)
    assert not isinstance(refused.value, PictureError)


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_told_so(body):
    with pytest.raises(InvalidInput, match="JSON"):
        read_call(body, SPECS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
NAMES = ("model", "messages", "temperature", "max_tokens", "seed", "stream", "stream_options", "n", "stop", "tools")


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6))
def test_whatever_comes_is_understood_or_refused_in_the_demos_own_words(fields):
    with pytest.raises(DemoError) if "messages" in fields else Anything():
        call = read(**fields)
        assert call.request.messages
        if "messages" in fields:
            raise InvalidInput("it was fine")


class Anything:
    """Lets the demo's own errors pass, and no others."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return kind is not None and issubclass(kind, DemoError)


def test_a_model_of_single_questions_is_shown_the_last_with_the_picture_of_the_first():
    spec = resolve(ModelChoice("fake?max_pictures=1"))
    single = replace(spec, max_turns=1)
    asked = [
        {"role": "user", "content": [image(data_url()), {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "A dog."},
        {"role": "user", "content": "Which colour?"},
    ]
    (message,) = read_call(json.dumps({"messages": asked}).encode(), {"chat": single}).request.messages
    assert (message.text, len(message.pictures)) == ("Which colour?", 1)
    assert len(read_call(json.dumps({"messages": asked}).encode(), {"chat": spec}).request.messages) == 3


@pytest.mark.parametrize("field", ["temperature", "max_tokens", "seed", "top_p", "repetition_penalty"])
def test_a_number_that_is_too_large_for_any_machine_is_out_of_range(field):
    with pytest.raises(InvalidInput, match="out of range") as refused:
        read(messages=HELLO, **{field: 10**400})
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("role", [["user"], {"user": 1}, None, 3])
def test_a_speaker_is_a_word(role):
    with pytest.raises(InvalidInput, match=r"messages\[0\].role has to be one of"):
        read(messages=[{"role": role, "content": "Hello"}])


@pytest.mark.parametrize("fields", [{"model": "\ud800"}, {"messages": [{"role": "user", "content": "a\udfff"}]}])
def test_half_a_character_is_refused_and_a_whole_one_is_not(fields):
    with pytest.raises(InvalidInput, match="half a character"):
        read(**{"messages": HELLO, **fields})
    assert read(messages=[{"role": "user", "content": "\U0001f436"}]).request.messages[0].text == "\U0001f436"
