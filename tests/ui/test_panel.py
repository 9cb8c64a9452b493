"""What the status tab says of a sample."""

import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.engine.snapshots import ReplicaSnapshot
from demo.engine.telemetry import DeviceStatus, Holding
from demo.engine.throughput import TokenHistory
from demo.ui.language import load_languages
from demo.ui.panel import panel_html

GIB = 2**30
LANGUAGES = load_languages()
NO_TOKENS = TokenHistory()
CARD = DeviceStatus("cuda:1", "NVIDIA <H200>", 24 * GIB, 6 * GIB, 8 * GIB, 12 * GIB, (Holding(3, "tiny", 5 * GIB),))


def replica(state="idle", **facts):
    return ReplicaSnapshot(
        3, "tiny <b>", state, facts.pop("detail", ""), facts.pop("fraction", None), ("cpu",), **facts
    )


def panel(*replicas, devices=(), waiting=0, uptime_s=0.0, tokens=NO_TOKENS, language="en"):
    manager = SimpleNamespace(replicas=replicas, waiting=1, tokens=tokens)
    status = SimpleNamespace(manager=manager, devices=devices, uptime_s=uptime_s)
    return panel_html(LANGUAGES.texts[language], status, waiting)


def text_of(markup):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"loads": 1, "total_loads": 1, "load_s": 3.21}, "Loaded once, in 3.2 s"),
        ({"loads": 1, "total_loads": 1}, "Loaded once, in under 0.1 s"),
        (
            {"loads": 1, "total_loads": 3, "load_s": 42.0},
            "once by this process, in 42 s; 3 times in all, after restarts",
        ),
        ({"loads": 1, "slots": 16}, "At a time 16 answers"),
        ({"loads": 1, "slots": 1}, "At a time 1 answer "),
        ({"loads": 2, "total_loads": 2}, "2 times by one process, which is a defect"),
        ({"loads": 0, "total_loads": 1}, "Loaded not yet"),
        ({"loads": 0, "total_loads": 3}, "not yet; tried 3 times"),
        ({"resident_bytes": {"cpu": GIB}, "planned_weights": {"cpu": GIB + 1000}}, "1.0 GiB on CPU, as planned"),
        ({"resident_bytes": {"cpu": GIB}, "planned_weights": {"cpu": 2 * GIB}}, "1.0 GiB on CPU, 2.0 GiB planned"),
        ({"resident_bytes": {"cuda:0": GIB, "cuda:1": 2**20}}, "1.0 GiB on GPU 0; 1 MiB on GPU 1"),
        ({"tokens_per_s": 41.6, "served": 1}, "42 tokens/s in the last answer"),
        ({"served": 1234}, "1,234 answers"),
        ({"deaths": 2}, "Restarts 2"),
    ],
)
def test_a_replica_tells_its_load_its_weights_and_its_work(facts, words):
    assert words in text_of(panel(replica(**facts)))


def test_a_load_shows_its_stage_and_how_far_it_is():
    shown = panel(replica("loading", detail="loading <weights>", fraction=0.4))
    assert "loading &lt;weights&gt;, 40%" in shown
    assert "<progress max='1' value='0.400' aria-label='Loading'>" in shown


def test_a_failure_tells_why_and_foreign_text_stays_text():
    shown = panel(replica("failed", detail="No room for <it>"))
    assert "No room for &lt;it&gt;" in shown
    assert "tiny &lt;b&gt;, replica 3" in shown
    assert "<progress" not in shown


def test_a_bar_says_the_same_to_eyes_and_to_screen_readers():
    shown = panel(devices=(CARD,))
    assert "GPU 1 NVIDIA &lt;H200&gt;" in text_of(shown)
    assert "6.0 GiB of 24.0 GiB used 12.0 GiB planned 8.0 GiB at most" in text_of(shown)
    assert "aria-valuetext='6.0 GiB of 24.0 GiB used, 12.0 GiB planned, 8.0 GiB at most'" in shown
    assert "aria-valuemax='24576' aria-valuenow='6144'" in shown
    assert "tiny, replica 3 5.0 GiB" in text_of(shown)
    assert "Other programs and drivers 1.0 GiB" in text_of(shown)
    widths = re.findall(r"width:([\d.]+)%", shown)
    assert widths == ["25.0", "20.8", "33.3", "50.0"]  # others end where all ends, the replica's part lies on it


def test_a_device_of_unknown_size_shows_what_is_known():
    shown = text_of(panel(devices=(DeviceStatus("mps", "", None, GIB, GIB, 4 * GIB, ()),)))
    assert "Apple GPU 1.0 GiB used 4.0 GiB planned" in shown
    assert "Other" not in shown


@pytest.mark.parametrize(
    ("uptime_s", "words"),
    [(59, "under a minute"), (61, "1 minute"), (3599, "59 minutes"), (7300, "2 hours"), (90_000, "1 day")],
)
def test_the_first_row_tells_of_the_speed_the_queue_and_the_time(uptime_s, words):
    tokens = TokenHistory(5.0, (0.0, 1234.4), 7000)
    shown = text_of(panel(replica(served=3), replica(served=4), waiting=2, uptime_s=uptime_s, tokens=tokens))
    assert f"Tokens/s now 1,234 Waiting 3 Answers given 7 Up for {words} " in shown
    assert "Tokens per second over the last" in panel(tokens=tokens)


def test_every_part_speaks_chinese_too():
    shown = panel(replica(loads=1, served=3, slots=8, load_s=2.0), devices=(CARD,), uptime_s=7300, language="zh")
    words = text_of(shown)
    for part in ("就绪", "已回答 3 次", "一次，用时 2.0 秒", "已用 6.0 GiB ，共 24.0 GiB", "2 小时", "计划与实际"):
        assert part in words
    assert "同时回答 8 个" in words
    assert "aria-valuetext='已用 6.0 GiB，共 24.0 GiB，计划 12.0 GiB，最高 8.0 GiB'" in shown
    english = set(re.findall(r"[A-Za-z]{4,}", words)) - {"tiny", "NVIDIA"}
    assert not english


sizes = st.integers(0, 2**50)


@given(st.none() | sizes, sizes, sizes, sizes, st.lists(sizes, max_size=9))
def test_no_figures_break_the_bar(total, used, high, planned, held):
    holdings = tuple(Holding(number, "m", size) for number, size in enumerate(held))
    shown = panel(devices=(DeviceStatus("cuda:0", "", total, used, high, planned, holdings),))
    assert all(0 <= float(share) <= 100 for share in re.findall(r"width:([\d.]+)%", shown))
    (most,), (now,) = re.findall(r"valuemax='(\d+)'", shown), re.findall(r"valuenow='(\d+)'", shown)
    assert int(now) <= int(most)
