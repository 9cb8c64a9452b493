import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wording import SAY

from demo.grounding.palette import colour_of
from demo.types import Box, Region, Size
from demo.ui import markup

NASTY = [
    "<script>alert(1)</script>",
    "<img src=http://127.0.0.1:9/x.png>",
    "![](http://127.0.0.1:9/x.png)",
    "[click](javascript:alert(1))",
    "<form action=http://127.0.0.1:9/><input type=password></form>",
    "</span></div><div style='position:fixed;inset:0'>",
    "$$\\href{javascript:alert(1)}{x}$$",
    "&lt;b&gt;",
    "<http://127.0.0.1:9/>",
]


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def read(text):
    parser = _Tags()
    parser.feed(text)
    parser.close()
    return parser


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("escape", [markup.verbatim_markdown, markup.formatted_markdown])
def test_nothing_foreign_stays_markup(escape, text):
    escaped = escape(text)
    assert "<" not in escaped.replace("<br>", "")
    assert "[" not in escaped
    assert "$" not in escaped


@given(st.text())
def test_a_users_text_is_shown_as_it_was_typed(text):
    shown = markup.verbatim_markdown(text)
    assert html.unescape(shown.replace("<br>", "\n")) == text.strip()
    assert not re.search(r"[<*_`\[\]~|$\\]", shown.replace("<br>", ""))


@pytest.mark.parametrize("text", ["# no heading", "1. no list", "- no list", "+ no list", "=== no rule"])
def test_the_beginning_of_a_text_makes_no_block(text):
    assert re.match(r"&#\d+;|\d+&#\d+;", markup.verbatim_markdown(text))


def test_ordinary_words_are_left_alone_for_those_who_have_them_read_aloud():
    text = "What is next to the dog's bowl, and how many (red) ones are there?"
    assert markup.verbatim_markdown(text) == text


def test_a_models_emphasis_is_kept():
    assert markup.formatted_markdown("a **big** dog\n- one\n- two") == "a **big** dog\n- one\n- two"


@given(st.lists(st.tuples(st.text(), st.none() | st.text())))
def test_an_answer_as_html_holds_only_our_own_tags(segments):
    colours = colour_of(key for _, key in segments if key is not None)
    shown = read(markup.answer_html(segments, colours))
    assert {tag for tag, _ in shown.tags} <= {"span", "br"}
    assert all(set(attrs) <= {"class", "style"} for _, attrs in shown.tags)


@given(st.text(), st.text())
def test_a_table_row_holds_its_label_as_text(label, colour):
    region = Region(label, Box(1.4, 2.6, 30.0, 40.0), None, (0, 1))
    shown = read(markup.regions_table(SAY, [region], {label: colour}, Size(320, 200)))
    assert {tag for tag, _ in shown.tags} == {"table", "caption", "thead", "tbody", "tr", "th", "td", "span"}
    styles = [attrs["style"] for tag, attrs in shown.tags if tag == "span"]
    assert all(re.fullmatch(r"--thing:#[0-9a-fA-F]{6}", style) for style in styles)


@given(st.text(), st.text())
def test_words_and_rows_that_can_be_pressed_hold_their_label_as_text(label, pick):
    region = Region(label, Box(1.4, 2.6, 30.0, 40.0), None, (0, 1))
    table = read(markup.regions_table(SAY, [region], {}, Size(320, 200), pick=pick or "pick"))
    words = read(markup.answer_html([(label, label), ("x", None)], {}, {label: 3}))
    for shown, number in ((table, "r0"), (words, "w3")):
        (button,) = [attrs for tag, attrs in shown.tags if tag == "button"]
        assert button["data-only"] == number
        assert set(button) <= {"type", "class", "data-only", "data-box", "aria-pressed", "title", "style"}
    assert {tag for tag, _ in words.tags} <= {"button", "br"}


def test_the_table_gives_whole_pixels_of_the_picture():
    region = Region("dog", Box(1.4, 2.6, 30.0, 40.5), None, (0, 1))
    table = markup.regions_table(SAY, [region], {"dog": "#2b78d6"}, Size(320, 200))
    assert "<td>1</td><td>3</td><td>30</td><td>40</td>" in table
    assert "320 x 200" in table


def test_the_models_own_words_are_shown_as_they_are():
    text = "the dog [[012,345,678,900]] <b>\n`x`"
    raw = read(markup.own_words(SAY, text))
    assert [tag for tag, _ in raw.tags] == ["details", "summary", "code", "br"]
    assert raw.text == "The model's own words" + text.replace("\n", "")
