"""The pages of people: what each shows, and what becomes of what is filled in."""

import re

import orjson
import pytest
from people import OTHER, PASSWORD, on_database
from visitor import Visitor


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lasting_world(request):
    with on_database(request) as world:
        yield world


@pytest.fixture
def world(lasting_world):
    """An installation without people; its database is the same for all tests of this file."""
    return lasting_world.emptied()


@pytest.fixture
def visitor(world):
    return Visitor(world)


def token_of(world, kind):
    return world.letters(kind)[-1].values["token"]


# The way in


def test_signing_up_confirming_and_logging_in(world, visitor):
    visitor.get("/login")
    visitor.click("Sign up")
    done = visitor.press("Sign up", username="Ann", email="ann@example.org", password=PASSWORD, display_name="Ann Lee")
    assert done.heading == "Look at your mail"
    link = token_of(world, "confirm")
    assert visitor.get("/signup/confirm", token=link).heading == "Confirm your address"
    confirmed = visitor.press("Confirm address")
    assert (confirmed.heading, confirmed.message) == (
        "Log in to Acme", "Your address is confirmed. You can log in now."
    )  # fmt: skip
    account = visitor.press("Log in", username="ann", password=PASSWORD)
    assert (account.status, account.heading) == (200, "Profile")
    assert account.value("display_name") == "Ann Lee"


def test_a_person_whose_sign_up_is_to_be_approved_waits(world, visitor):
    world.configure(signup={"approval": True})
    visitor.get("/signup")
    visitor.press("Sign up", username="ann", email="ann@example.org", password=PASSWORD)
    visitor.get("/signup/confirm", token=token_of(world, "confirm"))
    assert visitor.press("Confirm address").heading == "Almost there"
    waiting = visitor.log_in()
    assert (waiting.status, waiting.message[:36]) == (403, "Your account waits for an administra")


def test_another_letter_can_be_had(world, visitor):
    visitor.get("/signup")
    visitor.press("Sign up", username="ann", email="ann@example.org", password=PASSWORD)
    first = token_of(world, "confirm")
    visitor.click("Send it again")
    assert visitor.press("Send again", identifier="ann").heading == "Look at your mail"
    assert visitor.get("/signup/confirm", token=first).heading == "This link cannot be used any more"
    assert len(world.letters("confirm")) == 2
    early = visitor.log_in()
    assert (early.status, early.message[:35]) == (403, "Your address is not confirmed yet. ")
    assert visitor.click("Send it again").heading == "Send the letter again"


def test_a_sign_up_says_what_is_wrong_beside_each_field_and_keeps_what_is_right(world, visitor):
    visitor.get("/signup")
    wrong = visitor.press("Sign up", username="a b", email="ann@example.org", password=PASSWORD)
    assert (wrong.status, wrong.message) == (422, "Please look at what is marked below.")
    assert wrong.fault("username").startswith("Use 2 to 63 letters")
    assert (wrong.value("username"), wrong.value("email"), wrong.value("password")) == ("a b", "ann@example.org", "")
    assert wrong.page.xpath("//input[@name='username']/@aria-invalid") == ["true"]
    nowhere = visitor.press("Sign up", username="ann", email="nowhere", password=PASSWORD)
    assert nowhere.fault("email") == "This does not look like an e-mail address."
    short = visitor.press("Sign up", username="ann", email="ann@example.org", password="short")
    assert short.fault("password") == "Use at least 15 characters."
    every = visitor.press("Sign up", username="a b", email="nowhere", password="short")
    assert all(every.fault(name) for name in ("username", "email", "password"))
    empty = visitor.press("Sign up", username="", email="", password="")
    assert [empty.fault(name) for name in ("username", "email", "password")] == ["Please fill this in."] * 3
    assert empty.text.count("<title>Error: ") == 1


def test_services_of_the_operator_hear_of_a_sign_up_on_the_pages(world, visitor):
    world.configure(signup={"callback_services": ["crm.new-person"]})
    visitor.get("/signup")
    visitor.press("Sign up", username="ann", email="ann@example.org", password=PASSWORD)
    assert [(name, payload["username"]) for name, payload in visitor.invoked] == [("crm.new-person", "ann")]


