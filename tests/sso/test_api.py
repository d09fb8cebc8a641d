"""The API as services with contracts, through the executor: what a channel in front of them would hand over."""

import pytest
from people import OTHER, PASSWORD

from backends.catalogue import Catalogue, deployed_from
from backends.executors.local import LocalExecutor
from backends.guard import Guard
from backends.platform import Platform
from specs.exchange import Call
from specs.problems import Problem
from sso import account_api, administration, login_api


class Client:
    """Somebody who calls: a token, an application, an address."""

    def __init__(self, world):
        self.world = world
        self.token = ""
        self.headers = {}
        self.address = "192.0.2.1"

    def call(self, name, payload=None, /, **members):
        """Status and payload, or status and code of what it was refused with."""
        executor = LocalExecutor(
            Catalogue([*deployed_from(login_api), *deployed_from(account_api), *deployed_from(administration)]),
            Platform(sso=self.world.sso),
            Guard(enforce=False),
        )
        headers = {**self.headers, **({"authorization": f"Bearer {self.token}"} if self.token else {})}
        call = Call(
            f"sso.{name}",
            payload={**(payload or {}), **members} or None,
            cid="c",
            headers=headers,
            address=self.address,
        )
        try:
            outcome = executor.perform(call)
        except Problem as problem:
            return problem.status, problem.code
        return outcome.status, outcome.payload

    def log_in(self, name="ann", password=PASSWORD, **stages):
        status, answer = self.call("login", username=name, password=password, **stages)
        assert (status, answer["status"]) == (200, "ok")
        self.token = answer["token"]
        return answer


@pytest.fixture
def client(sqlite_world):
    return Client(sqlite_world)


def test_sign_up_confirm_log_in_enrol_log_out_and_log_in_with_a_recovery_code(world):
    client = Client(world)
    status, answer = client.call(
        "signup", username="ann", email="ann@example.org", password=PASSWORD, display_name="Ann"
    )
    assert (status, answer) == (202, {"status": "accepted"})
    token = world.letters("confirm")[0].values["token"]
    assert client.call("signup.confirm", token=token) == (200, {"status": "active"})
    answer = client.log_in()
    assert answer["user"] | {"id": ""} == {"id": "", "username": "ann", "display_name": "Ann", "roles": []}
    status, enrolment = client.call("me.totp.enrol")
    assert status == 201
    status, answer = client.call("me.totp.confirm", code=world.code(enrolment["secret"]))
    codes = answer["recovery_codes"]
    assert client.call("me.recovery-codes.get") == (200, {"remaining": 10})
    assert client.call("logout") == (204, None)
    assert client.call("session.get") == (401, "session-invalid")
    client.token = ""
    status, pending = client.call("login", username="ann@example.org", password=PASSWORD)
    assert (pending["status"], pending["methods"]) == ("mfa_required", ["totp", "recovery_code"])
    assert "token" not in pending
    status, done = client.call("login.mfa", login_token=pending["login_token"], recovery_code=codes[4])
    assert done["session"]["level"] == 2
    client.token = done["token"]
    status, shown = client.call("session.get")
    assert (shown["user"]["email"], shown["session"]["methods"]) == ("ann@example.org", ["password", "recovery-code"])


@pytest.mark.parametrize("member", ["is_super_user", "approval_status", "roles", "user_id", "email_confirmed", "state"])
def test_S4_members_that_nobody_declared_are_refused(client, member):
    given = {"username": "ann", "email": "ann@example.org", "password": PASSWORD, member: True}
    assert client.call("signup", given) == (422, "validation-failed")
    client.world.person()
    client.log_in()
    assert client.call("me.change", {member: True}) == (422, "validation-failed")
    assert not client.world.sso.users.search({"username": "ann"}, client.world.caller())[0].is_super_user


@pytest.mark.parametrize("value", [["x"], 7, None, {"a": 1}, True, "x" * 10_000])
def test_S21_values_of_other_types_are_a_refusal_and_no_failure(client, value):
    for member in ("username", "password"):
        status, _ = client.call("login", {"username": "ann", "password": PASSWORD, member: value})
        assert status in (400, 401, 422)
    assert client.call("login") == (400, "invalid-input")


def test_every_service_that_needs_a_session_says_so(client):
    open_to_all = {
        "sso.signup", "sso.signup.confirm", "sso.login", "sso.login.mfa", "sso.password.forgot", "sso.config",
        "sso.password.reset.verify", "sso.password.reset",
    }  # fmt: skip
    given = {
        "token": "x", "code": "1", "name": "a", "value": 1, "email": "a@b.org", "current_password": "x", "new_password": "x",
        "password": "x",
    }  # fmt: skip
    for deployed in (*deployed_from(login_api), *deployed_from(account_api)):
        if deployed.name in open_to_all:
            continue
        names = [field.name for field in deployed.contract.input or () if field.name in given]
        answer = client.call(deployed.name.removeprefix("sso."), {name: given[name] for name in names})
        assert (deployed.name, answer) == (deployed.name, (401, "session-invalid"))


