"""The benchmark of loads: its medians, its eyes on memory, and that it runs to its one line of JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.load import Load, Watch, anonymous_bytes, median_of
from tests.tinymodels import save_cogvlm

ROOT = Path(__file__).parents[2]
MIB = 2**20


def test_medians_are_of_each_figure():
    loads = [Load(2, 1.0, 0.5, 10), Load(2, 9.0, 0.1, 30), Load(2, 2.0, 0.2, 20)]
    assert median_of(loads) == Load(2, 2.0, 0.2, 20)


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
    assert result["loads"]["auto"]["engine_over_plain"] == engine["weights_s"] / plain["weights_s"]
