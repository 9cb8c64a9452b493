"""What a browser is given before gradio's page runs, asked over HTTP of the real page."""

import asyncio
import gzip
import json
import re

import pytest
from PIL import Image
from starlette.requests import Request

from demo.ui.context import Limits
from demo.ui.front import ICONS, Front, manifest
from demo.ui.language import load_languages
from demo.ui.opening import MOST_KEPT, KeptPages, OpenedPage, head
from tests.icons import SIZES, drawn

LANGUAGES = load_languages()


@pytest.fixture(scope="module")
def page(open_page):
    return open_page()


def opened(page, path="/", **headers):
    status, answered, body = page.get(path, headers=headers)
    assert status == 200
    return answered, body.decode()


@pytest.mark.parametrize(
    ("path", "headers", "tag"),
    [
        ("/", {}, "en"),
        ("/", {"Accept-Language": "zh-HK,zh;q=0.9"}, "zh-CN"),
        ("/", {"Accept-Language": "zh", "Cookie": "language=en"}, "en"),
        ("/?lang=zh", {"Accept-Language": "en"}, "zh-CN"),
        ("/?lang=%3Cscript%3E", {}, "en"),
    ],
)
def test_the_page_is_in_the_visitors_language_from_its_first_byte(page, path, headers, tag):
    _, text = opened(page, path, **headers)
    say = LANGUAGES.texts["zh" if tag == "zh-CN" else "en"]
    assert re.search(r"<html\s+lang=\"([\w-]+)\"", text)[1] == tag
    assert f"<title>{say('page.title')}</title>" in text
    assert json.loads(re.search(r"const PAGE = (\{.*?\});", text)[1])["tag"] == tag
    assert json.dumps(say("page.title")) in re.search(r'"title":("[^"]*")', text)[1]


def test_a_language_that_is_chosen_is_remembered_and_one_that_is_guessed_is_not(page):
    cookie = opened(page, "/?lang=zh")[0]["set-cookie"]
    assert cookie == "language=zh; Path=/; Max-Age=31536000; SameSite=Lax"
    assert opened(page, "/", **{"Accept-Language": "zh"})[0]["set-cookie"] is None
    assert "Cookie, Accept-Language" in opened(page)[0]["vary"]


def test_behind_https_the_choice_is_kept_in_another_sites_frame_too(page):
    headers, _ = opened(page, "/?lang=zh", **{"X-Forwarded-Proto": "https"})
    assert headers["set-cookie"].endswith("SameSite=None; Secure; Partitioned")


def test_nothing_of_gradios_own_names_and_addresses_is_in_the_head(page):
    _, text = opened(page)
    markup = text[: text.index("window.gradio_config")]
    named = re.findall(r"<(?:meta|link|title)[^>]*>", markup)
    assert len(named) > 5
    assert not [tag for tag in named if "radio" in tag or "https:" in tag]
    assert 'href="/manifest.json"' not in text


def test_the_manifest_names_icons_that_are_there_in_their_sizes(page):
    _, text = opened(page)
    path = re.search(r"rel='manifest' href='\.(/[^']+)'", text)[1]
    headers, body = opened(page, path)
    said = json.loads(body)
    assert headers["content-type"] == "application/manifest+json"
    assert said["start_url"] == said["scope"] == "./"
    assert {icon["purpose"] for icon in said["icons"]} == {"any", "maskable"}
    for icon in said["icons"]:
        status, headers, data = page.get(icon["src"].removeprefix("."))
        assert (status, headers["content-type"]) == (200, "image/png")
        with Image.open(ICONS / icon["src"].rpartition("/")[2]) as image:
            assert icon["sizes"] == f"{image.width}x{image.height}"
        assert data == (ICONS / icon["src"].rpartition("/")[2]).read_bytes()


def test_the_page_is_made_once_for_all_who_come_by_the_same_address(page):
    first, second = opened(page)[1], opened(page)[1]
    assert first == second
    packed = page.get("/", headers={"Accept-Encoding": "gzip"})
    assert packed[1]["content-encoding"] == "gzip"
    assert gzip.decompress(packed[2]).decode() == first
    assert len(packed[2]) < len(first) / 4
    _, elsewhere = opened(page, **{"X-Forwarded-Host": "example.org"})
    assert '"root":"http://example.org"' in elsewhere
    assert '"root":"http://example.org"' not in opened(page)[1]


def test_only_the_newest_pages_are_kept():
    pages = KeptPages()
    for number in range(1000):  # as many hosts as somebody cares to make up
        pages.keep(number, OpenedPage(b"", b""))
    assert [number for number in range(1000) if pages.get(number)] == list(range(1000 - MOST_KEPT, 1000))


@pytest.mark.parametrize("name", SIZES)
def test_the_icons_are_drawn_from_the_one_drawing(name):
    assert (ICONS / name).read_bytes() == drawn(name), "run: python tests/icons.py"


@pytest.mark.parametrize("path", ["/icons/../style.css", "/icons/%2e%2e/style.css", "/icons/none.png"])
def test_nothing_but_icons_is_served_beside_them(page, path):
    assert page.get(path)[0] in (403, 404)


def test_with_a_login_the_manifest_and_icons_are_open_and_the_page_is_not(open_page):
    page = open_page(auth="ada:secret")
    assert page.get("/manifest.json")[0] == page.get("/icons/icon-192.png")[0] == 200
    assert '"auth_required":true' in opened(page)[1]


@pytest.mark.parametrize("language", LANGUAGES.texts)
def test_no_text_ends_the_script_or_an_attribute(language):
    say = LANGUAGES.texts[language]
    assert head(say, "", Limits()).count("</script>") == 1
    assert manifest(say)["name"] == say("page.title")


# --- behind a proxy


class Asked:
    """An app that keeps the request it was given."""

    async def __call__(self, scope, receive, send):
        self.request = Request(scope)


async def _never():
    raise AssertionError


async def through(**headers):
    app = Asked()
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in {"host": "inner", **headers}.items()]
    scope = {"type": "http", "method": "POST", "path": "/queue", "query_string": b"", "headers": raw, "scheme": "http"}
    await Front(app, languages=LANGUAGES, limits=Limits(), keeps_page=True)(scope, _never, _never)
    return app.request


@pytest.mark.parametrize(
    ("headers", "host", "root_path"),
    [
        ({}, None, ""),
        ({"x_forwarded_host": "outer"}, "outer", ""),
        ({"x_forwarded_host": "outer", "x_forwarded_prefix": "/some/prefix"}, "outer/some/prefix", "/some/prefix"),
        ({"x_forwarded_host": "outer, proxy", "x_forwarded_prefix": "/a/"}, "outer/a", "/a"),
        ({"x_forwarded_prefix": "/a"}, "inner/a", "/a"),
        ({"x_forwarded_host": "outer", "x_forwarded_prefix": "//evil.example"}, "outer", ""),
        ({"x_forwarded_host": "outer", "x_forwarded_prefix": "/a'><script>"}, "outer", ""),
    ],
)
def test_gradio_is_told_where_the_page_is_seen(headers, host, root_path):
    request = asyncio.run(through(**headers))
    assert request.headers.get("x-forwarded-host") == host
    assert request.scope.get("root_path", "") == root_path
