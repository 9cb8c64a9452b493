"""Writes the README's table of flags from the flags themselves: ``python -m tests.readme``."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo.flags import CAPTION_FLAGS, CHAT_FLAGS, ENGINE_FLAGS, GROUND_FLAGS, SERVE_FLAGS

README = Path(__file__).resolve().parents[1] / "README.md"
START = "<!-- flags: written by `python -m tests.readme`, held by tests/test_readme.py -->\n"
END = "<!-- /flags -->"
PARTS = (
    ("every command", ENGINE_FLAGS),
    ("the page and `--plan`", SERVE_FLAGS),
    ("`chat`", CHAT_FLAGS),
    ("`ground`", GROUND_FLAGS),
    ("`caption`", CAPTION_FLAGS),
)


def table() -> str:
    lines = ["| flag | for | environment | meaning |", "|---|---|---|---|"]
    for part, flags in PARTS:
        for flag in flags:
            name = f"{flag.name} {flag.metavar}" if flag.metavar else flag.name
            lines.append(f"| `{name}` | {part} | `{flag.variable}` | {flag.help} |")
    return "\n".join(lines) + "\n"


def written(text: str) -> str:
    return re.sub(re.escape(START) + ".*?" + re.escape(END), lambda _: START + table() + END, text, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
