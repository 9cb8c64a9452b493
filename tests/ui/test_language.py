"""Two languages that say the same: no text is missing in one, none is dead, and errors are told in both."""

import json
import re
import string
from pathlib import Path
from types import SimpleNamespace

import gradio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wording import called, keys, sentences

from demo.ui.language import LANGUAGES, LOCALES, language_of, load_languages, preferred

TABLES = {name: json.loads((LOCALES / f"{name}.json").read_text(encoding="utf-8")) for name in LANGUAGES}
TOLD = json.loads((LOCALES / "told.zh.json").read_text(encoding="utf-8"))
SAY = load_languages().texts["zh"]
ENGLISH = load_languages().english
# whose errors a visitor can meet: those of a request, and those of a load, which the status shows
MET = (
    "demo/ui/handlers", "demo/ui/desk.py", "demo/ui/pictures.py", "demo/imaging.py", "demo/video.py", "demo/types.py",
    "demo/prompts.py",
    "demo/captioning/archive.py", "demo/captioning/sidecars.py", "demo/captioning/worklist.py",
    "demo/engine/answer.py", "demo/engine/faults.py",
    "demo/engine/manager.py", "demo/engine/pool.py", "demo/engine/replica.py", "demo/engine/restarts.py",
    "demo/backends/checkpoint.py", "demo/backends/hf.py", "demo/backends/hub.py", "demo/backends/loading.py",
    "demo/backends/memory.py", "demo/backends/openai.py", "demo/backends/processors.py",
    "demo/backends/prompting.py", "demo/backends/proving.py", "demo/backends/quantizing.py", "demo/backends/rolling.py",
    "demo/models/cogvlm/processing_cogagent.py", "demo/models/cogvlm/processing_cogvlm.py",
)  # fmt: skip


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_both_languages_have_every_text_with_the_same_values():
    assert TABLES["en"].keys() == TABLES["zh"].keys()
    for key, english in TABLES["en"].items():
        assert fields(english) == fields(TABLES["zh"][key]), key


def test_every_text_that_the_page_asks_for_is_there_and_every_text_is_asked_for():
    asked = set(called("demo/ui"))
    assert len(asked) > 50
    assert not {key for key in asked if not any(_pattern(key).fullmatch(text) for text in TABLES["en"])}
    patterns = [_pattern(key) for key in {*asked, *keys("demo/ui")}]
    assert not {key for key in TABLES["en"] if not any(pattern.fullmatch(key) for pattern in patterns)}


def _pattern(key):
    return re.compile(re.escape(key).replace(r"\{\}", r"[a-z_]+"))


def test_chinese_is_chinese():
    """All but names, which stand in both languages."""
    same = {key for key, text in TABLES["zh"].items() if text == TABLES["en"][key]}
    assert same <= {"device.cpu", "device.mps", "device.cuda"}


def test_a_number_chooses_the_form():
    assert ENGLISH.counted("time.hours", 1) == "1 hour"
    assert ENGLISH.counted("time.hours", 1234) == "1,234 hours"
    assert SAY.counted("time.hours", 1) == "1 小时"


# --- sentences from below the page


def test_every_sentence_of_an_error_that_a_visitor_can_meet_is_known():
    said = {text: str(file) for file, text in sentences(*MET)}
    assert len(said) > 100
    assert not {text: file for text, file in said.items() if text not in TOLD}


def test_no_translation_is_of_a_sentence_that_is_not_said_any_more():
    said = {text for _, text in sentences("demo")}
    rest = {text for text in TOLD if text not in said}
    source = "\n".join(path.read_text(encoding="utf-8") for path in (LOCALES.parents[1] / "demo").rglob("*.py"))
    flat = re.sub(r'"\s*\n?\s*f?"', "", source)
    gone = [text for text in rest if not all(part in flat for part in text.split("{}"))]
    assert not gone


@pytest.mark.parametrize("english", TOLD)
def test_a_translation_has_a_place_for_every_value(english):
    holes = english.count("{}")
    numbered = [int(number) for number in re.findall(r"\{(\d)\}", TOLD[english])]
    assert TOLD[english].count("{}") == holes or sorted(set(numbered)) == list(range(holes))


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("There is no picture. Add one first.", "还没有图片。请先添加一张。"),
        ("The question is empty. Type a question first.", "问题是空的。请先输入问题。"),
        ("The file is too large (60 MB). At most 50 MB are accepted.", "文件太大（60 MB）。最多接受 50 MB。"),
        ("top_p is out of range (9). Choose a number from 0 to 1.", "top_p 超出范围（9）。请选择 0 到 1 之间的数。"),
        ("The picture is not on the server (any more). Add it again.", "服务器上已经没有这张图片。请重新添加。"),
        ("The demo is stopping (x: y). Nobody knows this.", "演示正在停止（x: y）。Nobody knows this."),
        ("The demo is stopping.", "演示正在停止。"),
        ("loading weights", "正在加载权重"),
        ("restarting: exit code 3", "正在重启：退出码 3"),
        ("downloading a/b, 1.0 GiB of 2.0 GiB", "正在下载 a/b，1.0 GiB / 2.0 GiB"),
    ],
)
def test_a_sentence_from_below_is_told_in_chinese(english, chinese):
    assert SAY.told(english) == chinese


def test_english_is_told_as_it_is():
    assert ENGLISH.told("There is no picture. Add one first.") == "There is no picture. Add one first."


@given(st.text())
def test_what_is_not_known_stays_word_for_word(text):
    assert SAY.told(f"?{text}") == f"?{text}"


# --- gradio's own words

GRADIO = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"


def test_every_word_of_gradios_that_is_replaced_is_one_that_it_says():
    said = "".join(path.read_text(encoding="utf-8") for path in GRADIO.glob("*.js"))
    said += (LOCALES.parents[1] / "demo" / "ui" / "widgets.py").read_text(encoding="utf-8")  # in one of its notices
    joint = re.compile(r"s?: \{\}|\{\}|'s ")  # where it makes one of several
    gone = {text for text in SAY.gradios for part in joint.split(text) if part not in said}
    assert not gone
    assert "Links are not followed. Upload the picture itself." in SAY.gradios
    assert ENGLISH.gradios.keys() <= SAY.gradios.keys()


# --- who reads which


def visit(lang="", cookie="", accepted=None):
    headers = {} if accepted is None else {"accept-language": accepted}
    return SimpleNamespace(query_params={"lang": lang}, cookies={"language": cookie}, headers=headers)


@pytest.mark.parametrize(
    ("given_", "language"),
    [
        (visit(), "en"),
        (visit(accepted="zh-CN,zh;q=0.9,en;q=0.8"), "zh"),
        (visit(accepted="zh-CN", cookie="en"), "en"),
        (visit(accepted="en", cookie="en", lang="zh"), "zh"),
        (visit(lang="xx", cookie="zh"), "zh"),
        (visit(cookie="<script>"), "en"),
    ],
)
def test_the_address_comes_before_the_choice_and_that_before_the_browser(given_, language):
    assert language_of(given_) == language


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-DE,de;q=0.9,zh-TW;q=0.5,en;q=0.3", "zh"),
        ("en;q=0.2, zh;q=0.7", "zh"),
        ("fr", "en"),
        ("*", "en"),
        ("zh;q=nonsense,en;q=0.1", "en"),
    ],
)
def test_the_browsers_preferences_are_weighed(accepted, language):
    assert preferred(accepted) == language


@given(st.text())
def test_no_header_breaks_the_choice(accepted):
    assert preferred(accepted) in LANGUAGES
