"""How an exception in a worker becomes what a user reads, and how a worker imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from demo.catalog import resolve
from demo.config import ModelChoice
from demo.engine.devices import GIB
from demo.engine.faults import describe
from demo.engine.worker import WorkerJob
from demo.errors import ContextTooLong, from_kind
from demo.types import Placement


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


def job(*devices, planned=None, **facts):
    device_map = {f"layers.{index}": device for index, device in enumerate(devices)}
    return WorkerJob(resolve(ModelChoice("fake")), Placement(device_map, **facts), planned or {})


def test_an_error_of_a_load_says_so():
    failed = describe(raised(ValueError("x")), job=job("cpu"))
    assert failed.message == "The model failed while loading (ValueError). The server's log has the details."
    assert failed.request_id == ""


OUT_OF_MEMORY = {
    "one card": (
        job("cuda:1", planned={"cuda:1": 34 * GIB}, dtype="bfloat16"),
        "planned: cuda:1 34.0 GiB, bfloat16",
        "--quantize int8 or --placement shard or a smaller model.",
    ),
    "two cards": (
        job("cuda:0", "cuda:1", planned={"cuda:0": GIB, "cuda:1": 2 * GIB}, dtype="bfloat16", quantization="int8"),
        "planned: cuda:0 1.0 GiB, cuda:1 2.0 GiB, bfloat16",
        "try more cards with --devices or a smaller model.",
    ),
    "a cap": (
        job("cuda:0", dtype="float16", quantization="int4", caps={"cuda:0": GIB}),
        "planned: cuda:0, float16",
        "--placement shard or a higher --max-memory or a smaller model.",
    ),
    "main memory": (job("cpu", dtype="float32"), "planned: cpu, float32", "try --dtype bfloat16 or a smaller model."),
}


@pytest.mark.parametrize(("told", "plan", "remedy"), OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_a_load_that_runs_out_of_memory_names_the_plan_and_what_to_change(told, plan, remedy):
    failed = describe(raised(OutOfMemoryError()), job=told)
    assert failed.kind == "out_of_memory"
    assert "while loading" in failed.message
    assert plan in failed.message
    assert failed.message.endswith(remedy)


IMPORTING = """
import gc
from demo.engine.libraries import backend_named
runs = []
gc.callbacks.append(lambda phase, info: runs.append(phase))
backend_named("fake")
assert not runs, runs
assert gc.isenabled() and gc.get_freeze_count() > 10_000
assert gc.collect() >= 0 and len(gc.get_objects()) < 1_000
"""


def test_libraries_are_imported_without_collections_and_passed_over_by_later_ones():
    """In a process of its own: what is passed over stays so for good."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORTING], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr


def test_what_a_worker_says_has_the_plans_numbers_and_libraries_stay_quiet():
    code = (
        "import logging; from demo.engine.libraries import let_be_heard; from demo.engine.own_cards import OwnCards;"
        "let_be_heard(logging.INFO, OwnCards((2, 5)).told);"
        "logging.getLogger('demo.backends.memory').info('%s: 3 GiB', 'cuda:1');"
        "logging.getLogger('demo.backends.memory').debug('too much');"
        "logging.getLogger('httpx').info('a request')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    (line,) = run.stderr.splitlines()
    assert line.endswith("INFO demo.backends.memory: cuda:5: 3 GiB")
