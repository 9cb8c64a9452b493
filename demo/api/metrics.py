"""The demo's figures in Prometheus' text format, version 0.0.4.

Owns the families, their help and the escaping. Pure: it is given a `Status`. Bytes are integers; names end in their
unit, those of counters in ``_total``. Labels hold model names, replica numbers, device names and states, no paths.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from demo.engine.snapshots import State

if TYPE_CHECKING:
    from demo.engine.snapshots import ReplicaSnapshot
    from demo.engine.telemetry import DeviceStatus, Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES: Mapping[str, str] = {"\\": "\\\\", "\n": "\\n", '"': '\\"'}
_LABEL_SPECIAL = re.compile(r'[\\\n"]')

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: samples are labels with a value."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: Sequence[Sample]


def metrics_text(status: Status, *, waiting: int) -> str:
    """All families; ``waiting`` counts requests in the page's queue, the engine's are added."""
    return "".join(map(_text, families(status, waiting=waiting)))


def families(status: Status, *, waiting: int) -> Iterator[Family]:
    replicas, devices = status.manager.replicas, status.devices
    yield from _of_replicas(replicas)
    yield from _of_replicas_on_devices(replicas)
    yield from _of_devices(devices)
    made = "Tokens that were made, of answers of all models."
    yield Family("demo_tokens_total", "counter", made, [({}, status.manager.tokens.total)])
    queued = waiting + status.manager.waiting
    yield Family("demo_queue_length", "gauge", "Requests that wait for a free place.", [({}, queued)])
    yield Family("demo_uptime_s", "gauge", "Seconds since the demo began to serve.", [({}, status.uptime_s)])


def _of_replicas(replicas: Sequence[ReplicaSnapshot]) -> Iterator[Family]:
    def each(value: Callable[[ReplicaSnapshot], float]) -> list[Sample]:
        return [(_replica(replica), value(replica)) for replica in replicas]

    loads = "Loads of weights begun, by all of a replica's processes; 1 + deaths once it is ready."
    yield Family("demo_replica_loads_total", "counter", loads, each(lambda replica: replica.total_loads))
    yield Family(
        "demo_replica_deaths_total",
        "counter",
        "Processes of a replica that ended unasked.",
        each(lambda replica: replica.deaths),
    )
    yield Family("demo_replica_load_s", "gauge", "Seconds of the last load.", each(lambda replica: replica.load_s))
    spans = "Seconds of each phase of the last load; together they are demo_replica_load_s."
    yield Family("demo_replica_load_phase_s", "gauge", spans, _phases(replicas))
    yield Family(
        "demo_replica_state",
        "gauge",
        "1 for the state a replica is in, 0 for all others.",
        [
            ({**_replica(replica), "state": state}, float(replica.state == state))
            for replica in replicas
            for state in get_args(State)
        ],
    )
    yield Family(
        "demo_requests_served_total", "counter", "Answers that ended well.", each(lambda replica: replica.served)
    )
    speed = "Tokens per second of a replica's last answer."
    yield Family("demo_tokens_per_s", "gauge", speed, each(lambda replica: replica.tokens_per_s))


def _phases(replicas: Sequence[ReplicaSnapshot]) -> list[Sample]:
    return [
        ({**_replica(replica), "phase": phase}, seconds_s)
        for replica in replicas
        for phase, seconds_s in replica.load_spans_s.items()
    ]


def _of_replicas_on_devices(replicas: Sequence[ReplicaSnapshot]) -> Iterator[Family]:
    def each(values: Callable[[ReplicaSnapshot], Mapping[str, int]]) -> list[Sample]:
        return [
            ({**_replica(replica), "device": device}, value)
            for replica in replicas
            for device, value in values(replica).items()
        ]

    for name, help_, values in (
        ("resident", "Bytes of weights that lie on a device.", lambda replica: replica.resident_bytes),
        ("planned_weight", "Bytes of weights that the plan puts on a device.", lambda replica: replica.planned_weights),
        ("planned", "Bytes that the plan gives a replica, everything counted.", lambda replica: replica.planned),
        (
            "reserved",
            "Bytes that a replica's process holds, as its framework counts.",
            lambda replica: {device: memory.reserved for device, memory in replica.memory.items()},
        ),
    ):
        yield Family(f"demo_{name}_bytes", "gauge", help_, each(values))


def _of_devices(devices: Sequence[DeviceStatus]) -> Iterator[Family]:
    known = [device for device in devices if device.total_bytes is not None]
    most = "The most bytes of a device that were seen in use, by everyone."
    for name, help_, samples in (
        (
            "used",
            "Bytes of a device in use, by everyone.",
            [(_device(device), device.used_bytes) for device in devices],
        ),
        ("total", "Bytes of a device.", [(_device(device), device.total_bytes or 0) for device in known]),
        ("high_water", most, [(_device(device), device.high_water_bytes) for device in devices]),
    ):
        yield Family(f"demo_device_{name}_bytes", "gauge", help_, samples)


def _replica(replica: ReplicaSnapshot) -> dict[str, str]:
    return {"model": replica.model, "replica": str(replica.replica_id)}


def _device(device: DeviceStatus) -> dict[str, str]:
    return {"device": device.id, "name": device.name}


def _text(family: Family) -> str:
    head = f"# HELP {family.name} {_escaped_help(family.help)}\n# TYPE {family.name} {family.kind}\n"
    return head + "".join(f"{family.name}{_labels(labels)} {_number(value)}\n" for labels, value in family.samples)


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return _LABEL_SPECIAL.sub(lambda match: _ESCAPES[match[0]], value)


def _escaped_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    """Whole numbers in full, however large: a float would round bytes."""
    return str(int(value)) if value == int(value) else repr(float(value))
