"""The OpenAI-compatible routes over HTTP, with a real engine: the fake model in a worker process."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import openai
import pytest
import uvicorn
from fastapi import FastAPI

from demo.api.chat import add_chat_routes
from demo.api.routes import Service, add_routes
from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import GIB, Device
from demo.engine.manager import ModelManager
from tests.api.test_protocol import HELLO, data_url, image

READY_S = 60.0
PATH = "/v1/chat/completions"


@pytest.fixture
def serve():
    """``serve("fake?token_s=0.1")`` starts an engine and gives a client of its routes."""
    managers, servers, clients = [], [], []

    def build(model="fake", *, max_queue=4, key=None):
        config = EngineConfig(models=(ModelChoice(model),))
        manager = ModelManager(config, devices=[Device("cpu", "CPU", "cpu", 16 * GIB, 8 * GIB)])
        managers.append(manager)
        manager.start()
        app = FastAPI(openapi_url=None)
        service = Service(manager.snapshot, lambda: None, lambda: 0, lambda: True, None, key)
        add_routes(app, service)
        add_chat_routes(app, service, manager, max_queue=max_queue)
        servers.append(Served(app))
        clients.append(httpx.Client(base_url=servers[-1].url, timeout=60, trust_env=False))
        clients[-1].manager = manager
        return clients[-1]

    yield build
    for owner in (*clients, *servers, *managers):
        owner.close()


class Served:
    """An app behind a real server on loopback, which tells it when a client leaves."""

    def __init__(self, app):
        self._server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def close(self):
        self._server.should_exit = True
        self._thread.join()


def until(condition):
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def events_of(response):
    lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith(("data: ", ": ")) for line in lines)
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def test_an_answer_has_the_shape_that_clients_expect(serve):
    answer = serve().post(PATH, json={"messages": HELLO, "max_tokens": 3})
    assert answer.status_code == 200
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-")
    assert body["model"] == "fake"
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"] == {"role": "assistant", "content": "You asked: Hello? ", "regions": []}
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}


def test_places_in_an_answer_are_told_in_pixels_of_the_picture(serve):
    content = [{"type": "text", "text": "Where is the dog?"}, image(data_url(200, 100))]
    body = serve().post(PATH, json={"messages": [{"role": "user", "content": content}]}).json()
    (region,) = body["choices"][0]["message"]["regions"]
    assert (region["label"], region["box"]) == ("dog", [20, 20, 60, 40])
    assert body["choices"][0]["finish_reason"] == "stop"


def test_a_stream_brings_the_words_as_they_come_and_says_how_it_ended(serve):
    asked = {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    client = serve("fake?tokens=3")
    with client.stream("POST", PATH, json=asked) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        *chunks, end = events_of(response)
    assert end == "[DONE]"
    first, *middle, last, figures = map(json.loads, chunks)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["delta"]["content"] for chunk in middle] == ["You ", "asked: ", "Hello? "]
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert figures["choices"] == []
    assert figures["usage"]["completion_tokens"] == 3
    assert len({chunk["id"] for chunk in (first, *middle, last, figures)}) == 1


def test_without_being_asked_a_stream_tells_no_figures(serve):
    with serve().stream("POST", PATH, json={"messages": HELLO, "stream": True}) as response:
        assert not any("usage" in event for event in events_of(response))


def test_what_is_wrong_with_a_request_is_told_by_status_and_words(serve):
    client = serve()
    for asked, status, kind in (
        ({"messages": []}, 400, "invalid_request_error"),
        ({"messages": HELLO, "model": "gpt-5"}, 404, "not_found_error"),
    ):
        for stream in (False, True):
            answer = client.post(PATH, json={**asked, "stream": stream})
            error = answer.json()["error"]
            assert (answer.status_code, error["type"]) == (status, kind)
            assert error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_of_the_engine_keeps_its_words(serve, stream):
    answer = serve("fake?oom_at=0").post(PATH, json={"messages": HELLO, "stream": stream})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "out_of_memory"
    assert answer.headers["retry-after"]


def test_an_error_after_the_first_words_ends_the_stream_with_its_words(serve):
    with serve("fake?oom_at=2").stream("POST", PATH, json={"messages": HELLO, "stream": True}) as response:
        assert response.status_code == 200
        *_, error, end = events_of(response)
    assert json.loads(error)["error"]["code"] == "out_of_memory"
    assert end == "[DONE]"


def test_more_requests_than_may_wait_are_turned_away_and_told_when_to_come_again(serve):
    client = serve("fake?token_s=0.05&tokens=2000", max_queue=0)
    assert client.manager.wait_ready(READY_S)
    with client.stream("POST", PATH, json={"messages": HELLO, "stream": True}) as response:
        next(response.iter_lines())
        refused = client.post(PATH, json={"messages": HELLO})
        assert refused.status_code == 429
        assert refused.headers["retry-after"]
        assert refused.json()["error"]["code"] == "busy"


def test_models_are_listed_by_name_with_their_roles(serve):
    body = serve().get("/v1/models").json()
    (model,) = body["data"]
    assert (body["object"], model["id"], model["object"]) == ("list", "fake", "model")
    assert model["roles"] == ["chat", "grounding", "captioning"]


def test_a_model_is_told_by_its_name_and_another_is_not_found(serve):
    client = serve()
    assert client.get("/v1/models/fake").json() == client.get("/v1/models").json()["data"][0]
    for name in ("gpt-5", "some/one"):
        answer = client.get(f"/v1/models/{name}")
        assert answer.status_code == 404
        assert answer.json()["error"] == {
            "message": f"This model is not served here ({name}). Served: fake.",
            "type": "not_found_error",
            "param": None,
            "code": "model_not_found",
        }


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/"), ("POST", "/v1/embeddings"), ("GET", PATH), ("DELETE", "/v1/models/fake"), ("PUT", "/v1/a/b")],
)
def test_what_else_is_asked_for_below_v1_is_refused_in_the_same_form(serve, method, path):
    answer = serve().request(method, path)
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["type"] == "not_found_error"
    assert f"({method} {path})" in error["message"]
    assert "POST /v1/chat/completions" in error["message"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models"), ("GET", "/v1/models/fake"), ("POST", PATH)])
def test_where_a_key_is_set_nothing_is_answered_without_it(serve, method, path):
    client = serve(key="secret")
    assert client.get("/v1/embeddings").status_code == 401
    assert client.request(method, path, json={"messages": HELLO}).status_code == 401
    bearer = {"Authorization": "Bearer secret"}
    assert client.request(method, path, json={"messages": HELLO}, headers=bearer).status_code == 200


def test_a_client_that_waits_hears_of_it_by_comments(serve):
    with serve("fake?first_token_s=2.8&tokens=1").stream("POST", PATH, json={"messages": HELLO, "stream": True}) as got:
        assert got.status_code == 200
        assert ": waiting" in list(got.iter_lines())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "model", ["fake?token_s=0.05&tokens=2000", "fake?first_token_s=600"], ids=["tokens", "prefill"]
)
def test_the_answer_of_a_client_that_leaves_is_stopped_and_its_place_is_free(serve, stream, model):
    client = serve(model, max_queue=0)
    assert client.manager.wait_ready(READY_S)

    def busy():
        return client.manager.snapshot().replicas[0].running

    def leave():
        impatient = httpx.Timeout(10, read=None if stream else 0.6)
        with closing(httpx.Client(base_url=client.base_url, timeout=impatient, trust_env=False)) as leaver:
            if not stream:
                with pytest.raises(httpx.ReadTimeout):
                    leaver.post(PATH, json={"messages": HELLO})
                return
            with leaver.stream("POST", PATH, json={"messages": HELLO, "stream": True}) as response:
                next(response.iter_lines())

    with ThreadPoolExecutor(1) as pool:
        leaving = pool.submit(leave)
        until(busy)
        leaving.result()
    until(lambda: not busy())
    assert client.get("/v1/models").status_code == 200


def test_many_who_ask_at_once_are_all_answered(serve):
    client = serve("fake?token_s=0.001", max_queue=40)
    asked = [
        {"messages": [{"role": "user", "content": f"{number}?"}], "stream": bool(number % 2)} for number in range(30)
    ]
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda each: client.post(PATH, json=each), asked))
    for number, answer in enumerate(answers):
        text = (
            "".join(
                json.loads(event)["choices"][0]["delta"].get("content", "")
                for event in events_of(answer)
                if event != "[DONE]"
            )
            if number % 2
            else answer.json()["choices"][0]["message"]["content"]
        )
        assert text.startswith(f"You asked: {number}?")


def test_the_official_client_understands_it_all(serve):
    served = serve("fake?tokens=4", key="secret")
    direct = openai.DefaultHttpxClient(trust_env=False)
    client = openai.OpenAI(base_url=f"{served.base_url}/v1", api_key="secret", http_client=direct)
    assert [model.id for model in client.models.list()] == ["fake"]
    assert client.models.retrieve("fake").object == "model"
    with pytest.raises(openai.NotFoundError, match="Served: fake"):
        client.models.retrieve("gpt-5")
    content = [{"type": "text", "text": "What?"}, image(data_url())]
    whole = client.chat.completions.create(model="fake", messages=[{"role": "user", "content": content}])
    assert whole.choices[0].message.content == "You asked: What? I "
    assert whole.usage.completion_tokens == 4
    chunks = list(client.chat.completions.create(model="fake", messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "You asked: Hello? I "
    assert chunks[-1].choices[0].finish_reason == "stop"
    with pytest.raises(openai.NotFoundError, match="Served: fake"):
        client.chat.completions.create(model="gpt-5", messages=HELLO)
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    client.close()


def test_reasoning_is_told_apart_from_the_answer(serve):
    client = serve("fake?thought_tokens=5&tokens=4")
    whole = client.post(PATH, json={"messages": HELLO}).json()["choices"][0]["message"]
    assert whole["content"]
    assert whole["reasoning_content"]
    assert "<think>" not in whole["content"] + whole["reasoning_content"]
    with client.stream("POST", PATH, json={"messages": HELLO, "stream": True}) as response:
        deltas = [json.loads(event)["choices"][0]["delta"] for event in events_of(response)[:-1]]
    for name in ("content", "reasoning_content"):
        assert "".join(delta.get(name, "") for delta in deltas) == whole[name]
    kinds = [name for delta in deltas for name in delta if name.endswith("content") and delta[name]]
    assert kinds == sorted(kinds, reverse=True)  # all of the reasoning comes first