def test_an_application_without_sign_up_says_so(world, visitor):
    assert visitor.get("/signup", app="batch").heading == "Sign-up is closed"
    assert not visitor.get("/login", app="batch").page.xpath("//a[normalize-space()='Sign up']")
    assert visitor.get("/login", app="crm").page.xpath("//a[normalize-space()='Sign up']")


def test_a_wrong_password_is_told_and_the_name_is_kept(world, visitor):
    world.person()
    wrong = visitor.log_in(password="not the password")
    assert (wrong.status, wrong.message) == (401, "The name or the password is wrong.")
    assert (wrong.value("username"), wrong.value("password")) == ("ann", "")
    assert visitor.press("Log in", username="ann", password=PASSWORD).heading == "Profile"


def test_who_is_logged_in_is_sent_on_from_the_login(world, visitor):
    world.person()
    visitor.log_in()
    assert visitor.get("/login").heading == visitor.get("").heading == "Profile"
    assert visitor.send("GET", "/sso/login?next=/orders").location == "/orders"


def test_the_second_factor_is_asked_for(world, visitor):
    world.person()
    secret, codes = world.enrol()
    world.passes(minutes=2)
    assert visitor.log_in(next="/orders").heading == "Two-step log-in"
    assert "Acme" in visitor.answer.text
    wrong = visitor.press("Continue", code="000000")
    assert (wrong.status, wrong.heading) == (401, "Two-step log-in")
    right = world.code(secret)
    done = visitor.press("Continue", code=f"{right[:3]} {right[3:]}", then=False)
    assert (done.status, done.location) == (303, "/orders")
    visitor.get("/account")
    other = Visitor(world)
    other.log_in()
    other.click("Use a recovery code instead")
    assert other.press("Continue", code=codes[3].lower()).heading == "Profile"
    third = Visitor(world)
    third.log_in()
    third.click("Use a recovery code instead")
    again = third.press("Continue", code=codes[3])
    assert (again.status, again.page.xpath("string(//label)")) == (401, "Recovery code")


def test_a_password_that_has_to_be_changed_is_changed_on_the_way_in(world, visitor):
    person = world.person()
    world.sso.users.require_change(person.id, world.caller())
    asked = visitor.log_in(next="/orders")
    assert asked.heading == "Choose a new password"
    weak = visitor.press("Change password and log in", username="ann", password=PASSWORD, new_password="short")
    assert (weak.status, weak.fault("new_password")) == (422, "Use at least 15 characters.")
    assert weak.value("username") == "ann"
    same = visitor.press("Change password and log in", username="ann", password=PASSWORD, new_password=PASSWORD)
    assert same.fault("new_password") == "This is your present password. Choose another one."
    done = visitor.press(
        "Change password and log in", username="ann", password=PASSWORD, new_password=OTHER, then=False
    )
    assert (done.status, done.location) == (303, "/orders")


@pytest.mark.parametrize("way", ["code", "recovery"])
def test_a_password_is_changed_on_the_way_in_with_a_second_factor_too(world, visitor, way):
    person = world.person()
    secret, codes = world.enrol()
    world.sso.users.require_change(person.id, world.caller())
    world.passes(minutes=2)
    visitor.log_in()
    asked = visitor.press("Continue", code=world.code(secret))
    assert asked.heading == "Choose a new password"
    world.passes(minutes=2)
    code = world.code(secret) if way == "code" else codes[0]
    done = visitor.press("Change password and log in", username="ann", password=PASSWORD, new_password=OTHER, code=code)
    assert done.heading == "Profile"


def test_a_forgotten_password_is_reset_by_letter(world, visitor):
    world.person()
    visitor.log_in()
    other = Visitor(world)
    other.get("/login")
    other.click("Forgot your password?")
    assert other.press("Send the link", identifier="ann").heading == "Look at your mail"
    link = token_of(world, "password-reset")
    assert other.get("/password/reset", token=link).heading == "Choose a new password"
    weak = other.press("Set the password", new_password="short")
    assert (weak.status, weak.fault("new_password")) == (422, "Use at least 15 characters.")
    done = other.press("Set the password", new_password=OTHER)
    assert (done.heading, done.message[:25]) == ("Log in to Acme", "Your password is changed,")
    assert other.press("Log in", username="ann", password=OTHER).heading == "Profile"
    assert visitor.get("/account").heading == "Log in to Acme"
    assert other.get("/password/reset", token=link).heading == "This link cannot be used any more"


