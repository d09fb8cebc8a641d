"""Sessions: what ends them, how they are renewed, and that no token is kept."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from people import PASSWORD, refused
from sqlalchemy import select

from specs.problems import Problem
from sso import tables
from sso.attributes import Given
from sso.system import COMMAND


def alive(world, token, **caller):
    try:
        world.sso.sessions.check(token, world.caller(**caller))
    except Problem as problem:
        return problem.code
    return True


def test_a_session_ends_when_it_is_not_used_and_lives_on_when_it_is(world):
    world.person()
    token, other = world.log_in().token, world.log_in().token
    for _ in range(3):
        world.passes(minutes=29)
        assert alive(world, token) is True
    assert alive(world, other) == "session-invalid"


@pytest.mark.parametrize(
    "how", ["logout", "absolute", "revoked", "locked", "deleted", "epoch", "everybody", "rejected"]
)
def test_S24_whatever_ends_a_session_ends_it_at_once(world, how):
    ann = world.person()
    token, session = world.log_in()[:2]
    if how in ("logout", "revoked"):
        world.sso.sessions.end(ann.id, session.id, COMMAND)
    elif how == "absolute":
        world.passes(hours=12)
    elif how == "locked":
        world.sso.users.decide(ann.id, "lock", COMMAND)
    elif how == "deleted":
        world.sso.users.erase(ann.id, COMMAND)
    elif how == "epoch":
        world.sso.sessions.end_all(ann.id, COMMAND)
    elif how == "everybody":
        world.sso.sessions.end_everybodys(COMMAND)
    else:
        world.database.write(lambda c: c.execute(tables.users.update().values(state="rejected")))
    assert alive(world, token) == "session-invalid"


def test_S24_sessions_live_on_when_the_process_does_not(world):
    world.person()
    token = world.log_in().token
    world.configure()
    assert alive(world, token) is True


def test_S25_renewing_never_passes_the_absolute_end(world):
    world.person()
    opened = world.log_in()
    token, end = opened.token, opened.session.ends_at
    while world.now < end - timedelta(minutes=20):
        world.passes(minutes=20)
        token, session = world.sso.sessions.renew(token, world.caller())
        assert session.ends_at == end
        assert session.expires_at <= end
    world.passes(minutes=20)
    assert alive(world, token) == "session-invalid"


def test_S25_the_old_token_is_taken_for_a_moment_and_its_use_after_that_ends_the_session(world):
    ann = world.person()
    old = world.log_in().token
    new = world.sso.sessions.renew(old, world.caller()).token
    world.passes(seconds=29)
    assert (alive(world, old), alive(world, new)) == (True, True)
    world.passes(seconds=2)
    assert alive(world, old) == "session-invalid"
    assert alive(world, new) == "session-invalid"
    assert world.actions(target=ann.id)[-1] == "session.replayed"


def test_two_that_renew_at_once_get_the_same_new_token(world):
    world.person()
    old = world.log_in().token
    with ThreadPoolExecutor(4) as pool:
        fresh = {opened.token for opened in pool.map(lambda _: world.sso.sessions.renew(old, world.caller()), range(6))}
    assert len(fresh) == 1
    assert alive(world, fresh.pop()) is True


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 46), st.integers(0, 6))
def test_S26_one_flipped_bit_is_no_token(sqlite_world, place, bit):
    world = sqlite_world
    if not world.told:
        world.person()
        world.told.append(world.log_in().token)
    token = world.told[0]
    changed = token[:place] + chr(ord(token[place]) ^ (1 << bit)) + token[place + 1 :]
    assert alive(world, changed) == "session-invalid"
    assert alive(world, token) is True


def test_S26_another_persons_session_is_absent(world):
    ann, bob = world.person(), world.person("bob")
    theirs = world.log_in("bob").session.id
    for wanted in (theirs, "ses_nothing"):
        with refused("no-such-session"):
            world.sso.sessions.end(ann.id, wanted, COMMAND)
    assert [session.id for session in world.sso.sessions.list(bob.id)] == [theirs]


def test_S27_a_session_of_one_application_or_address_is_ended_when_it_turns_up_elsewhere(world):
    ann = world.person()
    token = world.log_in().token
    assert alive(world, token, app="batch") == "session-binding"
    assert alive(world, token) == "session-invalid"
    assert world.actions(target=ann.id)[-1] == "session.binding"
    world.configure(session={"bind_address": True, "bind_app": False})
    token = world.log_in(address="::ffff:192.0.2.1").token
    assert alive(world, token, app="batch") is True
    assert alive(world, token, address="192.0.2.2") == "session-binding"


def test_S28_one_more_than_there_may_be_ends_the_oldest_or_is_refused(world):
    world.configure(session={"max_per_user": 3})
    ann = world.person()
    tokens = []
    for _ in range(4):
        world.passes(seconds=1)
        tokens.append(world.log_in().token)
    assert [alive(world, token) for token in tokens] == ["session-invalid", True, True, True]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: world.log_in(), range(10)))
    assert len(world.sso.sessions.list(ann.id)) == 3
    world.configure(session={"max_per_user": 3, "when_full": "refuse"})
    with refused("too-many-sessions"):
        world.log_in()


def test_S31_who_revokes_all_leaves_no_survivor(world):
    ann = world.person()
    tokens = [world.log_in().token for _ in range(4)]

    def act(number):
        if number == 9:
            world.sso.sessions.end_all(ann.id, COMMAND)
            return []
        try:
            if number % 2:
                return [world.sso.sessions.renew(tokens[number // 2 % 4], world.caller()).token]
            return [world.log_in().token]
        except Problem:
            return []

    with ThreadPoolExecutor(8) as pool:
        more = [token for found in pool.map(act, range(18)) for token in found]
    epoch = world.row(ann.id).session_epoch
    rows = world.database.read(lambda c: c.execute(select(tables.sessions.c.epoch)).scalars().all())
    assert set(rows) <= {epoch}
    assert {alive(world, token) for token in tokens if token not in more} == {"session-invalid"}


def test_Z5_S29_a_list_of_sessions_and_the_database_hold_no_token(world):
    ann = world.person()
    token = world.log_in().token
    fresh = world.sso.sessions.renew(token, world.caller()).token
    shown = str(world.sso.sessions.list(ann.id))
    rows = world.database.read(lambda c: str(c.execute(select(tables.sessions)).all()))
    assert [secret in text for secret in (token, fresh) for text in (shown, rows)] == [False] * 4


def test_the_moment_of_last_use_is_written_once_a_minute(sqlite_world, monkeypatch):
    world = sqlite_world
    world.person()
    token = world.log_in().token
    writes = []
    write = type(world.database).write
    monkeypatch.setattr(type(world.database), "write", lambda *a: (writes.append(1), write(*a))[1])
    for _ in range(130):
        world.passes(seconds=1)
        assert alive(world, token) is True
    assert len(writes) == 2


@pytest.mark.parametrize("idle", [10, 60, 90])
def test_however_short_it_may_be_left_alone_a_session_lives_on_while_it_is_used(sqlite_world, idle):
    world = sqlite_world
    world.configure(session={"idle": f"{idle}s"})
    world.person()
    token = world.log_in().token
    for _ in range(12):
        world.passes(seconds=idle / 2)
        assert alive(world, token) is True
    world.passes(seconds=idle)
    assert alive(world, token) == "session-invalid"


def test_a_session_of_a_command_has_proven_nothing_so_a_password_beside_it_is_no_second_factor(sqlite_world):
    ann = sqlite_world.person()
    given = sqlite_world.sso.login.by_command(ann.id, sqlite_world.caller())
    proven = sqlite_world.sso.login.prove_again(given.session, PASSWORD, "", sqlite_world.caller())
    assert (given.session.level, proven.session.level) == (1, 1)


@pytest.mark.parametrize("bound", [True, False])
def test_the_token_of_an_application_that_proves_itself_is_worth_nothing_under_any_other_name(sqlite_world, bound):
    world = sqlite_world
    apps = {"crm": {"login": True}, "erp": {"login": True, "credential": True}}
    world.configure(apps=apps, session={"bind_app": bound})
    world.person()
    token = world.log_in(app="erp").token
    assert alive(world, token, app="") == "app-unproven"
    assert alive(world, token, app="erp", unproven=True) == "app-unproven"
    assert alive(world, token, app="erp") is True
    assert alive(world, token, app="crm") == ("session-binding" if bound else "app-unproven")


def test_S45_what_was_kept_for_a_session_goes_with_it(world):
    ann = world.person()
    session = world.log_in().session
    world.sso.attributes.set(session.id, ann.id, {"cart": Given([1, 2])}, COMMAND)
    world.sso.attributes.set(ann.id, ann.id, {"colour": Given("red")}, COMMAND)
    world.sso.sessions.end(ann.id, session.id, COMMAND)
    names = world.database.read(lambda c: c.execute(select(tables.attributes.c.name)).scalars().all())
    assert names == ["colour"]
    with refused("no-such-session"):
        world.sso.attributes.set(session.id, ann.id, {"cart": Given([1])}, COMMAND)


def test_to_prove_oneself_again_gives_a_new_token_and_the_old_one_is_dead(world):
    world.person()
    token, session = world.log_in()[:2]
    world.passes(minutes=11)
    with refused("reauthentication-required"):
        world.sso.sessions.require_recent(session)
    with refused("invalid-credentials"):
        world.sso.login.prove_again(session, "wrong", "", world.caller())
    opened = world.sso.login.prove_again(session, "green lamps over water", "", world.caller())
    world.sso.sessions.require_recent(opened.session)
    assert (alive(world, token), alive(world, opened.token)) == ("session-invalid", True)


def test_what_is_over_is_swept(world):
    world.person()
    world.log_in()
    world.passes(hours=13)
    assert world.sso.sweep() == 1
    assert world.sso.sweep() == 0
