"""A log-in on the pages, handed over to an application that has a credential: the way there, the code, and what it is worth."""

import base64
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from people import OTHER, PASSWORD, in_memory, refused
from visitor import Visitor

from backends.catalogue import Catalogue, deployed_from
from backends.executors.local import LocalExecutor
from backends.guard import Guard
from backends.platform import Platform
from specs.exchange import Call
from specs.problems import ConfigurationError, Problem
from sso import handover_api
from sso.handover import challenge_of
from sso.settings import Sso
from sso.system import COMMAND

APPS = {
    "crm": {"signup": True, "login": True},
    "erp": {"login": True, "credential": True, "origins": ["https://erp.example"]},
    "hr": {"login": True, "credential": True, "origins": ["https://hr.example", "http://[2001:db8::1]:8080"]},
    "open": {"login": True, "origins": ["https://open.example"]},
}
VERIFIER = "v" * 43
BACK = "https://erp.example/in?state=x1#top"


@pytest.fixture(scope="module")
def lasting_world():
    with in_memory() as world:
        yield world


@pytest.fixture
def world(lasting_world):
    world = lasting_world.emptied()
    world.configure(apps=APPS)
    world.ann = world.person()
    return world


@pytest.fixture
def visitor(world):
    return Visitor(world)


def log_in_on_the_way(visitor, app="erp", place=BACK, **fields):
    visitor.get("/login", app=app, next=place)
    return visitor.press("Log in", **{"username": "ann", "password": PASSWORD, **fields})


def code_in(answer):
    return parse_qs(urlsplit(answer.location).query)["code"][0]


def asked(world, code, headers, **more):
    """Status, and the answer or the code of the problem, of the service."""
    executor = LocalExecutor(
        Catalogue(deployed_from(handover_api)), Platform(sso=world.sso), Guard(enforce=False)
    )  # fmt: skip
    call = Call("sso.session.redeem", payload={"code": code, **more}, cid="c", headers=headers, address="198.51.100.9")
    try:
        outcome = executor.perform(call)
    except Problem as problem:
        return problem.status, problem.code
    return outcome.status, outcome.payload


def redeem(world, code, app="erp", address="198.51.100.9", verifier=""):
    return world.sso.handover.redeem(code, world.caller(address, app), verifier)


def test_an_application_with_a_credential_has_people_log_in_and_gets_a_session_for_the_code(world, visitor):
    answer = log_in_on_the_way(visitor)
    place = urlsplit(answer.location)
    assert (answer.status, place.netloc, place.path, place.fragment) == (303, "erp.example", "/in", "top")
    assert parse_qs(place.query)["state"] == ["x1"]
    done = redeem(world, code_in(answer))
    assert (done.user.username, done.session.app, done.session.address) == ("ann", "erp", "198.51.100.9")
    assert done.session.user_agent.startswith("Mozilla")
    session = world.sso.sessions.check(done.token, world.caller("198.51.100.9", "erp"))
    assert session == done.session
    # That of the pages is another one, and nobody else has its token.
    assert len(world.sso.sessions.list(world.ann.id)) == 2
    assert {"login.hand-over", "login"} <= set(world.actions())


def test_a_code_that_somebody_wrote_into_the_address_is_not_handed_on_beside_ours(world, visitor):
    # Or else whoever made the link could have people log in as somebody else: some read the first of two, some the last.
    place = urlsplit(
        log_in_on_the_way(visitor, place="https://erp.example/in?code=theirs&x=1&c%6fde=theirs&code#code=top").location
    )
    given = parse_qs(place.query, keep_blank_values=True)
    assert (given.pop("x"), place.fragment) == (["1"], "code=top")
    assert [*given] == ["code"]
    assert len(given["code"]) == 1
    assert redeem(world, given["code"][0]).user.username == "ann"


def test_a_code_works_once_within_a_minute_and_for_its_application_alone(world, visitor):
    code = code_in(log_in_on_the_way(visitor))
    redeem(world, code)
    with refused("token-invalid"):
        redeem(world, code)
    code = code_in(log_in_on_the_way(Visitor(world)))
    for app in ("hr", "crm", ""):
        with refused("token-invalid"):
            redeem(world, code, app)
    # Whoever has tried it elsewhere has used it up.
    with refused("token-invalid"):
        redeem(world, code)
    code = code_in(log_in_on_the_way(Visitor(world)))
    world.passes(seconds=60)
    for wrong in (code, "", "gwt_" + "A" * 43):
        with refused("token-invalid"):
            redeem(world, wrong)


