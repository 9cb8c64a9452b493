"""SIGINT and SIGTERM, sent to real processes at any moment of their wait."""

import signal
import subprocess
import sys
import threading
import time

import pytest

# Waits that are short or none, so that most signals come in the middle of their own bookkeeping
AGAIN = """
from demo.stopping import StopSignal
for number in range(300):
    stop = StopSignal()
    print("up", flush=True)
    while not stop.wait(number % 2 / 1e6):
        pass
    assert stop.wait(60)
"""
ONCE = """
import time
from demo.stopping import StopSignal
stop = StopSignal()
print("up", flush=True)
while not stop.wait(1e-6):
    pass
print("asked", flush=True)
time.sleep(60)
"""
# The system may hand a signal to any thread
ELSEWHERE = """
import signal, threading
from demo.stopping import StopSignal
stop, is_hit = StopSignal(), threading.Event()
other = threading.Thread(target=is_hit.wait)
other.start()
threading.Timer(0.5, signal.pthread_kill, (other.ident, signal.SIGTERM)).start()
assert stop.wait(60)
is_hit.set()
"""


def started(program):
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_no_moment_is_a_wrong_one_for_a_signal():
    process = started(AGAIN)
    watch = threading.Timer(30, process.kill)
    watch.start()
    try:
        for number, _ in enumerate(process.stdout):
            time.sleep(number % 13 / 20_000)
            process.send_signal((signal.SIGINT, signal.SIGTERM)[number % 2])
        assert (process.wait(10), process.stderr.read()) == (0, b"")
    finally:
        watch.cancel()
        process.kill()
        process.communicate()


def test_a_signal_that_another_thread_was_given_ends_the_wait():
    process = started(ELSEWHERE)
    try:
        assert (process.wait(30), process.stderr.read()) == (0, b"")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(number):
    process = started(ONCE)
    try:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"asked\n"
        process.send_signal(number)
        assert process.wait(10) == -number
    finally:
        process.kill()
        process.communicate()


def test_many_signals_at_once_end_it_too():
    for _ in range(5):
        process = started(ONCE)
        try:
            assert process.stdout.readline() == b"up\n"
            end_s = time.monotonic() + 10
            while process.poll() is None:
                assert time.monotonic() < end_s
                process.send_signal(signal.SIGTERM)
            assert process.returncode == -signal.SIGTERM
        finally:
            process.kill()
            process.communicate()
