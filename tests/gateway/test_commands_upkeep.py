"""The operator's verbs: administrators, connections, explain, the reference, the version; and beside a running gateway."""

import http.server
import json
import subprocess
import sys
import threading
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from running import gateway
from typer.testing import CliRunner

from gateway.administrators import Administrators
from gateway.cli import app
from gateway.configuration.document import Document
from gateway.configuration.kinds import CHANNELS, KINDS
from gateway.configuration.schema import schema
from gateway.configuration.store import Store
from gateway.metrics import Metrics
from gateway.migrations import migrate
from gateway.version import version
from security.database import open_database
from security.passwords import HashingPool
from security.references import References
from security.secrets import Keyring
from specs.problems import CODES

ROOT = Path(__file__).parents[2]


def run(*words, text=None):
    result = CliRunner().invoke(app, [str(word) for word in words], input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def system():
    """A system that answers every request with 204."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(204)
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()

        def log_message(self, *words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def data(tmp_path, system, monkeypatch):
    monkeypatch.setenv("GW_TEST_PASSWORD", "pass-by-reference")
    folder = tmp_path / "var"
    document = f"""
        connections:
          My ERP: {{type: rest, url: "{system}", username: u, password: "${{env:GW_TEST_PASSWORD}}", timeout: 2s}}
          inline: {{type: rest, url: "{system}", api_key: written-down, headers: {{X-A: b}}}}
          gone: {{type: rest, url: "http://127.0.0.1:1", retries: 0}}
          local: {{type: sql, url: "sqlite:///{tmp_path}/local.db"}}
    """
    with closing(open_database(folder)) as database:
        migrate(database)
        store = Store(database, Keyring.open(folder / "keys.json", create=True))
        store.apply(Document.parse(document), references=References(tmp_path), author="t", comment="")
    return folder


def verifies(data, name, password):
    pool = HashingPool()
    try:
        with closing(open_database(data)) as database:
            return Administrators(database, Keyring.open(data / "keys.json"), pool=pool).verify(name, password)
    finally:
        pool.close()


# admin


def test_a_password_comes_from_standard_input_and_is_not_shown(data):
    (data / "admin-password").write_text("admin:the-first-one\n")
    assert run("admin", "password", "--password-stdin", "--data", data, text="correct horse battery\n") == (0, "", "")
    assert verifies(data, "admin", "correct horse battery")
    assert not (data / "admin-password").exists()


def test_a_password_that_is_made_is_printed_once_and_for_another_administrator(data):
    (data / "admin-password").write_text("admin:the-first-one\n")
    code, out, err = run("admin", "password", "eve", "--data", data)
    assert (code, err, len(out.strip()) >= 32) == (0, "", True)
    assert verifies(data, "eve", out.strip())
    # What was made for somebody else is not touched.
    assert (data / "admin-password").exists()


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["--password-stdin"], "short\n", "password: a password has at least 12 characters"),
        (["--password-stdin"], "", "password: a password has at least 12 characters"),
        (["a:b"], "", "an administrator cannot be called 'a:b': names hold no colon"),
        ([""], "", "an administrator cannot be called '': names hold no colon"),
    ],
)
def test_a_password_or_name_that_cannot_be_used_is_refused(data, words, text, said):
    assert run("admin", "password", *words, "--data", data, text=text) == (1, "", f"gatewright: {said}\n")


def test_no_option_of_any_verb_takes_a_secret_as_its_value():
    def options(command, path=()):
        for one in command.params:
            if one.param_type_name == "option" and not one.is_flag:
                yield from ((*path, spelling) for spelling in one.opts)
        for name, below in getattr(command, "commands", {}).items():
            yield from options(below, (*path, name))

    found = [" ".join(path) for path in options(typer.main.get_command(app))]
    secret = [one for one in found if any(word in one.rpartition(" ")[2] for word in ("password", "secret", "token"))]
    assert secret == ["run --secrets-dir"]


# connection


def test_connections_are_listed_pinged_and_explained(data):
    assert run("connection", "list", "--data", data) == (0, "My ERP\trest\ngone\trest\ninline\trest\nlocal\tsql\n", "")
    for name in ("My ERP", "local"):
        code, out, err = run("connection", "ping", name, "--data", data)
        assert (code, err) == (0, "")
        assert out.startswith(f"{name} answers (")


def test_a_system_that_is_down_or_unknown_is_a_line(data):
    code, out, err = run("connection", "ping", "gone", "--data", data)
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith("gatewright: gone: cannot be reached: ")
    assert run("connection", "ping", "my ERP", "--data", data) == (
        1, "", "gatewright: no connection called 'my ERP': did you mean 'My ERP'?\n",
    )  # fmt: skip


def test_stats_need_a_gateway_that_runs_and_a_name_that_was_used(data):
    code, out, err = run("connection", "stats", "--data", data)
    assert (code, out, "no gateway runs" in err) == (1, "", True)
    metrics = Metrics(data / "run" / "metrics")
    metrics.note("connections", lambda: [{"kind": "rest", "name": "My ERP", "busy": 1, "idle": 2, "most": 20}])
    metrics.write()
    code, out, err = run("connection", "stats", "--data", data)
    assert (code, out.split(), err) == (
        0, ["NAME", "KIND", "BUSY", "IDLE", "MOST", "STATE", "My", "ERP", "rest", "1", "2", "20"], "",
    )  # fmt: skip
    code, out, err = run("connection", "stats", "my ERP", "--data", data)
    assert (code, out, "did you mean 'My ERP'" in err) == (1, "", True)


def test_an_explained_connection_shows_references_and_no_secret(data):
    code, out, err = run("connection", "explain", "My ERP", "--data", data)
    assert (code, err) == (0, "")
    lines = {line.split("  ")[0]: line.split()[1] for line in out.splitlines()[3:] if "  " in line}
    assert (lines["password"], lines["timeout"], lines["retries"]) == ("${env:GW_TEST_PASSWORD}", "2s", "(2)")
    shown = out + run("connection", "explain", "inline", "--data", data)[1]
    assert "pass-by-reference" not in shown
    assert "written-down" not in shown


# explain


def test_explain_names_every_kind_and_what_else_there_is():
    code, out, err = run("explain")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if line] == [*KINDS, "formats", "problems", "names"]


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        (["connector", "sql"], "A pool of connections to one database.\n\nurl        text"),
        (["connections", "sql"], "A pool of connections to one database.\n\nurl        text"),
        (["connection"], "rest  A pool of kept-alive HTTP connections"),
        (["authenticators"], "apikey  Callers send a key"),
        (["gateway", "timeouts"], "What holds for the whole gateway.\n\ntimeouts  timeouts    how long to wait for what\n\n"),
        (["keys"], "Encryption keys."),
        (["problem", "no-such-path"], "no-such-path  404  No such path  urn:gatewright:problem:no-such-path\n"),
        (["names"], "exact           auth_data"),
        (["formats", "xml"], "xml  XML in the contract's shape."),
    ],
)  # fmt: skip
def test_explain_prints_what_can_be_written(words, begins):
    code, out, err = run("explain", *words)
    assert (code, err) == (0, "")
    assert out.startswith(begins)


def test_every_word_of_every_kind_can_be_explained():
    for kind in KINDS.values():
        for word in kind.registry.words() if kind.registry is not None else [""]:
            code, out, err = run("explain", kind.word, *([word] if word else []))
            assert (code, err, bool(out.strip())) == (0, "", True)


def test_explain_lists_every_published_code():
    assert [line.split()[0] for line in run("explain", "problems")[1].splitlines()] == list(CODES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chanel"], "no kind called 'chanel': did you mean 'channel'?"),
        (
            ["channel", "rets"],
            f"no channel called 'rets': did you mean 'rest'? (there are: {', '.join(CHANNELS.words())})",
        ),
        (["problems", "forbiden"], "no problem called 'forbiden': did you mean 'forbidden'?"),
        (["gateway", "max_boddy"], "no setting called 'max_boddy': did you mean 'max_body'?"),
        (["formats", "jsn"], "no format called 'jsn': did you mean 'json'?"),
    ],
)
def test_a_word_that_does_not_exist_gets_the_nearest(words, said):
    assert run("explain", *words) == (1, "", f"gatewright: {said}\n")


# docs


class Page(HTMLParser):
    """The links, the anchors and the text of a page, whose tags have to match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.anchors, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "br", "hr"):
            self.open.append(tag)
        self.links += [value for key, value in attributes if key == "href"]
        self.anchors += [value for key, value in attributes if key == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text += text


def test_the_reference_holds_every_setting_command_problem_and_rule(tmp_path):
    code, out, err = run("docs", "export", tmp_path / "site")
    assert (code, err) == (0, "")
    written = [Path(line) for line in out.splitlines()]
    assert [path.name for path in written] == [
        "index.html", "settings.html", "commands.html", "problems.html", "names.html", "gatewright.schema.json",
    ]  # fmt: skip
    assert json.loads(written[-1].read_text()) == schema()
    pages = {path.name: Page(path.read_text()) for path in written[:-1]}
    for page in pages.values():
        assert all((tmp_path / "site" / link).exists() for link in page.links)
        assert len(page.anchors) == len(set(page.anchors))
    for kind in KINDS.values():
        assert kind.word in pages["settings.html"].anchors
        for word in kind.registry.words() if kind.registry is not None else ():
            assert f"{kind.word}-{word}" in pages["settings.html"].anchors
    assert "proxies whose word on the caller's address is taken" in pages["settings.html"].text
    assert {"gatewright-config-apply", "gatewright-run", "gatewright-docs-export"} <= set(
        pages["commands.html"].anchors
    )
    assert "GATEWRIGHT_SECRETS_DIR" in pages["commands.html"].text
    assert all(word in pages["problems.html"].text for code in CODES for word in (code, CODES[code][1]))
    assert "needs_" in pages["names.html"].text
    before = {path.name: path.read_bytes() for path in written}
    run("docs", "export", tmp_path / "site")
    assert {path.name: path.read_bytes() for path in written} == before


def test_a_reference_that_cannot_be_written_is_a_line(tmp_path):
    (tmp_path / "file").touch()
    code, out, err = run("docs", "export", tmp_path / "file")
    assert (code, out, len(err.splitlines())) == (1, "", 1)


# version, usage


@pytest.mark.parametrize("words", [["version"], ["--version"]])
def test_the_version_is_told(words):
    assert run(*words) == (0, f"gatewright {version()}\n", "")


@pytest.mark.parametrize(
    "words", [["no-such-verb"], ["backup"], ["explain", "a", "b", "c"], ["doctor", "--no-such-option"]]
)
def test_wrong_usage_is_exit_code_2(words):
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *words], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


