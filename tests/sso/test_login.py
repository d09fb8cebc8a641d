"""Login: who gets in, what strangers learn, and what guessing costs."""

import importlib.util
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import argon2
import bcrypt
import pytest
from passlib import hash as schemes
from people import PASSWORD, refused
from sqlalchemy import select, update

from security.passwords import PURPOSE, PasswordHasher
from specs.problems import Problem
from sso import tables
from sso.attempts import MOST_FAILURES
from sso.login import MfaRequired
from sso.system import COMMAND
from sso.users import NewUser


def test_the_right_password_gives_a_session_and_a_wrong_one_does_not(world):
    ann = world.person()
    done = world.log_in()
    assert world.sso.sessions.check(done.token, world.caller()).user_id == ann.id
    assert world.log_in("ANN@Example.ORG").user == done.user
    with refused("invalid-credentials"):
        world.log_in(password="something else entirely")


def test_S11_Z18_one_answer_and_one_cost_for_whatever_is_wrong(world, monkeypatch):
    world.configure(signup={"approval": True})
    for name in ("ann", "locked", "rejected", "off"):
        world.person(name)
    for name, values in {
        "locked": {"state": "locked"},
        "rejected": {"state": "rejected"},
        "off": {"password_disabled": True},
    }.items():
        change = update(tables.users).where(tables.users.c.username == name).values(values)
        world.database.write(lambda c, change=change: c.execute(change))
    hashes, writes = [], []
    verify, write = PasswordHasher.verify, type(world.database).write
    monkeypatch.setattr(PasswordHasher, "verify", lambda *a: (hashes.append(1), verify(*a))[1])
    monkeypatch.setattr(type(world.database), "write", lambda *a: (writes.append(1), write(*a))[1])
    answers = set()
    cases = [("ann", "wrong wrong wrong"), ("nobody", "x"), ("no body!", "x"), ("locked", "wrong"), ("off", PASSWORD)]
    for name, password in [*cases, ("rejected", PASSWORD), ("nobody@example.org", PASSWORD), ("ann", "")]:
        hashes.clear()
        writes.clear()
        with pytest.raises(Problem) as problem:
            world.log_in(name, password, address=f"192.0.2.{len(name)}")
        answers.add((str(problem.value), str(problem.value.as_dict("c")), len(hashes), len(writes)))
    assert len(answers) == 1
    assert answers.pop()[2:] == (1, 1)


def test_S11_no_oracle_by_time(sqlite_world):
    world = sqlite_world
    world.sso.passwords.hasher = PasswordHasher(world.keyring.ring("edge"), rounds=20_000)
    world.person()

    def seconds(name, number):
        begin = time.perf_counter()
        with refused("invalid-credentials"):
            world.log_in(name, "wrong wrong wrong wrong", address=f"198.51.100.{number}")
        return time.perf_counter() - begin

    known, unknown = [], []
    for number in range(7):
        known.append(seconds("ann", number))
        unknown.append(seconds("nobody", number))
        world.passes(hours=13)
    # Each costs a hash; a way that left it out would cost a tenth.
    assert 0.5 < statistics.median(known) / statistics.median(unknown) < 2


@pytest.mark.parametrize(
    ("state", "code"),
    [("new", "account-unconfirmed"), ("unconfirmed", "account-unconfirmed"), ("unapproved", "account-unapproved"),
     ("locked", "account-locked")],
)  # fmt: skip
def test_S6_Z10_Z15_what_stands_in_the_way_is_told_to_the_owner_alone(world, state, code):
    world.person()
    world.database.write(lambda c: c.execute(update(tables.users).values(state=state)))
    with refused("invalid-credentials"):
        world.log_in(password="not the password at all")
    with refused(code):
        world.log_in()


def test_S12_five_bad_from_one_address_and_the_owner_still_logs_in_from_a_known_device(world):
    world.person()
    device = world.log_in(address="203.0.113.9").device
    for _ in range(5):
        with refused("invalid-credentials"):
            world.log_in(password="guess")
    with refused("too-many-attempts") as problem:
        world.log_in(password="guess")
    assert dict(problem.value.headers)["Retry-After"] == "300"
    with refused("too-many-attempts"):
        world.log_in()
    for guess in range(8):
        with refused("invalid-credentials", "too-many-attempts"):
            world.log_in(password="guess", address=f"198.51.100.{guess}")
    with refused("too-many-attempts"):
        world.log_in(address="203.0.113.9")
    assert world.log_in(address="203.0.113.9", device=device).session.username == "ann"