def test_every_service_has_a_place_and_a_contract_with_a_sentence():
    paths = [*login_api.PATHS, *account_api.PATHS, *administration.PATHS]
    deployed = [*deployed_from(login_api), *deployed_from(account_api), *deployed_from(administration)]
    assert {one.name for one in deployed} == {service for _, _, service in paths}
    assert all(one.contract.summary for one in deployed)
    assert len({(method, path) for method, path, _ in paths}) == len(paths)


def test_a_session_is_renewed_proven_again_listed_and_ended(client):
    client.world.person()
    first = client.log_in()["session"]["id"]
    second = client.log_in()["session"]["id"]
    _, renewed = client.call("session.renew")
    client.token = renewed["token"]
    _, listed = client.call("sessions.list")
    assert {one["id"] for one in listed["items"]} == {first, second}
    client.world.passes(minutes=11)
    assert client.call("sessions.end", id=first) == (403, "reauthentication-required")
    assert client.call("session.reauthenticate", password="wrong") == (401, "invalid-credentials")
    _, proven = client.call("session.reauthenticate", password=PASSWORD)
    client.token = proven["token"]
    assert client.call("sessions.end", id=first) == (204, None)
    assert client.call("sessions.end", id=first) == (404, "no-such-session")
    assert client.call("logout", scope="all") == (204, None)
    assert client.call("sessions.list") == (401, "session-invalid")


def test_Z5_Z6_Z7_people_keep_attributes_of_their_own_and_lists_are_lists(client):
    client.world.person()
    client.log_in()
    assert client.call("attributes.set", name="colour", value={"r": 1}, encrypted=True) == (204, None)
    assert client.call("attributes.set", name="cart", value=[1], of="session") == (204, None)
    _, one = client.call("attributes.get", name="colour")
    assert (one["value"], one["encrypted"]) == ({"r": 1}, True)
    assert client.call("attributes.list", names_only=True) == (200, {"items": ["colour"]})
    assert client.call("attributes.list", names_only=True, of="session") == (200, {"items": ["cart"]})
    assert client.call("attributes.get", name="cart") == (404, "no-such-attribute")
    assert client.call("attributes.delete", name="colour") == (204, None)


def test_S40_Z17_a_forgotten_password(client):
    client.world.person()
    assert client.call("password.forgot", identifier="nobody") == (202, {"status": "accepted"})
    assert client.call("password.forgot", identifier="ann") == (202, {"status": "accepted"})
    token = client.world.letters("password-reset")[0].values["token"]
    _, answer = client.call("password.reset.verify", token=token)
    assert client.call("password.reset", reset_key=answer["reset_key"], new_password=OTHER) == (204, None)
    assert client.log_in(password=OTHER)


def test_Z9_Z16_a_password_is_changed_by_its_owner(client):
    client.world.person()
    other = Client(client.world)
    other.log_in()
    client.log_in()
    assert client.call("me.password", current_password="wrong", new_password=OTHER) == (401, "invalid-credentials")
    assert client.call("me.password", current_password=PASSWORD, new_password=OTHER) == (204, None)
    assert other.call("session.get") == (401, "session-invalid")
    assert client.call("session.get")[0] == 200


def test_S47_people_export_and_delete_themselves(client):
    client.world.person()
    client.log_in()
    _, exported = client.call("me.export")
    assert exported["profile"]["username"] == "ann"
    assert client.call("me.delete") == (204, None)
    assert client.call("me.get") == (401, "session-invalid")


def test_S27_the_application_is_the_one_that_the_session_was_opened_by(client):
    client.world.person()
    client.headers = {"x-gateway-app": "batch"}
    client.log_in()
    assert client.call("me.get")[0] == 200
    client.headers = {"x-gateway-app": "crm"}
    assert client.call("me.get") == (401, "session-binding")
    client.headers = {"x-gateway-app": "shut"}
    assert client.call("login", username="ann", password=PASSWORD) == (403, "app-not-allowed")


def test_what_clients_need_to_know_before_they_begin(client):
    assert client.call("config") == (
        200, {"site_name": "Acme", "signup": True, "login": True, "min_length": 15, "max_length": 256, "passkeys": False},
    )  # fmt: skip


@pytest.fixture
def boss(client):
    client.world.person("boss", is_super_user=True)
    client.log_in("boss")
    return client


ADMINISTERED = [
    ("users.create", {"username": "joe", "email": "joe@example.org"}), ("users.search", {}), ("users.get", {"id": "x"}),
    ("users.change", {"id": "x", "roles": []}), ("users.delete", {"id": "x"}), ("users.decide", {"id": "x", "event": "lock"}),
    ("users.require-password-change", {"id": "x"}), ("users.send-password-reset", {"id": "x"}),
    ("users.reset-totp", {"id": "x"}), ("users.sessions.list", {"id": "x"}), ("users.sessions.end", {"id": "x"}),
    ("sessions.end-everybodys", {}), ("users.links.list", {"id": "x"}),
    ("users.links.add", {"id": "x", "definition": "d", "principal": "p"}), ("users.links.remove", {"id": "x", "link_id": "l"}),
    ("audit.list", {}), ("audit.verify", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "payload"), ADMINISTERED)
