"""Managers with the fake model in real worker processes, closed at the end of each test."""

import pytest
from engine_kit import READY_S, until

from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import GIB, Device
from demo.engine.manager import ModelManager
from demo.engine.replica import RestartPolicy

QUICK = RestartPolicy(first_s=0.05)
CPU = Device("cpu", "CPU", "cpu", 16 * GIB, 8 * GIB)


@pytest.fixture
def start():
    """Builds and starts a manager: ``start(token_s=0.1, ...)`` gives the fake its options."""
    managers = []

    def build(*, stall_s=300.0, restart=QUICK, wait=True, **options):
        query = "&".join(f"{name}={value}" for name, value in options.items())
        config = EngineConfig(models=(ModelChoice(f"fake?{query}" if query else "fake"),))
        managers.append(ModelManager(config, devices=[CPU], stall_s=stall_s, restart=restart))
        managers[-1].start()
        if wait:
            assert managers[-1].wait_ready(READY_S)
        return managers[-1]

    yield build
    for manager in managers:
        manager.close()


@pytest.fixture
def start_on_cards(monkeypatch):
    """Builds and starts a manager: ``start_on_cards("fake?parameters=9", devices=cards(2), placement="replicate")``."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # a worker then finds the plan's numbers there
    managers = []

    def build(*models, devices, wait=True, stall_s=300.0, **flags):
        choices = tuple(model if isinstance(model, ModelChoice) else ModelChoice(model) for model in models)
        config = EngineConfig(models=choices, **flags)
        managers.append(ModelManager(config, devices=devices, restart=QUICK, stall_s=stall_s))
        managers[-1].start()
        if wait:
            assert until(lambda: all(r.state == "idle" for r in managers[-1].snapshot().replicas))
        return managers[-1]

    yield build
    for manager in managers:
        manager.close()