def test_a_device_of_another_person_or_a_made_up_one_helps_nobody(world):
    world.person()
    world.person("bob")
    device = world.log_in("bob").device
    for number in range(10):
        with refused("invalid-credentials"):
            world.log_in(password="guess", address=f"198.51.100.{number}")
    for given in (device, device[:-1] + ("0" if device[-1] != "0" else "1"), "gwd_x", "gwd_a.b", "gwd_ä.b"):
        with refused("too-many-attempts"):
            world.log_in(device=given, address="203.0.113.1")


def test_Z19_S13_guesses_from_many_addresses_are_slowed_by_account_and_spraying_by_address(world):
    world.person()
    for number in range(10):
        with refused("invalid-credentials"):
            world.log_in(password="guess", address=f"198.51.100.{number}")
    with refused("too-many-attempts") as problem:
        world.log_in(address="203.0.113.77")
    assert dict(problem.value.headers)["Retry-After"] == "30"
    world.passes(seconds=31)
    with refused("invalid-credentials"):
        world.log_in(password="guess", address="203.0.113.78")
    with refused("too-many-attempts") as problem:
        world.log_in(address="203.0.113.79")
    assert dict(problem.value.headers)["Retry-After"] == "60"
    world.passes(seconds=61)
    assert world.log_in(address="203.0.113.80")
    for number in range(10):
        with refused("invalid-credentials"):
            world.log_in(f"user{number}", "Spring2026!", address="192.0.2.50")
    with refused("too-many-attempts"):
        world.log_in("user10", "Spring2026!", address="192.0.2.50")


def test_what_is_refused_is_not_counted_and_a_delay_ends_at_fifteen_minutes(sqlite_world):
    world = sqlite_world
    world.person()
    for number in range(20):
        with refused("invalid-credentials", "too-many-attempts"):
            world.log_in(password="guess", address=f"198.51.100.{number}")
        world.passes(minutes=15)
    assert world.log_in(address="203.0.113.80")


def test_S14_a_name_an_address_and_other_cases_share_one_budget(world):
    world.person()
    for name in ("ann", "ANN", "ann@example.org", "Ann@EXAMPLE.org", "aNN"):
        with refused("invalid-credentials"):
            world.log_in(name, "guess")
    with refused("too-many-attempts"):
        world.log_in("ann@example.org", "guess")


def test_S14_names_that_nobody_has_are_counted_in_the_same_way(world):
    for _ in range(5):
        with refused("invalid-credentials"):
            world.log_in("nobody", "guess")
    with refused("too-many-attempts"):
        world.log_in("NOBODY", "guess")


def test_guesses_at_the_same_moment_gain_nothing(world):
    world.person()

    def guess(number):
        try:
            world.log_in(password=PASSWORD if number == 29 else "guess")
        except Problem as problem:
            return problem.code
        return "in"

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(guess, range(30)))
    assert answers.count("invalid-credentials") <= 5


def test_many_logins_of_one_person_at_the_same_moment_all_succeed(world):
    world.person()
    with ThreadPoolExecutor(8) as pool:
        assert len({done.token for done in pool.map(lambda _: world.log_in(), range(12))}) == 12


def test_S16_after_a_hundred_failures_the_password_is_off_until_it_is_reset(world):
    ann = world.person()
    for number in range(MOST_FAILURES):
        with refused("invalid-credentials"):
            world.log_in(password="guess", address=f"2001:db8:{number:x}::1")
        world.passes(minutes=16)
    with refused("invalid-credentials"):
        world.log_in(address="203.0.113.1")
    world.passes(minutes=16)
    world.sso.accounts.forgot("ann", world.caller())
    token = world.letters("password-reset")[0].values["token"]
    key = world.sso.accounts.verify_reset(token, world.caller()).reset_key
    world.sso.accounts.reset(key, "quiet violet mountains", world.caller())
    assert world.log_in(password="quiet violet mountains", address="203.0.113.2").user.id == ann.id


def test_S18_a_login_always_gives_a_new_token(world):
    world.person()
    assert len({world.log_in().token for _ in range(5)}) == 5


