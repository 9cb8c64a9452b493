"""The text that Prometheus reads, taken apart by the grammar of its format 0.0.4."""

import math
import re
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from demo.api.metrics import metrics_text
from demo.engine.snapshots import ReplicaSnapshot
from demo.engine.telemetry import DeviceStatus
from demo.engine.throughput import TokenHistory
from demo.types import DeviceMemory

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
MEMORY = {"cuda:0": DeviceMemory(1, 2, 3)}
REPLICA = ReplicaSnapshot(
    0, "tiny", "busy", "", None, ("cuda:0",), {"cuda:0": 2**60 + 1}, {"cuda:0": 90}, {"cuda:0": 91}, MEMORY,
    loads=1, total_loads=2, load_s=1.5, load_spans_s={"imports": 1.25, "warm_up": 0.25}, deaths=1, served=7,
    tokens_per_s=41.25,
)  # fmt: skip
CARD = DeviceStatus("cuda:0", "a card", 1000, 600, 700, 500, ())
BARE = DeviceStatus("mps", "", None, 60, 70, 50, ())


def status(*replicas, devices=(), waiting=0):
    manager = SimpleNamespace(replicas=replicas, waiting=waiting, tokens=TokenHistory(total=2**60 + 3))
    return SimpleNamespace(manager=manager, devices=devices, uptime_s=12.5)


def read(text):
    """Samples by name and labels; every line must be of the format, and every family be told of before its samples."""
    assert text.endswith("\n")
    samples, kinds = {}, {}
    for line in text[:-1].split("\n"):
        if head := re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.+)", line):
            if head[1] == "TYPE":
                assert head[2] not in kinds
                kinds[head[2]] = head[3]
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        assert kinds[name] == ("counter" if name.endswith("_total") else "gauge")
        key = (name, *sorted(_labels(labels or "")))
        assert key not in samples
        samples[key] = float(value) if "." in value or "e" in value else int(value)
    return samples


def _labels(text):
    found, end = [], 0
    for match in LABEL.finditer(text):
        assert match.start() == end
        end = match.end()
        plain = re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], match[2])
        found.append((match[1], plain))
    assert end == len(text)
    return found


def of(samples, name, /, **labels):
    return samples[(name, *sorted(labels.items()))]


def test_every_figure_of_a_replica_and_its_devices_is_there():
    samples = read(metrics_text(status(REPLICA, devices=(CARD, BARE), waiting=2), waiting=3))
    one = {"model": "tiny", "replica": "0"}
    for name, value in (
        ("demo_replica_loads_total", 2),
        ("demo_replica_deaths_total", 1),
        ("demo_replica_load_s", 1.5),
        ("demo_requests_served_total", 7),
        ("demo_tokens_per_s", 41.25),
    ):
        assert of(samples, name, **one) == value
    assert of(samples, "demo_replica_load_phase_s", **one, phase="imports") == 1.25
    assert of(samples, "demo_replica_load_phase_s", **one, phase="warm_up") == 0.25
    for name, value in (
        ("demo_resident_bytes", 91),
        ("demo_planned_weight_bytes", 90),
        ("demo_planned_bytes", 2**60 + 1),  # not rounded
        ("demo_reserved_bytes", 2),
    ):
        assert of(samples, name, **one, device="cuda:0") == value
    states = {key[-1][1]: value for key, value in samples.items() if key[0] == "demo_replica_state"}
    assert [state for state, value in states.items() if value] == ["busy"]
    assert {"idle", "loading", "failed"} < set(states)
    card = {"device": "cuda:0", "name": "a card"}
    kinds = ("used", "total", "high_water")
    assert [of(samples, f"demo_device_{kind}_bytes", **card) for kind in kinds] == [600, 1000, 700]
    assert of(samples, "demo_device_used_bytes", device="mps", name="") == 60
    assert ("demo_device_total_bytes", ("device", "mps"), ("name", "")) not in samples
    assert of(samples, "demo_queue_length") == 5
    assert of(samples, "demo_tokens_total") == 2**60 + 3
    assert of(samples, "demo_uptime_s") == 12.5


@given(st.text(), st.floats(0, allow_infinity=False))
def test_whatever_a_model_is_called_the_text_can_be_read(name, speed):
    named = ReplicaSnapshot(0, name, "idle", "", None, (), tokens_per_s=speed)
    samples = read(metrics_text(status(named), waiting=0))
    shown = of(samples, "demo_tokens_per_s", model=name, replica="0")
    assert math.isclose(shown, speed)
