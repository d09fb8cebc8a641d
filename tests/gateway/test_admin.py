"""The admin API over the wire: who may use it, and what it does."""

import base64
import json
from textwrap import dedent

import pytest
from wires import read_answer, serving

from gateway.admin import make_app
from gateway.admin.guard import Guard
from gateway.admin.installation import Installation
from gateway.administrators import Administrators
from gateway.metrics import Metrics
from gateway.migrations import migrate
from gateway.options import Options
from gateway.steward import AdminHandler, HealthHandler, open_installation
from security.database import open_database
from security.secrets import Keyring
from specs.problems import ConfigurationError

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    database = open_database(data)
    migrate(database)
    database.close()
    opened = open_installation(Options(data=data))
    opened.administrators.set_password("root", PASSWORD)
    return opened


class Admin:
    def __init__(self, wire):
        self.wire = wire

    def __call__(self, method, path, body=None, password=PASSWORD, **headers):
        names = {"Host": "127.0.0.1", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if password:
            names.setdefault("Authorization", "Basic " + base64.b64encode(f"root:{password}".encode()).decode())
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if body is not None:
            names.setdefault("Content-Type", "application/json")
            names["Content-Length"] = str(len(content))
        lines = [
            f"{method} {path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in names.items() if value is not None),
            "",
            "",
        ]
        with self.wire.connect(20) as sock:
            sock.sendall("\r\n".join(lines).encode() + content)
            return read_answer(sock, method=method)


@pytest.fixture(scope="module")
def admin(installation):
    guard = Guard(installation.administrators.verify, "127.0.0.1", ["gate.example"])
    with serving(AdminHandler(make_app(installation), guard)) as wire:
        yield Admin(wire)


def code(answer):
    return answer.status, answer.json()["code"]


# who may


def test_A46_nothing_but_health_is_open(admin):
    for path in ("/config", "/config/history", "/services", "/services/x/versions", "/nowhere", "/"):
        answer = admin("GET", path, password=None)
        assert code(answer) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Basic ")
    for path in ("/status", "/ready", "/metrics"):
        assert admin("GET", path, password=None).status in (200, 503)
    assert admin("POST", "/status", {}, password=None).status == 401


@pytest.mark.parametrize("password", ["wrong password 123", "admin", PASSWORD + " ", PASSWORD.upper()])
def test_A46_only_the_right_password_opens(admin, password):
    assert admin("GET", "/config", password=password).status == 401


@pytest.mark.parametrize("header", ["Basic", "Basic ", "Basic %%%", "Basic cm9vdA==", "Bearer x", "basic /w=="])
def test_A46_what_is_no_credential_is_401(admin, header):
    assert admin("GET", "/config", Authorization=header).status == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "127.0.0.1evil", "gate.example.evil"]
)
def test_A46_a_name_that_was_rebound_to_this_machine_is_refused(admin, host):
    for path in ("/config", "/status", "/metrics"):
        assert code(admin("GET", path, Host=host)) == (403, "forbidden")


@pytest.mark.parametrize(
    "host", ["localhost:8001", "127.0.0.1:8001", "[::1]:8001", "127.1.2.3", "gate.example", "GATE.example:1"]
)
def test_A46_the_listeners_own_names_are_heard(admin, host):
    assert admin("GET", "/config", Host=host).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://127.0.0.1:9000"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_A46_a_change_from_another_origin_is_refused(admin, headers):
    answer = admin("POST", "/config/rollback", {"revision": 0}, **headers)
    assert code(answer) == (403, "cross-origin-refused")


def test_A46_a_change_from_the_same_origin_is_heard(admin):
    headers = {"Origin": "http://127.0.0.1", "Sec_Fetch_Site": "same-origin"}
    assert admin("POST", "/config?dry_run=true", {"format": 1}, **headers).status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_A46_a_type_that_a_form_can_send_is_refused(admin, kind):
    assert code(admin("PUT", "/config", b"format: 1", Content_Type=kind)) == (415, "unsupported-media-type")


def test_A47_paths_do_not_lead_around_the_guard(admin):
    for path in ("/metrics/../config", "/metrics//config", "/metrics/%2e%2e/config", "/status;/config", "//config"):
        assert admin("GET", path, password=None).status == 400
    assert admin("GET", "/metrics/config", password=None).status == 401


def test_A47_a_dump_holds_no_secret(admin, monkeypatch):
    monkeypatch.setenv("GATEWRIGHT_SECRET_PARTNER", "hunter2hunter2")
    document = """
        format: 1
        security:
          partners: {type: basic, username: api, password: "${env:GATEWRIGHT_SECRET_PARTNER}"}
    """
    answer = admin("PUT", "/config", document.encode(), Content_Type="application/yaml")
    assert answer.status == 200, answer.body
    dumped = admin("GET", "/config")
    assert b"${env:GATEWRIGHT_SECRET_PARTNER}" in dumped.body
    assert b"hunter2" not in dumped.body + admin("GET", "/config", Accept="application/json").body


