"""A test that is skipped for want of a server is a gap: seen on a developer's machine, a failure in CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODULE = """
import pytest

@pytest.fixture
def server():
    pytest.skip("server missing: Frobnicator (apt-get install frobnicator)")

def test_that_needs_it(server):
    pass

def test_that_asks_for_it():
    pytest.skip("server missing: Frobnicator")

def test_that_is_skipped_for_another_reason():
    pytest.skip("not on this platform")

def test_that_runs():
    pass
"""
WHOLE = """
import pytest

pytest.skip("server missing: Frobnicator", allow_module_level=True)
"""


@pytest.mark.parametrize(
    ("ci", "code", "outcome"),
    [
        ("", 0, "1 passed, 4 skipped"),
        ("true", 1, "1 failed, 1 passed, 1 skipped, 2 errors"),
    ],
)
def test_a_missing_server_is_a_skip_here_and_a_failure_in_ci(tmp_path, ci, code, outcome):
    (tmp_path / "test_inner.py").write_text(MODULE)
    (tmp_path / "test_whole.py").write_text(WHOLE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = ["-p", "conftest", "-p", "no:cacheprovider", "--continue-on-collection-errors", "-ra", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=tmp_path, env={**os.environ, "CI": ci, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, outcome in done.stdout.splitlines()[-1]) == (code, True), done.stdout
    assert ("CI is set" in done.stdout) == bool(ci)
