"""What the engine's tests ask for, and how they look at the answers."""

import time
from itertools import count

from demo.engine.devices import GIB, Device
from demo.engine.events import Done, Token
from demo.types import GenerateRequest, Message, Sampling

READY_S = 60.0
MAIN_MEMORY = Device("cpu", "CPU", "cpu", 64 * GIB, 32 * GIB)
_ids = count()


def ask(text="What is this?", *, role="chat", request_id=None, **sampling):
    """A request with an id of its own."""
    messages = (Message("user", text),)
    return GenerateRequest(request_id or f"r{next(_ids)}", role, messages, Sampling(**sampling))


def text_of(events):
    """The whole text of a stream that ends with `Done`."""
    events = list(events)
    assert isinstance(events[-1], Done)
    return "".join(event.text for event in events if isinstance(event, Token))


def first(stream, kind):
    """The stream's next event of a kind; the ones before it are passed over."""
    return next(event for event in stream if isinstance(event, kind))


def until(condition, *, timeout_s=READY_S):
    """Wait for a condition, and say whether it came."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.01)
    return True


def cards(count, *, gib=16):
    """Pretended cards, all of them free, and main memory; the fake never touches them."""
    found = (Device(f"cuda:{index}", "pretended card", "cuda", gib * GIB, gib * GIB) for index in range(count))
    return [*found, MAIN_MEMORY]


def replicas_of(manager):
    return manager.snapshot().replicas
