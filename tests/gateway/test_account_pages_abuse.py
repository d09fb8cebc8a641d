"""What strangers try at the pages of people, by the ids of the catalogue; and what super-users see there."""

import re

import pytest
from people import OTHER, PASSWORD, on_database
from visitor import BASE, Visitor

from gateway.accounts import administration, entrance, own

PAGES = {**entrance.pages(lambda visit: None), **own.pages(), **administration.pages()}
#: What browsers say with a form that a page of another site has sent, and with one that is no form.
FORGED = (
    {"origin": "https://evil.example"},
    {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    {"origin": None, "sec-fetch-site": "cross-site"},
    {"origin": None, "sec-fetch-site": "same-site"},
    {"origin": "null", "sec-fetch-site": "cross-site"},
    {"origin": f"{BASE}.evil.example"},
    {"origin": "http://acme.example"},
    {"content-type": "text/plain"},
    {"content-type": "application/json"},
)
FORMS = sorted(path for path, page in PAGES.items() if hasattr(page, "on_post"))


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


def failures(world):
    return sum(action == "login.password" for action in world.actions())


def without_what_is_new(answer):
    """An answer as text, but for what is drawn by lot in each."""
    return re.sub(r'name="form" value="[0-9a-f]+"', "", answer.text)


# Forms


@pytest.mark.parametrize("path", FORMS)
def test_S19_a_form_from_elsewhere_is_refused_before_anything_is_looked_at(world, visitor, path):
    visitor.get("/login")
    form = visitor.answer.value("form")
    before = world.actions()
    fields = {"username": "ann", "password": "wrong", "do": "delete"}
    path = path.replace("{user_id}", "usr_1")
    for headers in FORGED:
        answer = visitor.post(path, {**fields, "form": form}, **headers)
        assert (answer.status, answer.exchange.problem.code) == (403, "csrf-failed"), headers
    answer = visitor.post(path, fields)
    assert (answer.status, answer.exchange.problem.code) == (403, "csrf-failed")
    assert world.actions() == before


def test_S19_a_form_is_shown_again_where_the_cookie_has_gone(world, visitor):
    world.person()
    visitor.get("/login")
    visitor.jar["__Host-gw_form"] = "0" * 32
    again = visitor.press("Log in", username="ann", password=PASSWORD)
    assert (again.status, again.value("username")) == (403, "ann")
    assert again.message.startswith("This page was open for too long")
    assert failures(world) == 0
    assert visitor.press("Log in", username="ann", password=PASSWORD).heading == "Profile"


def test_S19_the_token_of_one_browser_is_of_no_use_in_another(world, visitor):
    world.person()
    visitor.get("/login")
    other = Visitor(world)
    other.get("/login")
    answer = other.post("/login", {"form": visitor.answer.value("form"), "username": "ann", "password": PASSWORD})
    assert (answer.status, "__Host-gw_session" in other.jar) == (403, False)


def test_a_page_that_hides_its_address_may_still_be_sent(world, visitor):
    """A browser that is told no-referrer writes "null" as the origin of a form."""
    world.person()
    world.sso.accounts.forgot("ann", world.caller())
    visitor.get("/password/reset", token=world.letters("password-reset")[-1].values["token"])
    fields = {"form": visitor.answer.value("form"), "token": visitor.answer.value("token"), "new_password": OTHER}
    answer = visitor.post("/password/reset", fields, origin="null", **{"sec-fetch-site": "same-origin"})
    assert (answer.status, answer.location) == (303, "/sso/login?notice=password-reset")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_another_method_is_refused_with_those_that_there_are(world, visitor, method):
    answer = visitor.send(method, "/sso/login")
    assert (answer.status, {one.strip() for one in answer.headers["allow"].split(",")}) == (
        405, {"GET", "HEAD", "OPTIONS", "POST"}
    )  # fmt: skip
    assert visitor.send("POST", "/sso/signup/done").status == 405


def test_nothing_changes_by_looking(world, visitor):
    world.person()
    visitor.log_in()
    before = world.actions()
    for path in PAGES:
        if not path.startswith("/admin"):
            visitor.get(path, do="delete", username="ann")
    assert world.actions() == before


# What browsers and caches are told


@pytest.mark.parametrize("path", sorted(PAGES))
def test_every_page_says_what_browsers_may_do_with_it(world, visitor, path):
    world.configure(second_factor={"required": "off"})
    person = world.person(is_super_user=True)
    if path.startswith(("/account", "/admin", "/logout")):
        visitor.log_in()
    answer = visitor.get(path.replace("{user_id}", person.id))
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "script" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert answer.names.count("referrer-policy") == 1
    assert not answer.page.xpath("//script | //@style | //@onclick | //iframe | //style")
    assert all(one.startswith(("/sso/", "#")) for one in answer.page.xpath("//@href | //@src | //@action"))


def test_S41_the_pages_of_letters_tell_nobody_where_they_are(world, visitor):
    world.person()
    visitor.log_in()
    for path in ("/password/reset", "/signup/confirm", "/account/email/confirm"):
        answer = visitor.get(path, token="gwt_1")
        assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")


def test_S18_a_session_that_was_planted_is_not_taken_over(world, visitor):
    world.person()
    visitor.jar["__Host-gw_session"] = planted = "gws_" + "a" * 43
    visitor.get("/login")
    form = visitor.jar["__Host-gw_form"]
    visitor.press("Log in", username="ann", password=PASSWORD)
    assert visitor.jar["__Host-gw_session"] != planted
    assert visitor.jar["__Host-gw_form"] != form


def test_S18_cookies_are_for_this_host_alone_and_for_no_script(world, visitor):
    world.person()
    visitor.get("/login")
    done = visitor.press("Log in", username="ann", password=PASSWORD, then=False)
    assert len(done.cookies) >= 3
    for line in done.cookies:
        assert line.startswith("__Host-gw_")
        assert all(part in line for part in ("; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"))
        assert "Domain" not in line
    assert [line for line in done.cookies if "_session=" in line and "Max-Age" in line] == []
    plain = Visitor(world, base="http://127.0.0.1:8000")
    plain.log_in()
    assert "gw_session_dev" in plain.jar
    assert plain.get("/account").heading == "Profile"


def test_S18_of_two_cookies_with_one_name_neither_is_taken(world, visitor):
    world.person()
    visitor.log_in()
    token = visitor.jar.pop("__Host-gw_session")
    visitor.jar.clear()
    answer = visitor.send("GET", "/sso/account", cookie=f"__Host-gw_session={token}; __Host-gw_session={token}")
    assert (answer.status, answer.location) == (303, "/sso/login?next=%2Fsso%2Faccount")


@pytest.mark.parametrize(
    "wanted", [
        "//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "%2f%2fevil.example",
        "/%2f%2fevil.example", "/%2F/evil.example", "https://good@evil.example", "https://app.example@evil.example",
        "https://app.example.evil.example/", "https:app.example", "http://app.example", "/\tevil", " //evil.example",
        "\\\\evil.example", "https://app.example\\@evil.example", "data:text/html,x", "///evil.example", "/a\nb",
        "https://[::1", "evil.example",
    ]
)  # fmt: skip
def test_S20_nobody_is_sent_on_to_a_stranger(world, visitor, wanted):
    world.configure(pages={"origins": ["https://app.example"]})
    world.person()
    visitor.get("/login", next=wanted)
    assert not visitor.answer.page.xpath("//input[@name='next']")
    done = visitor.press("Log in", username="ann", password=PASSWORD, then=False)
    assert (done.status, done.location) == (303, "/sso/account")


def test_S20_people_are_sent_on_to_paths_and_to_registered_origins(world, visitor):
    world.configure(pages={"origins": ["https://app.example"], "home": "/start"})
    world.person()
    for wanted, found in (
        ("/a?b=c", "/a?b=c"),
        ("https://app.example/in?x=1", "https://app.example/in?x=1"),
        ("", "/start"),
    ):
        visitor.jar.clear()
        page = visitor.get("/login", next=wanted)
        assert ("https://app.example" in page.headers["content-security-policy"]) == ("://" in found)
        assert visitor.press("Log in", username="ann", password=PASSWORD, then=False).location == found


# Who is there is not told


def test_S1_a_sign_up_answers_the_same_whatever_is_taken(world, visitor):
    world.person("ann")
    answers = []
    for name, address in (
        ("ann", "new@example.org"),
        ("new", "ann@example.org"),
        ("ann", "ann@example.org"),
        ("joe", "joe@example.org"),
    ):
        visitor.jar.clear()
        visitor.get("/signup")
        answer = visitor.press("Sign up", username=name, email=address, password=PASSWORD, then=False)
        answers.append((answer.status, answer.location, answer.text, sorted(answer.names)))
    assert answers == [(303, "/sso/signup/done", "", answers[0][3])] * 4


def test_S11_a_login_answers_the_same_bytes_whatever_is_wrong(world, visitor):
    world.person("known")
    world.sso.users.decide(world.person("locked").id, "lock", world.caller())
    world.sso.signup.sign_up(world.new_user("fresh"), world.caller())
    answers = set()
    for name in ("known", "locked", "fresh", "nobody"):
        visitor.jar.clear()
        visitor.get("/login")
        answer = visitor.press("Log in", username=name, password="not the password")
        answers.add((answer.status, without_what_is_new(answer).replace(name, "NAME"), tuple(answer.names)))
    assert len(answers) == 1


def test_S11_a_login_makes_one_hash_whoever_it_is_for(world, visitor, monkeypatch):
    world.person("known")
    hashed = []
    real = world.sso.passwords._verify
    monkeypatch.setattr(world.sso.passwords, "_verify", lambda *given: hashed.append(given) or real(*given))
    for name in ("known", "nobody", "no one at all", "x" * 5000):
        hashed.clear()
        visitor.jar.clear()
        visitor.get("/login")
        visitor.press("Log in", username=name, password="not the password")
        assert len(hashed) == 1


def test_S39_a_forgotten_password_is_answered_the_same_for_everybody(world, visitor):
    world.person("known")
    world.sso.users.decide(world.person("locked").id, "lock", world.caller())
    answers = set()
    for name in ("known", "locked", "nobody", "known@example.org", "no one"):
        visitor.jar.clear()
        visitor.get("/password/forgot")
        answer = visitor.press("Send the link", identifier=name)
        answers.add((answer.status, answer.heading, answer.text))
    assert len(answers) == 1
    assert [letter.address for letter in world.letters("password-reset")] == ["known@example.org"] * 2


# Throttles


def test_S12_who_guesses_is_told_how_long_to_wait_and_the_owner_gets_in(world, visitor):
    world.person()
    owner = Visitor(world, address="198.51.100.1")
    owner.log_in()
    owner.press("Log out")
    for _ in range(5):
        visitor.log_in(password="not the password")
    told = visitor.log_in()
    assert told.status == 429
    assert int(told.headers["retry-after"]) > 0
    assert re.fullmatch(r"Too many attempts. Please wait \d minutes and try again.", told.message)
    assert owner.log_in().heading == "Profile"


def test_S34_five_wrong_codes_and_the_login_begins_again(world, visitor):
    world.person()
    secret, _ = world.enrol()
    world.passes(minutes=20)
    visitor.log_in()
    found = [visitor.press("Continue", code="000000").status for _ in range(5)]
    assert found == [401] * 5
    last = visitor.press("Continue", code=world.code(secret))
    assert last.status in (200, 429)
    assert "__Host-gw_session" not in visitor.jar


def test_S34_a_login_that_is_half_done_is_no_session(world, visitor):
    world.person()
    world.enrol()
    visitor.log_in()
    pending = visitor.jar["__Host-gw_pending"]
    assert "__Host-gw_session" not in visitor.jar
    visitor.jar["__Host-gw_session"] = pending
    assert visitor.get("/account").heading == "Log in to Acme"
    other = Visitor(world)
    assert other.get("/login/mfa").heading == "Log in to Acme"


# What is typed


@pytest.mark.parametrize(
    "typed", ["\x00", "a" * 60_000, "\ud800", "' or 1=1 --", "<script>alert(1)</script>", "\uff41nn", "%s{0}"]
)
def test_S21_whatever_is_typed_is_answered(world, visitor, typed):
    world.person()
    text = typed.encode("utf-8", "surrogatepass").decode("latin-1")
    visitor.get("/login")
    for fields in ({"username": text, "password": "x"}, {"username": "ann", "password": text}):
        form = {"form": visitor.answer.value("form"), **fields}
        answer = visitor.post("/login", form)
        assert answer.status in (401, 403, 422, 429)
        assert "<script>" not in answer.text


def test_S8_what_people_are_called_is_text_and_nothing_else(world, visitor):
    world.person("ann", display_name="<script>alert(1)</script>")
    page = visitor.log_in()
    assert page.value("display_name") == "<script>alert(1)</script>"
    assert "<script>" not in page.text


def test_S4_fields_that_a_form_does_not_have_change_nothing(world, visitor):
    person = world.person()
    visitor.log_in()
    fields = {"form": visitor.answer.value("form"), "display_name": "Ann", "own_language": "en"}
    more = {
        "is_super_user": "true",
        "roles": "admin",
        "state": "active",
        "must_change": "true",
        "email": "x@example.org",
    }
    assert visitor.post("/account", {**fields, **more}).status == 303
    after = world.sso.users.get(person.id)
    assert (after.display_name, after.is_super_user, after.roles, after.email) == ("Ann", False, (), "ann@example.org")


def test_a_button_that_is_not_there_does_nothing(world, visitor):
    world.person()
    visitor.log_in()
    answer = visitor.post("/account/data", {"form": visitor.answer.value("form"), "do": "everything"})
    assert answer.status == 400
    assert visitor.post("/account/data", {"form": visitor.answer.value("form"), "do": "__class__"}).status in (400, 403)


# Letters


def test_S5_looking_at_a_link_uses_nothing_up(world, visitor):
    visitor.get("/signup")
    visitor.press("Sign up", username="ann", email="ann@example.org", password=PASSWORD)
    link = world.letters("confirm")[-1].values["token"]
    scanner = Visitor(world)
    for _ in range(3):
        assert scanner.get("/signup/confirm", token=link).heading == "Confirm your address"
        assert scanner.send("HEAD", f"/sso/signup/confirm?token={link}").status == 200
    visitor.get("/signup/confirm", token=link)
    visitor.press("Confirm address")
    for dead in (link, link[:-1], link[:-1] + "!", "", "x" * 5000):
        assert scanner.get("/signup/confirm", token=dead).heading == "This link cannot be used any more"


def test_S5_a_link_that_died_meanwhile_is_told_with_a_remedy(world, visitor):
    visitor.get("/signup")
    visitor.press("Sign up", username="ann", email="ann@example.org", password=PASSWORD)
    visitor.get("/signup/confirm", token=world.letters("confirm")[-1].values["token"])
    world.passes(days=2)
    dead = visitor.press("Confirm address")
    assert (dead.status, dead.heading) == (400, "This link cannot be used any more")
    assert dead.page.xpath("//a[@href='/sso/signup/again']")


def test_S42_a_link_for_another_address_is_of_use_to_its_person_alone(world, visitor):
    world.person("ann")
    world.person("bob")
    visitor.log_in("ann")
    visitor.click("Change")
    visitor.press("Send the link", email="new@example.org")
    link = world.letters("email-confirm")[-1].values["token"]
    bob = Visitor(world)
    bob.log_in("bob")
    bob.get("/account/email/confirm", token=link)
    assert bob.press("Confirm this address").status == 400
    assert (
        world.sso.users.get(world.sso.users.search({"username": "bob"}, world.caller())[0].id).email
        == "bob@example.org"
    )


# Sessions of others


def test_S26_a_session_of_somebody_else_is_as_one_that_is_not_there(world, visitor):
    world.person("ann")
    world.person("bob")
    bob = Visitor(world)
    bob.log_in("bob")
    visitor.log_in("ann")
    theirs = world.sso.sessions.list(world.sso.users.search({"username": "bob"}, world.caller())[0].id)[0].id
    visitor.click("Sessions")
    answers = [
        visitor.post("/account/sessions", {"form": visitor.answer.value("form"), "do": "end", "id": one})
        for one in (theirs, "ses_" + "0" * 26)
    ]
    assert [(one.status, one.message) for one in answers] == [(404, "This session has ended already.")] * 2
    assert bob.get("/account").heading == "Profile"


def test_S33_a_second_factor_over_an_older_one_needs_a_proof(world, visitor):
    world.person()
    secret, _ = world.enrol()
    world.passes(minutes=2)
    visitor.log_in()
    visitor.press("Continue", code=world.code(secret))
    world.passes(minutes=15)
    answer = visitor.post("/account/second-factor", {"form": visitor.answer.value("form"), "do": "enrol"})
    assert answer.location.startswith("/sso/account/prove")


def test_S33_a_code_for_a_secret_that_the_page_was_given_by_somebody_else_enrols_nothing(world, visitor):
    person = world.person()
    visitor.log_in()
    visitor.click("Two-step log-in")
    visitor.press("Set up two-step log-in")
    theirs = "A" * 32
    answer = visitor.press("Switch on", secret=theirs, code=world.code(theirs))
    assert answer.status == 401
    assert not world.sso.users.get(person.id).has_second_factor


# Super-users


@pytest.fixture
def boss(world):
    """A super-user who is logged in with a second factor, as has to be."""
    world.configure(second_factor={"required": "super_users"}, signup={"approval": True})
    world.person("boss", is_super_user=True)
    secret, _ = world.enrol("boss")
    world.passes(minutes=2)
    found = Visitor(world, address="192.0.2.99")
    found.log_in("boss")
    found.press("Continue", code=world.code(secret))
    return found


def test_people_are_approved_and_rejected(world, boss, visitor):
    for name in ("ann", "bob"):
        visitor.jar.clear()
        visitor.get("/signup")
        visitor.press("Sign up", username=name, email=f"{name}@example.org", password=PASSWORD)
        letter = next(one for one in world.letters("confirm") if one.values["username"] == name)
        visitor.get("/signup/confirm", token=letter.values["token"])
        visitor.press("Confirm address")
    assert len(boss.click("Approvals").shown("//li[@class='row']")) == 2
    boss.press("Approve ann")
    boss.press("Reject bob")
    assert "Nobody is waiting." in boss.answer.text
    told = {(letter.kind, letter.values["username"]) for letter in world.letters()}
    assert told >= {("welcome", "ann"), ("rejected", "bob")}
    assert visitor.log_in("ann").heading == "Profile"
    other = Visitor(world)
    assert other.log_in("bob").message == "The name or the password is wrong."


def test_people_are_found_locked_and_let_in_again(world, boss, visitor):
    world.person("ann", display_name="Ann Lee")
    visitor.log_in()
    boss.click("Users")
    assert "Ann Lee" in boss.press("Search", q="an").text
    assert "Ann Lee" in boss.press("Search", q="ann@example.org").text
    assert "Nobody was found." in boss.press("Search", q="an", state="locked").text
    boss.press("Search", q="ann", state="")
    boss.click("Ann Lee")
    boss.press("Lock account", reason="lost telephone")
    assert boss.answer.heading == "Ann Lee Locked"
    assert visitor.get("/account").heading == "Log in to Acme"
    boss.press("Unlock account")
    assert visitor.log_in().heading == "Profile"
    boss.get("/admin/users/" + world.sso.users.search({"username": "ann"}, world.caller())[0].id)
    boss.press("End the session of Chrome at 192.0.2.1")
    assert visitor.get("/account").heading == "Log in to Acme"
    records = world.sso.audit.find(action="user.lock")
    assert [(one["reason"], one["address"]) for one in records] == [("lost telephone", "192.0.2.99")]


def test_what_an_administrator_does_for_a_person(world, boss):
    person = world.person("ann")
    world.enrol("ann")
    boss.get(f"/admin/users/{person.id}")
    for button in ("Send a reset link", "Require a new password", "Switch two-step log-in off", "End all sessions"):
        boss.get(f"/admin/users/{person.id}")
        if button == "End all sessions":
            Visitor(world).log_in("ann")
            world.sso.users.change(person.id, {"must_change": False}, world.caller(), allowed=("must_change",))
            Visitor(world).log_in("ann")
            boss.get(f"/admin/users/{person.id}")
        assert boss.press(button).message == "Done."
    after = world.sso.users.get(person.id)
    assert (after.has_second_factor, len(world.letters("password-reset"))) == (False, 1)
    assert world.sso.sessions.list(person.id) == []


def test_the_audit_is_shown_and_verified(world, boss):
    assert "login" in boss.click("Audit").shown("//td")
    assert boss.press("Verify all records").message.endswith("records are as they were written.")
    assert "There are no such records." in boss.get("/admin/audit", actor="nobody").text


@pytest.mark.parametrize("path", ["/admin", "/admin/approvals", "/admin/users", "/admin/audit", "/admin/users/usr_1"])
def test_S7_administration_is_for_super_users_alone_and_a_try_is_audited(world, visitor, path):
    person = world.person()
    visitor.log_in()
    assert not visitor.answer.page.xpath("//a[normalize-space()='Approvals']")
    refused = visitor.get(path)
    assert (refused.status, refused.heading) == (403, "That is not possible")
    tried = [one for one in world.sso.audit.find(actor=person.id) if one["action"].startswith("refused")]
    assert [one["result"] for one in tried] == ["refused"]
    form = visitor.get("/account").value("form")
    for do in ("approve", "lock", "end", "verify", "reset-totp"):
        if hasattr(PAGES.get(path), "on_post") or path.endswith("usr_1"):
            assert visitor.post(path, {"form": form, "do": do, "id": person.id}).status in (400, 403)


def test_S7_nobody_decides_on_themselves(world, boss):
    me = world.sso.users.search({"username": "boss"}, world.caller())[0].id
    page = boss.get(f"/admin/users/{me}")
    assert not page.page.xpath("//button[normalize-space()='Lock account']")
    answer = boss.post(f"/admin/users/{me}", {"form": page.value("form"), "do": "lock"})
    assert (answer.status, answer.message) == (403, "You cannot do this to yourself.")


def test_S43_who_is_no_super_user_any_more_sees_nothing_at_once(world, boss):
    world.person("other", is_super_user=True)
    me = world.sso.users.search({"username": "boss"}, world.caller())[0].id
    world.sso.users.change(me, {"is_super_user": False}, world.caller(), allowed=("is_super_user",))
    assert boss.get("/admin/users").status == 403


def test_a_super_user_without_a_second_factor_is_told_to_set_one_up(world, visitor):
    world.configure(second_factor={"required": "super_users"})
    world.person(is_super_user=True)
    visitor.log_in()
    assert "Your account has to have two-step log-in" in visitor.answer.text
    refused = visitor.get("/admin/approvals")
    assert (refused.status, refused.shown("//main//a")[-1]) == (403, "Set up two-step log-in")


def test_S44_what_is_searched_for_is_escaped_and_in_no_address(world, boss):
    world.person("ann")
    for wanted in ("%", "_", "'", "%n%"):
        boss.click("Users")
        found = boss.press("Search", q=wanted)
        assert "Nobody was found." in found.text
        assert "q=" not in found.exchange.query_string
