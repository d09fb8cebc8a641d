"""`gatewright config`: what it prints, and the exit codes that scripts rely on."""

import os
import stat

import pytest
from typer.testing import CliRunner

from gateway.commands.config import app
from gateway.configuration.kinds import CHANNELS

DOCUMENT = """format: 1
security:
  partners: {type: basic, username: api, password: "${env:GW_TEST_PASSWORD}"}
channels:
  a: {type: rest, path: /a, service: zato.ping, security: partners}
connections:
  erp: {type: rest, url: "http://erp", username: u, password: "${file:erp.secret}"}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("GW_TEST_PASSWORD", "first-password")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "gw.yaml").write_text(DOCUMENT)
    (folder / "erp.secret").write_text("erp-password\n")

    def run(*arguments, text=None):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=text)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.stdout, result.stderr

    return run


def test_validate_needs_and_makes_no_installation(run, tmp_path):
    assert run("validate", "etc/gw.yaml") == (0, "etc/gw.yaml can be applied: 3 objects\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etc"]


def test_validate_tells_every_fault_on_a_line_with_its_place(run):
    words = ", ".join(CHANNELS.words())
    code, out, err = run("validate", "-", text="channels:\n  a: {type: rest, path: a}\n  b: {type: gopher}\n")
    assert (code, out, err.splitlines()) == (
        1,
        "",
        [
            "gatewright: standard input:2:19: channels.a.path: the path 'a' does not begin with a slash: write /a",
            "gatewright: standard input:2:3: channels.a.service: this setting is required: name of the service that answers",
            f"gatewright: standard input:3:7: channels.b.type: no channel called 'gopher': use one of {words}",
        ],
    )


def test_apply_diff_dump_history_rollback(run, tmp_path):
    code, out, err = run("apply", "etc/gw.yaml", "--comment", "begin", "--author", "ann")
    assert (code, out.splitlines()[-1], err) == (0, "revision 1: 3 changes", "")
    assert stat.S_IMODE((tmp_path / "var" / "keys.json").stat().st_mode) == 0o600
    assert run("diff", "etc/gw.yaml") == (0, "", "")
    (tmp_path / "etc" / "gw.yaml").write_text(DOCUMENT.replace("/a", "/b"))
    moved = "gatewright: warning: channels.a: the path was /a and is /b (breaks JSON clients)\n"
    assert run("diff", "etc/gw.yaml") == (3, "~ channels.a: path: /a -> /b\n", moved)
    assert run("apply", "etc/gw.yaml", "--dry-run")[1].splitlines()[-1] == "revision 1 stays: nothing was applied"
    assert run("apply", "etc/gw.yaml", "--expect", "1")[1] == "~ channels.a: path: /a -> /b\nrevision 2: 1 changes\n"
    code, out, err = run("apply", "etc/gw.yaml", "--expect", "1")
    assert (code, err) == (
        1, "gatewright: the configuration is at revision 2 and no longer at 1: look at it and apply again\n"
    )  # fmt: skip
    dumped = run("dump")[1]
    assert run("apply", "-", text=dumped)[:2] == (0, "revision 2 stays: nothing differs\n")
    assert run("rollback", "1")[1] == "~ channels.a: path: /b -> /a\nrevision 3 equals revision 1\n"
    assert run("rollback", "8")[0] == 1
    listed = [line.split("\t") for line in run("history")[1].splitlines()]
    assert [(row[0], row[3]) for row in listed] == [("3", "1"), ("2", "1"), ("1", "3")]
    assert (listed[2][2], listed[2][4]) == ("ann", "begin")
    assert run("dump", "--revision", "2")[1] == dumped


def test_dumps_and_files_hold_no_secret(run, tmp_path):
    run("apply", "etc/gw.yaml")
    everything = run("dump")[1].encode() + b"".join(p.read_bytes() for p in (tmp_path / "var").rglob("*"))
    assert [secret for secret in (b"first-password", b"erp-password") if secret in everything] == []


def test_files_are_relative_to_the_document_and_their_values_kept(run):
    run("apply", "etc/gw.yaml")
    code, _, err = run("apply", "-", text=run("dump")[1])
    assert (code, err.startswith("gatewright: warning: connections.erp.password: the stored value stays")) == (0, True)


def test_a_missing_variable_is_refused_with_its_name(run, monkeypatch):
    monkeypatch.delenv("GW_TEST_PASSWORD")
    code, _, err = run("apply", "etc/gw.yaml")
    assert (code, err) == (
        1,
        "gatewright: etc/gw.yaml:3:42: security.partners.password: the environment variable GW_TEST_PASSWORD is not set: "
        "set GW_TEST_PASSWORD and try again\n",
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("apply",), 2), (("rollback", "x"), 2), (("apply", "nowhere.yaml"), 1), (("dump", "--keys", "nowhere.json"), 1),
     (("dump", "--database", "mysql://h/d"), 1), (("dump", "--revision", "5"), 1)],
)  # fmt: skip
def test_exit_codes(run, arguments, code):
    got, out, err = run(*arguments)
    assert (got, out, bool(err)) == (code, "", True)
    assert code == 2 or len(err.splitlines()) == 1


def test_the_data_directory_comes_from_the_environment_too(run, tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWRIGHT_DATA", str(tmp_path / "elsewhere"))
    assert run("apply", "etc/gw.yaml")[0] == 0
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "etc"]


def test_a_service_that_is_not_deployed_is_a_warning(run):
    document = "channels: {a: {type: rest, path: /a, service: not.there}}"
    code, _, err = run("apply", "-", text=document)
    assert (code, err) == (0, "gatewright: warning: channels.a.service: the service 'not.there' is not deployed\n")


def test_schema_is_json(run):
    import orjson

    assert orjson.loads(run("schema")[1])["title"] == "Gatewright configuration"
