"""What the source says to people: keys of texts that it asks for, and the sentences of its errors."""

import ast
import re
from pathlib import Path

from demo import errors
from demo.ui.language import load_languages
from demo.ui.notes import line_of

ROOT = Path(__file__).resolve().parents[2]
FAMILY = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.DemoError)}
HOLE = "{}"
ASKING = ("say", "say.counted", "label", "note", "counted")


SAY = load_languages().english


def english(remark):
    """An answer's small line."""
    return line_of(SAY, remark)


def trees(*places):
    for place in places:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            yield file.relative_to(ROOT), ast.parse(file.read_text(encoding="utf-8"))


def template(node, names=()):
    """A text in the source, with ``{}`` for what is filled in; None where it is not written there."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
    if isinstance(node, ast.Name):
        return dict(names).get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [template(side, names) for side in (node.left, node.right)]
        return None if parts == [None, None] else "".join(part or HOLE for part in parts)
    return None


def keys(*places):
    """Everything there that looks like the key of a text, or like the pattern of some."""
    for _, tree in trees(*places):
        for node in ast.walk(tree):
            text = template(node)
            if text and re.fullmatch(r"[a-z_]+(\.[a-z_]+|\.\{\})+", text):
                yield text


def called(*places):
    """What a text is asked for with, where that is written there."""
    for _, tree in trees(*places):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in ASKING:
                yield from filter(None, [template(node.args[0])])


def sentences(*places):
    """(file, sentence) of every error of ours that is made there: what is wrong, and what to do."""
    for file, tree in trees(*places):
        for node, names in _with_names(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FAMILY:
                remedies = [keyword.value for keyword in node.keywords if keyword.arg == "remedy"]
                for part in [*node.args[:1], *remedies]:
                    if (text := template(part, names)) and text.strip("{}.: "):
                        yield file, text


def _with_names(tree):
    """Each node with the texts that are given names in its module or function."""
    module = _assigned(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            local = {**module, **_assigned(ast.walk(node))}
            for inner in ast.walk(node):
                yield inner, tuple(local.items())


def _assigned(nodes):
    found = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            text = template(node.value)
            if text:
                found[node.targets[0].id] = text
    return found
