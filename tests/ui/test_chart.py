"""The drawing of tokens per second."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.engine.throughput import TokenHistory
from demo.ui.chart import chart_html, columns, scale_of
from demo.ui.language import load_languages

SAY = load_languages().english


@pytest.mark.parametrize(
    ("most", "top"), [(0, 10), (9.9, 10), (10, 10), (11, 20), (20, 20), (51, 100), (102, 200), (4_999, 5_000)]
)
def test_the_scale_ends_at_a_round_number_no_less_than_what_is_shown(most, top):
    assert scale_of(most) == top


@given(st.lists(st.floats(0, 1e9), max_size=130))
def test_every_step_with_tokens_has_a_column_of_its_height(rates):
    top = scale_of(max(rates, default=0.0))
    drawn = re.findall(r"M(\d+) 100v-([\d.]+)h0.75v([\d.]+)z", columns(tuple(rates), top))
    assert [int(index) for index, _, _ in drawn] == [index for index, rate in enumerate(rates) if rate > 0]
    for index, up, down in drawn:
        assert up == down
        assert 0 <= float(up) <= 100
        assert float(up) == pytest.approx(100 * rates[int(index)] / top, abs=0.06)


def test_the_drawing_says_the_same_in_words():
    shown = chart_html(SAY, TokenHistory(5.0, (0.0,) * 118 + (80.4, 12.0), 500))
    assert "role='img' aria-label='Tokens per second over the last 10 minutes: 12 now, 80 at most'" in shown
    assert "<span>10 min ago</span><span>5 min ago</span><span>now</span>" in shown
    assert ">100</span>" in shown
    assert ">50</span>" in shown
    assert "No tokens" not in shown


def test_where_there_was_nothing_that_is_said():
    assert "No tokens in the last 10 minutes" in chart_html(SAY, TokenHistory(5.0, (0.0,) * 120, 500))