def test_answers_are_not_kept_by_anybody(admin):
    answer = admin("GET", "/config")
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_a_health_path_from_elsewhere_needs_credentials(installation):
    class Elsewhere(AdminHandler):
        def handle(self, exchange):
            exchange.peer = "10.0.0.9"
            super().handle(exchange)

    guard = Guard(installation.administrators.verify, "127.0.0.1")
    with serving(Elsewhere(make_app(installation), guard)) as wire:
        assert Admin(wire)("GET", "/metrics", password=None).status == 401
        assert Admin(wire)("GET", "/metrics").status == 200


# what it does


def test_a_document_is_applied_dumped_and_rolled_back(admin):
    first = admin("PUT", "/config", {"format": 1, "groups": {"gold": {}}})
    assert first.status == 200, first.body
    revision = first.json()["revision"]
    assert first.headers["etag"] == f'"{revision}"'
    assert "+ groups.gold" in first.json()["changes"]
    dry = admin("POST", "/config?dry_run=true", {"format": 1, "groups": {"silver": {}}})
    assert dry.json()["changes"] == ["+ groups.silver"]
    assert dry.json()["revision"] == revision
    merged = admin("POST", "/config?comment=more", {"format": 1, "groups": {"silver": {}}})
    assert merged.json()["revision"] == revision + 1
    document = admin("GET", "/config", Accept="application/json")
    assert set(document.json()["groups"]) == {"gold", "silver"}
    history = admin("GET", "/config/history").json()["revisions"]
    assert (history[0]["author"], history[0]["comment"]) == ("root", "more")
    back = admin("POST", "/config/rollback", {"revision": revision})
    assert back.json()["changes"] == ["- groups.silver"]
    assert "silver" not in admin("GET", "/config").body.decode()
    assert "silver" in admin("GET", f"/config?revision={revision + 1}").body.decode()


def test_a_stale_revision_is_refused(admin):
    current = int(admin("GET", "/config").headers["etag"].strip('"'))
    stale = admin("PUT", "/config", {"format": 1}, If_Match=f'"{current - 1}"')
    assert code(stale) == (409, "conflict")
    assert code(admin("PUT", "/config", {"format": 1}, If_Match="abc")) == (400, "bad-request")
    assert admin("PUT", "/config?dry_run=true", {"format": 1}, If_Match=f'"{current}"').status == 200


def test_a_document_with_faults_is_refused_whole_and_every_fault_is_named(admin):
    answer = admin("PUT", "/config", {"format": 1, "groups": {"a": {"limit": "none"}}, "chanels": {}, "limits": 7})
    assert code(answer) == (422, "configuration-refused")
    assert {"chanels", "limits"} <= {fault["pointer"] for fault in answer.json()["errors"]}


def test_references_beyond_what_the_api_may_name_are_refused(admin, monkeypatch):
    monkeypatch.setenv("HOME_SECRET", "x")
    for reference in ("${env:HOME_SECRET}", "${file:/etc/hostname}"):
        document = {"format": 1, "security": {"p": {"type": "basic", "username": "a", "password": reference}}}
        assert admin("PUT", "/config?dry_run=1", document).status in (400, 422)
        assert code(admin("PUT", "/config", document)) == (422, "configuration-refused")


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b"{", b'{"revision": "1"}', b'{"revision": true}', b'{"revision": 1, "x": 2}', b"{}"]
)
def test_a_body_that_is_not_what_was_asked_for_is_400(admin, body):
    assert admin("POST", "/config/rollback", body).status == 400


def test_what_does_not_exist_is_told_as_a_problem(admin):
    assert code(admin("GET", "/nowhere")) == (404, "no-such-path")
    refused = admin("DELETE", "/config")
    assert code(refused) == (405, "method-not-allowed")
    assert "PUT" in refused.headers["allow"]
    assert admin("GET", "/config?revision=99999").status == 422
    assert admin("GET", f"/examples/{2**63}").status == 404
    assert admin("GET", "/config?revision=abc").status == 400


def test_deployment_is_off_unless_it_was_allowed(admin):
    answer = admin("POST", "/services/services", {"files": {"a.py": "x = 1"}})
    assert code(answer) == (403, "deploy-disabled")
    assert code(admin("POST", "/services/services/rollback", {"version": 1})) == (403, "deploy-disabled")


