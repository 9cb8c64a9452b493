"""Who may read what, asked over HTTP of an app that has nothing but these routes."""

from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from demo.api.metrics import CONTENT_TYPE
from demo.api.routes import Service, add_routes
from demo.engine.throughput import TokenHistory

KEY = "kéy"
ENGINE = SimpleNamespace(model="tiny", waiting=0, replicas=(), tokens=TokenHistory())
STATUS = SimpleNamespace(manager=ENGINE, devices=(), uptime_s=1.0)


def client(*, login=False, key=None):
    def is_logged_in(request):
        return request.cookies.get("login") == "yes"

    app = FastAPI(openapi_url=None)
    service = Service(lambda: ENGINE, lambda: STATUS, lambda: 4, lambda: True, is_logged_in if login else None, key)
    app.add_api_route("/{path}", lambda path: "the page", methods=["GET"])
    add_routes(app, service)
    return TestClient(app)


BEARER = {"Authorization": f"Bearer {KEY}".encode()}
COOKIE = {"Cookie": "login=yes"}


@pytest.mark.parametrize(
    ("protection", "headers", "code"),
    [
        ({}, {}, 200),
        ({"login": True}, {}, 401),
        ({"login": True}, COOKIE, 200),
        ({"login": True}, BEARER, 401),  # no key was set, so none opens
        ({"key": KEY}, {}, 401),
        ({"key": KEY}, BEARER, 200),
        ({"key": KEY}, {"Authorization": f"bearer {KEY}".encode()}, 200),
        ({"key": KEY}, {"Authorization": "Bearer nearly"}, 401),
        ({"key": KEY}, {"Authorization": "Bearer "}, 401),
        ({"key": KEY}, {"Authorization": f"Basic {KEY}".encode()}, 401),
        ({"key": KEY}, COOKIE, 401),
        ({"login": True, "key": KEY}, COOKIE, 200),
        ({"login": True, "key": KEY}, BEARER, 200),
        ({"login": True, "key": KEY}, {}, 401),
    ],
)
def test_metrics_ask_for_the_login_or_the_key_where_one_is_set(protection, headers, code):
    answer = client(**protection).get("/metrics", headers=headers)
    assert answer.status_code == code
    assert ("demo_queue_length 4" in answer.text) is (code == 200)
    assert (answer.headers.get("www-authenticate") == "Bearer") is (code == 401)


@pytest.mark.parametrize("path", ["/livez", "/healthz"])
def test_supervisors_need_no_login(path):
    assert "status" in client(login=True, key=KEY).get(path).json()


def test_metrics_are_of_prometheus_own_type():
    assert client().get("/metrics").headers["content-type"] == CONTENT_TYPE
