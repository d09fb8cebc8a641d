"""Passkeys: enrolled, as a second factor, as a login of their own; and everything that is none (S38)."""

import builtins
import copy
import threading

import pytest
from authenticator import BACKED_UP, ELIGIBLE, VERIFIED, Authenticator, decoded, encoded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from people import OTHER, PASSWORD, refused

from sso import tables
from sso.login import Credentials, MfaRequired
from sso.passkeys import MOST
from sso.system import COMMAND
from sso.throttle import FAILED_CODES

ORIGIN = "https://app.example.org"
RULES = {"domain": "example.org", "origins": [ORIGIN, "https://admin.example.org"]}


@pytest.fixture
def world(world):
    world.configure(passkeys=RULES)
    return world


@pytest.fixture
def quick(sqlite_world):
    sqlite_world.configure(passkeys=RULES)
    return sqlite_world


def enrolled(world, name="ann", session=None, **options):
    """A person's new passkey, what it is called here, and recovery codes."""
    device = Authenticator(ORIGIN, **options)
    session = session or world.log_in(name).session
    asked = world.sso.webauthn.registration_options(session)
    done = world.sso.webauthn.register(session, device.create(asked), "Phone", world.caller())
    return device, done.passkey, done.recovery_codes


def second(world, device, name="ann", **changes):
    """A login by password and then this device."""
    pending = world.log_in(name)
    asked = world.sso.webauthn.second_stage_options(pending.login_token, world.caller())
    signed = device.get(asked, **changes)
    return world.sso.login.second_stage(pending.login_token, Credentials("", "", webauthn=signed), world.caller())


def alone(world, device, **changes):
    return world.sso.login.by_passkey(
        device.get(world.sso.webauthn.login_options(world.caller()), **changes), world.caller()
    )


def test_a_passkey_is_a_second_factor(world):
    ann = world.person()
    device, passkey, codes = enrolled(world)
    assert (passkey.name, passkey.synced, passkey.used_at, len(codes)) == ("Phone", False, None, 10)
    assert world.sso.users.get(ann.id).has_second_factor
    pending = world.log_in()
    assert (type(pending), pending.methods) == (MfaRequired, ("recovery_code", "webauthn"))
    asked = world.sso.webauthn.second_stage_options(pending.login_token, world.caller())
    assert [one["id"] for one in asked["allowCredentials"]] == [encoded(device.id)]
    assert (asked["rpId"], asked["userVerification"], asked["timeout"]) == ("example.org", "preferred", 300_000)
    done = world.sso.login.second_stage(
        pending.login_token, Credentials("", "", webauthn=device.get(asked)), world.caller()
    )
    assert (done.session.methods, done.session.level) == (("password", "passkey"), 2)
    (listed,) = world.sso.passkeys.all(world.row(ann.id))
    assert (listed.id, listed.used_at) == (passkey.id, world.now)
    assert {"passkey.add", "login"} <= set(world.actions(target=ann.id))


def test_a_passkey_that_knows_who_holds_it_logs_in_alone_and_stands_for_two_factors(world):
    world.person(is_super_user=True)
    device, _, _ = enrolled(world)
    done = alone(world, device)
    assert (done.user.username, done.session.methods, done.session.level) == ("ann", ("passkey", "user-verified"), 2)
    assert world.sso.sessions.check(done.token, world.caller()).username == "ann"
    asked = world.sso.webauthn.login_options(world.caller())
    assert (asked["allowCredentials"], asked["userVerification"]) == ([], "required")


def test_what_is_offered_when_one_is_enrolled_names_the_person_and_those_that_there_are(world):
    world.person(display_name="Ann")
    session = world.log_in().session
    asked = world.sso.webauthn.registration_options(session)
    assert asked["rp"] == {"id": "example.org", "name": "Acme"}
    assert (asked["user"]["name"], asked["user"]["displayName"]) == ("ann", "Ann")
    assert decoded(asked["user"]["id"]).decode() == session.user_id
    assert (asked["attestation"], asked["excludeCredentials"], asked["pubKeyCredParams"][0]["alg"]) == ("none", [], -7)
    device, _, _ = enrolled(world, session=session)
    (known,) = world.sso.webauthn.registration_options(session)["excludeCredentials"]
    assert (known["id"], known["transports"]) == (encoded(device.id), ["hybrid", "internal"])


