"""Plots of what `serve.py` measured: ``python -m benchmarks.plots FILE.json … --out FOLDER``.

Owns how a result looks: tokens a second and the wait for the first token against the users at a time, a line for each
design. Reads the files that ``--json`` writes, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0f766e", "#c2410c", "#4f6bc8", "#7a6a2f", "#9d4a78")  # told apart also by their markers
MARKERS = ("o", "s", "^", "D", "v")
INK, QUIET = "#1f2933", "#697580"


def plot_serve(result: dict[str, Any]) -> Figure:
    """One result of `serve.py` as two panels."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    speeds, waits = figure.subplots(1, 2)
    for number, (name, loads) in enumerate(result["loads"].items()):
        users = [load["users"] for load in loads]
        look = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)], "label": name}
        speeds.plot(users, [load["tokens_per_s"] for load in loads], **look)
        waits.plot(users, [load["first_token_s"] for load in loads], **look)
    flat = [load for loads in result["loads"].values() for load in loads]
    every = sorted({load["users"] for load in flat})
    _dress(speeds, every, "Tokens a second, all users together")
    _dress(waits, every, "Seconds to the first token, first turn (median)")
    waited_s = [load["first_token_s"] for load in flat]
    if max(waited_s) >= 10 * min(waited_s):
        waits.set_yscale("log")
        waits.yaxis.set_major_formatter("{x:g}")
    else:  # powers of ten would leave the axis with one number
        waits.set_ylim(bottom=0)
    speeds.set_ylim(bottom=0)
    figure.legend(*speeds.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _dress(axes: Axes, users: Sequence[int], title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel("users at a time", fontsize=9, color=QUIET)
    axes.set_xticks(users)
    axes.tick_params(colors=QUIET, labelsize=9)
    axes.grid(axis="y", color="#e3e7ea", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c3cad0")


def save(figure: Figure, path: Path) -> None:
    """As an SVG that is the same whenever it is made of the same figures."""
    with matplotlib.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="results that serve.py wrote with --json")
    parser.add_argument("--out", type=Path, required=True, help="a folder; a plot is named like its file")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for file in options.files:
        save(plot_serve(json.loads(file.read_text(encoding="utf-8"))), options.out / f"{file.stem}.svg")


if __name__ == "__main__":
    main()
