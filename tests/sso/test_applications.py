"""Applications: what they are allowed, how they prove themselves, and what they are told of tokens they were handed."""

import base64
import threading
from datetime import timedelta

import pytest
from people import PASSWORD, refused

from sso import tables
from sso.applications import MOST
from sso.system import COMMAND
from sso.users import NewUser

APPS = {
    "crm": {"signup": True, "login": True},
    "erp": {"login": True, "credential": True},
    "auditor": {"introspect": "any"},
    "shut": {},
}


@pytest.fixture
def everywhere(world):
    """On each kind of database."""
    world.configure(apps=APPS)
    return world


@pytest.fixture
def quick(sqlite_world):
    """On one."""
    sqlite_world.configure(apps=APPS)
    return sqlite_world


def named(world, **headers):
    return world.sso.applications.named_by({name.replace("_", "-"): value for name, value in headers.items()})


def test_a_name_is_a_claim_and_a_secret_proves_it(quick):
    assert named(quick) == "crm"
    assert named(quick, x_gateway_app="shut") == "shut"
    assert named(quick, x_gateway_app="nobody") == "nobody"
    with refused("app-unproven"):
        named(quick, x_gateway_app="erp")
    issued = quick.sso.applications.add("erp", COMMAND, name="first")
    assert named(quick, x_gateway_app_secret=issued.secret) == "erp"
    assert named(quick, x_gateway_app="erp", x_gateway_app_secret=issued.secret) == "erp"


def test_a_secret_proves_no_other_application(quick):
    secret = quick.sso.applications.add("crm", COMMAND).secret
    for given in (
        {"x_gateway_app": "erp", "x_gateway_app_secret": secret},
        {"x_gateway_app": "erp", "x_gateway_app_secret": "gwa_" + "A" * 43},
        {"x_gateway_app_secret": secret[:-1] + ("A" if secret[-1] != "A" else "B")},
        {"x_gateway_app_secret": secret.replace("gwa_", "gws_")},
        {"x_gateway_app_secret": f"{secret}, {secret}"},
        {"x_gateway_app_secret": "é" * 47},
    ):
        with refused("app-unproven"):
            named(quick, **given)


def test_only_the_digest_of_a_secret_is_kept(everywhere):
    issued = everywhere.sso.applications.add("crm", COMMAND, name="first")
    (listed,) = everywhere.sso.applications.all("crm")
    assert listed == issued.credential
    assert issued.secret not in repr(listed)
    for table in (tables.app_credentials, tables.audit):
        rows = everywhere.database.read(lambda connection, table=table: connection.execute(table.select()).all())
        assert rows
        assert issued.secret[4:20] not in repr(rows)


def test_a_credential_holds_until_it_is_taken_away_or_its_time_is_over(everywhere):
    applications = everywhere.sso.applications
    first = applications.add("erp", COMMAND, expires_at=everywhere.now + timedelta(days=1))
    second = applications.add("erp", COMMAND)
    assert [applications.prove(one.secret).id for one in (first, second)] == [
        first.credential.id,
        second.credential.id,
    ]
    everywhere.passes(days=1)
    with refused("app-unproven"):
        applications.prove(first.secret)
    applications.remove("erp", second.credential.id, COMMAND)
    with refused("app-unproven"):
        applications.prove(second.secret)
    with refused("no-such-app"):
        applications.remove("erp", second.credential.id, COMMAND)
    with refused("validation-failed"):
        applications.add("erp", COMMAND, expires_at=everywhere.now)


def test_an_application_that_left_the_document_proves_nothing(quick):
    secret = quick.sso.applications.add("erp", COMMAND).secret
    quick.configure(apps={"crm": {"login": True}})
    with refused("app-unproven"):
        quick.sso.applications.prove(secret)
    with refused("no-such-app"):
        quick.sso.applications.add("erp", COMMAND)