def test_services_are_deployed_listed_and_rolled_back_where_allowed(installation):
    options = Options(data=installation.options.data, allow_deploy=True)
    allowed = Installation(
        **{**{name: getattr(installation, name) for name in installation.__slots__}, "options": options}
    )
    source = dedent("""
        from gatewright import Service

        class Hello(Service):
            name = "hello"
            output = "{}"

            def handle(self):
                pass
    """)
    with serving(AdminHandler(make_app(allowed), Guard(allowed.administrators.verify, "127.0.0.1"))) as wire:
        admin = Admin(wire)
        assert admin("GET", "/services/services/versions").status == 404
        first = admin("POST", "/services/services", {"files": {"hello.py": source.format("a")}})
        assert first.status == 201, first.body
        assert first.json()["author"] == "root"
        second = admin("POST", "/services/services", {"files": {"hello.py": source.format("b")}})
        assert [one["active"] for one in admin("GET", "/services/services/versions").json()["versions"]] == [
            True,
            False,
        ]
        assert {"hello"} <= {one["name"] for one in admin("GET", "/services").json()["services"]}
        back = admin("POST", "/services/services/rollback", {"version": first.json()["id"]})
        assert back.json()["pinned"]
        assert admin("POST", "/services/services/unpin").json()["id"] == second.json()["id"]
        broken = admin("POST", "/services/services", {"files": {"hello.py": "def ("}})
        assert code(broken) == (422, "configuration-refused")
        ending = admin("POST", "/services/services", {"files": {"hello.py": "import os; os._exit(0)"}})
        assert (code(ending), "ended the process" in ending.json()["detail"]) == ((422, "configuration-refused"), True)
        assert admin("POST", "/services/services", {"files": {"../x.py": "x = 1"}}).status == 422
        assert admin("POST", "/services/services/rollback", {"version": 99}).status == 404


def test_readiness_is_that_of_the_workers(installation):
    folder = installation.options.run_folder / "metrics"
    guard = Guard(installation.administrators.verify, "127.0.0.1")
    with serving(AdminHandler(make_app(installation), guard)) as wire, serving(HealthHandler(installation)) as probes:
        admin, probe = Admin(wire), Admin(probes)
        assert admin("GET", "/ready", password=None).status == 503
        assert (probe("GET", "/ready", password=None).status, probe("GET", "/status", password=None).status) == (
            503,
            503,
        )
        metrics = Metrics(folder)
        metrics.facts.update(serving=True, revision=3, catalogue=2)
        metrics.write()
        assert admin("GET", "/ready", password=None).json() == {"ready": True}
        worker = admin("GET", "/status", password=None).json()["workers"][0]
        assert (worker["revision"], worker["catalogue"], worker["serving"]) == (3, 2, True)
        assert b"gatewright_workers_serving 1.0" in admin("GET", "/metrics", password=None).body
        ready = probe("GET", "/ready", password=None)
        assert (ready.status, ready.body) == (200, b"")
        for path in ("/metrics", "/config", "/"):
            assert probe("GET", path).status == 404
        assert probe("POST", "/ready", {}).status == 405


# administrators


def test_the_first_administrator_is_made_once_with_a_random_password(tmp_path):
    passwords = set()
    for name in ("one", "two"):
        data = tmp_path / name
        database = open_database(data)
        migrate(database)
        administrators = Administrators(database, Keyring.generate())
        path = administrators.ensure_first(data)
        assert path == data / "admin-password"
        assert path.stat().st_mode & 0o777 == 0o600
        user, _, password = path.read_text().strip().partition(":")
        assert administrators.verify(user, password)
        assert not administrators.verify(user, "admin")
        assert password.encode() not in b"".join(file.read_bytes() for file in data.glob("gatewright.db*"))
        assert administrators.ensure_first(data) is None
        passwords.add(password)
        database.close()
    assert len(passwords) == 2


def test_of_two_that_start_at_once_the_file_has_the_password_that_counts(tmp_path, monkeypatch):
    database, beside = open_database(tmp_path), open_database(tmp_path)
    migrate(database)
    keyring, made = Keyring.generate(), []
    administrators, others = Administrators(database, keyring), Administrators(beside, keyring)
    write = database.write

    def late(work):
        made.append(others.ensure_first(tmp_path))
        return write(work)

    monkeypatch.setattr(database, "write", late)
    assert administrators.ensure_first(tmp_path) is None
    assert made == [tmp_path / "admin-password"]
    assert administrators.verify(*made[0].read_text().strip().split(":"))
    assert [path.name for path in tmp_path.glob(".admin-password*")] == []
    database.close()
    beside.close()


def test_a_new_password_replaces_the_old_one_at_once(tmp_path):
    database = open_database(tmp_path)
    migrate(database)
    administrators = Administrators(database, Keyring.generate())
    administrators.set_password("admin", "first password")
    assert administrators.verify("admin", "first password")
    administrators.set_password("admin", "second password")
    assert not administrators.verify("admin", "first password")
    assert administrators.verify("admin", "second password")
    with pytest.raises(ConfigurationError, match="at least 12"):
        administrators.set_password("admin", "short")
    database.close()


def test_a_name_that_the_database_could_not_hold_is_nobodys(postgresql_server):
    database = open_database(postgresql_server.new_database())
    migrate(database)
    administrators = Administrators(database, Keyring.generate())
    assert not administrators.verify("ro\0ot", PASSWORD)
    database.close()
