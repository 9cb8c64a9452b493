"""The recommended models: their sizes are those of their configurations, and their plans those of this machine."""

import json

import pytest

from demo.catalog import CATALOG
from demo.cli import parse_args
from demo.engine.devices import GIB, Device, parse_assumed
from demo.engine.recommended import RECOMMENDED, offers
from tests.recommended import SOURCES, measured

CPU = Device("cpu", "CPU", "cpu", 32 * GIB, 24 * GIB)
PUBLISHED = {"qwen2-vl-2b": 2_208_985_600, "qwen2.5-vl-7b": 8_292_166_656, "cogvlm2": 19_503_105_280}  # parameters


def cards(text):
    return (*parse_assumed(text), CPU)


def test_there_are_three_from_small_to_large_with_as_many_parameters_as_were_published():
    found = offers([CPU])
    assert {offer.spec.name: offer.plan.parameters for offer in found} == PUBLISHED
    assert [offer.spec for offer in found] == [CATALOG[name] for name in PUBLISHED]
    assert [round(offer.download_bytes / GIB, 1) for offer in found] == [4.1, 15.4, 36.3]


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_the_file_is_what_the_configurations_say(name):
    written = {entry["name"]: entry for entry in json.loads(RECOMMENDED.read_text())}
    assert written[name] == json.loads(json.dumps(measured(name))), "run: python tests/recommended.py"


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([CPU], [("cpu", ""), ("cpu", ""), (False, "")]),
        (cards("8GiB"), [("single", ""), (False, "--offload"), (False, "")]),
        (cards("24GiB"), [("single", ""), ("single", ""), (False, "--quantize int4")]),
        (cards("2x24GiB"), [("replicate", ""), ("replicate", ""), ("shard", "")]),
    ],
    ids=["cpu", "small card", "one card", "two cards"],
)
def test_the_plan_is_for_the_devices_found(devices, expected):
    found = offers(devices)
    assert [(offer.plan.fits and offer.plan.placement, offer.flags) for offer in found] == expected


@pytest.mark.parametrize("devices", [[CPU], cards("8GiB"), cards("24GiB"), cards("2x24GiB"), cards("8x80GiB")])
def test_the_command_starts_what_was_planned(devices):
    for offer in offers(devices):
        _, _, *argv = offer.command.split()
        (choice,) = parse_args(argv, {}).engine.models
        assert choice.name == offer.spec.name
        assert bool(offer.flags) <= (not offer.plan.fits)


def test_parts_that_were_folded_are_the_same_parts():
    plan = next(offer.plan for offer in offers(cards("2x24GiB")) if offer.spec.name == "cogvlm2")
    (replica,) = plan.replicas
    layers = {path for path in replica.device_map if ".layers." in path}
    assert layers == {f"model.layers.{number}" for number in range(32)}
    assert sum(replica.weights.values()) == plan.weights_bytes == 2 * PUBLISHED["cogvlm2"]
