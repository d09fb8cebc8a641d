"""What is remembered of people, and when it is not taken any more. The database is shared by two machines, and by two processes."""

from datetime import timedelta

import pytest
from people import PASSWORD, refused

from security.stamps import Stamps
from sso.audit import Caller
from sso.login import Credentials
from sso.memory import LOOK, Memory, Watch
from sso.system import COMMAND, SingleSignOn

CALLER = Caller(app="crm", address="192.0.2.1")


class Queries:
    """Counts the reads of a database."""

    def __init__(self, database):
        self.count = 0
        self._read = database._database.read
        database._database = self
        self.write = None

    def read(self, work):
        self.count += 1
        return self._read(work)


class Ticks:
    """A monotonic clock in seconds that a test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def process_of(world, stamps):
    """Single sign-on in another process of the same installation, which shares *stamps* with its machine."""
    return SingleSignOn(
        world.sso.database._database, world.sso.keys.ring, world.sso.settings, stamps=stamps, clock=lambda: world.now, rounds=1000
    )  # fmt: skip


@pytest.fixture
def ann(world):
    world.person()
    return world.sso.login.log_in(Credentials("ann", PASSWORD), CALLER)


def test_a_session_that_was_checked_a_moment_ago_costs_no_query(world, ann):
    world.sso.recognition.by_token(ann.token, CALLER, "staff")
    world.sso.sessions._memory._watch._clock = Ticks()
    world.sso.recognition.by_token(ann.token, CALLER, "staff")
    queries = Queries(world.sso.database)
    found = [world.sso.recognition.by_token(ann.token, CALLER, "staff") for _ in range(50)]
    assert (queries.count, {one.identity.name for one in found}) == (0, {"ann"})


CHANGES = {
    "ended": lambda sso, user, session: sso.sessions.end(user, session, COMMAND),
    "all ended": lambda sso, user, session: sso.sessions.end_all(user, COMMAND),
    "everybody's ended": lambda sso, user, session: sso.sessions.end_everybodys(COMMAND),
    "locked": lambda sso, user, session: sso.users.decide(user, "lock", COMMAND),
    "erased": lambda sso, user, session: sso.users.erase(user, COMMAND),
}


@pytest.mark.parametrize("change", CHANGES)
def test_S24_what_one_process_ends_no_other_of_the_machine_takes(world, ann, tmp_path, change):
    one, two = (process_of(world, Stamps(tmp_path / "stamps")) for _ in range(2))
    for sso in (one, two):
        assert sso.sessions.check(ann.token, CALLER).username == "ann"
    CHANGES[change](one, ann.user.id, ann.session.id)
    for sso in (one, two):
        with refused("session-invalid"):
            sso.sessions.check(ann.token, CALLER)


@pytest.mark.parametrize("change", CHANGES)
def test_S24_another_machine_knows_within_a_second(world, ann, change):
    here, there = process_of(world, Stamps()), process_of(world, Stamps())
    ticks = Ticks()
    there.sessions._memory._watch._clock = ticks
    assert there.sessions.check(ann.token, CALLER).username == "ann"
    CHANGES[change](here, ann.user.id, ann.session.id)
    ticks.now += 0.95
    with refused("session-invalid"):
        there.sessions.check(ann.token, CALLER)


def test_an_application_that_proved_itself_a_moment_ago_costs_no_query_and_is_nobody_when_it_is_taken_away(
    world, tmp_path
):
    one, two = (process_of(world, Stamps(tmp_path / "stamps")) for _ in range(2))
    elsewhere, ticks = process_of(world, Stamps()), Ticks()
    elsewhere.recognition._watch._clock = ticks
    issued = one.applications.add("batch", COMMAND, expires_at=world.now + timedelta(hours=1))
    for sso in (one, two, elsewhere):
        assert [sso.applications.prove(issued.secret).app for _ in range(2)] == ["batch"] * 2
    two.recognition._watch._clock = Ticks()
    two.applications.prove(issued.secret)
    queries = Queries(two.database)
    assert {two.applications.prove(issued.secret).id for _ in range(20)} == {issued.credential.id}
    assert queries.count == 0
    kept, world.now = world.now, world.now + timedelta(hours=1)
    with refused("app-unproven"):
        two.applications.prove(issued.secret)
    world.now = kept
    one.applications.remove("batch", issued.credential.id, COMMAND)
    for sso in (one, two):
        with refused("app-unproven"):
            sso.applications.prove(issued.secret)
    ticks.now += 0.95
    with refused("app-unproven"):
        elsewhere.applications.prove(issued.secret)


def test_a_failed_login_makes_nobody_read_anew(world, ann, tmp_path):
    world.sso.sessions.check(ann.token, CALLER)
    stamps = world.sso.database.stamps
    before = stamps[stamps.place(ann.user.id)]
    with refused("invalid-credentials"):
        world.sso.login.log_in(Credentials("ann", "wrong"), CALLER)
    assert stamps[stamps.place(ann.user.id)] == before
    world.sso.login.log_in(Credentials("ann", PASSWORD), CALLER)
    assert stamps[stamps.place(ann.user.id)] != before


def test_what_changed_while_it_was_read_is_not_remembered(world):
    stamps = Stamps()
    memory = Memory(stamps, Watch(world.sso.database, stamps))
    began = memory.begin()
    stamps.change("ann")
    memory.keep("key", "old", "ann", began)
    assert memory.recall("key") is None
    memory.keep("key", "new", "ann", memory.begin())
    assert memory.recall("key") == "new"
    stamps.change_all()
    assert memory.recall("key") is None


def test_nothing_is_taken_while_it_cannot_be_known_what_others_did(world):
    from specs.problems import BackendUnavailable

    ticks, stamps = Ticks(), Stamps()
    watch = Watch(world.sso.database, stamps, ticks)
    memory = Memory(stamps, watch)
    memory.keep("key", "copy", "ann", memory.begin())
    assert memory.recall("key") == "copy"

    class Away:
        def read(self, work):
            raise BackendUnavailable("the database is away")

    watch._database = Away()
    ticks.now += LOOK + 0.01
    assert memory.recall("key") == "copy"
    ticks.now += 0.6
    assert memory.recall("key") is None


def test_the_last_use_is_written_once_a_minute_by_one_of_all_workers(world, ann, tmp_path):
    workers = [process_of(world, Stamps(tmp_path / "stamps")) for _ in range(3)]
    for sso in workers:
        sso.sessions.check(ann.token, CALLER)
    writes = []
    for sso in workers:
        write = sso.database.write
        sso.database.write = lambda work, write=write, **more: writes.append(work) or write(work, **more)
    world.passes(seconds=59)
    assert [sso.sessions.check(ann.token, CALLER).seen_at for sso in workers] == [ann.session.seen_at] * 3
    world.passes(seconds=2)
    assert [sso.sessions.check(ann.token, CALLER).seen_at for sso in workers] == [world.now] * 3
    assert len(writes) == 1


def test_a_link_is_remembered_and_so_is_that_there_is_none(world, ann):
    recognition = world.sso.recognition
    assert recognition.by_link("partners", "acme", CALLER) is None
    link = world.sso.links.add(ann.user.id, "partners", "acme", COMMAND)
    assert recognition.by_link("partners", "acme", CALLER).identity.user == ann.user.id
    world.sso.users.decide(ann.user.id, "lock", COMMAND)
    with refused("account-locked"):
        recognition.by_link("partners", "acme", CALLER)
    world.sso.users.decide(ann.user.id, "unlock", COMMAND)
    world.sso.links.remove(ann.user.id, link.id, COMMAND)
    assert recognition.by_link("partners", "acme", CALLER) is None


def test_who_may_call_from_some_addresses_alone_is_refused_from_others(world, ann):
    world.sso.users.change(ann.user.id, {"addresses": ["192.0.2.0/24"]}, COMMAND, allowed=["addresses"])
    assert world.sso.recognition.by_token(ann.token, CALLER, "staff").identity.name == "ann"
    with refused("address-not-allowed"):
        world.sso.recognition.by_token(ann.token, Caller(app="crm", address="198.51.100.1"), "staff")