def test_other_algorithms_and_devices_without_a_counter_are_taken(quick):
    quick.person()
    device, passkey, _ = enrolled(quick, algorithm=-8, counts=False, flags=VERIFIED | ELIGIBLE | BACKED_UP)
    assert passkey.synced
    assert alone(quick, device).token
    assert alone(quick, device).token


# S38


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "https://evil.example"}, {"origin": "http://app.example.org"}, {"origin": f"{ORIGIN}.evil.example"},
        {"rp_id": "evil.example"}, {"rp_id": "app.example.org"}, {"challenge": encoded(b"\0" * 48)}, {"challenge": ""},
        {"kind": "webauthn.create"}, {"handle": b"usr_somebodyelse"},
    ],
)  # fmt: skip
def test_S38_what_was_signed_for_somewhere_or_somebody_else_proves_nothing(quick, changes):
    ann = quick.person()
    device, _, _ = enrolled(quick)
    with refused("invalid-credentials"):
        alone(quick, device, **changes)
    with refused("mfa-invalid"):
        second(quick, device, **changes)
    assert {"login.passkey", "login.second-factor"} <= {
        one["action"] for one in quick.sso.audit.find(most=100) if one["result"] == "refused"
    }
    assert alone(quick, device).user.id == ann.id


def test_S38_a_challenge_counts_once(world):
    world.person()
    device, _, _ = enrolled(world, counts=False)
    signed = device.get(world.sso.webauthn.login_options(world.caller()))
    assert world.sso.login.by_passkey(signed, world.caller()).token
    with refused("invalid-credentials"):
        world.sso.login.by_passkey(signed, world.caller())


def test_S38_a_challenge_counts_once_however_many_send_it_at_the_same_moment(world):
    world.person()
    device, _, _ = enrolled(world, counts=False)
    signed = device.get(world.sso.webauthn.login_options(world.caller()))
    outcomes = []

    def send(number):
        try:
            world.sso.login.by_passkey(signed, world.caller(f"198.51.100.{number}"))
            outcomes.append("in")
        except Exception as problem:
            outcomes.append(getattr(problem, "code", repr(problem)))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in"] + ["invalid-credentials"] * 3


def test_S38_a_challenge_is_for_one_purpose_one_login_and_five_minutes(quick):
    quick.person()
    quick.person("bob")
    device, _, _ = enrolled(quick)
    other, _, _ = enrolled(quick, "bob")
    webauthn, caller = quick.sso.webauthn, quick.caller()
    first, pending, theirs = quick.log_in(), quick.log_in(), quick.log_in("bob")
    wrong = [
        webauthn.login_options(caller), webauthn.second_stage_options(first.login_token, caller),
        webauthn.second_stage_options(theirs.login_token, caller),
    ]  # fmt: skip
    for asked in wrong:
        with refused("mfa-invalid"):
            quick.sso.login.second_stage(pending.login_token, Credentials("", "", webauthn=device.get(asked)), caller)
    with refused("mfa-invalid"):  # another's passkey, for one's own login
        asked = webauthn.second_stage_options(pending.login_token, caller)
        quick.sso.login.second_stage(pending.login_token, Credentials("", "", webauthn=other.get(asked)), caller)
    with refused("invalid-credentials"):  # for another application
        asked = webauthn.login_options(quick.caller(app="batch"))
        quick.sso.login.by_passkey(device.get(asked), caller)
    signed = device.get(webauthn.login_options(caller))
    quick.passes(seconds=301)
    with refused("invalid-credentials"):
        quick.sso.login.by_passkey(signed, caller)


def test_S38_a_passkey_that_does_not_know_who_holds_it_is_one_factor(quick):
    quick.person()
    device, _, _ = enrolled(quick, flags=0)
    with refused("mfa-required"):
        alone(quick, device)
    done = second(quick, device)
    assert (done.session.methods, done.session.level) == (("password", "passkey"), 2)


def test_S38_a_counter_that_goes_back_tells_of_a_copy(quick):
    ann = quick.person()
    device, _, _ = enrolled(quick)
    alone(quick, device)
    for counter in (0, 1, device.counter):
        with refused("invalid-credentials"):
            alone(quick, device, counter=counter)
    assert quick.actions(target=ann.id, action="passkey.counter") == ["passkey.counter"] * 3
    with refused("mfa-invalid"):
        second(quick, device, counter=1)
    assert second(quick, device).token


