"""The examples in docstrings do what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def modules_with_examples():
    for layer in ("specs", "security", "backends", "sso", "gateway"):
        for path in sorted((ROOT / layer).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if ">>> " in path.read_text(encoding="utf-8") and not {"services", "versions"} & set(parts):
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("module", list(modules_with_examples()))
def test_examples_do_what_they_show(module):
    found = doctest.testmod(importlib.import_module(module), report=True, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0