FOREIGN = {
    "older": lambda: schemes.pbkdf2_sha512.using(rounds=5).hash(PASSWORD),
    "pbkdf2": lambda: schemes.pbkdf2_sha256.using(rounds=5).hash(PASSWORD),
    "django": lambda: schemes.django_pbkdf2_sha256.using(rounds=5).hash(PASSWORD),
    "bcrypt": lambda: bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
    "bcrypt of PHP": lambda: FOREIGN["bcrypt"]().replace("$2b$", "$2y$"),
    "bcrypt, older": lambda: bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4, b"2a")).decode(),
    "argon2id": lambda: argon2.PasswordHasher(1, 64, 1).hash(PASSWORD),
    "argon2i": lambda: argon2.PasswordHasher(1, 64, 1, type=argon2.Type.I).hash(PASSWORD),
}


@pytest.mark.parametrize("foreign", [pytest.param(made, id=name) for name, made in FOREIGN.items()])
def test_S22_a_foreign_hash_is_taken_over_and_replaced_at_the_first_login(world, foreign):
    ann = world.sso.users.create(NewUser("ann", "ann@example.org", password_hash=foreign()), COMMAND)
    stored = world.row(ann.id).password
    with refused("invalid-credentials"):
        world.log_in(password="wrong")
    assert world.row(ann.id).password == stored
    world.log_in()
    again = world.row(ann.id).password
    assert again != stored
    assert world.keyring.ring("edge").decrypt(again, PURPOSE).startswith("$pbkdf2-sha512$10$")
    world.log_in()
    assert world.row(ann.id).password == again


def test_a_password_of_which_bcrypt_read_a_part_is_right_and_is_read_whole_from_then_on(sqlite_world):
    world, long = sqlite_world, PASSWORD + "é" * 60
    made = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()
    world.sso.users.create(NewUser("ann", "ann@example.org", password_hash=made), COMMAND)
    for wrong in (PASSWORD, "\0" + PASSWORD, long.replace("green", "Green")):
        with refused("invalid-credentials"):
            world.log_in(password=wrong)
    assert world.log_in(password=long)
    with refused("invalid-credentials"):
        world.log_in(password=long[:-1])


COSTLY = {
    "rounds": schemes.pbkdf2_sha256.using(rounds=5).hash(PASSWORD).replace("$5$", "$2000001$"),
    "bcrypt": bcrypt.hashpw(b"", bcrypt.gensalt(4)).decode().replace("$04$", "$15$"),
    "argon2, time": "$argon2id$v=19$m=64,t=11,p=1$" + "c2FsdHNhbHQ" + "$" + "YWJjZGVmZ2hpamtsbW5vcA",
    "argon2, threads": "$argon2id$v=19$m=262144,t=1,p=17$" + "c2FsdHNhbHQ" + "$" + "YWJjZGVmZ2hpamtsbW5vcA",
    "argon2, memory and time": "$argon2id$v=19$m=262144,t=5,p=1$" + "c2FsdHNhbHQ" + "$" + "YWJjZGVmZ2hpamtsbW5vcA",
    "argon2, memory": "$argon2id$v=19$m=262145,t=1,p=1$" + "c2FsdHNhbHQ" + "$" + "YWJjZGVmZ2hpamtsbW5vcA",
    "no hash": "$2b$04$" + "a" * 21 + "u",
    "another scheme": "$1$salt$abcdefghijklmnopqrstuv",
    "too long": "$pbkdf2-sha256$5$" + "a" * 1024,
}


@pytest.mark.parametrize("foreign", COSTLY.values(), ids=list(COSTLY))
def test_a_foreign_hash_that_would_hold_a_thread_for_long_or_is_none_is_refused(sqlite_world, foreign):
    with refused("validation-failed") as problem:
        sqlite_world.sso.users.create(NewUser("ann", "ann@example.org", password_hash=foreign), COMMAND)
    assert [one.pointer for one in problem.value.errors] == ["/password_hash"]