def test_S38_five_wrong_answers_and_the_login_begins_again(quick):
    quick.person()
    device, _, _ = enrolled(quick)
    for _ in range(FAILED_CODES.most):
        with refused("mfa-invalid"):
            second(quick, device, origin="https://evil.example")
    with refused("too-many-attempts"):
        second(quick, device)


def test_S34_a_password_alone_is_no_login_any_more(quick):
    quick.person()
    enrolled(quick)
    pending = quick.log_in()
    with refused("session-invalid"):
        quick.sso.sessions.check(pending.login_token, quick.caller())
    with refused("mfa-invalid"):
        quick.sso.login.second_stage(pending.login_token, Credentials("", ""), quick.caller())
    with refused("invalid-credentials"):
        quick.sso.webauthn.second_stage_options("x", quick.caller())


def test_S31_what_was_begun_before_everything_was_revoked_is_dead(quick):
    ann = quick.person()
    device, _, _ = enrolled(quick)
    pending = quick.log_in()
    asked = quick.sso.webauthn.second_stage_options(pending.login_token, quick.caller())
    quick.sso.sessions.end_all(ann.id, COMMAND)
    with refused("invalid-credentials"):
        quick.sso.login.second_stage(
            pending.login_token, Credentials("", "", webauthn=device.get(asked)), quick.caller()
        )


@pytest.mark.parametrize("event", ["lock", "erase"])
def test_an_account_that_cannot_be_used_cannot_be_used_by_a_passkey(quick, event):
    ann = quick.person()
    device, _, _ = enrolled(quick)
    if event == "lock":
        quick.sso.users.decide(ann.id, "lock", COMMAND)
    else:
        quick.sso.users.erase(ann.id, COMMAND)
        rows = quick.database.read(lambda connection: connection.execute(tables.passkeys.select()).all())
        assert rows == []
    with refused("account-locked" if event == "lock" else "invalid-credentials"):
        alone(quick, device)


def test_guessing_from_one_address_is_slowed_down(quick):
    quick.person()
    device, _, _ = enrolled(quick)
    for _ in range(10):
        with refused("invalid-credentials"):
            alone(quick, Authenticator(ORIGIN))
    with refused("too-many-attempts"):
        alone(quick, device)


def test_a_person_bound_to_networks_logs_in_from_there_alone(quick):
    ann = quick.person()
    device, _, _ = enrolled(quick)
    quick.sso.users.change(ann.id, {"addresses": ["198.51.100.0/24"]}, COMMAND, allowed=("addresses",))
    with refused("invalid-credentials"):
        alone(quick, device)


# enrolling


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "https://evil.example"}, {"rp_id": "evil.example"}, {"challenge": encoded(b"\0" * 48)},
        {"challenge": "not base64 !"},
    ],
)  # fmt: skip
def test_S38_what_was_made_elsewhere_is_not_enrolled(quick, changes):
    quick.person()
    session = quick.log_in().session
    device = Authenticator(ORIGIN)
    asked = quick.sso.webauthn.registration_options(session)
    with refused("token-invalid"):
        quick.sso.webauthn.register(session, device.create(asked, **changes), "", quick.caller())


def test_S38_what_was_made_for_another_session_or_twice_is_not_enrolled(quick):
    quick.person()
    quick.person("bob")
    ann, bob = quick.log_in().session, quick.log_in("bob").session
    asked = quick.sso.webauthn.registration_options(ann)
    made = Authenticator(ORIGIN).create(asked)
    with refused("token-invalid"):
        quick.sso.webauthn.register(bob, made, "", quick.caller())
    assert quick.sso.webauthn.register(ann, made, "", quick.caller()).passkey.name == "Passkey"
    with refused("token-invalid"):
        quick.sso.webauthn.register(ann, made, "", quick.caller())
    device = Authenticator(ORIGIN)
    device.create(quick.sso.webauthn.registration_options(ann))
    enrol = device.create(quick.sso.webauthn.registration_options(ann))
    quick.sso.webauthn.register(ann, enrol, "", quick.caller())
    with refused("passkey-known"):
        again = device.create(quick.sso.webauthn.registration_options(bob))
        quick.sso.webauthn.register(bob, again, "", quick.caller())


