"""The plan beside what was taken, in figures and in words."""

import re

import pytest

from demo.engine.snapshots import ReplicaSnapshot
from demo.types import DeviceMemory
from demo.ui.language import load_languages
from demo.ui.ledger import difference_words, ledger_html

GIB = 2**30
SAY = load_languages().english


def text_of(markup):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup))


def replica(**facts):
    return ReplicaSnapshot(3, "tiny <b>", "idle", "", None, ("cuda:0",), **facts)


@pytest.mark.parametrize(
    ("planned", "taken", "words"),
    [
        (10 * GIB, 10 * GIB, "as planned"),
        (10 * GIB, 10 * GIB + 2**20, "as planned"),
        (10 * GIB, 7 * GIB, "3.0 GiB less than planned"),
        (10 * GIB, 11 * GIB, "1.0 GiB more than planned"),
        (0, 2**20, "1 MiB more than planned"),
        (0, 0, "as planned"),
    ],
)
def test_a_difference_is_said_plainly(planned, taken, words):
    assert difference_words(SAY, planned, taken) == words


def test_weights_and_all_that_was_ever_held_stand_beside_the_plan_on_each_device():
    shown = ledger_html(
        SAY,
        replica(
            planned={"cuda:0": 10 * GIB, "cuda:1": 8 * GIB},
            planned_weights={"cuda:0": 6 * GIB, "cuda:1": 5 * GIB},
            resident_bytes={"cuda:0": 6 * GIB, "cuda:1": 5 * GIB},
            memory={"cuda:0": DeviceMemory(0, 0, 9 * GIB), "cuda:1": DeviceMemory(0, 0, 9 * GIB)},
        ),
    )
    words = text_of(shown)
    assert "tiny &lt;b&gt;, replica 3" in words
    assert "Weights on GPU 0 6.0 GiB planned 6.0 GiB taken as planned" in words
    assert "Everything on GPU 0, at most so far 10.0 GiB planned 9.0 GiB taken 1.0 GiB less than planned" in words
    assert "GPU 1, at most so far 8.0 GiB planned 9.0 GiB taken 1.0 GiB more than planned" in words
    assert shown.count("class=over") == 1
    assert re.findall(r"width:([\d.]+)%", shown) == ["60.0", "60.0", "100.0", "90.0", "50.0", "50.0", "80.0", "90.0"]


def test_before_a_load_there_is_nothing_to_compare():
    assert "Nothing to compare" in ledger_html(SAY, replica(planned={"cuda:0": GIB}))
