"""Second factors: each code once, however it is sent; ten recovery codes; nothing half done protects or locks anybody."""

from concurrent.futures import ThreadPoolExecutor

import pyotp
import pytest
from people import OTHER, PASSWORD, refused
from sqlalchemy import select

from specs.problems import Problem
from sso import tables
from sso.login import Credentials
from sso.system import COMMAND
from sso.throttle import HASHES
from sso.totp import recovery_key


def code_of(log_in):
    try:
        log_in()
    except Problem as problem:
        return problem.code
    return "in"


def test_Z19_S32_S33_a_code_works_once_and_the_one_of_the_enrolment_is_used_up(world):
    world.person()
    secret, _ = world.enrol()
    with refused("mfa-invalid") as problem:
        world.log_in(totp_code=world.code(secret))
    assert problem.value.members["server_time"] == world.now.isoformat()
    world.passes(seconds=30)
    code = world.code(secret)
    assert world.log_in(totp_code=code).session.level == 2
    with refused("mfa-invalid"):
        world.log_in(totp_code=code)


def test_S32_of_eight_at_once_one_is_let_in(world):
    world.person()
    secret, _ = world.enrol()
    world.passes(seconds=60)
    code = world.code(secret)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: code_of(lambda: world.log_in(totp_code=code)), range(8)))
    assert answers.count("in") == 1


def test_S32_digits_of_other_scripts_and_an_earlier_step_after_a_later_one_are_no_codes(world):
    world.person()
    secret, _ = world.enrol()
    world.passes(seconds=90)
    earlier, later = world.code(secret, -30), world.code(secret)
    wide = "".join(chr(ord(digit) + 0xFEE0) for digit in later)
    for wrong in (wide, later + "0", " " + later, later[:5]):
        with refused("mfa-invalid"):
            world.log_in(totp_code=wrong)
    assert world.log_in(totp_code=later)
    with refused("mfa-invalid"):
        world.log_in(totp_code=earlier)


def test_S33_an_enrolment_that_was_not_finished_asks_for_nothing(world):
    world.person()
    session = world.log_in().session
    world.sso.factors.enrol(session, world.caller())
    assert world.log_in().session
    world.passes(minutes=9)
    enrolment = world.sso.factors.enrol(session, world.caller())
    with refused("mfa-invalid"):
        world.sso.factors.confirm(session, "000000", world.caller())
    codes = world.sso.factors.confirm(session, world.code(enrolment.secret), world.caller())
    assert len(set(codes)) == 10


def test_S33_enrolling_over_a_second_factor_asks_for_a_recent_login_and_the_old_one_holds_until_then(world):
    world.person()
    secret, _ = world.enrol()
    world.passes(seconds=60)
    session = world.log_in(totp_code=world.code(secret)).session
    newer = world.sso.factors.enrol(session, world.caller()).secret
    world.passes(seconds=60)
    assert world.log_in(totp_code=world.code(secret))
    world.sso.factors.confirm(session, world.code(newer), world.caller())
    world.passes(seconds=60)
    assert code_of(lambda: world.log_in(totp_code=world.code(secret))) == "mfa-invalid"
    assert world.log_in(totp_code=world.code(newer))
    world.passes(minutes=11)
    with refused("reauthentication-required"):
        world.sso.factors.enrol(session, world.caller())


def test_S34_the_second_stage_takes_five_codes_and_one_session(world):
    world.person()
    secret, _ = world.enrol()
    world.passes(seconds=60)
    pending = world.log_in()
    stage = world.sso.login.second_stage
    right = Credentials("", "", totp_code=world.code(secret))
    with refused("invalid-credentials"):
        stage(pending.login_token, right, world.caller(app="batch"))
    done = stage(pending.login_token, right, world.caller())
    assert done.session.methods == ("password", "totp")
    world.passes(seconds=60)
    with refused("invalid-credentials"):
        stage(pending.login_token, Credentials("", "", totp_code=world.code(secret)), world.caller())
    pending = world.log_in()
    for _ in range(5):
        with refused("mfa-invalid"):
            stage(pending.login_token, Credentials("", "", totp_code="000000"), world.caller())
    with refused("invalid-credentials", "too-many-attempts"):
        stage(pending.login_token, Credentials("", "", totp_code=world.code(secret)), world.caller())
    with refused("too-many-attempts") as problem:
        world.log_in(totp_code=world.code(secret))
    assert dict(problem.value.headers)["Retry-After"] == "900"
    world.passes(minutes=15)
    assert world.log_in(totp_code=world.code(secret))


