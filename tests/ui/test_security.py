"""The queue's hardening, against gradio's own queue."""

from asyncio import Queue

import gradio as gr
import pytest
from gradio.queueing import Event
from gradio.server_messages import HeartbeatMessage

from demo.ui.security import harden_queue

# gradio's queue makes an event loop for its locks and never closes it
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")

HEARTBEAT = HeartbeatMessage()
VISITORS = 2_500  # gradio 6.31 alone keeps 2,000, and its queue dies of the next message


@pytest.fixture
def blocks():
    with gr.Blocks() as blocks:
        gr.Button().click(lambda: None)
    return blocks.queue()


def message_to(blocks, visitor):
    function = next(iter(blocks.fns.values()))
    blocks._queue.send_message(Event(visitor, function, None, None), HEARTBEAT)


def test_the_queue_keeps_the_messages_of_many_visitors_apart(blocks):
    harden_queue(blocks)
    boxes = {f"visitor{number}": Queue() for number in range(VISITORS)}
    for visitor, box in boxes.items():
        blocks._queue.pending_messages_per_session[visitor] = box
    message_to(blocks, "visitor0")
    assert boxes["visitor0"].get_nowait() == HEARTBEAT


def test_a_message_to_a_visitor_who_is_gone_is_dropped(blocks):
    with pytest.raises(KeyError):  # what gradio does by itself; once it does not, the hardening can go
        message_to(blocks, "nobody")
    harden_queue(blocks)
    message_to(blocks, "nobody")
