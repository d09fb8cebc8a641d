"""Users: who may have which name, how they come to be, what is kept of them, and how they go."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import OTHER, PASSWORD, refused
from sqlalchemy import select, update

from security.passwords import PasswordHasher
from security.secrets import SecretError
from specs.problems import Problem
from sso import tables
from sso.attributes import LARGEST, MOST, Given
from sso.audit import Caller
from sso.names import email_key, username_key
from sso.privacy import Keys
from sso.settings import Sso
from sso.system import COMMAND
from sso.throttle import ASKED
from sso.users import ADMINISTERED, OWN_MEMBERS, NewUser
from sso.weak_passwords import weakness


def sign_up(world, name="ann", email="", password=PASSWORD, app="crm", address="192.0.2.1", tell=None, **members):
    new = NewUser(name, email or f"{name}@example.org", password, **members)
    world.sso.signup.sign_up(new, world.caller(address, app), tell=tell)


def count(world, table=tables.users):
    return len(world.database.read(lambda c: c.execute(select(table)).all()))


def test_S1_S3_a_taken_name_or_address_is_told_to_its_owner_alone_and_costs_the_same(world, monkeypatch):
    sign_up(world, "joe", "joe@x.org")
    hashes = []
    hash_ = PasswordHasher.hash
    monkeypatch.setattr(PasswordHasher, "hash", lambda *a: (hashes.append(1), hash_(*a))[1])
    for name, email in [("joe", "free@x.org"), ("free", "Joe@X.org"), ("free1", "free1@x.org")]:
        hashes.clear()
        sign_up(world, name, email)
        assert len(hashes) == 1
    assert count(world) == 2
    assert sorted((letter.kind, letter.address) for letter in world.letters()) == [
        ("already-registered", "joe@x.org"), ("confirm", "free1@x.org"), ("confirm", "joe@x.org"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "Admin",
        "\uff21\uff24\uff2d\uff29\uff2e",
        "admin ",
        "adm\u0131n",
        "admin\u200b",
        "\u0430dmin",
        "-x",
        "x",
        "a" * 64,
        "a@b",
    ],
)
def test_S2_a_name_that_looks_like_another_is_refused(world, name):
    with refused("validation-failed") as problem:
        sign_up(world, name, "a@example.org")
    assert problem.value.errors[0].pointer == "/username"
    assert problem.value.members["sub_codes"] == ["E001001"]
    assert count(world) == 0


@pytest.mark.parametrize(
    "email", ["a@x\r\nBcc: b@x", "a", "@x.org", "a@", "a b@x.org", "a@x..org", "ä@x.org", "a@" + "x" * 300, '"a"@x.org']
)
def test_S8_an_address_that_could_be_more_than_one_is_refused(world, email):
    with refused("validation-failed"):
        sign_up(world, "ann", email)


@pytest.mark.parametrize("name", ["a\r\nBcc:", "a\u202eb", "x" * 129])
def test_S8_a_display_name_has_no_control_characters(world, name):
    with refused("validation-failed"):
        sign_up(world, display_name=name)


@given(st.text(max_size=40))
def test_canonical_names_and_addresses_are_their_own_canonical_form(text):
    for canonical, given_text in ((username_key, text), (email_key, text + "@example.org")):
        try:
            key = canonical(given_text)
        except Problem:
            continue
        assert canonical(key) == canonical(key.upper()) == key
        assert key.isascii()


def test_S5_Z4_Z20_the_token_of_the_letter_confirms_once(world):
    sign_up(world)
    token = world.letters("confirm")[0].values["token"]
    flipped = token[:-1] + ("A" if token[-1] != "A" else "B")
    for wrong in (token[:-1], flipped, "", "gwt_"):
        with refused("token-invalid"):
            world.sso.signup.confirm(wrong, world.caller())
    with refused("account-unconfirmed"):
        world.log_in()
    assert world.sso.signup.confirm(token, world.caller()) == "active"
    with refused("token-invalid"):
        world.sso.signup.confirm(token, world.caller())
    assert world.log_in().user.state == "active"


def test_S5_a_confirmation_expires_and_a_later_one_replaces_it(world):
    sign_up(world)
    first = world.letters("confirm")[0].values["token"]
    world.passes(seconds=1)
    world.sso.signup.send_again("ann@example.org", world.caller())
    world.sso.signup.send_again("nobody", world.caller())
    second = world.letters("confirm")[1].values["token"]
    with refused("token-invalid"):
        world.sso.signup.confirm(first, world.caller())
    world.passes(days=1)
    with refused("token-invalid"):
        world.sso.signup.confirm(second, world.caller())


def test_a_sign_up_that_nobody_confirms_takes_nobodys_name_and_address_for_good(world):
    world.configure(signup={"approval": True})
    signed_up, again = world.sso.signup.sign_up, world.sso.signup.send_again

    def links():
        return {letter.values["username"]: letter.values["token"] for letter in world.letters("confirm")}

    def states():
        return {user.username: user.state for user in world.sso.users.search({}, COMMAND)}

    for name in ("ann", "bob", "carl"):
        signed_up(world.new_user(name), world.caller())
    first = links()
    world.sso.signup.confirm(first["bob"], world.caller())
    world.passes(days=6, hours=23)
    assert world.sso.signup.forget_abandoned() == 0
    again("carl", world.caller())
    world.passes(hours=1)
    world.sso.sweep()
    assert (states(), {*links()}) == ({"bob": "unapproved", "carl": "new"}, {"bob", "carl"})
    assert "user.abandon" in world.actions()
    # Whoever comes now is the first.
    signed_up(world.new_user("ann"), world.caller())
    world.sso.signup.confirm(links()["ann"], world.caller())
    world.passes(days=2)
    world.sso.sweep()
    assert states() == {"ann": "unapproved", "bob": "unapproved"}
    assert world.sso.audit.verify().bad is None
    with refused("token-invalid"):
        world.sso.signup.confirm(first["ann"], world.caller())


@pytest.mark.parametrize(("approval", "state"), [(False, "active"), (True, "unapproved")])
def test_an_address_that_a_stranger_has_signed_up_with_is_its_owners_by_a_reset_and_the_strangers_password_is_over(
    world, approval, state
):
    world.configure(signup={"approval": approval})
    world.sso.signup.sign_up(NewUser("mallory", "ann@example.org", PASSWORD), world.caller("203.0.113.9"))
    theirs = world.letters("confirm")[0].values["token"]
    # The owner comes later, is told that there is an account, and asks for another password.
    world.sso.signup.sign_up(world.new_user("ann"), world.caller())
    assert [letter.address for letter in world.letters("already-registered")] == ["ann@example.org"]
    world.sso.accounts.forgot("ann@example.org", world.caller())
    (letter,) = world.letters("password-reset")
    key = world.sso.accounts.verify_reset(letter.values["token"], world.caller()).reset_key
    world.sso.accounts.reset(key, OTHER, world.caller())
    (user,) = world.sso.users.search({"email": "ann@example.org"}, COMMAND)
    assert (user.username, user.state) == ("mallory", state)
    with refused("invalid-credentials"):
        world.log_in("mallory", PASSWORD)
    with refused("token-invalid"):
        world.sso.signup.confirm(theirs, world.caller())
    if approval:
        with refused("account-unapproved"):
            world.log_in("mallory", OTHER)
    else:
        assert world.log_in("ann@example.org", OTHER).user.username == "mallory"


def test_S7_nobody_approves_of_themselves_and_a_decision_is_made_and_told_once(world):
    world.configure(signup={"approval": True})
    sign_up(world)
    waiting = world.sso.users.search({}, COMMAND, state="new")
    ann = waiting[0].id
    with refused("forbidden"):
        world.sso.users.decide(ann, "approve", Caller(actor=ann))
    boss = Caller(actor="usr_boss", cid="c")
    assert world.sso.users.decide(ann, "approve", boss) == "unconfirmed"
    assert world.letters("welcome") == []
    world.sso.signup.confirm(world.letters("confirm")[0].values["token"], world.caller())
    assert len(world.letters("welcome")) == 1
    for event in ("approve", "reject"):
        with refused("conflict"):
            world.sso.users.decide(ann, event, boss)
    assert len(world.letters("welcome")) == 1
    assert world.actions(target=ann) == ["user.sign-up", "user.approve", "user.confirm"]


def test_Z1_Z20_an_application_has_no_sign_up_unless_it_is_switched_on(sqlite_world):
    for app in ("batch", "shut", "unknown"):
        with refused("app-not-allowed"):
            sign_up(sqlite_world, app=app)
    assert count(sqlite_world) == 0


def test_a_service_of_the_operators_may_refuse_and_others_hear_of_a_sign_up(sqlite_world):
    world = sqlite_world
    world.configure(signup={"validation_service": "check", "callback_services": ["tell"]})
    asked, told = [], []

    def ask(name, payload):
        asked.append((name, sorted(payload)))
        if payload["email"].endswith("@evil.org"):
            raise Problem(403, "not-here", "no")

    new = NewUser("ann", "ann@evil.org", PASSWORD)
    with refused("not-here"):
        world.sso.signup.sign_up(new, world.caller(), ask, lambda *given: told.append(given))
    assert (count(world), told) == (0, [])
    world.sso.signup.sign_up(
        NewUser("ann", "ann@x.org", PASSWORD), world.caller(), ask, lambda *given: told.append(given)
    )
    assert asked == [("check", ["app", "display_name", "email", "username"])] * 2
    # What waits in the background is not encrypted: who it is, and nothing of theirs.
    [(name, members)] = told
    assert (name, sorted(members)) == ("tell", ["app", "state", "user_id", "username"])


def test_S1_a_service_that_cannot_be_told_of_a_sign_up_is_not_seen_in_the_answer(world, caplog):
    world.configure(signup={"callback_services": ["tell", "broken", "last"]})
    told = []

    def tell(name, payload):
        told.append(name)
        if name == "broken":
            raise Problem(404, "no-such-service", "it is not deployed")

    for _ in range(2):
        sign_up(world, tell=tell)
    assert (count(world), told) == (1, ["tell", "broken", "last"])
    assert "'broken' cannot be told" in caplog.text


def test_S10_fifty_at_once_make_one(world):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: sign_up(world, address=f"192.0.2.{n}"), range(50 if world.embedded else 16)))
    assert count(world) == 1


def test_sign_ups_from_one_address_are_limited_and_so_are_letters(sqlite_world):
    world = sqlite_world
    for _ in range(20):
        sign_up(world, "joe", "joe@x.org", address="192.0.2.7")
    with refused("too-many-attempts"):
        sign_up(world, "ann", address="192.0.2.7")
    assert len(world.letters()) == 3


@pytest.mark.parametrize(
    ("password", "word"),
    [
        ("short", "too-short"), ("x" * 257, "too-long"), ("\U0001f600" * 257, "too-long"), (" " * 15, "too-weak"),
        ("passwordpassword", "too-weak"), ("Password12345678!", "too-weak"), ("abcdefghijklmnop", "too-weak"),
        ("123456789012345", "too-weak"), ("qwertyuiopasdfgh", "too-weak"), ("annelise is my name", "too-weak"),
        ("my acme account of old", "too-weak"), ("iloveyou iloveyou", "too-weak"), ("Summer2026!Summer", "too-weak"),
    ],
)  # fmt: skip
def test_S9_a_password_that_many_would_guess_is_refused(sqlite_world, password, word):
    with refused("validation-failed") as problem:
        sign_up(
            sqlite_world,
            "ann@x"[:3] + "elise",
            "ann@example@x.org"[:3] + "@example.org",
            password.replace("ann@example", "annelise"),
        )
    assert [(fault.pointer, fault.code) for fault in problem.value.errors] == [("/password", word)]


@pytest.mark.parametrize(
    "password",
    [
        "tulips under a green moon",
        "ключ от старой двери",
        "\U0001f600 five grey elephants",
        "nul\0 in the middle of it",
        "  leading and trailing  ",
    ],
)
def test_S9_whatever_else_is_long_enough_is_taken_as_it_is(sqlite_world, password):
    world = sqlite_world
    world.sso.users.create(NewUser("bob", "bob@example.org", password), COMMAND)
    assert world.log_in("bob", password)
    with refused("invalid-credentials"):
        world.log_in("bob", password.strip() + "x")


def test_S9_nothing_is_cut_off(world):
    long = "".join(f"tulip {number} " for number in range(22))[:199]
    world.sso.users.create(NewUser("bob", "bob@example.org", long + "a"), COMMAND)
    with refused("invalid-credentials"):
        world.log_in("bob", long + "b")
    assert world.log_in("bob", long + "a")


@given(st.text(alphabet="abcdefghij", min_size=1, max_size=6), st.integers(3, 6))
def test_a_short_text_repeated_is_always_weak(unit, times):
    assert weakness(unit * times, ()) is not None


def test_S29_the_database_holds_nothing_that_could_be_used(world):
    canaries = [PASSWORD, "ann@example.org", "Canary Attribute"]
    sign_up(world, display_name="Ann")
    canaries.append(world.letters("confirm")[0].values["token"])
    world.sso.signup.confirm(canaries[-1], world.caller())
    session = world.log_in()
    canaries += [session.token, session.device]
    enrolment = world.sso.factors.enrol(session.session, world.caller())
    canaries += [
        enrolment.secret,
        *world.sso.factors.confirm(session.session, world.code(enrolment.secret), world.caller()),
    ]
    world.sso.accounts.forgot("ann", world.caller())
    canaries.append(world.letters("password-reset")[0].values["token"])
    world.sso.attributes.set(
        session.session.user_id, session.session.user_id, {"x": Given("Canary Attribute", encrypted=True)}, COMMAND
    )
    dump = world.database.read(
        lambda c: "".join(
            str(c.execute(select(t)).all()) for t in tables.metadata.sorted_tables if t.name.startswith("sso_")
        )
    )
    assert [canary for canary in canaries if canary in dump] == []


def test_S30_a_box_carried_to_another_persons_row_does_not_open(world):
    ann, bob = world.person(), world.person("bob")
    box = world.row(bob.id).email
    world.database.write(lambda c: c.execute(update(tables.users).where(tables.users.c.id == ann.id).values(email=box)))
    with pytest.raises(SecretError):
        world.sso.users.get(ann.id)


def test_S4_S43_only_what_is_allowed_changes_and_the_last_super_user_stays(world):
    boss = world.person("boss", is_super_user=True)
    ann = world.person()
    for member in ("is_super_user", "state", "roles", "id", "password", "email"):
        with refused("validation-failed"):
            world.sso.users.change(ann.id, {member: True}, COMMAND, allowed=OWN_MEMBERS)
    assert (
        world.sso.users.change(ann.id, {"display_name": "Ann A."}, COMMAND, allowed=OWN_MEMBERS).display_name
        == "Ann A."
    )
    with refused("last-super-user"):
        world.sso.users.change(boss.id, {"is_super_user": False}, COMMAND, allowed=ADMINISTERED)
    for act in (
        lambda: world.sso.users.decide(boss.id, "lock", COMMAND),
        lambda: world.sso.users.erase(boss.id, COMMAND),
    ):
        with refused("last-super-user"):
            act()
    world.sso.users.change(ann.id, {"is_super_user": True}, COMMAND, allowed=ADMINISTERED)
    session = world.log_in("boss")
    assert session.session.is_super_user
    world.sso.users.change(boss.id, {"is_super_user": False}, COMMAND, allowed=ADMINISTERED)
    assert not world.sso.sessions.check(session.token, world.caller()).is_super_user


def test_Z12_Z13_locking_unlocking_and_deleting_nobody_is_a_404(world):
    for act in ("lock", "unlock", "approve"):
        with refused("no-such-user"):
            world.sso.users.decide("usr_nobody", act, COMMAND)
    with refused("no-such-user"):
        world.sso.users.erase("usr_nobody", COMMAND)
    ann = world.person()
    assert [world.sso.users.decide(ann.id, event, COMMAND) for event in ("lock", "lock", "unlock")] == [
        "locked",
        "locked",
        "active",
    ]


def test_S44_people_are_found_by_name_and_whole_address_and_nothing_has_a_meaning_of_its_own(world):
    for name in ("ann", "anna", "bob"):
        world.person(name, display_name=f"{name.title()} 100%_'\"")
    find = world.sso.users.search

    def names(*args, **options):
        return sorted(user.username for user in find(*args, COMMAND, **options))

    assert names({"username": "ann"}) == ["ann"]
    assert names({"username": "ANN"}, prefix=True) == ["ann", "anna"]
    assert names({"email": "Bob@example.org"}) == ["bob"]
    assert names({"email": "bob@example"}) == []
    assert names({"username": "ann", "email": "bob@example.org"}) == []
    assert names({"username": "ann", "email": "bob@example.org"}, either=True) == ["ann", "bob"]
    assert names({"display_name": "bob 100%_'\""}) == ["bob"]
    for wild in ("%", "_", "%' or 1=1 --", "a_n"):
        assert names({"username": wild}, prefix=True) == []
    assert len(find({}, COMMAND, most=10**9)) == 3
    first = find({}, COMMAND, most=2)
    assert len(find({}, COMMAND, most=2, after=first[-1].id)) == 1
    assert world.actions(action="user.search")


def test_Z14_addresses_and_names_are_encrypted_or_not_as_the_settings_say(world):
    world.configure(privacy={"encrypt_email": False, "encrypt_names": True})
    ann = world.person(display_name="Ann A.")
    row = world.row(ann.id)
    assert (row.email, row.name_key, "Ann" in row.display_name) == ("ann@example.org", None, False)
    world.configure()
    assert world.sso.users.get(ann.id).display_name == "Ann A."
    assert world.log_in("ann@example.org").user.email == "ann@example.org"


def test_S47_an_export_holds_ones_own_and_no_secret_and_what_is_erased_is_gone(world):
    ann = world.person(display_name="Ann A.")
    world.person("bob")
    secret, _ = world.enrol()
    me = ann.id
    world.sso.attributes.set(me, me, {"colour": Given("red", encrypted=True)}, COMMAND)
    world.sso.links.add(me, "partners", "ann-basic", COMMAND)
    exported = world.sso.users.export(me, COMMAND)
    assert exported["profile"]["email"] == "ann@example.org"
    assert exported["attributes"] == [{"name": "colour", "value": "red", "of": "usr"}]
    assert exported["links"] == [{"definition": "partners", "principal": "ann-basic"}]
    assert len(exported["sessions"]) == 1
    text = str(exported)
    assert [word for word in (secret, "bob", "pbkdf2", "v1.") if word in text] == []
    world.sso.users.erase(me, COMMAND)
    with refused("no-such-user"):
        world.sso.users.get(me)
    with refused("invalid-credentials"):
        world.log_in()
    assert [count(world, t) for t in (tables.totp, tables.recovery_codes, tables.attributes, tables.links)] == [0] * 4
    rows = world.database.read(lambda c: str(c.execute(select(tables.users)).all()))
    assert "Ann" not in rows
    assert world.sso.audit.verify().bad is None
    with refused("conflict"):
        world.person("ann")


def test_S47_an_export_does_not_say_from_where_others_have_done_something_to_the_person(sqlite_world):
    world = sqlite_world
    ann, boss = world.person(), world.person("boss")
    world.log_in(address="192.0.2.7")
    with refused("invalid-credentials"):
        world.log_in(password=OTHER, address="192.0.2.8")
    world.sso.users.require_change(ann.id, world.caller("198.51.100.77", actor=boss.id))
    told = {one["action"]: one["address"] for one in world.sso.users.export(ann.id, COMMAND)["audit"]}
    assert (told["login"], told["login.password"], told["user.change"]) == ("192.0.2.7", "192.0.2.8", "")
    world.configure(privacy={"reuse_usernames": True})
    world.person("cid")
    world.sso.users.erase(world.sso.users.search({"username": "cid"}, COMMAND)[0].id, COMMAND)
    assert world.person("cid").username == "cid"


def test_S39_a_reset_says_nothing_and_goes_to_the_address_that_is_kept_five_times_an_hour(world):
    ann = world.person()
    for who in ["ann", "Ann@Example.org", "nobody", "no one at all"] + ["ann"] * 5:
        assert world.sso.accounts.forgot(who, world.caller()) is None
    assert [letter.address for letter in world.letters("password-reset")] == ["ann@example.org"] * 5
    world.sso.users.decide(ann.id, "lock", COMMAND)
    world.passes(hours=1)
    world.sso.accounts.forgot("ann", world.caller())
    assert len(world.letters("password-reset")) == 5


def test_an_address_asks_for_letters_no_more_often_than_a_rate_allows_whomever_they_are_for(world):
    ann, address = world.person(), "2001:db8::1"
    forgot, again = world.sso.accounts.forgot, world.sso.signup.send_again
    for number in range(ASKED.most):
        (forgot if number % 2 else again)(f"nobody-{number}", world.caller(address))
    before = len(world.sso.audit.find(most=100))
    for ask in (forgot, again):
        with refused("too-many-attempts"):
            ask("ann", world.caller("2001:db8::2"))
    assert len(world.sso.audit.find(most=100)) == before
    assert world.letters("password-reset") == []
    # Others, super-users and commands go on.
    for caller in (world.caller("192.0.2.7"), world.caller(address, actor=ann.id), COMMAND):
        forgot("ann", caller)
    assert len(world.letters("password-reset")) == 3
    world.passes(seconds=60)
    again("ann", world.caller(address))


def test_S40_a_reset_link_works_once_for_an_hour_and_ends_every_session(world):
    world.person()
    session = world.log_in()
    world.sso.accounts.forgot("ann", world.caller())
    world.passes(seconds=1)
    world.sso.accounts.forgot("ann", world.caller())
    first, second = (letter.values["token"] for letter in world.letters("password-reset"))
    with refused("token-invalid"):
        world.sso.accounts.verify_reset(first, world.caller())
    key = world.sso.accounts.verify_reset(second, world.caller()).reset_key
    with refused("token-invalid"):
        world.sso.accounts.verify_reset(second, world.caller())
    with refused("validation-failed"):
        world.sso.accounts.reset(key, "short", world.caller())
    world.sso.accounts.reset(key, OTHER, world.caller())
    with refused("token-invalid"):
        world.sso.accounts.reset(key, OTHER + "x", world.caller())
    with refused("session-invalid"):
        world.sso.sessions.check(session.token, world.caller())
    world.passes(seconds=1)
    world.sso.accounts.forgot("ann", world.caller())
    late = world.letters("password-reset")[2].values["token"]
    world.passes(hours=1)
    with refused("token-invalid"):
        world.sso.accounts.verify_reset(late, world.caller())
    assert world.log_in(password=OTHER)


def test_S42_an_address_changes_when_the_new_one_is_confirmed_and_nobody_takes_one_that_is_not(world):
    world.person()
    world.person("bob")
    session = world.log_in().session
    world.sso.accounts.forgot("ann", world.caller())
    reset = world.letters("password-reset")[0].values["token"]
    world.sso.accounts.change_email(session, "bob@example.org", world.caller())
    assert world.letters("email-confirm") == []
    world.sso.accounts.change_email(session, "Anne@New.org", world.caller())
    assert [letter.address for letter in world.letters("email-changing")] == ["ann@example.org"] * 2
    assert world.log_in("ann@example.org")
    token = world.letters("email-confirm")[0].values["token"]
    bob = world.log_in("bob").session
    with refused("token-invalid"):
        world.sso.accounts.confirm_email(bob, token, world.caller())
    assert world.sso.accounts.confirm_email(session, token, world.caller()).email == "anne@new.org"
    assert world.letters("email-changed")[0].address == "ann@example.org"
    with refused("token-invalid"):
        world.sso.accounts.verify_reset(reset, world.caller())
    world.passes(minutes=11)
    with refused("reauthentication-required"):
        world.sso.accounts.change_email(session, "x@new.org", world.caller())


def test_Z6_S45_attributes_are_kept_encrypted_or_not_expire_and_are_bounded(world):
    ann = world.person().id
    attributes = world.sso.attributes
    later = world.now.replace(hour=13)
    attributes.set(
        ann, ann, {"a": Given({"x": [1, None]}), "b": Given("top", encrypted=True, expires_at=later)}, COMMAND
    )
    assert [(one.name, one.value, one.encrypted) for one in attributes.all(ann, ann)] == [
        ("a", {"x": [1, None]}, False), ("b", "top", True),
    ]  # fmt: skip
    world.passes(hours=1)
    assert attributes.names(ann) == ["a"]
    with refused("no-such-attribute"):
        attributes.get(ann, ann, "b")
    with refused("validation-failed"):
        attributes.set(ann, ann, {"big": Given("x" * LARGEST)}, COMMAND)
    with refused("validation-failed"):
        attributes.set(ann, ann, {f"n{number}": Given(number) for number in range(MOST)}, COMMAND)
    assert attributes.names(ann) == ["a"]
    attributes.set(ann, ann, {f"n{number}": Given(number) for number in range(MOST)}, COMMAND, alone=True)
    assert len(attributes.names(ann)) == MOST
    for name in ("", "a b", "x" * 129, "a/b"):
        with refused("validation-failed"):
            attributes.set(ann, ann, {name: Given(1)}, COMMAND)
    attributes.delete(ann, ann, "n1", COMMAND)
    with refused("no-such-attribute"):
        attributes.delete(ann, ann, "n1", COMMAND)
    assert world.sso.sweep() == 0


def test_S50_everything_reads_on_while_keys_change_and_an_old_one_is_free_when_nothing_is_under_it(world):
    people = [world.person(f"p{number}") for number in range(5)]
    world.enrol("p0")
    old = world.keyring.ring("edge").active
    for _ in range(2):
        world.keyring.activate("edge", world.keyring.add_key("edge"))
        world.configure()
        assert [world.sso.users.get(one.id).email for one in people] == [one.email for one in people]
        assert world.log_in("p1@example.org")
    assert world.database.read(lambda c: world.sso.keys.under(c, old)) > 0
    while world.database.write(lambda c: world.sso.keys.rewrap(c, 7)):
        pass
    assert world.database.read(lambda c: world.sso.keys.under(c, old)) == 0
    world.keyring.retire("edge", old)
    world.configure()
    assert world.log_in("p2@example.org").user.email == "p2@example.org"
    assert world.letters()
    assert world.sso.audit.verify().bad is None


def test_processes_that_begin_together_have_the_same_keys(world):
    def made(_):
        return Keys(world.database, world.keyring.ring("edge"), lambda n: bytes(n)).digest("email", "x")

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(made, range(6)))) == 1


def test_what_settings_can_get_wrong_is_named():
    for document, place in [
        ({"password": {"rounds": 120_000}}, "sso.password.rounds"),
        ({"password": {"min_length": 6}}, "sso.password.min_length"),
        ({"session": {"idle": "2d"}}, "sso.session.idle"),
        ({"default_app": "x"}, "sso.default_app"),
        ({"apps": {"crm": {"allow": ["10.0.0.0/33"]}}}, "sso.apps.crm.allow[0]"),
        ({"second_factor": {"window": 2}}, "sso.second_factor.window"),
    ]:
        with pytest.raises(Exception, match=place.replace("[", r"\[")):
            Sso.read(document, "sso")
