"""The benchmark of loads: its medians, its eyes on memory, and that it runs to its one line of JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.load import Load, Watch, anonymous_bytes, median_of, phases_table, slowest
from tests.tinymodels import save_cogvlm

ROOT = Path(__file__).parents[2]
MIB = 2**20


def test_medians_are_of_each_figure():
    figures = [(1.0, 0.5, 10, 7.0), (9.0, 0.1, 30, 8.0), (2.0, 0.2, 20, 1.0)]
    loads = [Load(2, ready, weights, size, {"imports": imports}) for ready, weights, size, imports in figures]
    assert median_of(loads) == Load(2, 2.0, 0.2, 20, {"imports": 7.0})


def test_phases_are_those_of_the_slowest_replica_and_stand_in_a_table():
    spans_s = slowest([{"weights": 2.0, "imports": 1.0}, {"imports": 3.0, "other": 0.5}])
    assert spans_s == {"imports": 3.0, "weights": 2.0, "other": 0.5}
    plain, engine = Load(1, 4.0, 2.0, 0, {"imports": 1.0, "weights": 2.0}), Load(2, 6.0, 2.0, 0, spans_s)
    table = phases_table({"cpu": {"from_pretrained": plain, "engine": engine}}).splitlines()
    assert table == [
        "| placement | | start | imports | weights | other |",
        "|---|---|---|---|---|---|",
        "| cpu | from_pretrained | 1.00 | 1.00 | 2.00 |  |",
        "| cpu | engine | 0.50 | 3.00 | 2.00 | 0.50 |",
    ]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_the_most_that_a_process_had_of_its_own_is_seen():
    before = anonymous_bytes(os.getpid())
    with Watch(lambda: [os.getpid()]) as watch:
        held = bytearray(os.urandom(64 * MIB))
        while watch.most_bytes < before + 60 * MIB:
            assert held
    del held
    assert watch.most_bytes < before + 400 * MIB
    assert anonymous_bytes(2**22 + 1) == 0


@pytest.mark.slow
def test_it_loads_by_hand_and_by_the_engine(tmp_path):
    model = save_cogvlm(tmp_path / "model")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", "--model", str(model), "--rounds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    plain, engine = (result["loads"]["auto"][name] for name in ("from_pretrained", "engine"))
    assert plain["replicas"] == engine["replicas"] == 1
    assert 0 < engine["weights_s"] < engine["ready_s"]
    assert 0 < plain["weights_s"] < plain["ready_s"]
    assert sum(engine["spans_s"].values()) < engine["ready_s"]
    assert result["loads"]["auto"]["engine_over_plain"] == engine["weights_s"] / plain["weights_s"]
