"""Programs that log people in, ask about tokens and use passkeys, through the Python client, against a gateway that runs."""

import re
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from authenticator import Authenticator
from people import OTHER, PASSWORD
from proxies import proxy
from running import free_port, gateway
from upstream import upstream

from gatewright_client import CALLS, RENEW_AFTER, Client, Problem, SecondFactorRequired, Unreachable
from security.database import open_database
from security.secrets import Keyring
from sso import surface
from sso.handover import challenge_of
from sso.settings import Sso
from sso.system import COMMAND, SingleSignOn
from sso.users import NewUser

ORIGIN = "https://app.test"
KEY = "0123456789abcdef0123456789abcdef"
CONFIGURATION = f"""
format: 1
gateway:
  trusted_proxies: [127.0.0.1]
sso:
  enabled: true
  site_name: Acme
  apps:
    crm: {{signup: true, login: true}}
    erp: {{login: true, credential: true, origins: ["https://erp.test"]}}
    auditor: {{introspect: any}}
  default_app: crm
  signup: {{email_confirmation: false}}
  second_factor: {{required: "off"}}
  login: {{attempts_per_minute: 0}}
  passkeys: {{domain: app.test, origins: ["{ORIGIN}"]}}
  own_links: [partners, keys]
security:
  people: {{type: sso}}
  through-erp: {{type: sso, apps: [erp]}}
  partners: {{type: basic, groups: ["*"]}}
  keys: {{type: apikey, groups: ["*"]}}
consumers:
  acme: {{groups: [gold], basic: {{username: acme-login, password: correct-horse}}, apikey: {{key: "{KEY}"}}}}
channels:
  portal: {{type: forward_auth, path: /authz/portal, security: [people], unauthenticated: location,
            origins: ["http://portal.test"]}}
  erp: {{type: forward_auth, path: /authz/erp, security: [through-erp]}}
  partners: {{type: forward_auth, path: /authz/partners, security: [partners, keys]}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("programs"), CONFIGURATION, workers=2) as found:
        yield found


@pytest.fixture(scope="module")
def console(running):
    """What a command on the same machine reaches."""
    database = open_database(running.data)
    settings = Sso.read({"enabled": True, "apps": {"crm": {}, "erp": {}, "auditor": {}}})
    yield SingleSignOn(database, Keyring.open(running.data / "keys.json").ring("edge"), settings)
    database.close()


@pytest.fixture(scope="module")
def client(running):
    return Client(running.url)


@pytest.fixture(scope="module")
def ann(client):
    """Somebody who signed up; each test that needs her logged in does that."""
    client.signup(username="ann", email="ann@example.org", password=PASSWORD, display_name="Ann")
    return "ann"


@pytest.fixture
def session(client, ann):
    return client.log_in(ann, PASSWORD)


def test_the_client_has_every_call_that_there_is():
    known = {}
    for method, path, service in surface.every_path():
        known.setdefault(service.removeprefix("sso."), []).append((method, path))
    assert {name: sorted(paths) for name, paths in CALLS.items()} == {
        name: sorted(paths) for name, paths in known.items()
    }


def test_an_application_gets_a_session_of_whom_it_sent_to_the_pages(running, console, ann):
    erp = Client(running.url, app="erp", secret=console.applications.add("erp", COMMAND).secret)
    verifier = "0123456789-0123456789-0123456789-0123456789"
    way = {"app": "erp", "next": "https://erp.test/in?state=x1", "code_challenge": challenge_of(verifier)}
    page = requests.get(f"{running.url}/sso/login", params=way, timeout=10)
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text))
    cookies = "; ".join(f"{one.name}={one.value}" for one in page.cookies)
    assert fields["code_challenge"] == way["code_challenge"]

    def code():
        answer = requests.post(
            f"{running.url}/sso/login", {**fields, "username": ann, "password": PASSWORD}, timeout=10,
            headers={"Cookie": cookies, "Origin": running.url}, allow_redirects=False,
        )  # fmt: skip
        place = urlsplit(answer.headers["Location"])
        assert (answer.status_code, place.netloc, parse_qs(place.query)["state"]) == (303, "erp.test", ["x1"])
        return parse_qs(place.query)["code"][0]

    with pytest.raises(Problem) as refused:
        erp.redeem(code())
    assert refused.value.code == "token-invalid"
    session = erp.redeem(code(), verifier)
    assert (session.user["username"], session.me.get()["user"]["username"]) == (ann, ann)


def test_somebody_logs_in_keeps_something_and_logs_out(client, session):
    assert (session.user["username"], session.session.get()["user"]["email"]) == ("ann", "ann@example.org")
    session.attributes.set(name="colour:of.the-day", value={"r": 1}, encrypted=True)
    assert session.attributes.get(name="colour:of.the-day")["value"] == {"r": 1}
    assert session.attributes.list(names_only=True)["items"] == ["colour:of.the-day"]
    assert session.me.change(display_name="Ann B.")["user"]["display_name"] == "Ann B."
    again = client.resume(session.token)
    assert again.me.get()["user"]["display_name"] == "Ann B."
    session.log_out()
    with pytest.raises(Problem) as refused:
        again.me.get()
    assert (refused.value.status, refused.value.code, bool(refused.value.cid)) == (401, "session-invalid", True)


def test_what_is_refused_is_an_exception_that_says_why(client, session):
    with pytest.raises(Problem) as refused:
        client.log_in("nobody", PASSWORD)
    assert (refused.value.status, refused.value.code) == (401, "invalid-credentials")
    with pytest.raises(Problem) as refused:
        client.signup(username="x y", email="x@example.org", password="short")
    assert {one["pointer"] for one in refused.value.errors} & {"/username", "/password"}
    with pytest.raises(AttributeError, match=r"no call 'users\.frobnicate'"):
        session.users.frobnicate()
    with pytest.raises(TypeError, match="needs name"):
        session.attributes.get()
    with pytest.raises(TypeError, match="cannot be empty"):
        session.sessions.end(id=None)
    assert len(session.sessions.list()["items"]) >= 1


def test_a_second_factor_is_a_stage_of_its_own(client):
    client.signup(username="carl", email="carl@example.org", password=PASSWORD)
    session = client.log_in("carl", PASSWORD)
    device = Authenticator(ORIGIN)
    made = session.me.webauthn.add(credential=device.create(session.me.webauthn.options()["options"]), name="Key")
    assert (made["passkey"]["name"], len(made["recovery_codes"])) == ("Key", 10)
    with pytest.raises(SecondFactorRequired) as stage:
        client.log_in("carl", PASSWORD)
    assert stage.value.methods == ["recovery_code", "webauthn"]
    with pytest.raises(Problem) as refused:
        stage.value.finish(recovery_code="01-AAAAA-AAAAA")
    assert refused.value.code == "mfa-invalid"
    done = stage.value.finish(webauthn=device.get(stage.value.options()))
    assert done.session.get()["session"]["level"] == 2
    with pytest.raises(SecondFactorRequired) as stage:
        client.log_in("carl", PASSWORD)
    assert stage.value.finish(recovery_code=made["recovery_codes"][0]).user["username"] == "carl"
    options = client.login.webauthn.options()["options"]
    alone = client.login.webauthn(credential=device.get(options))
    assert (alone["status"], alone["session"]["methods"]) == ("ok", ["passkey", "user-verified"])
    listed = client.resume(alone["token"]).me.webauthn.list()["items"]
    assert [one["name"] for one in listed] == ["Key"]
    assert client.config()["passkeys"] is True


def test_a_session_takes_a_new_token_from_time_to_time_and_once_for_all_threads(running, ann):
    now = [1000.0]
    client = Client(running.url, clock=lambda: now[0])
    session = client.log_in(ann, PASSWORD)
    first = session.token
    session.me.get()
    assert session.token == first
    now[0] += RENEW_AFTER + 1
    outcomes = []

    def use():
        try:
            outcomes.append(session.me.get()["user"]["username"])
        except Exception as error:
            outcomes.append(repr(error))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes, session.token != first) == (["ann"] * 8, True)
    second = session.token
    session.prove_again(password=PASSWORD)
    assert session.token != second
    session.me.password(current_password=PASSWORD, new_password=OTHER)
    session.prove_again(password=OTHER)
    session.me.password(current_password=OTHER, new_password=PASSWORD)
    assert session.me.get()["user"]["username"] == "ann"


def test_a_gateway_that_is_away_and_an_address_that_is_none():
    with pytest.raises(Unreachable):
        Client(f"http://127.0.0.1:{free_port()}", timeout=5).config()
    with pytest.raises(ValueError, match="not the address of a gateway"):
        Client("gateway.example.org")
    with upstream() as other:
        other.statuses["/sso/v1/config"] = 404
        with pytest.raises(Problem) as refused:
            Client(other.url).config()
    assert (refused.value.status, refused.value.code) == (404, "")


# applications


def test_an_application_asks_about_tokens_and_ends_them(running, console, client, ann):
    session = client.log_in(ann, PASSWORD)
    secret = console.applications.add("crm", COMMAND).secret
    ours = Client(running.url, app="crm", secret=secret)
    told = ours.introspect(token=session.token)
    assert (told["active"], told["username"], told["client_id"], told["exp"] > time.time()) == (
        True,
        "ann",
        "crm",
        True,
    )
    foreign = Client(running.url, secret=console.applications.add("erp", COMMAND).secret)
    assert foreign.introspect(token=session.token) == {"active": False}
    anys = Client(running.url, secret=console.applications.add("auditor", COMMAND).secret)
    assert anys.introspect(token=session.token)["active"] is True
    foreign.revoke(token=session.token)
    assert session.me.get()
    ours.revoke(token=session.token)
    assert ours.introspect(token=session.token) == {"active": False}
    with pytest.raises(Problem) as refused:
        session.me.get()
    assert refused.value.status == 401


def test_introspection_takes_the_form_that_its_standard_has(running, console, session):
    issued = console.applications.add("crm", COMMAND)
    asked = {"token": session.token, "token_type_hint": "access_token"}
    url = running.url + "/sso/v1/introspect"
    answer = requests.post(url, data=asked, auth=("crm", issued.secret), timeout=20)
    assert (answer.status_code, answer.json()["active"], answer.headers["Cache-Control"]) == (200, True, "no-store")
    assert answer.headers["Content-Type"] == "application/json"
    for auth in (("crm", "gwa_" + "A" * 43), ("erp", issued.secret), None):
        refused = requests.post(url, data=asked, auth=auth, timeout=20)
        assert (refused.status_code, refused.json()["code"]) == (401, "app-unproven")
    answer = requests.post(running.url + "/sso/v1/revoke", data=asked, auth=("crm", issued.secret), timeout=20)
    assert (answer.status_code, answer.content in (b"", b"{}", b"null")) == (200, True)


def test_people_log_in_through_an_application_that_proves_itself(running, console, ann):
    with pytest.raises(Problem) as refused:
        Client(running.url, app="erp").log_in(ann, PASSWORD)
    assert refused.value.code == "app-unproven"
    client = Client(running.url, app="erp", secret=console.applications.add("erp", COMMAND).secret)
    session = client.log_in(ann, PASSWORD)
    assert session.session.get()["session"]["app"] == "erp"
    unproven = Client(running.url).resume(session.token)
    for call in (unproven.me.get, unproven.session.renew, unproven.log_out):
        with pytest.raises(Problem) as refused:
            call()
        assert refused.value.code == "app-unproven"
    # Nor is its token taken as a cookie.
    cookie = {"Cookie": f"gw_session_dev={session.token}"}
    for path in ("/sso/v1/session", "/authz/portal", "/authz/erp"):
        assert requests.get(running.url + path, headers=cookie, timeout=20).status_code == 401
    assert session.session.get()["session"]["app"] == "erp"


def test_a_super_users_session_of_an_application_that_proves_itself_needs_its_credential_at_the_admin_listener(
    running, console
):
    console.users.create(NewUser("root-of-erp", "erp@example.org", PASSWORD, is_super_user=True), COMMAND)
    secret = console.applications.add("erp", COMMAND).secret
    token = Client(running.url, app="erp", secret=secret).log_in("root-of-erp", PASSWORD).token
    url, bearer = f"{running.admin_url}/config/history", {"Authorization": f"Bearer {token}"}
    assert requests.get(url, headers=bearer, timeout=20).status_code == 401
    assert requests.get(url, headers={**bearer, "X-Gateway-App-Secret": secret}, timeout=20).status_code == 200


def test_a_log_in_on_the_pages_is_no_proof_of_the_application_that_it_named(running, console, ann):
    """People name the application in the address of the page; its credential is the application's alone."""
    browser = requests.Session()
    page = browser.get(f"{running.url}/sso/login?app=erp", timeout=20)
    token = re.search(r'name="form" value="([0-9a-f]+)"', page.text)[1]
    form = {"username": ann, "password": PASSWORD, "form": token, "app": "erp"}
    browser.post(f"{running.url}/sso/login?app=erp", data=form, headers={"Origin": running.url}, timeout=20)
    assert browser.get(f"{running.url}/authz/portal", timeout=20).status_code == 200
    assert browser.get(f"{running.url}/authz/erp", timeout=20).status_code == 403
    assert browser.get(f"{running.url}/sso/v1/session", timeout=20).json()["session"]["app"] == ""


