"""What is kept of each visitor, against gradio's own keeping."""

import gradio as gr
import pytest
from gradio.state_holder import StateHolder

from demo.ui.sessions import MOST, Sessions

# gradio's queue makes an event loop for its locks and never closes it
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


@pytest.fixture
def blocks():
    with gr.Blocks() as blocks:
        blocks.state = gr.State([])
        for _ in range(20):
            gr.Textbox()
    return blocks


def test_a_visitor_costs_no_copy_of_the_page(blocks):
    gradios = StateHolder()
    gradios.set_blocks(blocks)
    assert len(gradios["a"].config_values) > 20  # once it is not, `Sessions` can go
    session = Sessions(blocks)["a"]
    assert not session.config_values
    text = next(iter(blocks.blocks.values()))
    session._update_value_in_config(text._id, "words")
    assert not any(session.config_values.values())


def test_each_visitor_has_a_state_of_their_own(blocks):
    sessions = Sessions(blocks)
    sessions["a"][blocks.state._id].append("mine")
    sessions["b"][blocks.state._id] = ["theirs"]
    assert sessions["a"][blocks.state._id] == ["mine"]
    assert sessions["b"][blocks.state._id] == ["theirs"]


def test_who_was_away_longest_is_forgotten_and_who_stays_is_not(blocks):
    sessions = Sessions(blocks)
    sessions["here"][blocks.state._id].append("kept")
    for number in range(2 * MOST):
        assert sessions[f"visitor {number}"] is not None
        assert sessions["here"][blocks.state._id] == ["kept"]
    assert len(sessions.session_data) == len(sessions.time_last_used) == MOST
    assert "visitor 0" not in sessions