def test_S7_S43_what_is_for_super_users_is_for_nobody_else(client, name, payload):
    assert client.call(name, payload) == (401, "session-invalid")
    ann = client.world.person()
    client.log_in()
    assert client.call(name, {**payload, "id": ann.id} if "id" in payload else payload) == (403, "super-user-required")
    assert client.world.actions(target=ann.id)[-1] == f"refused sso.{name}"


def test_every_service_of_super_users_is_tried_by_others():
    assert {f"sso.{name}" for name, _ in ADMINISTERED} == {one.name for one in deployed_from(administration)}


def test_a_super_user_without_a_second_factor_administers_nobody_where_one_is_required(boss):
    boss.world.configure(second_factor={"required": "super_users"})
    assert boss.call("users.search") == (403, "mfa-required")
    _, enrolment = boss.call("me.totp.enrol")
    boss.call("me.totp.confirm", code=boss.world.code(enrolment["secret"]))
    boss.world.passes(seconds=60)
    boss.log_in("boss", totp_code=boss.world.code(enrolment["secret"]))
    assert boss.call("users.search")[0] == 200


def test_a_super_user_makes_finds_changes_decides_on_and_deletes_people(boss):
    status, made = boss.call("users.create", username="joe", email="joe@example.org", password=OTHER, roles=["clerk"])
    joe = made["user"]["id"]
    assert (status, made["user"]["roles"], made["user"]["must_change"]) == (201, ["clerk"], True)
    assert boss.call("users.create", username="JOE", email="x@example.org") == (409, "conflict")
    _, found = boss.call("users.search", query={"email": "Joe@Example.org"}, reason="ticket 7")
    assert [user["id"] for user in found["items"]] == [joe]
    assert boss.call("users.search", query={"password": "x"}) == (422, "validation-failed")
    assert boss.call("users.search", limit=10**9) == (400, "invalid-input")
    assert boss.call("users.change", id=joe, addresses=["10.0.0.0/8"])[1]["user"]["addresses"] == ["10.0.0.0/8"]
    assert boss.call("users.decide", id=joe, event="lock") == (200, {"state": "locked"})
    assert boss.call("users.decide", id=joe, event="approve") == (409, "conflict")
    assert boss.call("users.links.add", id=joe, definition="partners", principal="joe")[0] == 201
    assert boss.call("users.links.add", id=joe, definition="partners", principal="joe") == (409, "already-linked")
    assert len(boss.call("users.links.list", id=joe)[1]["items"]) == 1
    assert boss.call("users.delete", id=joe) == (204, None)
    assert boss.call("users.get", id=joe) == (404, "no-such-user")
    _, page = boss.call("audit.list", action="user.search", limit=1)
    assert [one["reason"] for one in page["items"]] == ["ticket 7"]
    assert boss.call("audit.verify")[1]["good"] is True


def test_pages_follow_one_another_and_hold_everybody_once(boss):
    for number in range(4):
        boss.world.person(f"p{number}")
    seen, cursor = [], None
    while True:
        _, page = boss.call("users.search", {"limit": 2, **({"cursor": cursor} if cursor else {})})
        seen += [user["username"] for user in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == ["boss", "p0", "p1", "p2", "p3"]


def test_addresses_that_are_none_are_refused_and_nobody_chooses_anothers_password(boss):
    ann = boss.world.person()
    assert boss.call("users.change", id=ann.id, addresses=["10.0.0.0/33"]) == (422, "validation-failed")
    assert boss.call("users.change", id=ann.id, password="x") == (422, "validation-failed")
    assert boss.call("users.send-password-reset", id=ann.id) == (202, None)
    assert boss.world.letters("password-reset")


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("signup", {"username": "bob", "email": "bob@example.org", "password": PASSWORD, "language": "e\0n"}),
        ("me.change", {"language": "\0"}),
        ("users.search", {"query": {"username": "a\0"}}),
        ("users.search", {"reason": "\0"}),
        ("audit.list", {"actor": "\0"}),
    ],
)
def test_a_text_that_the_database_cannot_hold_is_the_callers_fault(world, name, members):
    # PostgreSQL has no NUL in a text; SQLite has, and takes it.
    world.person(is_super_user=True)
    client = Client(world)
    client.log_in()
    status, _ = client.call(name, members)
    assert status in ((200, 202) if world.embedded else (422,))
    assert client.call("session.get")[0] == 200


def test_a_moment_beyond_the_last_one_is_the_callers_fault(world):
    world.person()
    client = Client(world)
    client.log_in()
    value = {"name": "colour", "value": "red", "expires_at": "9999-12-31T23:59:59-12:00"}
    assert client.call("attributes.set", value)[0] == 422
