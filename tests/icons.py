"""Writes the page's icons from assets/icons/icon.svg: ``python tests/icons.py``."""

import sys
from pathlib import Path

import resvg_py

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from demo.ui.front import ICONS  # noqa: E402

SIZES = {"icon-64.png": 64, "icon-180.png": 180, "icon-192.png": 192, "icon-512.png": 512, "maskable-512.png": 512}


def drawn(name: str) -> bytes:
    """A maskable one fills its square, for the system cuts its shape out."""
    svg = (ICONS / "icon.svg").read_text(encoding="utf-8")
    if name.startswith("maskable"):
        svg = svg.replace('rx="112"', 'rx="0"')
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZES[name], height=SIZES[name]))


if __name__ == "__main__":
    for name in SIZES:
        (ICONS / name).write_bytes(drawn(name))
