"""A folder of pictures, and a real engine with the fake model."""

import pytest
from captioning_kit import png

from demo.captioning.captioner import Captioner, Wishes
from demo.config import EngineConfig, ModelChoice
from demo.engine.devices import GIB, Device
from demo.engine.manager import ModelManager
from demo.prompts import load_prompts

CPU = Device("cpu", "CPU", "cpu", 16 * GIB, 8 * GIB)
CARDS = [Device(f"cuda:{index}", "Card", "cuda", 24 * GIB, 24 * GIB) for index in range(2)]
READY_S = 60.0


@pytest.fixture
def folder(tmp_path):
    """Six pictures of different widths, and a file that is none."""
    made = tmp_path / "pictures"
    (made / "more").mkdir(parents=True)
    for index in range(6):
        (made / ("more" if index > 3 else ".") / f"p{index}.png").write_bytes(png(width=60 + index))
    (made / "broken.png").write_bytes(b"no picture")
    return made


@pytest.fixture
def captioner():
    """Builds one on an engine of its own: ``captioner("short", tokens=60)`` gives the fake its options."""
    managers = []

    def build(style="short", *, replicas=1, slots=None, wishes=None, **options):
        query = "&".join(f"{name}={value}" for name, value in options.items())
        placement = "replicate" if replicas > 1 else "auto"
        config = EngineConfig(models=(ModelChoice(f"fake?{query}"),), placement=placement, slots=slots)
        managers.append(ModelManager(config, devices=CARDS[:replicas] if replicas > 1 else [CPU]))
        managers[-1].start()
        assert managers[-1].wait_ready(READY_S)
        spec = managers[-1].specs["captioning"]
        return Captioner(managers[-1], spec, load_prompts(spec.prompts), wishes or Wishes(style))

    yield build
    for manager in managers:
        manager.close()
