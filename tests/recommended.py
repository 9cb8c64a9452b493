"""Writes the sizes of the recommended models from their configurations: ``python tests/recommended.py``."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from demo.catalog import CATALOG  # noqa: E402
from demo.engine import recommended  # noqa: E402
from demo.engine.footprint import Limits, of_directory  # noqa: E402

SOURCES = {
    "qwen2-vl-2b": ROOT / "tests" / "fixtures" / "recommended" / "qwen2-vl-2b",
    "qwen2.5-vl-7b": ROOT / "benchmarks" / "shapes" / "qwen2.5-vl-7b",
    "cogvlm2": ROOT / "benchmarks" / "shapes" / "cogvlm2-19b",
}


def measured(name: str) -> dict[str, object]:
    spec = CATALOG[name]
    footprint = of_directory(SOURCES[name], name, outline=True, limits=Limits(spec.max_pictures, spec.max_side))
    assert footprint is not None
    return recommended.to_json(footprint)


if __name__ == "__main__":
    text = json.dumps([measured(name) for name in SOURCES], indent=1)
    recommended.RECOMMENDED.write_text(text + "\n", encoding="utf-8")