def test_S34_a_stage_that_was_begun_dies_with_a_lock_and_in_five_minutes(world):
    ann = world.person()
    secret, _ = world.enrol()
    world.passes(seconds=60)
    first = world.log_in().login_token
    world.passes(minutes=5)
    second = world.log_in().login_token
    world.sso.sessions.end_all(ann.id, COMMAND)
    for token in (first, second, "gwt_made_up"):
        with refused("invalid-credentials"):
            world.sso.login.second_stage(token, Credentials("", "", totp_code=world.code(secret)), world.caller())


def test_S35_a_link_is_no_way_around_a_second_factor(world):
    ann = world.person()
    world.sso.links.add(ann.id, "partners", "ann-basic", COMMAND)
    assert world.sso.links.identity_of("partners", "ann-basic").user == ann.id
    assert world.sso.links.identity_of("partners", "nobody") is None
    assert world.sso.links.identity_of("others", "ann-basic") is None
    world.enrol()
    with refused("mfa-required"):
        world.sso.links.identity_of("partners", "ann-basic")
    world.sso.links.add(ann.id, "certificates", "ann", COMMAND, second_factor="satisfied")
    assert world.sso.links.identity_of("certificates", "ann").name == "ann"
    world.sso.users.decide(ann.id, "lock", COMMAND)
    with refused("account-locked"):
        world.sso.links.identity_of("certificates", "ann")


def test_S35_where_a_second_factor_is_required_a_link_does_not_stand_in_for_it(world):
    world.configure(second_factor={"required": "super_users"})
    root = world.person("boss", is_super_user=True)
    world.sso.links.add(root.id, "partners", "boss", COMMAND)
    with refused("mfa-required"):
        world.sso.links.identity_of("partners", "boss")
    done = world.log_in("boss")
    assert ([warning.code for warning in done.warnings], done.session.level) == (["second-factor-required"], 1)


def test_Z19_S36_a_recovery_code_works_once_in_any_spelling_and_dies_with_new_ones(world):
    world.person()
    _, codes = world.enrol()
    assert world.log_in(recovery_code=codes[0].lower().replace("-", " ")).session.methods == (
        "password",
        "recovery-code",
    )
    with refused("mfa-invalid"):
        world.log_in(recovery_code=codes[0])
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: code_of(lambda: world.log_in(recovery_code=codes[1])), range(4)))
    assert answers.count("in") == 1
    world.passes(minutes=16)
    session = world.log_in(recovery_code=codes[2]).session
    newer = world.sso.factors.renew_recovery_codes(session, world.caller())
    with refused("mfa-invalid"):
        world.log_in(recovery_code=codes[3])
    for code in newer[:7]:
        assert world.log_in(recovery_code=code).warnings == ()
    assert world.log_in(recovery_code=newer[7]).warnings == (("few-recovery-codes", None),)


def test_a_recovery_code_costs_one_hash(sqlite_world, monkeypatch):
    world = sqlite_world
    world.person()
    _, codes = world.enrol()
    verified = []
    verify = world.sso.passwords.verify
    monkeypatch.setattr(world.sso.passwords, "verify", lambda *a: (verified.append(1), verify(*a))[1])
    world.log_in(recovery_code=codes[9])
    assert len(verified) == 2
    assert recovery_key("01-abcdo-il234") == "01ABCD011234"


@pytest.mark.parametrize(("drift", "answer"), [(29, "in"), (-29, "in"), (61, "mfa-invalid"), (-61, "mfa-invalid")])
def test_S37_a_clock_may_be_half_a_minute_off(world, drift, answer):
    world.person()
    secret, _ = world.enrol()
    world.passes(minutes=5)
    assert code_of(lambda: world.log_in(totp_code=world.code(secret, drift))) == answer


def test_the_vectors_of_RFC_6238(sqlite_world):
    world = sqlite_world
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    for moment, code in [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]:
        world.now = world.now.fromtimestamp(moment, world.now.tzinfo)
        assert world.sso.factors._step(secret, code) == moment // 30


