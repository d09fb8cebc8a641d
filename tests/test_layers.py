"""Imports go down only, and no two modules import one another in a circle."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ["specs", "security", "backends", "sso", "gateway"]


def modules():
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            if "demo/services" not in path.as_posix():
                parts = path.relative_to(ROOT).with_suffix("").parts
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(tree):
    """Every module that *tree* names in an import, with whether it is imported when the module is."""
    stack = [(tree, True)]
    while stack:
        node, at_once = stack.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, at_once
            yield from ((f"{node.module}.{alias.name}", at_once) for alias in node.names)
        inside = at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        children = node.orelse if is_type_checking(node) else ast.iter_child_nodes(node)
        stack.extend((child, inside) for child in children)


SOURCES = dict(modules())
IMPORTS = {name: set(imports(ast.parse(path.read_text()))) for name, path in SOURCES.items()}


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_down_only(layer):
    above = {*LAYERS[LAYERS.index(layer) + 1 :], "gatewright"}
    upward = {
        f"{name} imports {found}"
        for name, named in IMPORTS.items()
        if name.split(".")[0] == layer
        for found, _ in named
        if found.split(".")[0] in above
    }
    assert upward == set()


def test_no_modules_import_one_another_in_a_circle():
    graph = {
        name: {found for found, at_once in named if at_once and found in SOURCES and found != name}
        for name, named in IMPORTS.items()
    }
    done, path, circles = set(), [], []

    def visit(name):
        if name in path:
            circles.append([*path[path.index(name) :], name])
        elif name not in done:
            path.append(name)
            for found in sorted(graph[name]):
                visit(found)
            done.add(path.pop())

    for name in sorted(graph):
        visit(name)
    assert circles == []


def test_the_face_only_hands_names_on():
    tree = ast.parse((ROOT / "gatewright.py").read_text())
    assert [type(node).__name__ for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)] == []
    assert {name.split(".")[0] for name, _ in imports(tree)} <= {"backends", "specs", "__future__"}