def test_an_application_has_a_few_credentials_however_many_are_asked_for_at_once(quick):
    refusals = []

    def ask():
        try:
            quick.sso.applications.add("erp", COMMAND)
        except Exception as problem:
            refusals.append(problem.code)

    threads = [threading.Thread(target=ask) for _ in range(MOST + 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(quick.sso.applications.all("erp")), refusals) == (MOST, ["too-many-credentials"] * 4)


def test_sign_up_and_log_in_are_off_unless_switched_on(quick):
    quick.person()
    with refused("app-not-allowed"):
        quick.log_in(app="shut")
    with refused("app-not-allowed"):
        quick.log_in(app="nobody")
    with refused("app-not-allowed"):
        quick.sso.signup.sign_up(NewUser("bob", "b@example.org", PASSWORD), quick.caller(app="erp"), lambda *_: None)
    assert quick.log_in(app="crm").session.app == "crm"


def test_people_log_in_through_an_application_from_its_networks_alone(quick):
    quick.person()
    quick.configure(apps={"crm": {"login": True, "allow": ["198.51.100.0/24", "2001:db8::/32"]}})
    for address in ("192.0.2.1", "2001:db9::1", ""):
        with refused("address-not-allowed"):
            quick.log_in(address=address)
    assert quick.log_in(address="198.51.100.7").session.address == "198.51.100.7"
    assert quick.log_in(address="2001:db8::7").token


def test_a_person_logs_in_from_their_networks_alone_and_is_not_told_why(quick):
    ann = quick.person()
    quick.sso.users.change(ann.id, {"addresses": ["198.51.100.0/24"]}, COMMAND, allowed=("addresses",))
    with refused("invalid-credentials"):
        quick.log_in()
    assert quick.log_in(address="198.51.100.7").token


# as services


class Caller:
    """A program that calls with *headers*."""

    def __init__(self, world, **headers):
        from sso import surface

        self.world = world
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.services = surface.services()

    def call(self, name, /, **members):
        from backends.catalogue import Catalogue
        from backends.executors.local import LocalExecutor
        from backends.guard import Guard
        from backends.platform import Platform
        from specs.exchange import Call
        from specs.problems import Problem

        executor = LocalExecutor(Catalogue(self.services), Platform(sso=self.world.sso), Guard(enforce=False))
        call = Call(f"sso.{name}", payload=members or None, cid="c", headers=self.headers, address="192.0.2.9")
        try:
            outcome = executor.perform(call)
        except Problem as problem:
            return problem.status, problem.code
        return outcome.status, outcome.payload


def basic(name, secret):
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


@pytest.mark.parametrize("way", ["header", "basic by name", "basic by id", "bearer"])
def test_a_token_is_introspected_by_the_application_that_opened_the_session(quick, way):
    ann = quick.person(roles=("clerk",))
    done = quick.log_in()
    issued = quick.sso.applications.add("crm", COMMAND)
    headers = {
        "header": {"x_gateway_app_secret": issued.secret},
        "basic by name": {"authorization": basic("crm", issued.secret)},
        "basic by id": {"authorization": basic(issued.credential.id, issued.secret)},
        "bearer": {"authorization": f"Bearer {issued.secret}"},
    }[way]
    status, told = Caller(quick, **headers).call("introspect", token=done.token, token_type_hint="access_token")
    moment = int(quick.now.timestamp())
    assert (status, told) == (
        200,
        {
            "active": True, "sub": ann.id, "username": "ann", "client_id": "crm", "token_type": "Bearer",
            "exp": moment + 1800, "iat": moment, "auth_time": moment, "amr": ["password"], "aal": 1, "roles": ["clerk"],
            "is_super_user": False, "sid": done.session.id,
        },
    )  # fmt: skip


def test_what_an_application_may_not_know_of_is_inactive_in_one_and_the_same_way(everywhere):
    everywhere.person()
    secret = everywhere.sso.applications.add("crm", COMMAND).secret
    other = everywhere.sso.applications.add("erp", COMMAND).secret
    live = everywhere.log_in()
    ended = everywhere.log_in()
    everywhere.sso.sessions.end(ended.session.user_id, ended.session.id, COMMAND)
    caller = Caller(everywhere, x_gateway_app_secret=secret)
    inactive = (200, {"active": False})
    assert Caller(everywhere, x_gateway_app_secret=other).call("introspect", token=live.token) == inactive
    for token in (ended.token, "gws_" + "A" * 43, "x", live.token[:-1], f"{live.token} ", secret, "é" * 47):
        assert caller.call("introspect", token=token) == inactive
    assert caller.call("introspect", token=live.token)[1]["active"]
    everywhere.passes(minutes=31)
    assert caller.call("introspect", token=live.token) == inactive
    anys = everywhere.sso.applications.add("auditor", COMMAND).secret
    again = everywhere.log_in()
    assert Caller(everywhere, x_gateway_app_secret=anys).call("introspect", token=again.token)[1]["client_id"] == "crm"


def test_a_question_ends_no_session_and_keeps_it_alive(quick):
    quick.person()
    quick.configure(apps=APPS, session={"bind_address": True})
    secret = quick.sso.applications.add("crm", COMMAND).secret
    caller = Caller(quick, x_gateway_app_secret=secret)
    done = quick.log_in()
    renewed = quick.sso.sessions.renew(done.token, quick.caller())
    quick.passes(minutes=29)
    assert caller.call("introspect", token=done.token) == (200, {"active": False})
    assert caller.call("introspect", token=renewed.token)[1]["active"]
    quick.passes(minutes=29)
    assert quick.sso.sessions.check(renewed.token, quick.caller()).username == "ann"


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"authorization": "Bearer"}, {"authorization": "Basic !!!"}, {"authorization": "Basic YQ=="}, {"x_gateway_app": "crm"},
        {"authorization": basic("crm", "gwa_" + "A" * 43)}, {"authorization": "Basic " + "A" * 2000},
        {"authorization": "Digest x"},
    ],
)  # fmt: skip
def test_who_is_no_application_is_told_nothing(quick, headers):
    quick.person()
    token = quick.log_in().token
    assert Caller(quick, **headers).call("introspect", token=token) == (401, "app-unproven")
    assert Caller(quick, **headers).call("revoke", token=token) == (401, "app-unproven")
    assert Caller(quick, authorization=f"Bearer {token}").call("introspect", token=token) == (401, "app-unproven")
    secret = quick.sso.applications.add("crm", COMMAND).secret
    assert Caller(quick, authorization=basic("erp", secret)).call("introspect", token=token) == (401, "app-unproven")
    assert quick.sso.sessions.check(token, quick.caller())