def test_Z3_Z8_what_is_shown_at_the_enrolment_and_never_again(world):
    ann = world.person()
    session = world.log_in().session
    enrolment = world.sso.factors.enrol(session, world.caller())
    assert pyotp.parse_uri(enrolment.otpauth_uri).secret == enrolment.secret
    assert enrolment.otpauth_uri.startswith("otpauth://totp/Acme:ann?")
    assert enrolment.qr_svg.startswith("<svg ")
    assert "http" not in enrolment.qr_svg.replace("http://www.w3.org/2000/svg", "")
    world.sso.factors.confirm(session, world.code(enrolment.secret), world.caller())
    rows = world.database.read(lambda c: str(c.execute(select(tables.totp)).all()))
    assert enrolment.secret not in rows
    assert world.sso.users.get(ann.id).has_second_factor is True


def test_S40_a_reset_does_not_skip_the_second_factor(world):
    world.person()
    secret, _ = world.enrol()
    world.passes(seconds=60)
    world.sso.accounts.forgot("ann", world.caller())
    key = world.sso.accounts.verify_reset(world.letters("password-reset")[0].values["token"], world.caller())
    world.sso.accounts.reset(key.reset_key, OTHER, world.caller())
    assert hasattr(world.log_in(password=OTHER), "login_token")
    assert world.log_in(password=OTHER, totp_code=world.code(secret)).session.level == 2


def test_a_password_is_changed_with_the_second_factor_and_other_sessions_end(world):
    ann = world.person()
    secret, _ = world.enrol()
    world.passes(seconds=60)
    mine, other = (world.log_in(totp_code=world.code(secret, drift)) for drift in (-30, 0))
    world.passes(seconds=60)
    with refused("mfa-invalid"):
        world.sso.accounts.change_password(mine.session, PASSWORD, OTHER, world.caller())
    world.sso.accounts.change_password(mine.session, PASSWORD, OTHER, world.caller(), totp_code=world.code(secret))
    assert [session.id for session in world.sso.sessions.list(ann.id)] == [mine.session.id]
    with refused("session-invalid"):
        world.sso.sessions.check(other.token, world.caller())
    assert world.letters("password-changed")


def test_a_second_factor_that_has_to_be_there_is_not_taken_away(sqlite_world):
    world = sqlite_world
    ann = world.person()
    world.enrol()
    world.configure(second_factor={"required": "all"})
    with refused("second-factor-kept"):
        world.sso.factors.remove(ann.id, world.caller())
    world.sso.factors.remove(ann.id, COMMAND, forced=True)
    assert world.sso.sessions.list(ann.id) == []
    assert world.letters("second-factor-removed")


def test_S17_who_is_logged_in_has_no_more_hashed_than_a_rate_allows_however_right_it_is(sqlite_world, monkeypatch):
    world, sso, caller = sqlite_world, sqlite_world.sso, sqlite_world.caller()
    ann = world.person()
    secret, codes = world.enrol()
    world.passes(seconds=30)
    session = world.log_in(totp_code=world.code(secret)).session
    hashed = []
    hash_one, verify = sso.passwords.hash, sso.passwords.verify
    monkeypatch.setattr(sso.passwords, "hash", lambda *given: (hashed.append("hash"), hash_one(*given))[1])
    monkeypatch.setattr(sso.passwords, "verify", lambda *given: (hashed.append("verify"), verify(*given))[1])
    # A wrong code of an enrolment, and one of none, have nothing hashed.
    sso.factors.enrol(session, caller)
    for _ in range(2):
        with refused("mfa-invalid"):
            sso.factors.confirm(session, "000000", caller)
    assert hashed == []
    world.passes(seconds=300)
    ways = {
        "the password once more": lambda: sso.login.prove_again(session, PASSWORD, "", caller),
        "other recovery codes": lambda: sso.factors.renew_recovery_codes(session, caller),
    }
    for name, way in ways.items():
        sso.attempts.unblock(COMMAND, user_id=ann.id)
        assert {code_of(way) for _ in range(HASHES.most)} == {"in"}, name
        before = len(hashed)
        assert (code_of(way), len(hashed)) == ("too-many-attempts", before), name
    # Nor has whoever knows the password alone, and guesses at recovery codes; the owner is not held up by that.
    sso.attempts.unblock(COMMAND, user_id=ann.id)
    guess = Credentials("", "", recovery_code=codes[0][:-5] + "AAAAA")
    for _ in range(2):
        pending = world.log_in().login_token
        seen = [code_of(lambda: sso.login.second_stage(pending, guess, caller)) for _ in range(HASHES.most)]  # noqa: B023
    assert {*seen} == {"too-many-attempts"}
    before = len(hashed)
    assert code_of(lambda: sso.login.second_stage(pending, guess, caller)) == "too-many-attempts"
    assert len(hashed) == before
    assert code_of(ways["the password once more"]) == "in"
