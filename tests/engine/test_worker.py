"""How an exception in a worker becomes what a user reads."""

import pytest

from demo.engine.worker import describe
from demo.errors import ContextTooLong, from_kind


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


def raised(error):
    """The error as it is after it was raised, with a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


ERRORS = {
    "our own": (ContextTooLong("Too long", value=9), "context_too_long", "Too long (9)."),
    "a card is full": (OutOfMemoryError("CUDA out of memory. Tried to allocate"), "out_of_memory", "smaller picture"),
    "Python is out of memory": (MemoryError(), "out_of_memory", "smaller picture"),
    "torch's CPU allocator": (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        "out_of_memory",
        "smaller picture",
    ),
    "the card is lost": (RuntimeError("CUDA error: device-side assert triggered"), "replica_died", "restarted"),
    "anything else": (KeyError("/srv/secret/model.py"), "internal", "The model failed on this request (KeyError)."),
}


@pytest.mark.parametrize(("error", "kind", "words"), ERRORS.values(), ids=ERRORS)
def test_an_error_becomes_its_kind_and_a_sentence(error, kind, words):
    failed = describe(raised(error), request_id="r")
    assert (failed.request_id, failed.kind) == ("r", kind)
    assert words in failed.message
    assert "/" not in failed.message
    assert "test_worker.py" in failed.trace  # the log gets it all
    assert from_kind(failed.kind, failed.message).kind == kind


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OutOfMemoryError(), "does not fit the memory that is free"),
        (ValueError("x"), "could not be loaded (ValueError)"),
    ],
)
def test_an_error_of_a_load_says_so(error, words):
    failed = describe(raised(error), request_id="")
    assert words in failed.message
