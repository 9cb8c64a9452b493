"""The public endpoints, asked by gradio's own client."""

import time

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from page_kit import file_of, scene, write
from PIL import Image


@pytest.fixture(scope="module")
def page(open_page):
    return open_page("fake?token_s=0.01")


@pytest.fixture(scope="module")
def client(page, tmp_path_factory):
    return Client(page.url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    return handle_file(write(tmp_path_factory.mktemp("pictures"), "scene.png", file_of(scene())))


def test_the_endpoints_have_names_and_types(client):
    described = client.view_api(return_format="dict")["named_endpoints"]
    assert set(described) == {"/chat", "/ground", "/describe_region", "/caption"}
    names = {
        endpoint: [parameter["parameter_name"] for parameter in described[endpoint]["parameters"]]
        for endpoint in described
    }
    assert names["/chat"][:3] == ["message", "picture", "history"]
    assert names["/ground"] == ["picture", "phrase"]
    assert names["/describe_region"] == ["picture", "box", "question"]
    assert names["/caption"] == ["picture", "style"]
    needed = [p["parameter_name"] for p in described["/chat"]["parameters"] if not p["parameter_has_default"]]
    assert needed == ["message"]


def test_chat_answers_about_an_uploaded_picture(client, picture):
    text, boxes = client.predict("What is this?", picture, api_name="/chat")
    assert "a picture of 320 x 200 pixels" in text
    assert boxes == []


def test_chat_takes_a_history_and_sampling(client, picture):
    history = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Yes."}]
    text, _ = client.predict(
        message="Two words please", picture=picture, history=history, max_new_tokens=2, api_name="/chat"
    )
    assert text.split() == ["You", "asked:"]


def test_chat_does_without_a_picture(client):
    assert "no picture" in client.predict("Hello", api_name="/chat")[0]


def test_ground_gives_boxes_in_pixels_of_the_upload(client, picture):
    text, boxes = client.predict(picture, "the red dog", api_name="/ground")
    assert text == "the red dog [[100,200,300,400]]"
    assert boxes == [{"label": "red dog", "box": [32, 40, 96, 80], "box_normalized": [0.1, 0.2, 0.3, 0.4]}]


def test_a_region_of_the_upload_is_described_and_asked_about(client, picture):
    text, boxes = client.predict(picture, [32, 40, 96, 80], api_name="/describe_region")
    assert text.startswith("You asked: What is in the box [[100,200,300,400]]?")
    assert [box["box"] for box in boxes] == [[32, 40, 96, 80]]
    text, _ = client.predict(picture, [32, 40, 96, 80], "Is it red?", api_name="/describe_region")
    assert text.startswith("You asked: Look at [[100,200,300,400]]. Is it red?")


def test_ground_looks_for_several_phrases(client, picture):
    text, boxes = client.predict(picture, "the dog; the cat", api_name="/ground")
    assert text.splitlines() == ["the dog [[100,200,300,400]]", "the cat [[100,200,300,400]]"]
    assert [box["label"] for box in boxes] == ["the dog", "the cat"]


def test_caption_answers_in_each_style(client, picture):
    short, no_boxes = client.predict(picture, api_name="/caption")
    grounded, boxes = client.predict(picture, "grounded", api_name="/caption")
    assert "320 x 200" in short
    assert no_boxes == []
    assert "small thing" in grounded
    assert [box["label"] for box in boxes] == ["small thing"]


def test_answers_stream(client, picture):
    job = client.submit("Tell me a story of many words so that it takes a while", picture, api_name="/chat")
    job.result(timeout=60)
    texts = [output[0] for output in job.outputs()]
    assert len(set(texts)) > 3
    assert texts[-1].startswith(texts[len(texts) // 2])


@pytest.mark.parametrize(
    ("arguments", "endpoint", "words"),
    [
        ({"message": "  "}, "/chat", "message is empty"),
        ({"message": "x" * 1_000_000}, "/chat", "1,000,000 characters"),
        ({"message": "x", "temperature": -1}, "/chat", "temperature is out of range"),
        ({"message": "x", "history": [{"role": "robot"}]}, "/chat", "history cannot be used"),
        ({"picture": None, "phrase": "dog"}, "/ground", "no picture"),
        ({"picture": None, "box": [1, 2, 3, 4]}, "/describe_region", "no picture"),
        ({"picture": None, "style": "rhymed"}, "/caption", "rhymed"),
    ],
)
def test_errors_reach_the_program_in_their_own_words(client, arguments, endpoint, words):
    with pytest.raises(AppError, match=words):
        client.predict(**arguments, api_name=endpoint)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.png", b"text", "not a picture"),
        ("empty.png", b"", "empty"),
        ("huge.png", file_of(Image.new("1", (8000, 8000))), "too large"),
    ],
)
def test_files_that_are_no_pictures_are_refused(client, tmp_path, name, data, words):
    with pytest.raises(AppError, match=words):
        client.predict(handle_file(write(tmp_path, name, data)), "dog", api_name="/ground")


@pytest.mark.parametrize("path", ["/etc/hostname", "assets/examples/x.png", "http://127.0.0.1:9/x.png"])
@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}], ids=["unmarked", "marked"])
def test_a_file_of_the_server_is_not_looked_at(page, client, tmp_path, path, meta):
    """As a forged request would name it; the client would upload it, so the request is made by hand."""
    import json

    config = json.loads(page.get("/config")[2])
    index = next(item["id"] for item in config["dependencies"] if item["api_name"] == "ground")
    session = f"forged{time.monotonic_ns()}"
    body = {"data": [{"path": path, "orig_name": "a.svg", **meta}, "dog"], "fn_index": index, "session_hash": session}
    headers = {"content-type": "application/json"}
    page.get("/gradio_api/queue/join", data=json.dumps(body).encode(), headers=headers, method="POST")
    events = page.get(f"/gradio_api/queue/data?session_hash={session}")[2].decode()
    assert '"success":false' in events
    assert "dog [[" not in events
    assert "fake" not in events


def test_cancelling_a_job_frees_the_model(page, client, picture):
    job = client.submit("word " * 3000, picture, api_name="/chat", max_new_tokens=8192)
    end_s = time.monotonic() + 60
    while not job.outputs() and time.monotonic() < end_s:
        time.sleep(0.05)
    job.cancel()
    started_s = time.monotonic()
    assert client.predict("Hello", api_name="/chat")[0].startswith("You asked")
    assert time.monotonic() - started_s < 20  # it would have taken half a minute