def test_an_application_ends_the_sessions_that_it_opened_and_no_others(everywhere):
    ann = everywhere.person()
    ours, theirs = everywhere.log_in(), everywhere.log_in(app="erp")
    issued = everywhere.sso.applications.add("crm", COMMAND)
    caller = Caller(everywhere, x_gateway_app_secret=issued.secret)
    for token in (ours.token, ours.token, theirs.token, "gws_" + "A" * 43, "x"):
        assert caller.call("revoke", token=token)[0] in (200, 204)
    with refused("session-invalid"):
        everywhere.sso.sessions.check(ours.token, everywhere.caller())
    assert everywhere.sso.sessions.check(theirs.token, everywhere.caller(app="erp"))
    (record,) = everywhere.sso.audit.find(action="session.end", target=ann.id)
    assert (record["actor"], record["app"]) == (issued.credential.id, "crm")


def test_credentials_are_made_by_super_users_who_proved_themselves_a_moment_ago(quick):
    quick.person(is_super_user=True)
    quick.person("bob")
    for name, answer in (("bob", (403, "super-user-required")), ("ann", None)):
        caller = Caller(quick, authorization=f"Bearer {quick.log_in(name).token}")
        assert caller.call("apps.credentials.list", app="crm") == (answer or (200, {"items": []}))
    status, made = caller.call("apps.credentials.add", app="erp", name="first", reason="new system")
    assert (status, made["credential"]["name"], named(quick, x_gateway_app_secret=made["secret"])) == (
        201,
        "first",
        "erp",
    )
    assert caller.call("apps.credentials.add", app="nobody") == (404, "no-such-app")
    assert caller.call("apps.credentials.list", app="erp")[1]["items"] == [made["credential"]]
    assert caller.call("apps.credentials.remove", app="crm", id=made["credential"]["id"]) == (404, "no-such-app")
    assert caller.call("apps.credentials.remove", app="erp", id=made["credential"]["id"]) == (204, None)
    quick.passes(minutes=11)
    assert caller.call("apps.credentials.add", app="erp") == (403, "reauthentication-required")


def test_a_call_that_names_an_application_which_proves_itself_needs_its_secret(quick):
    quick.person()
    issued = quick.sso.applications.add("erp", COMMAND)
    given = {"username": "ann", "password": PASSWORD}
    assert Caller(quick, x_gateway_app="erp").call("login", **given) == (401, "app-unproven")
    status, told = Caller(quick, x_gateway_app="erp", x_gateway_app_secret=issued.secret).call("login", **given)
    assert (status, told["session"]["app"]) == (200, "erp")
    bearer = f"Bearer {told['token']}"
    assert Caller(quick, authorization=bearer, x_gateway_app="erp").call("session.get") == (401, "app-unproven")
    proven = Caller(quick, authorization=bearer, x_gateway_app_secret=issued.secret)
    assert proven.call("session.get")[0] == 200
