"""Who may import whom, read from the import statements."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRAMEWORKS = {"torch", "transformers", "accelerate", "gradio", "fastapi", "starlette", "uvicorn", "numpy"}
ML = {"torch", "transformers", "accelerate", "safetensors", "tokenizers"}
WEB = {"gradio", "fastapi", "starlette", "uvicorn"}

# Files (a module or a package), and what none of them may import at the top or inside a function.
NEVER = [
    ("demo/types.py", FRAMEWORKS | {"demo.engine", "demo.ui", "demo.backends"}),
    ("demo/errors.py", FRAMEWORKS | {"demo.engine", "demo.ui", "demo.backends"}),
    ("demo/config.py", FRAMEWORKS | {"demo.engine", "demo.ui", "demo.backends"}),
    ("demo/catalog.py", FRAMEWORKS | {"demo.engine", "demo.ui", "demo.backends"}),
    ("demo/prompts.py", FRAMEWORKS | {"demo.engine", "demo.ui", "demo.backends"}),
    ("demo/grounding", ML | WEB | {"demo.engine", "demo.ui", "demo.api", "demo.backends"}),
    *(
        (f"demo/engine/{name}.py", FRAMEWORKS | {"demo.backends", "demo.models", "demo.ui", "multiprocessing"})
        for name in ("planner", "plans", "decisions", "together", "site", "pipeline", "placing", "arranging", "packing")
    ),
    ("demo/engine/footprint.py", FRAMEWORKS | {"demo.backends", "demo.models", "demo.ui"}),
    (
        "demo/engine",
        WEB | {"demo.ui", "demo.api", "demo.backends", "demo.models", "torch", "transformers", "accelerate"},
    ),
    ("demo/backends", WEB | {"demo.engine", "demo.ui", "demo.api"}),
    ("demo/models", WEB | {"demo.engine", "demo.ui", "demo.api", "demo.backends"}),
    ("demo/ui", ML | {"demo.api", "demo.backends", "demo.models"}),
    ("demo/api", ML | {"gradio", "demo.ui", "demo.backends", "demo.models"}),
    ("demo/captioning", FRAMEWORKS | {"demo.ui", "demo.api", "demo.backends", "demo.models"}),
    ("demo/cli.py", FRAMEWORKS | {"demo.backends", "demo.models"}),
]
# Read again by every worker, so nothing heavy may come in at the top; a function may.
LIGHT = ["launch.py", "demo/cli.py", "demo/engine/worker.py", "demo/engine/manager.py"]


def imports(path, *, at_top=False):
    """The dotted names a file imports; those under ``if TYPE_CHECKING`` do not count, they never run."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _statements(tree, at_top=at_top):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _statements(node, *, at_top):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if at_top and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        yield child
        yield from _statements(child, at_top=at_top)


def _absolute(path, node):
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def files(place):
    path = ROOT / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []


def offences(path, banned, *, at_top=False):
    """The imports that are a banned name or lie below one."""
    names = set(imports(path, at_top=at_top))
    return sorted(name for name in names if any(f"{name}.".startswith(f"{ban}.") for ban in banned))


@pytest.mark.parametrize(("place", "banned"), NEVER, ids=[place for place, _ in NEVER])
def test_a_layer_imports_nothing_from_above_it(place, banned):
    found = {str(path.relative_to(ROOT)): offences(path, banned) for path in files(place)}
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("place", LIGHT)
def test_what_every_worker_reads_again_is_light(place):
    heavy = FRAMEWORKS | {"demo.ui", "demo.api", "demo.backends", "demo.models"}
    assert all(not offences(path, heavy, at_top=True) for path in files(place))


@pytest.mark.parametrize(
    ("statement", "is_found"),
    [
        ("import torch", True),
        ("import torch.nn as nn", True),
        ("from torch import nn", True),
        ("from demo import backends", True),
        ("from ..backends import base", True),
        ("def late():\n    import torch", True),
        ("import torchless", False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", False),
    ],
)
def test_the_reader_of_imports_finds_what_it_should(tmp_path, monkeypatch, statement, is_found):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "demo" / "engine" / "some.py"
    path.parent.mkdir(parents=True)
    path.write_text(statement)
    assert bool(offences(path, {"torch", "demo.backends"})) is is_found


def test_every_rule_that_names_a_file_still_has_one():
    assert not {place for place, _ in NEVER if not files(place)}