def test_enrolling_ends_other_sessions_and_is_told_by_letter(quick):
    ann = quick.person()
    other = quick.log_in()
    session = quick.log_in()
    enrolled(quick, session=session.session)
    with refused("session-invalid"):
        quick.sso.sessions.check(other.token, quick.caller())
    assert quick.sso.sessions.check(session.token, quick.caller())
    assert [letter.kind for letter in quick.letters("second-factor-added")] == ["second-factor-added"]
    quick.passes(minutes=11)
    with refused("reauthentication-required"):
        quick.sso.webauthn.registration_options(session.session)
    assert quick.sso.users.get(ann.id).has_second_factor


def test_recovery_codes_come_with_the_first_factor_and_stay_with_the_next(quick):
    quick.person()
    session = quick.log_in().session
    device, first, codes = enrolled(quick, session=session)
    _, second_key, none = enrolled(quick, session=session)
    assert (len(codes), none) == (10, [])
    pending = quick.log_in()
    done = quick.sso.login.second_stage(
        pending.login_token, Credentials("", "", recovery_code=codes[0]), quick.caller()
    )
    assert done.session.methods == ("password", "recovery-code")
    quick.sso.webauthn.remove(done.session, first.id, quick.caller())
    with refused("invalid-credentials"):
        alone(quick, device)
    assert type(quick.log_in()) is MfaRequired
    quick.sso.webauthn.remove(done.session, second_key.id, quick.caller())
    assert quick.log_in().token
    left = quick.database.read(lambda connection: connection.execute(tables.recovery_codes.select()).all())
    assert left == []


def test_codes_and_passkeys_stand_beside_each_other(quick):
    ann = quick.person()
    secret, _ = quick.enrol()
    pending = quick.log_in()
    assert pending.methods == ("totp", "recovery_code")
    quick.passes(seconds=30)
    session = quick.sso.login.second_stage(
        pending.login_token, Credentials("", "", totp_code=quick.code(secret)), quick.caller()
    ).session
    device, passkey, none = enrolled(quick, session=session)
    assert none == []
    assert quick.log_in().methods == ("totp", "recovery_code", "webauthn")
    quick.configure(passkeys=RULES, second_factor={"required": "all"})
    quick.sso.factors.remove(ann.id, quick.caller())
    assert quick.log_in().methods == ("recovery_code", "webauthn")
    with refused("second-factor-kept"):
        quick.sso.webauthn.remove(session, passkey.id, quick.caller())
    assert second(quick, device).token
    quick.sso.factors.remove(ann.id, COMMAND, forced=True)
    assert not quick.sso.users.get(ann.id).has_second_factor
    with refused("invalid-credentials"):
        alone(quick, device)


def test_names_are_the_persons_and_nobody_elses_to_change(quick):
    ann, bob = quick.person(), quick.person("bob")
    _, passkey, _ = enrolled(quick)
    caller = quick.caller()
    assert quick.sso.passkeys.rename(quick.row(ann.id), passkey.id, "Key ring", caller).name == "Key ring"
    with refused("no-such-passkey"):
        quick.sso.passkeys.rename(quick.row(bob.id), passkey.id, "Mine", caller)
    with refused("no-such-passkey"):
        quick.sso.webauthn.remove(quick.log_in("bob").session, passkey.id, caller)
    row = quick.database.read(lambda connection: connection.execute(tables.passkeys.select()).one())
    assert "Key ring" not in repr(row)
    assert quick.sso.users.export(ann.id, COMMAND)["passkeys"][0]["name"] == "Key ring"


def test_an_account_has_a_number_of_passkeys_at_most(quick):
    quick.person()
    session = quick.log_in().session
    for _ in range(MOST):
        enrolled(quick, session=session)
    with refused("too-many-passkeys"):
        quick.sso.webauthn.registration_options(session)


def test_somebody_with_a_passkey_alone_changes_their_password_and_proves_themselves_again(quick):
    quick.person()
    device, _, _ = enrolled(quick)
    done = second(quick, device)
    quick.passes(minutes=11)
    with refused("reauthentication-required"):
        quick.sso.accounts.change_password(done.session, PASSWORD, OTHER, quick.caller())
    asked = quick.sso.webauthn.again_options(done.session)
    with refused("mfa-invalid"):
        wrong = device.get(asked, origin="https://evil.example")
        quick.sso.login.prove_again(done.session, "", "", quick.caller(), webauthn=wrong)
    opened = quick.sso.login.prove_again(done.session, "", "", quick.caller(), webauthn=device.get(asked))
    assert opened.session.authenticated_at == quick.now
    quick.sso.accounts.change_password(opened.session, PASSWORD, OTHER, quick.caller())
    assert type(quick.log_in(password=OTHER)) is MfaRequired


