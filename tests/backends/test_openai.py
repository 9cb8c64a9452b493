"""A model behind an OpenAI-compatible server: our own server as the peer, and servers that misbehave."""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from demo.backends.base import Finish
from demo.backends.openai import KEY_VARIABLE, OpenAIBackend, body_of, refusal
from demo.catalog import resolve, resolve_remote
from demo.config import ModelChoice
from demo.errors import (
    Busy,
    ConfigError,
    ContextTooLong,
    DemoError,
    EndpointDown,
    InvalidInput,
    ModelNotFound,
)
from demo.imaging import open_picture
from demo.reasoning import Reasoned, split
from demo.types import GenerateRequest, Message, Picture, Placement, Sampling, Size

SPEC = resolve(ModelChoice("fake"))
MODELS = {"object": "list", "data": [{"id": "fake"}]}


def chunk(text=None, reason=None):
    return {"choices": [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": reason}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
ANSWER = [chunk("Hello "), chunk("you."), chunk(reason="stop"), USAGE]


class Peer:
    """A server on loopback that streams what it is told, and remembers what it was asked."""

    def __init__(self):
        self.answer = ANSWER
        self.status, self.body = 200, b""
        self.models, self.list_status = MODELS, 200
        self.ends = True  # with the stream's own last word
        self.pause_s = 0.0
        self.asked = []
        self.broken = threading.Event()  # the client cut the connection
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                peer.asked.append(("GET", self.path, dict(self.headers), None))
                self._say(peer.list_status, json.dumps(peer.models).encode())

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                peer.asked.append(("POST", self.path, dict(self.headers), body))
                if peer.status != 200:
                    self._say(peer.status, peer.body)
                    return
                self.send_response(200)
                self.end_headers()
                try:
                    self._stream()
                except OSError:
                    peer.broken.set()

            def _stream(self):
                self._write(": a comment\n\nevent: ping\n\n")
                for event in peer.answer:
                    time.sleep(peer.pause_s)
                    self._write(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n")
                if peer.ends:
                    self._write("data: [DONE]\n\n")

            def _write(self, text):
                self.wfile.write(text.encode())
                self.wfile.flush()

            def _say(self, status, body):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def peer():
    peer = Peer()
    yield peer
    peer.close()


def loaded(peer, spec=SPEC, **placement):
    backend = OpenAIBackend()
    url = peer if isinstance(peer, str) else peer.url
    backend.facts = backend.load(spec, Placement({"": url}, **placement), lambda *_: None)
    return backend


def request(*messages, **sampling):
    return GenerateRequest("r", "chat", messages or (Message("user", "Hello?"),), Sampling(**sampling))


def ask(backend, *messages, cancelled=lambda: False, **sampling):
    *pieces, finish = backend.stream(request(*messages, **sampling), cancelled)
    assert isinstance(finish, Finish)
    return pieces, finish


def test_an_answer_comes_in_the_servers_pieces_with_its_count_of_tokens(peer):
    backend = loaded(peer, slots=4)
    assert (backend.facts.slots, backend.facts.parameters, backend.facts.resident_bytes) == (4, 0, {})
    pieces, finish = ask(backend)
    assert pieces == ["Hello ", "you."]
    assert (finish.reason, finish.usage.prompt_tokens, finish.usage.completion_tokens) == ("stop", 7, 2)
    assert 0 < finish.usage.first_token_s <= finish.usage.total_s


def test_without_the_servers_count_each_piece_is_a_token(peer):
    peer.answer = [chunk("a"), chunk("b"), chunk("c"), chunk(reason="length")]
    _, finish = ask(loaded(peer))
    assert (finish.reason, finish.usage.completion_tokens) == ("length", 3)


def test_the_request_is_in_the_words_of_the_api(peer):
    picture = Picture(Size(2, 1), bytes(6))
    history = (Message("system", "Be brief."), Message("user", "What?", (picture,)))
    ask(loaded(peer), *history, max_new_tokens=9, temperature=0.5, top_k=3, seed=4)
    _, path, _, body = peer.asked[-1]
    assert path == "/v1/chat/completions"
    assert body["model"] == "fake"
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    image, text = body["messages"][1]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert text == {"type": "text", "text": "What?"}
    assert (body["max_tokens"], body["temperature"], body["top_k"], body["seed"], body["stream"]) == (
        9,
        0.5,
        3,
        4,
        True,
    )


def test_what_is_not_asked_for_is_not_said():
    assert not body_of(request(), "m", None).keys() & {"seed", "top_k", "repetition_penalty"}


def test_large_pictures_go_as_jpegs(peer):
    ask(loaded(peer), Message("user", "What?", (Picture(Size(2000, 1000), bytes(6_000_000)),)))
    image = peer.asked[-1][3]["messages"][0]["content"][0]
    assert image["image_url"]["url"].startswith("data:image/jpeg;base64,")


def test_the_key_comes_from_the_environment(peer, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    ask(loaded(peer))
    assert all(headers["Authorization"] == "Bearer secret" for _, _, headers, _ in peer.asked)


@pytest.mark.parametrize("when", ["before the first word", "between two"])
def test_a_cancel_cuts_the_connection_and_ends_the_answer(peer, when):
    peer.answer, peer.pause_s = [chunk("word ")] * 2000, 0.02
    backend = loaded(peer)
    asked = []

    def cancelled():
        asked.append(None)
        return len(asked) > (1 if when == "before the first word" else 20)

    pieces, finish = ask(backend, cancelled=cancelled)
    assert finish.reason == "cancelled"
    assert len(pieces) <= 20
    assert peer.broken.wait(20)


def test_a_reader_that_leaves_cuts_the_connection(peer):
    peer.answer, peer.pause_s = [chunk("word ")] * 2000, 0.02
    stream = loaded(peer).stream(request(), lambda: False)
    next(stream)
    stream.close()
    assert peer.broken.wait(20)


def test_a_server_that_says_nothing_does_not_hold_a_cancel_up(peer):
    peer.pause_s = 3600
    asked = []
    _, finish = ask(loaded(peer), cancelled=lambda: len(asked) > 2 or asked.append(None))
    assert (finish.reason, finish.usage.completion_tokens) == ("cancelled", 0)


def test_the_model_is_the_one_asked_for_or_the_only_one(peer):
    peer.models = {"data": [{"id": "other/model"}]}
    ask(loaded(peer))
    assert peer.asked[-1][3]["model"] == "other/model"
    peer.models = {"data": [{"id": "one"}, {"id": "two"}]}
    with pytest.raises(ConfigError, match="one, two"):
        loaded(peer)
    peer.models = {"data": [{"id": "one"}, {"id": "fake"}]}
    ask(loaded(peer))
    assert peer.asked[-1][3]["model"] == "fake"


@pytest.mark.parametrize("models", [[], {}, {"data": [{}]}, {"data": 3}, "text"])
def test_a_server_that_lists_no_models_is_none(peer, models):
    peer.models = models
    with pytest.raises(EndpointDown, match="does not list its models"):
        loaded(peer)


def test_a_server_that_fails_over_its_list_is_asked_for_the_model_that_was_named(peer):
    """As `transformers serve` does, whose list is of a cache that need not be there."""
    peer.list_status = 500
    ask(loaded(peer))
    assert peer.asked[-1][3]["model"] == SPEC.source
    with pytest.raises(EndpointDown, match="does not list its models"):
        loaded(peer, replace(SPEC, name="", source=""))


def test_a_server_that_is_not_there_is_told_so(peer):
    url = peer.url
    peer.close()
    with pytest.raises(EndpointDown, match="cannot be reached"):
        loaded(url)


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        ([chunk("Hello ")], False),
        (["{nonsense"], True),
        (["[]"], True),
        ([{"no": "choices"}], True),
        ([{"choices": [3]}], True),
    ],
    ids=["no end", "no json", "no object", "no choices", "no choice"],
)
def test_a_stream_that_breaks_off_or_makes_no_sense_is_an_error_and_not_an_end(peer, answer, ends):
    peer.answer, peer.ends = answer, ends
    with pytest.raises(EndpointDown, match="broke off"):
        ask(loaded(peer))


def test_a_server_that_leaves_out_the_last_word_is_done_with_the_answers_last_piece(peer):
    """As `transformers serve` ends its streams."""
    peer.ends = False
    pieces, finish = ask(loaded(peer))
    assert ("".join(pieces), finish.reason, finish.usage.prompt_tokens) == ("Hello you.", "stop", 7)


def test_an_error_in_the_middle_of_a_stream_is_told_in_its_words(peer):
    peer.answer = [chunk("Hello "), {"error": {"message": "out of pages", "code": 500}}]
    stream = loaded(peer).stream(request(), lambda: False)
    assert next(stream) == "Hello "
    with pytest.raises(DemoError, match="out of pages"):
        list(stream)


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (401, b"", ConfigError, KEY_VARIABLE),
        (404, b'{"error": {"message": "no such model"}}', ModelNotFound, "no such model"),
        (400, b'{"error": {"message": "too hot"}}', InvalidInput, "too hot"),
        (400, b'{"message": "plain", "object": "error"}', InvalidInput, "plain"),
        (400, b'{"error": "a text"}', InvalidInput, "a text"),
        (400, b'{"error": {"message": "4097 > 4096", "code": "context_length_exceeded"}}', ContextTooLong, "4097"),
        (429, b"{}", Busy, "busy"),
        (503, b"<html>", Busy, "no reason given"),
        (500, b"\xff" * 9, DemoError, "failed"),
        (500, json.dumps({"error": {"message": "x" * 5000}}).encode(), DemoError, "x" * 300),
    ],
)
def test_a_refusal_keeps_its_meaning_and_its_words(peer, status, body, kind, said):
    backend = loaded(peer)
    peer.status, peer.body = status, body
    with pytest.raises(DemoError, match=said) as refused:
        ask(backend)
    assert type(refused.value) is kind
    assert len(str(refused.value)) < 500
    assert type(refusal(status, body)) is kind


def test_pictures_are_sent_no_larger_than_the_family_is_shown_them(peer):
    spec = resolve_remote(ModelChoice("qwen2.5-vl-7b"))
    ask(loaded(peer, spec), Message("user", "What?", (Picture(Size(3136, 400), bytes(3 * 3136 * 400)),)))
    url = peer.asked[-1][3]["messages"][0]["content"][0]["image_url"]["url"]
    assert open_picture(base64.b64decode(url.partition(",")[2])).size == Size(1568, 200)


def test_reasoning_that_a_server_tells_apart_is_told_apart_here_too(peer):
    def thought(text, name="reasoning_content"):
        return {"choices": [{"index": 0, "delta": {name: text}, "finish_reason": None}]}

    peer.answer = [thought("Two "), thought("dogs.", "reasoning"), chunk("Two."), chunk(reason="stop")]
    glm = resolve_remote(ModelChoice("glm-4.1v-9b"))
    text = "".join(ask(loaded(peer, glm))[0])
    assert split(text, glm.traits.thoughts) == Reasoned("Two dogs.", "Two.")
    assert ask(loaded(peer, resolve_remote(ModelChoice("llava-1.5-7b"))))[0] == ["Two."]