def test_a_code_that_is_bound_to_a_browser_is_worth_nothing_in_another(world, visitor):
    secret, _ = world.enrol()
    world.passes(minutes=1)
    challenge = challenge_of(VERIFIER)
    # On every page of the way it goes on being bound.
    visitor.get("/login", app="erp", next=BACK, code_challenge=challenge, code_challenge_method="S256")
    visitor.press("Log in", username="ann", password="not this one")
    visitor.press("Log in", username="ann", password=PASSWORD)
    code = code_in(visitor.press("Continue", code=world.code(secret)))
    for wrong in ("", "w" * 43, challenge, VERIFIER + "v"):
        with refused("token-invalid"):
            redeem(world, code, verifier=wrong)
        visitor.get("/login", app="erp", next=BACK, code_challenge=challenge)
        code = code_in(visitor.press("Continue"))
    assert redeem(world, code, verifier=VERIFIER).user.username == "ann"


@pytest.mark.parametrize("challenge", ["", challenge_of(VERIFIER)[:-1], challenge_of(VERIFIER).lower(), "ü", VERIFIER])
def test_a_challenge_that_was_left_out_or_changed_on_the_way_does_not_unbind_the_code(world, visitor, challenge):
    visitor.get("/login", app="erp", next=BACK, code_challenge=challenge)
    code = code_in(visitor.press("Log in", username="ann", password=PASSWORD))
    with refused("token-invalid"):
        redeem(world, code, verifier=VERIFIER)


@pytest.mark.parametrize(
    ("app", "place"),
    [("erp", "https://hr.example/in"), ("erp", "https://erp.example.evil/"), ("hr", BACK), ("crm", BACK), ("", BACK)],
)
def test_nobody_is_sent_to_the_origin_of_another_application(world, visitor, app, place):
    assert log_in_on_the_way(visitor, app, place).heading == "Profile"


def test_without_a_credential_people_are_sent_back_without_a_code(world, visitor):
    assert log_in_on_the_way(visitor, "open", "https://open.example/in").location == "https://open.example/in"


@pytest.mark.parametrize(("app", "whose"), [("erp", ""), ("open", "open")])
def test_the_session_of_the_pages_is_not_of_an_application_that_was_only_named(world, visitor, app, whose):
    assert log_in_on_the_way(visitor, app, place="").heading == "Profile"
    assert [one.app for one in world.sso.sessions.list(world.ann.id)] == [whose]


def test_whoever_is_logged_in_already_is_asked_before_an_application_hears_of_them(world, visitor):
    visitor.log_in()
    asked = visitor.get("/login", app="erp", next=BACK)
    assert (asked.status, asked.heading) == (200, "Continue to erp.example")
    assert "form-action 'self' https://erp.example;" in asked.headers["content-security-policy"]
    done = redeem(world, code_in(visitor.press("Continue")))
    assert (done.user.username, done.session.app) == ("ann", "erp")
    visitor.get("/login", app="erp", next=BACK)
    visitor.click("Use another account")
    world.person("bob")
    assert visitor.press("Log out").heading == "Log in to Acme"
    done = redeem(world, code_in(visitor.press("Log in", username="bob", password=PASSWORD)))
    assert done.user.username == "bob"


def test_nobody_makes_others_go_on_by_a_form_of_their_own(world, visitor):
    visitor.log_in()
    forged = visitor.post("/login/continue", {"app": "erp", "next": BACK}, origin="https://evil.example")
    assert (forged.status, forged.location) == (403, "")
    assert "login.hand-over" not in world.actions()


