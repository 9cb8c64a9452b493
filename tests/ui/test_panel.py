"""What the status tab says of a sample."""

import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.engine.snapshots import ReplicaSnapshot
from demo.engine.telemetry import DeviceStatus, Holding
from demo.ui.panel import panel_html

GIB = 2**30
CARD = DeviceStatus("cuda:1", "NVIDIA <H200>", 24 * GIB, 6 * GIB, 8 * GIB, 12 * GIB, (Holding(3, "tiny", 5 * GIB),))


def replica(state="idle", **facts):
    return ReplicaSnapshot(
        3, "tiny <b>", state, facts.pop("detail", ""), facts.pop("fraction", None), ("cpu",), **facts
    )


def panel(*replicas, devices=(), waiting=0, uptime_s=0.0):
    manager = SimpleNamespace(replicas=replicas, waiting=1)
    return panel_html(SimpleNamespace(manager=manager, devices=devices, uptime_s=uptime_s), waiting)


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
    widths = re.findall(r"(?:width|left):([\d.]+)%", shown)
    assert widths == ["20.8", "4.2", "33.3", "50.0"]


def test_a_device_of_unknown_size_shows_what_is_known():
    shown = text_of(panel(devices=(DeviceStatus("mps", "", None, GIB, GIB, 4 * GIB, ()),)))
    assert "Apple GPU 1.0 GiB used 4.0 GiB planned" in shown
    assert "Other" not in shown


@pytest.mark.parametrize(
    ("uptime_s", "words"),
    [(59, "under a minute"), (61, "1 minute"), (3599, "59 minutes"), (7300, "2 hours"), (90_000, "1 day")],
)
def test_the_first_line_tells_of_the_queue_and_the_time(uptime_s, words):
    assert f"3 waiting · 7 answers given · up for {words} " in text_of(
        panel(replica(served=3), replica(served=4), waiting=2, uptime_s=uptime_s)
    )


sizes = st.integers(0, 2**50)


@given(st.none() | sizes, sizes, sizes, sizes, st.lists(sizes, max_size=9))
def test_no_figures_break_the_bar(total, used, high, planned, held):
    holdings = tuple(Holding(number, "m", size) for number, size in enumerate(held))
    shown = panel(devices=(DeviceStatus("cuda:0", "", total, used, high, planned, holdings),))
    assert all(0 <= float(share) <= 100 for share in re.findall(r"(?:width|left):([\d.]+)%", shown))
    (most,), (now,) = re.findall(r"valuemax='(\d+)'", shown), re.findall(r"valuenow='(\d+)'", shown)
    assert int(now) <= int(most)
