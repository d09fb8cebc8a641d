"""People of a gateway that runs: they sign up, log in, and are known on its channels, by any of its workers."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from people import OTHER, PASSWORD
from peopled import CONFIGURATION, SERVICES, Person, known_at_each_worker, let_in, made, totp_of
from running import eventually, gateway
from upstream import upstream

from security.database import open_database
from security.secrets import Keyring
from security.stamps import FILE_NAME, Stamps
from sso import tables
from sso.settings import Sso
from sso.system import COMMAND, SingleSignOn

#: Channels of other types, and services of the operator's that are asked about sign-ups, and told of them.
MORE = """
  soap: {{type: soap, path: /soap, services: [people.name], security: [staff], namespace: "urn:acme"}}
  forms: {{type: xml, path: /xml, service: people.name, security: [staff]}}
  handed-on: {{type: proxy, path: /handed-on, upstreams: ["{upstream}"], security: [staff]}}
"""
OPERATORS = {
    "operators.py": '''
    from gatewright import Problem, Service, Text


    class Name(Service):
        """Says who calls."""

        name = "people.name"
        output = (Text("name"),)

        def handle(self):
            self.response.payload.name = self.identity.name


    class Check(Service):
        """Lets nobody of a certain company in."""

        name = "people.check"

        def handle(self):
            if self.request.payload["email"].endswith("@evil.example"):
                raise Problem(403, "not-here", "nobody of theirs")


    class Hear(Service):
        """Remembers who signed up."""

        name = "people.hear"

        def handle(self):
            user = self.sso.users.get(self.request.payload["user_id"])
            self.logger.warning("%s signed up by %s", user.email, self.request.payload["app"])
    '''
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def running(request, tmp_path_factory):
    """A gateway with four workers, on a database of each kind."""
    folder = tmp_path_factory.mktemp("people")
    options = ()
    if request.param == "postgresql":
        options = ("--database", request.getfixturevalue("postgresql_server").new_database())
    asked = "email_confirmation: false, validation_service: people.check, callback_services: [people.hear]"
    with upstream("app") as system:
        configuration = CONFIGURATION.replace("email_confirmation: false", asked) + MORE.format(upstream=system.url)
        with gateway(folder, configuration, {**SERVICES, **OPERATORS}, workers=4, options=options) as found:
            found.database = options[1] if options else found.data
            found.system = system
            yield found


def placed(running):
    """The options by which a command finds the database of *running*."""
    return ("--database", str(running.database)) if "://" in str(running.database) else ()


@pytest.fixture
def console(running):
    """What a command on the same machine reaches."""
    database = open_database(running.database)
    stamps = Stamps(running.data / FILE_NAME)
    settings = Sso.read({"enabled": True, "apps": {"crm": {"login": True}}})
    yield SingleSignOn(database, Keyring.open(running.data / "keys.json").ring("edge"), settings, stamps=stamps)
    database.close()
    stamps.close()


@pytest.fixture
def make(running, console):
    """Makes people who are there and logged in without a password, for hashing takes long."""

    return lambda name="", **more: made(console, running, name, **more)


@pytest.fixture
def ann(make):
    return make()


def test_people_sign_up_log_in_and_change_their_password(running):
    ann = Person(running).sign_up().log_in()
    status, told = ann.call("GET", "/session")
    assert (status, told["user"]["username"], told["session"]["app"]) == (200, ann.name, "crm")
    assert ann.call("POST", "/me/password", {"current_password": PASSWORD, "new_password": OTHER})[0] == 204
    assert Person(running).call("POST", "/login", {"username": ann.name, "password": PASSWORD}) == (
        401, "invalid-credentials",
    )  # fmt: skip
    assert Person(running, ann.name, OTHER).log_in().call("GET", "/me")[0] == 200
    assert ann.call("POST", "/logout", {}) == (204, None)
    assert ann.call("GET", "/session") == (401, "session-invalid")


def test_services_of_the_operators_are_asked_about_sign_ups_and_told_of_them(running):
    given = {"username": "eve", "email": "eve@evil.example", "password": PASSWORD}
    assert Person(running).call("POST", "/signup", given) == (403, "not-here")
    ann = Person(running).sign_up()
    assert eventually(lambda: f"{ann.name}@example.org signed up by crm" in running.log(), 30)
    assert "eve@evil.example" not in running.log()


def test_people_are_known_on_channels_of_every_type(running, ann):
    body = '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><Name xmlns="urn:acme"/></e:Body></e:Envelope>'
    calls = [
        ("POST", "/soap", {"data": body, "headers": {"Content-Type": "text/xml"}}),
        ("GET", "/xml", {}),
        ("GET", "/handed-on", {}),
    ]
    bearer, cookie = (
        {"Authorization": f"Bearer {ann.token}"},
        {"Cookie": f"gw_session_dev={ann.token}", "Origin": running.url},
    )
    for method, path, more in calls:
        said = more.pop("headers", {})
        assert running.request(method, path, headers=said, **more).status_code == 401
        for credentials in (bearer, cookie):
            answer = running.request(method, path, headers={**said, **credentials}, **more)
            assert answer.status_code == 200, (path, answer.text)
            assert path == "/handed-on" or ann.name in answer.text
    # What a system behind gets is for whom it is, and no session that it could use.
    for _, _, headers, _ in running.system.seen:
        assert ann.token not in str(headers)


def test_the_api_is_in_the_documents_with_its_methods_and_paths(running):
    paths = running.get("/openapi.json").json()["paths"]
    assert set(paths["/sso/v1/sessions/{id}"]) == {"delete"}
    assert {"/sso/v1/signup", "/sso/v1/login", "/sso/v1/users/search", "/sso/v1/audit"} <= set(paths)


def test_a_channel_knows_people_by_their_session(running, ann):
    ann.call("PUT", "/me/attributes/email", {"value": "boss@example.org"})
    ann.call("PUT", "/me/attributes/secret", {"value": 1, "encrypted": True})
    told = ann.get("/who").json()
    assert (told["name"], told["kind"], told["user"], told["groups"]) == (ann.name, "user", ann.id, [])
    facts = told["facts"]
    assert (facts["email"], facts["app"], facts["level"], facts["session"]) == (
        f"{ann.name}@example.org", "crm", 1, ann.session,
    )  # fmt: skip
    assert facts["attributes"] == {"email": "boss@example.org"}  # what people say of themselves is kept apart
    assert ann.get("/own").json() == {"email": f"{ann.name}@example.org"}
    nobody = running.get("/who")
    assert nobody.status_code == 401
    assert 'Bearer realm="staff"' in nobody.headers["WWW-Authenticate"]
    wrong = running.get("/who", headers={"Authorization": f"Bearer {ann.token[:-1]}x"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "unauthenticated")


def end_by(what):
    """What ends the session of a person, by themselves or from the console: each returns what the channel answers then."""
    return {
        "logout": lambda console, ann: ann.call("POST", "/logout", {}),
        "password": lambda console, ann: console.database.write(
            lambda connection: console.users.set_password(connection, console.users.row(connection, ann.id), "hash")
        ),
        "deleted": lambda console, ann: ann.call("DELETE", "/me"),
        "locked": lambda console, ann: console.users.decide(ann.id, "lock", COMMAND),
        "revoked": lambda console, ann: console.sessions.end(ann.id, ann.session, COMMAND),
        "everybody": lambda console, ann: console.sessions.end_everybodys(COMMAND),
    }[what]


@pytest.mark.parametrize("what", ["logout", "password", "deleted", "locked", "revoked", "everybody"])
def test_S24_what_ends_a_session_holds_for_the_next_request_on_every_worker(running, console, ann, what):
    assert ann.statuses() == {200}
    end_by(what)(console, ann)
    assert ann.statuses() == {401}


@pytest.fixture
def other(running, console, ann):
    """Ann with another session."""
    other = Person(running, ann.name)
    other.id = ann.id
    return let_in(console, other)


def past(console, ann):
    """The session of *ann* has come to its end."""
    ended = tables.sessions.update().where(tables.sessions.c.id == ann.session).values(ends_at=console.clock())
    console.database.write(lambda connection: connection.execute(ended))
    # What was written by hand is seen when the person is read anew.
    console.users.change(ann.id, {"display_name": "Ann"}, COMMAND, allowed=["display_name"])


KNOWN = {
    "logged out": lambda console, ann, other: ann.call("POST", "/logout", {}),
    "revoked by the other session": lambda console, ann, other: other.call("DELETE", f"/sessions/{ann.session}"),
    "locked": lambda console, ann, other: console.users.decide(ann.id, "lock", COMMAND),
    "another password": lambda console, ann, other: end_by("password")(console, ann),
    "deleted": lambda console, ann, other: other.call("DELETE", "/me"),
    "past its end": lambda console, ann, other: past(console, ann),
}


#: What ends the other session, too.
OTHERS_TOO = ("locked", "another password", "deleted")


@pytest.mark.parametrize("what", KNOWN)
def test_S24_what_ends_a_session_ends_it_for_connections_that_were_let_in_by_it(running, console, ann, other, what):
    callers, others = known_at_each_worker(running, ann.token), [] if what in OTHERS_TOO else [other]
    KNOWN[what](console, ann, other)
    assert [caller.ask() for caller in callers] == [401] * len(callers)
    assert [one.get("/who").status_code for one in others] == [200] * len(others)


def test_S43_a_role_that_is_taken_away_is_gone_with_the_next_request(console, ann):
    assert ann.statuses("/clerks", 4) == {403}
    console.users.change(ann.id, {"roles": ["clerk"]}, COMMAND, allowed=["roles"])
    assert ann.statuses("/clerks") == {200}
    console.users.change(ann.id, {"roles": []}, COMMAND, allowed=["roles"])
    assert ann.statuses("/clerks") == {403}


def test_S24_revoked_under_load_nobody_gets_through_afterwards(console, ann):
    with ThreadPoolExecutor(8) as pool:
        before = [pool.submit(ann.statuses, "/who", 20) for _ in range(8)]
        console.sessions.end_all(ann.id, COMMAND)
        after = [pool.submit(ann.statuses, "/who", 5) for _ in range(8)]
        assert {status for one in after for status in one.result()} == {401}
        assert {status for one in before for status in one.result()} <= {200, 401}


def test_applications_and_second_factors_that_a_definition_asks_for(make):
    assert [make(app="batch").get(path).status_code for path in ("/who", "/crm")] == [200, 403]
    ann = make(password=PASSWORD)
    assert (ann.get("/crm").status_code, ann.get("/proven").json()["code"]) == (200, "mfa-required")
    status, enrolment = ann.call("POST", "/me/totp")
    assert status == 201
    assert ann.call("POST", "/me/totp/confirm", {"code": totp_of(enrolment["secret"])})[0] == 200
    # The code of the next step is taken already, and is another one, however long the first took.
    ann.log_in("crm", totp_code=totp_of(enrolment["secret"], time.time() + 30))
    assert (ann.get("/proven").status_code, ann.get("/proven").json()["facts"]["level"]) == (200, 2)


def test_S27_a_session_of_one_application_is_ended_at_another(ann):
    assert ann.get("/who", **{"X-Gateway-App": "crm"}).status_code == 200
    assert ann.get("/who", **{"X-Gateway-App": "batch"}).status_code == 401
    assert ann.statuses() == {401}


def test_a_session_and_a_key_together(running, ann):
    key = {"X-API-Key": "0123456789abcdef0123456789abcdef"}
    assert ann.get("/both").status_code == 401
    assert running.get("/both", headers=key).status_code == 401
    assert ann.get("/both", **key).json()["name"] == ann.name


CSRF = [
    ("no word of where it comes from", {}, 403),
    ("another site", {"Origin": "https://evil.example"}, 403),
    ("another site that says nothing else", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("a neighbour", {"Sec-Fetch-Site": "same-site"}, 403),
    ("no origin that could be told", {"Origin": "null"}, 403),
    ("a page of ours", {"Sec-Fetch-Site": "same-origin"}, 200),
]


@pytest.mark.parametrize(("headers", "status"), [pytest.param(h, s, id=name) for name, h, s in CSRF])
def test_S19_by_cookie_what_changes_something_comes_from_a_page_of_ours(running, ann, headers, status):
    cookie = {"Cookie": f"gw_session_dev={ann.token}"}
    assert running.get("/who", headers=cookie).json()["name"] == ann.name
    answer = running.post("/who", headers={**cookie, **headers})
    assert (answer.status_code, answer.json().get("code", "")) == (status, "csrf-failed" if status == 403 else "")
    # A token that is sent on purpose needs no such proof.
    assert running.post("/who", headers={"Authorization": f"Bearer {ann.token}", **headers}).status_code == 200


def test_S19_nobody_is_logged_in_by_a_page_of_another_site_and_nothing_is_counted(running, make):
    ann = make(password=PASSWORD)
    ann.token = ""
    wrong = {"username": ann.name, "password": "not the password"}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        for _ in range(8):
            assert ann.call("POST", "/login", wrong, **headers) == (403, "csrf-failed")
    plain = running.post(
        "/sso/v1/login", data='{"username": "x", "password": "y"}', headers={"Content-Type": "text/plain"}
    )
    assert plain.status_code == 415
    # Eight failures would have made this one wait.
    ann.log_in()


def test_the_cookie_is_one_whose_name_and_number_are_right(running, ann):
    for cookie in (
        f"gw_session_dev={ann.token}; gw_session_dev={ann.token}",
        f"session={ann.token}",
        "gw_session_dev=",
    ):
        assert running.get("/who", headers={"Cookie": cookie}).status_code == 401
    assert running.get("/crm", headers={"Cookie": f"gw_session_dev={ann.token}"}).status_code == 401


def test_S18_a_page_logs_in_by_cookie_proves_where_it_comes_from_and_logs_out(running, make):
    ann = make(password=PASSWORD)
    ours = {"Origin": running.url}
    body = {"username": ann.name, "password": PASSWORD, "cookie": True}
    planted = {"Cookie": "gw_session_dev=gws_" + "a" * 43}
    answer = running.post("/sso/v1/login", json=body, headers={**ours, **planted})
    assert (answer.status_code, answer.json()["status"], "token" in answer.json()) == (200, "ok", False)
    assert "HttpOnly; SameSite=Lax" in answer.headers["Set-Cookie"]
    cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
    assert cookie != planted
    assert running.get("/sso/v1/session", headers=cookie).json()["user"]["username"] == ann.name
    # A browser that says nothing of where a call comes from shows that its page could read an answer of ours.
    proof = running.get("/sso/v1/config", headers=cookie).json()["csrf_token"]
    assert "csrf_token" not in running.get("/sso/v1/config").json()
    for given, status in (("", 403), (proof[:-1] + "x", 403), (proof, 200)):
        renewed = running.post("/sso/v1/session/renew", headers={**cookie, "X-Gateway-CSRF": given})
        assert renewed.status_code == status
    assert "token" not in renewed.json()
    cookie = {"Cookie": renewed.headers["Set-Cookie"].partition(";")[0]}
    gone = running.post("/sso/v1/logout", json={}, headers={**cookie, **ours})
    assert (gone.status_code, "Max-Age=0" in gone.headers["Set-Cookie"]) == (204, True)
    assert running.get("/who", headers=cookie).status_code == 401


def test_a_session_is_renewed_and_proven_again_whatever_its_application(make):
    ann = make(app="batch")
    status, renewed = ann.call("POST", "/session/renew")
    assert (status, renewed["session"]["app"]) == (200, "batch")
    ann.token = renewed["token"]
    assert ann.statuses() == {200}


def test_S15_the_address_of_a_session_is_that_of_the_peer_or_of_whom_a_trusted_proxy_names(running, make):
    ann = make(password=PASSWORD)
    body = f'{{"username": "{ann.name}", "password": "{PASSWORD}"}}'.encode()

    def address(source):
        head = (
            f"POST /sso/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "X-Forwarded-For: 10.9.9.9, 192.0.2.7\r\nConnection: close\r\n\r\n"
        )
        with running.connect(source=source) as connection:
            connection.sendall(head.encode() + body)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        return answer.partition(b'"address":"')[2].partition(b'"')[0].decode()

    assert address("127.0.0.1") == "127.0.0.1"
    assert address("127.0.0.9") == "192.0.2.7"


def test_limits_of_people_count_over_sessions_channels_and_linked_credentials(running, console, make):
    limited = make("limited")
    console.links.add(limited.id, "partners", "acme", COMMAND)
    try:
        answers = [
            limited.get("/who"),
            limited.get("/crm"),
            running.get("/who", auth=("acme", "correct horse battery")),
        ]
        assert [one.status_code for one in answers] == [200, 200, 200]
        linked = answers[2].json()
        assert (linked["name"], linked["kind"], linked["user"]) == ("acme", "consumer", limited.id)
        assert (linked["groups"], linked["facts"]["email"]) == (["gold"], "limited@example.org")
        assert eventually(lambda: f'"identity":"acme","user":"{limited.id}"' in running.log(), 10)
        assert {limited.get(path).status_code for path in ("/who", "/crm")} == {429}
        assert running.get("/who", auth=("acme", "correct horse battery")).status_code == 429
        asked = ("limits", "explain", "--channel", "who", "--user", "limited", *placed(running))
        assert "user       few                      0 of 3" in running.command(*asked)
        assert make().get("/who").status_code == 200
    finally:
        console.links.remove(limited.id, console.links.all(limited.id)[0].id, COMMAND)


def test_S35_a_linked_credential_is_no_way_around_a_second_factor(running, console, ann):
    basic = ("acme", "correct horse battery")
    link = console.links.add(ann.id, "partners", "acme", COMMAND)
    try:
        assert running.get("/who", auth=basic).json()["user"] == ann.id
        _, enrolment = ann.call("POST", "/me/totp")
        assert ann.call("POST", "/me/totp/confirm", {"code": totp_of(enrolment["secret"])})[0] == 200
        answers = {running.get("/who", auth=basic).json().get("code") for _ in range(8)}
        assert answers == {"mfa-required"}
    finally:
        console.links.remove(ann.id, link.id, COMMAND)
    assert running.get("/who", auth=basic).json()["user"] == ""


def test_Z35_other_definitions_do_what_they_did_where_people_log_in_too(running):
    told = running.get("/who", headers={"X-API-Key": "0123456789abcdef0123456789abcdef"}).json()
    assert (told["kind"], told["user"]) == ("credential", "")


def test_addresses_that_a_person_may_not_call_from(console, make, ann):
    assert make("far").get("/who").json()["code"] == "address-not-allowed"
    console.users.change(ann.id, {"addresses": ["192.0.2.0/24"]}, COMMAND, allowed=["addresses"])
    assert ann.get("/who").json()["code"] == "address-not-allowed"
    console.users.change(ann.id, {"addresses": []}, COMMAND, allowed=["addresses"])
    assert ann.statuses() == {200}


def test_what_the_document_says_of_people_is_taken_up_by_every_worker(running, tmp_path, ann):
    document = tmp_path / "gateway.yaml"

    def apply(text):
        document.write_text(text)
        running.command("config", "apply", str(document), *placed(running))

    def eight(wanted):
        return {running.get("/sso/v1/config").json()["signup"] for _ in range(8)} == wanted

    apply(CONFIGURATION.replace("crm: {signup: true, login: true}", "crm: {login: true}"))
    try:
        assert eventually(lambda: eight({False}), 10)
        assert ann.statuses() == {200}
    finally:
        apply(CONFIGURATION)
    assert eventually(lambda: eight({True}), 10)


def test_S7_people_are_administered_by_super_users_who_log_in(make, ann):
    boss = make(is_super_user=True)
    assert ann.call("POST", "/users/search", {}) == (403, "super-user-required")
    status, found = boss.call("POST", "/users/search", {"query": {"username": ann.name}})
    assert (status, [user["id"] for user in found["items"]]) == (200, [ann.id])
    assert boss.call("POST", f"/users/{ann.id}/decide", {"event": "lock", "reason": "ticket 7"}) == (
        200,
        {"state": "locked"},
    )
    assert ann.statuses() == {401}
    assert boss.call("GET", "/audit/verify")[1]["good"] is True


def test_super_users_use_the_admin_listener_by_their_session(running, make, ann):
    boss = make(is_super_user=True)

    def ask(person, **headers):
        headers = headers or {"Authorization": f"Bearer {person.token}"}
        answer = requests.get(f"{running.admin_url}/config/history", headers=headers, timeout=20)
        return answer.status_code, answer.json().get("code", "") if answer.status_code >= 400 else ""

    assert ask(boss) == (200, "")
    assert ask(boss, Cookie=f"gw_session_dev={boss.token}") == (401, "unauthenticated")
    assert ask(ann) == (403, "super-user-required")
    assert boss.call("POST", "/logout", {})[0] == 204
    assert ask(boss) == (401, "session-invalid")