# beside a gateway that runs


def test_a_running_gateway_is_examined_and_backed_up_and_goes_on(tmp_path):
    service = "from gatewright import Service\n\nclass Hello(Service):\n    name = 'hello'\n    output = 'a'\n\n    def handle(self):\n        self.response.payload.a = 'b'\n"  # noqa: E501
    document = "channels:\n  hello: {type: rest, path: /hello, service: hello}\n"
    archive = tmp_path / "backup.tar.gz"
    with gateway(tmp_path, document, {"hello.py": service}) as running:
        data = running.data
        places = (running.url.removeprefix("http://"), "--admin", running.admin_url.removeprefix("http://"))
        code, examined, err = run("doctor", "--data", data, "--listen", *places)
        assert (code, err) == (0, "")
        assert f"version {version()}, revision 1, 1 of 1 workers serve" in examined
        assert examined.count("is in use, and a gateway runs on this data folder") == 2
        assert run("backup", archive, "--data", data)[0] == 0
        assert running.get("/hello").json() == {"a": "b"}
        # What comes after the copy is not in it; a gateway that runs is not replaced under its feet.
        (tmp_path / "other.yaml").write_text(document.replace("/hello", "/other"))
        assert run("config", "apply", tmp_path / "other.yaml", "--data", data)[0] == 0
        assert run("restore", archive, "--data", data, "--force") == (
            1, "", f"gatewright: data: a gateway runs on {data}: stop it first\n",
        )  # fmt: skip
    assert run("restore", archive, "--data", data, "--force")[0] == 0
    assert "path: /hello" in run("config", "dump", "--data", data)[1]
    assert "hello" in run("service", "list", "--data", data)[1]
