"""`gatewright docs examples`, in this process."""

import pytest
from typer.testing import CliRunner

from backends.examples import Examples, Taken
from gateway.cli import app
from gateway.commands import open_installation


@pytest.fixture
def run(tmp_path):
    with open_installation(tmp_path) as installation:
        Examples(installation.database).keep(
            [
                Taken("rate.get", "rates", "GET", 200, {"year": 2026}, {"rate": "1.22"}, ("input/token",)),
                Taken("rate.set", "rates", "POST", 200, {"rate": "2"}, {}),
            ]
        )

    def run(*words, code=0):
        found = CliRunner().invoke(app, ["docs", "examples", *words, "--data", str(tmp_path)])
        assert found.exit_code == code, found.output
        return found.output

    return run


def test_samples_are_looked_at_promoted_and_dropped(run):
    lines = run("list").splitlines()
    assert [line.split()[0] for line in lines] == ["2", "1"]
    assert lines[1].endswith("GET   rate.get by rates  without input/token")
    assert '"rate": "1.22"' in run("show", "1")
    made = run("promote", "1", "--title", "A year", "--ignore", "at", "--author", "ann")
    assert made.startswith("*     1")
    assert "'A year'" in made
    shown = run("show", "1")
    assert '"runs": true' in shown
    assert '"author": "ann"' in shown
    assert run("list", "--promoted").split()[:2] == ["*", "1"]
    assert run("list", "rate.get", "--samples") == ""
    assert '"runs": false' in (run("promote", "1", "--contract-only"), run("show", "1"))[1]
    assert run("drop", "2").startswith("dropped       2")


def test_what_is_not_there_is_told_with_what_to_do(run):
    assert "there is no sample 9: see `gatewright docs examples list`" in run("show", "9", code=1)
    assert run("list", "nothing.there") == ""
