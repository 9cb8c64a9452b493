import contextlib
import io
import json
import socket
import threading
import time
import urllib.parse

import pytest
from page_kit import Page

from demo.ui.app import has_desktop


@pytest.fixture(scope="module")
def page(open_page):
    return open_page("fake?parameters=1000000")


def test_health_says_that_the_model_answers(page):
    status, _, body = page.get("/healthz")
    assert status == 200
    assert json.loads(body) == {"status": "ok", "model": "fake", "replicas": ["idle"], "waiting": 0}


def test_the_page_is_there_while_the_model_is_being_loaded_and_after_that_failed(open_page):
    page = open_page("fake?load_s=8&fail_load=broken_checkpoint", wait=False).wait("/livez")
    status, _, body = page.get("/healthz")
    assert (status, json.loads(body)["status"]) == (503, "loading")
    assert b"Ask a picture" in page.get("/")[2]
    assert _until(lambda: json.loads(page.get("/healthz")[2])["status"] == "failed")
    assert page.get("/healthz")[0] == 503
    assert page.get("/livez")[0] == 200


def test_with_a_login_metrics_need_it_or_the_key_and_health_does_not(open_page):
    page = open_page("fake", auth="ada:secret", api_key="k3y")  # its own wait asks /healthz without a login
    assert page.get("/livez")[0] == 200
    assert page.get("/metrics")[0] == 401
    assert page.get("/metrics", headers={"Cookie": "access-token=x"})[0] == 401
    assert page.get("/metrics", headers={"Authorization": "Bearer k3y"})[0] == 200
    form = urllib.parse.urlencode({"username": "ada", "password": "secret"}).encode()
    headers = page.get("/login", data=form, method="POST")[1]
    cookies = "; ".join(value.split(";")[0] for value in headers.get_all("set-cookie"))
    status, headers, body = page.get("/metrics", headers={"Cookie": cookies})
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'demo_replica_state{model="fake",replica="0",state="idle"} 1' in body


@pytest.mark.parametrize("path", ["/", "/config", "/livez", "/metrics", "/gradio_api/info"])
def test_every_answer_says_what_the_browser_may_load(page, path):
    _, headers, _ = page.get(path)
    policy = headers["content-security-policy"]
    assert "img-src 'self' data: blob:" in policy
    assert "form-action 'self'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://127.0.0.1:1/x.png",
        "/gradio_api/file=https://example.org/x.png",
        "/gradio_api/file=%68ttp%3a//example.org/x.png",
        "/gradio_api/file=%2568ttp://example.org/x.png",
        "/gradio_api/file/http://example.org/x.png",
        "/gradio_api/proxy=https://example.org",
        "/proxy=https://example.org",
        "/pwa_icon/12000",
        "/gradio_api/deep_link",
    ],
)
def test_routes_that_fetch_for_anyone_are_refused(page, path):
    assert page.get(path)[0] == 403


@pytest.mark.parametrize("path", ["/gradio_api/file=/etc/passwd", "/gradio_api/file=demo/types.py", "/monitoring"])
def test_files_of_the_server_and_its_figures_are_not_served(page, path):
    assert page.get(path)[0] in (401, 403, 404)


def test_a_body_over_the_limit_is_refused_from_its_header(page):
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as connection:
        head = "POST /gradio_api/queue/join HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 999999999\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
        assert " 413 " in answer.splitlines()[0]
        assert answer.endswith("The request is too large (999 MB). At most 64 MB are taken at a time.")


def test_a_body_without_a_length_is_refused_once_it_is_over_the_limit(page):
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as connection:
        head = "POST /gradio_api/queue/join HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(80):
                connection.sendall(chunk)
        assert connection.recv(200).split(b" ")[1] == b"413"


def test_a_proxy_is_asked_not_to_hold_a_stream_back(page):
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as connection:
        connection.sendall(b"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: x\r\n\r\n")
        head = connection.recv(4000).partition(b"\r\n\r\n")[0].lower()
    assert b"content-type: text/event-stream" in head
    assert b"x-accel-buffering: no" in head
    assert page.get("/livez")[1]["x-accel-buffering"] is None


def test_functions_cannot_be_run_past_the_queue(page):
    body = json.dumps({"data": []}).encode()
    headers = {"content-type": "application/json"}
    assert page.get("/gradio_api/run/chat", data=body, headers=headers, method="POST")[0] == 404


def test_a_port_that_is_taken_is_refused_before_anything_is_loaded(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        # a model that cannot be loaded would be complained about first, had it been tried
        with Page("fake?nonsense=1", tmp_path / "log", port=taken.getsockname()[1]) as page:
            assert page.process.wait(60) == 2
            assert "cannot be served at this address" in page.log.read_text()
            assert "--port" in page.log.read_text()


def test_it_leaves_within_five_seconds_with_open_tabs_and_answers_and_takes_the_uploads_along(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Page("fake?token_s=0.05&tokens=2000", tmp_path / "log") as page:
        page.wait()
        assert list(tmp_path.glob("vlm-demo-*"))
        tab = _heartbeat(page)
        _ask(page)
        code, took_s = page.end()
        assert code == 0, page.log.read_text()
        assert took_s < 5
        assert "Traceback" not in page.log.read_text()
        assert not list(tmp_path.glob("vlm-demo-*"))
        tab.join(10)
        assert not tab.is_alive()


def _heartbeat(page):
    """What an open tab holds: a connection that never ends by itself."""

    def listen():
        with contextlib.suppress(OSError):
            page.get("/gradio_api/heartbeat/abc")

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    return thread


def _ask(page):
    headers = {"content-type": "application/json"}
    config = json.loads(page.get("/config")[2])
    index = next(item["id"] for item in config["dependencies"] if item["api_name"] == "chat")
    data = ["hello", None, None, 0, 1, 0, 500, 1, None]
    body = json.dumps({"data": data, "fn_index": index, "session_hash": "abc"}).encode()
    status, _, answer = page.get("/gradio_api/queue/join", data=body, headers=headers, method="POST")
    assert status == 200, answer
    assert _until(lambda: json.loads(page.get("/healthz")[2])["replicas"] == ["busy"])


def _until(condition, *, timeout_s=60.0):
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.05)
    return True


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("platform", "environ", "out", "opens"),
    [
        ("linux", {"DISPLAY": ":0"}, Terminal(), True),
        ("darwin", {}, Terminal(), True),
        ("linux", {}, Terminal(), False),  # a server
        ("linux", {"DISPLAY": ":10", "SSH_CONNECTION": "a b"}, Terminal(), False),  # somebody else's screen
        ("darwin", {}, io.StringIO(), False),  # a log
    ],
)
def test_a_browser_opens_only_where_somebody_sits_in_front_of_a_screen(platform, environ, out, opens):
    assert has_desktop(platform, environ, out) is opens
