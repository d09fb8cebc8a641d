"""Passkeys on the pages: what a browser is handed, and what becomes of what it hands back. `tests/journeys` has a real browser."""

import orjson
import pytest
from authenticator import Authenticator
from people import OTHER, PASSWORD, on_database
from visitor import BASE, Visitor

RULES = {"domain": "acme.example", "origins": [BASE]}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lasting_world(request):
    with on_database(request) as world:
        yield world


@pytest.fixture
def world(lasting_world):
    """An installation without people, where passkeys can be used."""
    lasting_world.emptied().configure(passkeys=RULES)
    return lasting_world


@pytest.fixture
def visitor(world):
    world.person()
    return Visitor(world)


def handed(visitor):
    """The options that the one form with a passkey on the page carries; the page may run our script, and nothing else."""
    (form,) = visitor.answer.page.xpath("//form[@data-passkey]")
    policy = visitor.answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "hidden" in form.attrib
    (script,) = visitor.answer.page.xpath("//script")
    assert (script.get("src").partition("?")[0], script.text) == ("/sso/assets/passkeys.js", None)
    return orjson.loads(form.get("data-options"))


def enrol(visitor, device, name="Phone"):
    visitor.get("/account/passkeys")
    return visitor.press("Add a passkey", credential=orjson.dumps(device.create(handed(visitor))).decode(), name=name)


def use(visitor, device, button, **changes):
    return visitor.press(button, credential=orjson.dumps(device.get(handed(visitor), **changes)).decode())


@pytest.fixture
def device(visitor):
    """A device with a passkey of Ann's, who is logged out again."""
    device = Authenticator(BASE)
    visitor.log_in()
    enrol(visitor, device)
    visitor.jar.clear()
    return device


def test_a_passkey_is_added_named_used_and_removed(world, visitor):
    device = Authenticator(BASE)
    visitor.log_in()
    visitor.get("/account/passkeys")
    assert "You have no passkeys yet." in visitor.answer.text
    answer = enrol(visitor, device)
    assert answer.heading == "Recovery codes"
    codes = answer.shown("//ol[@class='codes']/li")
    assert len(codes) == 10
    visitor.get("/account/passkeys")
    assert visitor.answer.shown("//p[@class='name']") == ["Phone"]
    visitor.press("Remove the passkey Phone")
    assert "You have no passkeys yet." in visitor.answer.text
    visitor.jar.clear()
    assert visitor.log_in().heading == "Profile"


def test_a_passkey_alone_logs_in(world, visitor, device):
    visitor.get("/login", next="/sso/account/sessions")
    answer = use(visitor, device, "Log in with a passkey")
    assert (answer.status, visitor.at) == (200, "/sso/account/sessions")
    assert "two steps" in answer.text


def test_a_passkey_is_the_second_step_after_the_password(world, visitor, device):
    visitor.log_in()
    assert visitor.at.startswith("/sso/login/mfa")
    # There are no codes of an app: what can be typed is a recovery code.
    assert visitor.answer.shown("//label[@for='code']") == ["Recovery code"]
    assert use(visitor, device, "Use a passkey").heading == "Profile"


def test_S38_what_was_signed_elsewhere_is_told_and_lets_nobody_in(world, visitor, device):
    visitor.get("/login")
    answer = use(visitor, device, "Log in with a passkey", origin="https://evil.example")
    assert (answer.status, answer.message) == (401, "This passkey is not known here.")
    answer = use(visitor, Authenticator(BASE), "Log in with a passkey")
    assert answer.status == 401
    for junk in ("", "{", "[]", "x" * 30_000):
        visitor.get("/login")
        assert visitor.press("Log in with a passkey", credential=junk).status in (401, 422)
    visitor.log_in()
    answer = use(visitor, device, "Use a passkey", origin="https://evil.example")
    assert (answer.status, visitor.jar.get("__Host-gw_session")) == (401, None)


def test_S19_a_form_with_a_passkey_is_taken_from_our_own_pages_alone(world, visitor, device):
    visitor.get("/login")
    signed = orjson.dumps(device.get(handed(visitor))).decode()
    answer = visitor.post("/login/passkey", {"credential": signed}, origin="https://evil.example")
    assert answer.status == 403
    answer = visitor.post("/login/passkey", {"credential": signed})
    assert answer.status == 403
    assert "__Host-gw_session" not in visitor.jar


def test_what_is_delicate_is_proven_by_a_passkey_and_the_password_is_changed_without_a_code(world, visitor, device):
    visitor.log_in()
    use(visitor, device, "Use a passkey")
    world.passes(minutes=11)
    visitor.get("/account/passkeys")
    assert visitor.answer.heading == "Is it really you?"
    assert "Use the code of your app instead" not in visitor.answer.text
    answer = use(visitor, device, "Use a passkey")
    assert (answer.status, visitor.at) == (200, "/sso/account/passkeys")
    visitor.get("/account/password")
    answer = visitor.press("Change password", current_password=PASSWORD, new_password=OTHER)
    assert answer.status == 200, answer.text


def test_pages_say_nothing_of_passkeys_where_there_can_be_none(world, visitor):
    world.configure()
    visitor.get("/login")
    assert visitor.answer.page.xpath("//form[@data-passkey]|//script") == []
    assert "script-src" not in visitor.answer.headers["content-security-policy"]
    visitor.log_in()
    assert "Passkeys" not in visitor.answer.text
    world.configure(passkeys={**RULES, "login": False})
    visitor.jar.clear()
    visitor.get("/login")
    assert visitor.answer.page.xpath("//form[@data-passkey]") == []


def test_the_script_is_a_file_of_ours(visitor):
    answer = visitor.get("/assets/passkeys.js")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert "fetch(" not in answer.text
