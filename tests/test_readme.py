"""The README cannot rot: its flags, its paths and its commands are those of the tree."""

import re
from pathlib import Path

from tests.readme import README, written

ROOT = README.parent
TEXT = README.read_text()


def test_the_table_of_flags_is_that_of_the_flags():
    assert written(TEXT) == TEXT, "run: python -m tests.readme"


def test_every_file_that_the_readme_shows_or_names_is_there():
    named = re.findall(r"\]\((assets/[^)]+)\)", TEXT)
    named += re.findall(r"`((?:demo|training|assets|tests|benchmarks)/[\w/.]+)`", TEXT)
    assert len(named) > 5
    for path in named:
        assert (ROOT / path).exists(), path


def test_the_tree_in_the_readme_is_the_tree():
    block = next(
        b for b in re.findall(r"^```\w*\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE) if b.startswith("launch.py")
    )
    for line in block.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        where = ROOT / "demo" if line.startswith("  ") else ROOT
        for name in names:
            assert (where / name).exists(), name
    assert {p.name for p in (ROOT / "demo").iterdir() if p.is_dir() and p.name != "__pycache__"} <= set(
        re.findall(r"^  (\w+)/", block, re.MULTILINE)
    )


def test_both_commands_of_the_readme_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    assert Path(ROOT / ".ci/run").read_text().count("make test") == 1
    assert "\ntest:" in makefile
    assert "\ndemo:" in makefile