def test_a_session_for_a_code_was_proven_when_the_one_on_the_pages_was_and_ends_with_it(world, visitor):
    secret, _ = world.enrol()
    world.passes(minutes=1)
    log_in_on_the_way(visitor)
    answer = visitor.press("Continue", code=world.code(secret))
    began = world.now
    first = redeem(world, code_in(answer)).session
    assert (first.level, set(first.methods)) == (2, {"password", "totp"})
    world.passes(minutes=25)
    visitor.get("/login", app="erp", next=BACK)
    later = redeem(world, code_in(visitor.press("Continue"))).session
    assert (later.authenticated_at, later.ends_at) == (began, began + timedelta(hours=12))
    with refused("reauthentication-required"):
        world.sso.sessions.require_recent(later)


@pytest.mark.parametrize("what", ["lock", "password", "logout", "revoke"])
def test_S31_what_ends_the_log_in_ends_the_code(world, visitor, what):
    code = code_in(log_in_on_the_way(visitor))
    if what == "lock":
        world.sso.users.decide(world.ann.id, "lock", COMMAND)
    elif what == "password":
        world.sso.accounts.set_password(world.ann.id, OTHER, COMMAND)
    elif what == "logout":
        visitor.get("/logout")
        visitor.press("Log out")
    else:
        world.sso.sessions.end_all(world.ann.id, COMMAND)
    with refused("token-invalid"):
        redeem(world, code)


def test_the_networks_of_the_application_and_of_the_person_hold_for_who_goes_on(world, visitor):
    visitor.log_in()
    world.sso.users.change(world.ann.id, {"addresses": ["203.0.113.0/24"]}, COMMAND, allowed={"addresses"})
    visitor.get("/login", app="erp", next=BACK)
    assert visitor.press("Continue").status == 403
    world.configure(apps={**APPS, "erp": {**APPS["erp"], "allow": ["203.0.113.0/24"]}})
    visitor.get("/login", app="erp", next=BACK)
    assert visitor.press("Continue").status == 403


def test_the_server_of_an_application_asks_by_its_credential_and_in_no_other_way(world, visitor):
    secret, others = (world.sso.applications.add(app, COMMAND).secret for app in ("erp", "hr"))
    code = code_in(log_in_on_the_way(visitor))
    for headers in ({}, {"x-gateway-app": "erp"}, {"x-gateway-app": "erp", "x-gateway-app-secret": others}):
        assert asked(world, code, headers) == (401, "app-unproven")
    status, told = asked(world, code, {"x-gateway-app-secret": secret})
    assert (status, told["status"], told["token_type"], told["user"]["username"]) == (200, "ok", "Bearer", "ann")
    assert world.sso.sessions.look_up(told["token"]).app == "erp"
    basic = base64.b64encode(f"erp:{secret}".encode()).decode()
    code = code_in(log_in_on_the_way(Visitor(world)))
    assert asked(world, code, {"authorization": f"Basic {basic}"})[1]["status"] == "ok"


def test_the_server_of_an_application_brings_the_verifier_along(world, visitor):
    secret = world.sso.applications.add("erp", COMMAND).secret
    visitor.get("/login", app="erp", next=BACK, code_challenge=challenge_of(VERIFIER))
    code = code_in(visitor.press("Log in", username="ann", password=PASSWORD))
    proof = {"x-gateway-app-secret": secret}
    assert asked(world, code, proof, code_verifier="short") == (400, "invalid-input")
    assert asked(world, code, proof, code_verifier=VERIFIER)[1]["status"] == "ok"


def test_the_session_of_an_application_that_proves_itself_is_none_on_our_pages(world, visitor):
    # Whoever has come by its token has no credential: the account itself must not be open to them.
    done = redeem(world, code_in(log_in_on_the_way(Visitor(world))))
    visitor.jar["__Host-gw_session"] = done.token
    for path in ("/account", "/account/data", "/account/second-factor"):
        assert visitor.get(path).heading == "Log in to Acme"
    assert "__Host-gw_session" not in visitor.jar
    assert world.sso.sessions.check(done.token, world.caller("198.51.100.9", "erp"))


def test_origins_are_origins():
    for wrong in ("https://erp.example/", "erp.example", "javascript:x", "https://*.example"):
        with pytest.raises(ConfigurationError) as caught:
            Sso.read({"apps": {"erp": {"origins": [wrong]}}})
        assert caught.value.path.endswith("apps.erp.origins[0]")
        assert "https://app.example.org" in caught.value.remedy