# what is no credential at all


def octets(text):
    try:
        return decoded(text)
    except ValueError:
        return text


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_strangers_send_is_refused_and_breaks_nothing(quick, data):
    if not hasattr(quick, "device"):
        quick.person()
        quick.device, _, _ = enrolled(quick)
    quick.passes(minutes=2)
    signed = quick.device.get(quick.sso.webauthn.login_options(quick.caller()))
    broken = copy.deepcopy(signed)
    place = data.draw(
        st.sampled_from(
            [("id",), ("rawId",), ("type",), ("response",), *[("response", one) for one in signed["response"]]]
        )
    )
    holder = broken if len(place) == 1 else broken["response"]
    old = holder[place[-1]]
    junk = st.one_of(
        st.none(), st.integers(), st.text(max_size=30), st.binary(max_size=200).map(encoded), st.just([]), st.just({}),
        st.integers(0, 400).map(lambda at: old[:at] + "A" + old[at + 1 :] if isinstance(old, str) else {}),
        st.integers(0, 400).map(lambda at: old[:at] if isinstance(old, str) else {}),
    )  # fmt: skip
    holder[place[-1]] = data.draw(junk)
    new = holder[place[-1]]
    if place[-1] == "userHandle" or (isinstance(new, str) and isinstance(old, str) and octets(new) == octets(old)):
        return  # may be left out; and base64 has several spellings of the same octets
    caller = quick.caller(f"2001:db8:{data.draw(st.integers(0, 60000)):x}::1")
    with refused("invalid-credentials", "too-many-attempts"):
        quick.sso.login.by_passkey(broken, caller)


@pytest.mark.parametrize(
    "junk",
    [{}, {"id": 7}, {"response": []}, {"response": {"clientDataJSON": encoded(b"[]")}}, {"id": None, "response": {}}],
)
def test_an_enrolment_that_is_none_is_refused(quick, junk):
    quick.person()
    session = quick.log_in().session
    with refused("token-invalid"):
        quick.sso.webauthn.register(session, junk, "", quick.caller())
    made = Authenticator(ORIGIN).create(quick.sso.webauthn.registration_options(session))
    made["response"]["attestationObject"] = encoded(b"\xa3" + b"\x81" * 2000)
    with refused("token-invalid"):
        quick.sso.webauthn.register(session, made, "", quick.caller())


# where there are none


def test_without_the_library_passkeys_are_refused_with_what_to_install(quick, monkeypatch):
    quick.person()
    session = quick.log_in().session
    real = builtins.__import__

    def missing(name, *rest):
        if name == "webauthn":
            raise ModuleNotFoundError("No module named 'webauthn'", name="webauthn")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with refused("passkeys-unavailable") as caught:
        quick.sso.webauthn.registration_options(session)
    assert "pip install 'gatewright[webauthn]'" in caught.value.detail
    assert not quick.sso.webauthn.offered


@pytest.mark.parametrize(("rules", "told"), [({}, "gateway.public_url"), ({**RULES, "enabled": False}, "switched off")])
def test_passkeys_need_a_domain_and_can_be_switched_off(quick, rules, told):
    quick.configure(passkeys=rules)
    quick.person()
    with refused("passkeys-unavailable") as caught:
        quick.sso.webauthn.registration_options(quick.log_in().session)
    assert told in caught.value.detail
    quick.configure(passkeys={**RULES, "login": False})
    with refused("passkeys-unavailable"):
        quick.sso.webauthn.login_options(quick.caller())
    with refused("passkeys-unavailable"):
        quick.sso.login.by_passkey({}, quick.caller())


def test_challenges_that_are_over_are_forgotten(quick):
    quick.person()
    device, _, _ = enrolled(quick)
    alone(quick, device)

    def kept():
        return len(quick.database.read(lambda connection: connection.execute(tables.spent_challenges.select()).all()))

    assert kept() == 2
    quick.passes(minutes=6)
    quick.sso.sweep()
    assert kept() == 0
