"""How files become modules: private, together, and with lines in tracebacks."""

import gc
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from backends.loading import PACKAGE, DeploymentErrors, contracts_of, load, module_name


def loaded(**files):
    return load({f"{name.replace('__', '/')}.py": content.encode() for name, content in files.items()}, "services", 7)


def errors_of(files):
    with pytest.raises(DeploymentErrors) as caught:
        contracts_of(files, "services")
    return [(error.file, error.line, error.message) for error in caught.value.errors]


@pytest.mark.parametrize(
    "statement",
    [
        "import helpers\nVALUE = helpers.VALUE",
        "from helpers import VALUE",
        "from .helpers import VALUE",
        "from . import helpers\nVALUE = helpers.VALUE",
    ],
)
def test_files_of_a_set_import_one_another(statement):
    assert loaded(a=statement, helpers="VALUE = 7").module("a.py").VALUE == 7


@pytest.mark.parametrize(
    "statement",
    [
        "import lib.table\nVALUE = lib.table.VALUE",
        "from lib.table import VALUE",
        "from lib import table\nVALUE = table.VALUE",
    ],
)
def test_a_folder_is_a_package(statement):
    assert loaded(a=statement, lib__table="from .deep import VALUE", lib__deep="VALUE = 7").module("a.py").VALUE == 7


def test_a_function_imports_when_it_is_called():
    module = loaded(a="def get():\n    from helpers import VALUE\n    return VALUE", helpers="VALUE = 7").module("a.py")
    assert module.get() == 7


def test_modules_that_import_one_another_in_a_circle_load():
    module = loaded(a="import b\nONE = 1", b="import a\ndef two(): return a.ONE + 1").module("b.py")
    assert module.two() == 2


def test_a_users_security_module_hides_nothing_of_ours():
    import security

    module = loaded(a="import security\nMINE = security.MINE", security="MINE = True").module("a.py")
    assert module.MINE is True
    assert sys.modules["security"] is security
    assert not hasattr(security, "MINE")


def test_a_file_named_after_a_library_gets_the_library():
    assert loaded(json="import json\ntext = json.dumps([1])").module("json.py").text == "[1]"


def test_other_code_does_not_find_the_files():
    loaded_now = loaded(helpers_of_mine="VALUE = 7")
    with pytest.raises(ModuleNotFoundError):
        __import__("helpers_of_mine")
    del loaded_now


def test_a_traceback_shows_the_line_of_the_file():
    module = loaded(rates="def fail():\n    raise ValueError('x')  # here").module("rates.py")
    with pytest.raises(ValueError, match="x") as caught:
        module.fail()
    shown = "".join(traceback.format_exception(caught.value))
    assert "services/v7/rates.py" in shown
    assert "raise ValueError('x')  # here" in shown


def test_dataclasses_and_annotations_work_in_a_deployed_file():
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import get_type_hints\n"
        "@dataclass\nclass A:\n    x: int\n    y: A | None = None\nHINTS = get_type_hints(A)\n"
    )
    assert loaded(a=source).module("a.py").HINTS["x"] is int


def test_modules_are_forgotten_with_the_last_who_uses_them():
    one = loaded(a="VALUE = 1")
    names = {name for name in sys.modules if name.startswith(PACKAGE)}
    assert names
    del one
    gc.collect()
    assert not names & set(sys.modules)


def test_a_syntax_error_is_reported_with_file_line_and_reason():
    assert errors_of({"bad.py": b"x = 1\ndef f(:\n    pass\n"}) == [("bad.py", 2, "SyntaxError: invalid syntax")]


def test_every_broken_file_is_reported():
    files = {
        "a.py": b"import nothing_of_this_name",
        "b.py": b"\n\n1 / 0",
        "c.py": b"from helpers import missing",
        "helpers.py": b"",
    }
    assert [error[:2] for error in errors_of(files)] == [("a.py", 1), ("b.py", 3), ("c.py", 1)]


def test_a_broken_helper_is_reported_once_and_by_its_own_name():
    files = {"a.py": b"import helper", "b.py": b"import helper", "helper.py": b"\nraise RuntimeError('no')"}
    assert errors_of(files) == [("helper.py", 2, "RuntimeError: no")]


def test_a_file_that_exits_is_an_error_like_any_other():
    assert errors_of({"a.py": b"import sys\nsys.exit(3)"}) == [("a.py", 2, "SystemExit: 3")]


ENDLESS = {
    "looping.py": b"x = 1\nwhile True:\n    try:\n        x += 1\n    except Exception:\n        pass\n",
    "waiting.py": b"import time\n\ntime.sleep(600)\n",
    "by_helper.py": b"import lib.endless\n",
    "lib/endless.py": b"\n\nwhile True: pass\n",
    "fine.py": b"from gatewright import Service\nclass Fine(Service):\n    def handle(self): pass\n",
}
TOO_LONG = [
    ("lib/endless.py", [3]),
    ("looping.py", [2, 3, 4, 5, 6]),
    ("waiting.py", [3]),
]


def check_endless():
    """What is said of modules that never end: the file, the line where it was, the reason."""
    with pytest.raises(DeploymentErrors) as caught:
        contracts_of(ENDLESS, "services", patience=0.3)
    found = sorted((error.file, error.line, error.message) for error in caught.value.errors)
    assert [file for file, _, _ in found] == [file for file, _ in TOO_LONG]
    assert all(line in lines for (_, line, _), (_, lines) in zip(found, TOO_LONG, strict=True))
    assert all("takes too long" in message for _, _, message in found)


def test_a_module_that_never_ends_is_refused_and_the_others_are_checked():
    before = signal.getsignal(signal.SIGALRM)
    check_endless()
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_module_that_never_ends_is_refused_under_gevent_too():
    words = "from gevent import monkey; monkey.patch_all(); from test_loading import check_endless; check_endless()"
    path = os.pathsep.join(str(folder) for folder in (Path(__file__).parent, Path(__file__).parents[2]))
    done = subprocess.run(
        [sys.executable, "-c", words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_contract_that_cannot_be_is_reported_at_its_class():
    source = b"from gatewright import Service\n\nclass A(Service):\n    input = 7\n    def handle(self): pass\n"
    [(file, line, reason)] = errors_of({"a.py": source})
    assert (file, line) == ("a.py", 3)
    assert "A.input" in reason


def test_two_services_of_one_name_are_reported_naming_both_files():
    source = b"from gatewright import Service\nclass A(Service):\n    name = 'x'\n    def handle(self): pass\n"
    [(file, line, reason)] = errors_of({"a.py": source, "b.py": source})
    assert (file, line, reason) == ("b.py", 2, "the service 'x' stands in a.py too (A)")


def test_a_schema_file_belongs_to_the_set():
    source = b"from gatewright import Service\nclass A(Service):\n    schema = 'schemas/a.json'\n    def handle(self): pass\n"
    schema = b'{"type": "object", "required": ["name"]}'
    [contract] = contracts_of({"a.py": source, "schemas/a.json": schema}, "services")
    assert contract.schema["required"] == ["name"]
    [(file, line, reason)] = errors_of({"a.py": source})
    assert (file, line) == ("a.py", 2)
    assert "schemas/a.json" in reason
    assert "/tmp" not in reason


def test_a_file_name_need_not_be_a_python_name():
    assert module_name("01-rates.v2.py") == "01-rates_v2"
    source = b"from gatewright import Service\nclass GetRate(Service):\n    def handle(self): pass\n"
    assert [one.service for one in contracts_of({"01-rates.py": source}, "s")] == ["01-rates.get-rate"]