def test_super_users_make_credentials_over_the_wire(running, console):
    console.users.create(NewUser("root-of-all", "root@example.org", PASSWORD, is_super_user=True), COMMAND)
    root = Client(running.url).log_in("root-of-all", PASSWORD)
    made = root.apps.credentials.add(app="erp", name="night run", reason="new machine")
    assert [one["id"] for one in root.apps.credentials.list(app="erp")["items"]][-1] == made["credential"]["id"]
    assert Client(running.url, secret=made["secret"]).introspect(token=root.token) == {"active": False}
    root.apps.credentials.remove(app="erp", id=made["credential"]["id"])
    with pytest.raises(Problem) as refused:
        Client(running.url, secret=made["secret"]).introspect(token=root.token)
    assert refused.value.code == "app-unproven"
    assert root.users.search(query={"username": "root-of-all"})["items"][0]["is_super_user"] is True


def test_a_person_links_the_credentials_that_they_hold_and_is_known_by_them(running, session):
    def known():
        answer = running.get("/authz/partners", auth=("acme-login", "correct-horse"))
        return answer.status_code, answer.headers["Remote-User"], answer.headers["X-Gateway-User-Id"]

    assert known() == (200, "acme", "")
    with pytest.raises(Problem) as refused:
        session.me.links.add(definition="partners", username="acme-login", password="wrong")
    assert refused.value.code == "invalid-credentials"
    made = session.me.links.add(definition="partners", username="acme-login", password="correct-horse")["link"]
    keyed = session.me.links.add(definition="keys", key=KEY)["link"]
    assert {one["principal"] for one in session.me.links.list()["items"]} == {"acme"}
    assert known() == (200, "acme", session.user["id"])
    for link in (made, keyed):
        session.me.links.remove(id=link["id"])
    assert known() == (200, "acme", "")