@pytest.mark.parametrize("name", ["bcrypt", "argon2id"])
def test_a_hash_whose_library_is_missing_says_what_to_install(sqlite_world, name, monkeypatch):
    found = importlib.util.find_spec
    missing = ("bcrypt", "argon2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else found(name))
    with refused("validation-failed") as problem:
        sqlite_world.sso.users.create(NewUser("ann", "ann@example.org", password_hash=FOREIGN[name]()), COMMAND)
    assert "install gatewright[hashes]" in problem.value.errors[0].detail


def test_S22_a_login_that_fails_at_the_second_factor_replaces_no_hash_and_two_at_once_leave_a_good_one(world):
    ann = world.person()
    world.enrol()
    world.sso.passwords.hasher = PasswordHasher(world.keyring.ring("edge"), rounds=11)
    stored = world.row(ann.id).password
    with refused("mfa-invalid"):
        world.log_in(totp_code="000000")
    assert world.row(ann.id).password == stored
    world.sso.factors.remove(ann.id, COMMAND, forced=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: world.log_in(), range(2)))
    assert world.row(ann.id).password != stored
    assert world.log_in()


def test_S23_a_password_that_has_to_be_changed_is_changed_at_login_and_a_weak_one_leaves_the_old(world):
    ann = world.person(must_change=True)
    with refused("password-change-required") as problem:
        world.log_in()
    assert problem.value.members["sub_codes"] == ["E003007"]
    assert world.sso.sessions.list(ann.id) == []
    with refused("validation-failed"):
        world.log_in(new_password="short")
    with refused("validation-failed"):
        world.log_in(new_password=PASSWORD)
    with refused("password-change-required"):
        world.log_in()
    done = world.log_in(new_password="quiet violet mountains")
    assert world.sso.sessions.check(done.token, world.caller()).user_id == ann.id
    with refused("invalid-credentials"):
        world.log_in()
    assert world.log_in(password="quiet violet mountains")


def test_S23_an_expired_password_lets_nobody_in_and_people_are_warned_before(world):
    world.configure(password={"expires_after": "100d"})
    world.person()
    assert world.log_in().warnings == ()
    world.passes(days=80)
    assert world.log_in().warnings == (("password-expires", 20),)
    world.passes(days=20)
    with refused("password-expired"):
        world.log_in()
    assert world.log_in(new_password="quiet violet mountains").warnings == ()


def test_Z1_Z2_an_application_and_an_address_have_to_be_allowed(sqlite_world):
    world = sqlite_world
    world.person()
    for app in ("shut", "unknown"):
        with refused("app-not-allowed"):
            world.log_in(app=app)
    world.configure(apps={"crm": {"login": True, "allow": ["10.0.0.0/8"]}})
    with refused("address-not-allowed"):
        world.log_in()
    assert world.log_in(address="10.1.2.3")


def test_Z11_a_person_logs_in_from_their_own_addresses_alone_and_strangers_learn_nothing_of_it(world):
    ann = world.person()
    world.sso.users.change(ann.id, {"addresses": ["10.0.0.0/8"]}, COMMAND, allowed={"addresses"})
    with refused("invalid-credentials"):
        world.log_in()
    assert world.log_in(address="10.1.2.3")


def test_S31_a_password_that_is_changed_while_it_is_checked_lets_nobody_in(world, monkeypatch):
    ann = world.person()
    verify = world.sso.passwords.verify

    def slowly(password, stored):
        right = verify(password, stored)
        world.sso.sessions.end_all(ann.id, COMMAND)
        return right

    monkeypatch.setattr(world.sso.passwords, "verify", slowly)
    with refused("invalid-credentials"):
        world.log_in()
    assert world.sso.sessions.list(ann.id) == []


def test_the_second_stage_is_asked_for_and_the_first_gives_no_session(world):
    ann = world.person()
    world.enrol()
    world.sso.sessions.end_all(ann.id, COMMAND)
    pending = world.log_in()
    assert isinstance(pending, MfaRequired)
    assert world.sso.sessions.list(ann.id) == []
    with refused("session-invalid"):
        world.sso.sessions.check(pending.login_token, world.caller())


def test_every_login_is_in_the_audit_without_a_secret(world):
    ann = world.person()
    done = world.log_in()
    with refused("invalid-credentials"):
        world.log_in(password="t0p secret guess")
    assert world.actions(target=ann.id) == ["user.create", "login", "login.password"]
    rows = world.database.read(lambda c: [str(dict(row)) for row in c.execute(select(tables.audit)).mappings()])
    assert not any(word in row for row in rows for word in ("t0p", PASSWORD, done.token, "ann@example"))
    assert world.sso.audit.verify().bad is None