def test_logging_out_ends_the_session_and_takes_the_cookies(world, visitor):
    world.person()
    visitor.log_in()
    token = visitor.jar["__Host-gw_session"]
    out = visitor.press("Log out")
    assert (out.heading, out.message) == ("Log in to Acme", "You are logged out.")
    assert "__Host-gw_session" not in visitor.jar
    visitor.jar["__Host-gw_session"] = token
    assert visitor.get("/account").heading == "Log in to Acme"


# The account


def test_the_profile_is_changed(world, visitor):
    world.person()
    visitor.log_in()
    saved = visitor.press("Save changes", display_name="Ann Lee", own_language="de")
    assert (saved.heading, saved.message) == ("Profil", "Ihre Änderungen sind gespeichert.")
    user = world.sso.users.get(world.sso.sessions.check(visitor.jar["__Host-gw_session"], world.caller(app="")).user_id)
    assert (user.display_name, user.language) == ("Ann Lee", "de")


def test_the_password_is_changed_with_the_present_one(world, visitor):
    world.person()
    other = Visitor(world)
    other.log_in()
    visitor.log_in()
    visitor.click("Password")
    wrong = visitor.press("Change password", current_password="not this one", new_password=OTHER)
    assert (wrong.status, wrong.message) == (401, "The name or the password is wrong.")
    done = visitor.press("Change password", current_password=PASSWORD, new_password=OTHER)
    assert done.message.startswith("Your password is changed.")
    assert visitor.get("/account").heading == "Profile"
    assert other.get("/account").heading == "Log in to Acme"


def test_a_shorter_password_will_do_where_a_second_factor_is_always_asked_for(world, visitor):
    world.configure(second_factor={"required": "all"})
    world.person()
    secret, _ = world.enrol()
    world.passes(minutes=2)
    visitor.log_in()
    visitor.press("Continue", code=world.code(secret))
    assert "At least 8 characters." in visitor.click("Password").text
    world.passes(minutes=2)
    given = {"current_password": PASSWORD, "code": world.code(secret)}
    assert (
        visitor.press("Change password", new_password="short", **given).fault("new_password")
        == "Use at least 8 characters."
    )
    assert visitor.press("Change password", new_password="mild otter", **given).message.startswith(
        "Your password is changed."
    )


def test_the_address_is_changed_by_the_link_that_went_to_the_new_one(world, visitor):
    world.person()
    visitor.log_in()
    visitor.click("Change")
    assert visitor.press("Send the link", email="ann@new.example").message.startswith("We have sent you a letter")
    link = token_of(world, "email-confirm")
    assert visitor.get("/account/email/confirm", token=link).heading == "Confirm this address"
    assert "ann@new.example" in visitor.press("Confirm this address").text
    away = Visitor(world)
    assert away.get("/account/email/confirm", token=link).heading == "Log in to Acme"


def test_sessions_are_listed_and_ended(world, visitor):
    world.person()
    others = [Visitor(world, address=f"192.0.2.{number}") for number in (7, 8, 9)]
    for one in others:
        one.log_in()
    visitor.log_in()
    listed = visitor.click("Sessions")
    assert len(listed.shown("//li[@class='row']")) == 4
    assert listed.shown("//li[@class='row']//p[@class='name']")[0] == "Chrome on Linux This session"
    visitor.press("End the session of Chrome at 192.0.2.8")
    assert [one.get("/account").heading for one in others] == ["Profile", "Log in to Acme", "Profile"]
    visitor.click("Sessions")
    visitor.press("End all other sessions")
    assert [one.get("/account").heading for one in others] == ["Log in to Acme"] * 3
    assert visitor.get("/account").heading == "Profile"