# forward-auth by sessions


def ask(running, **headers):
    return running.get("/authz/portal", headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_forward_auth_knows_people_by_token_and_by_cookie_until_they_log_out(running, session):
    for given in ({"Authorization": f"Bearer {session.token}"}, {"Cookie": f"a=b; gw_session_dev={session.token}"}):
        answer = ask(running, **given)
        assert (answer.status_code, answer.headers["Remote-User"], answer.headers["Remote-Email"]) == (
            200, "ann", "ann@example.org",
        )  # fmt: skip
        assert answer.headers["X-Gateway-User-Id"] == session.user["id"]
        assert answer.headers["X-Gateway-Session-Id"] == session.session.get()["session"]["id"]
        assert answer.headers["X-Gateway-Kind"] == "user"
    session.log_out()
    for _ in range(6):
        assert ask(running, Authorization=f"Bearer {session.token}").status_code == 401


def test_forward_auth_through_nginx_sends_people_to_log_in_and_lets_them_through_then(running, session, tmp_path):
    port = int(running.url.rpartition(":")[2])
    with (
        upstream("app") as app,
        proxy("nginx", tmp_path, gateway_port=port, app_port=app.server_port, channel="/authz/portal") as front,
    ):

        def get(**headers):
            return requests.get(
                f"http://127.0.0.1:{front}/reports", headers={"Host": "portal.test", "Accept": "text/html", **headers},
                allow_redirects=False, timeout=20,
            )  # fmt: skip

        sent = get()
        assert (sent.status_code, sent.headers["Location"]) == (302, "http://portal.test/sso/login?next=%2Freports")
        through = get(Cookie=f"gw_session_dev={session.token}")
        assert (through.status_code, through.json()["headers"]["Remote-User"]) == (200, "ann")
        session.log_out()
        assert get(Cookie=f"gw_session_dev={session.token}").status_code == 302