def test_a_second_factor_is_enrolled_renewed_and_taken_away(world, visitor):
    world.person()
    visitor.log_in()
    visitor.click("Two-step log-in")
    begun = visitor.press("Set up two-step log-in")
    secret = begun.value("secret")
    assert begun.page.xpath("//*[local-name()='svg'][@class='segno']")
    wrong = visitor.press("Switch on", code="000000")
    assert (wrong.status, wrong.value("secret")) == (401, secret)
    assert wrong.page.xpath("//*[local-name()='svg'][@class='segno']")
    codes = visitor.press("Switch on", code=world.code(secret)).shown("//ol/li")
    assert len(codes) == 10
    assert all(re.fullmatch(r"\d\d-[0-9A-Z]{5}-[0-9A-Z]{5}", code) for code in codes)
    assert "10 of your recovery codes are left." in visitor.click("I have put them away").text
    fresh = visitor.press("Make new codes").shown("//ol/li")
    assert set(fresh).isdisjoint(codes)
    visitor.click("Two-step log-in")
    assert visitor.press("Switch off").message == "Removed."


def test_what_is_delicate_asks_for_a_proof_and_comes_back(world, visitor):
    world.person()
    visitor.log_in()
    world.passes(minutes=15)
    asked = visitor.click("Two-step log-in")
    assert asked.heading == "Is it really you?"
    before = visitor.jar["__Host-gw_session"]
    wrong = visitor.press("Continue", password="not this one")
    assert (wrong.status, wrong.fault("password")) == (401, "This is not your password.")
    assert visitor.press("Continue", password=PASSWORD).heading == "Two-step log-in"
    assert visitor.jar["__Host-gw_session"] != before
    assert visitor.at == "/sso/account/second-factor"


def test_a_proof_may_be_a_code(world, visitor):
    world.person()
    secret, _ = world.enrol()
    world.passes(minutes=2)
    visitor.log_in()
    visitor.press("Continue", code=world.code(secret))
    world.passes(minutes=15)
    visitor.click("Two-step log-in")
    visitor.click("Use the code of your app instead")
    assert visitor.press("Continue", code=world.code(secret)).heading == "Two-step log-in"


def test_linked_credentials_are_listed_and_removed(world, visitor):
    person = world.person()
    world.sso.links.add(person.id, "partners", "ann-api", world.caller())
    visitor.log_in()
    assert "ann-api" in visitor.click("Linked credentials").text
    visitor.press("Remove the link of ann-api")
    assert "Nothing is linked to your account." in visitor.answer.text


def test_people_link_what_they_prove_to_have(world, visitor):
    world.configure(own_links=["partners", "keys"])
    given = []
    world.sso.links.prove = lambda *asked: given.append(asked[:2]) or ("acme" if "right" in asked[1].values() else None)
    world.person()
    visitor.log_in()
    visitor.click("Linked credentials")
    wrong = visitor.press("Link", definition="partners", username="acme", secret="not right")
    assert (wrong.status, wrong.message) == (401, "The name or the password is wrong.")
    assert visitor.press("Link", definition="keys", username="", secret="right").message == "Your changes are saved."
    assert given == [("partners", {"username": "acme", "password": "not right"}), ("keys", {"key": "right"})]
    assert visitor.press("Link", definition="keys", username="", secret="right").status == 409
    forged = visitor.post("/account/links", {
        "form": visitor.answer.value("form"), "do": "add", "definition": "else", "secret": "right",
    })  # fmt: skip
    assert (forged.status, forged.message) == (403, "An administrator has to link this.")


def test_the_data_is_taken_along_as_a_file(world, visitor):
    world.person()
    visitor.log_in()
    visitor.click("Your data")
    file = visitor.press("Download")
    assert file.headers["content-disposition"].startswith("attachment; filename=")
    assert orjson.loads(file.body)["profile"]["username"] == "ann"
    assert file.headers["cache-control"] == "no-store"


def test_an_account_is_deleted_once_its_name_is_typed(world, visitor):
    person = world.person()
    visitor.log_in()
    visitor.click("Your data")
    wrong = visitor.press("Delete my account", username="bob")
    assert (wrong.status, wrong.fault("username")) == (422, "This is not the name of your account.")
    assert visitor.press("Delete my account", username="ann").heading == "Your account is deleted"
    assert visitor.get("/account").heading == "Log in to Acme"
    assert world.actions(target=person.id)[-1] == "user.delete"


def test_password_managers_are_sent_to_the_password(world, visitor):
    world.person()
    visitor.log_in()
    assert visitor.send("GET", "/.well-known/change-password").location == "/sso/account/password"
