"""Two machines with one database: what one of them ends, the other takes for a second at most."""

import time

import pytest
from people import OTHER, PASSWORD
from peopled import CONFIGURATION, SERVICES, Person, known_at_each_worker, let_in, made
from running import gateway

from security.database import open_database
from security.secrets import Keyring
from security.stamps import FILE_NAME, Stamps
from sso.settings import Sso
from sso.system import COMMAND, SingleSignOn

#: So long after the answer another machine knows, by its own measure of when it looked last: less, see `sso.memory.TRUST`.
A_SECOND = 1.0


@pytest.fixture(scope="module")
def machines(postgresql_server, tmp_path_factory):
    """Two gateways with data folders of their own, so that they share no memory: one key file, and one database."""
    url = postgresql_server.new_database()
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    shared = ("--database", url)
    with (
        gateway(here, CONFIGURATION, SERVICES, workers=1, options=shared) as one,
        gateway(
            there, CONFIGURATION, SERVICES, workers=2, options=(*shared, "--keys", str(one.data / "keys.json"))
        ) as other,
    ):
        assert one.data != other.data
        one.database = url
        yield one, other


@pytest.fixture(scope="module")
def console(machines):
    """What a command on the first machine reaches."""
    one, _ = machines
    database, stamps = open_database(one.database), Stamps(one.data / FILE_NAME)
    yield SingleSignOn(database, Keyring.open(one.data / "keys.json").ring("edge"), Sso.read({}), stamps=stamps)
    database.close()
    stamps.close()


ENDS = {
    "logged out": lambda console, ann: ann.call("POST", "/logout", {}),
    "deleted": lambda console, ann: ann.call("DELETE", "/me"),
    "locked": lambda console, ann: console.users.decide(ann.id, "lock", COMMAND),
    "everybody's ended": lambda console, ann: console.sessions.end_everybodys(COMMAND),
}


@pytest.mark.parametrize("end", ENDS)
def test_S24_what_ends_a_session_holds_on_another_machine_for_requests_of_a_second_later(machines, console, end):
    one, other = machines
    ann = made(console, one)
    callers = known_at_each_worker(other, ann.token)
    ENDS[end](console, ann)
    # On its own machine it holds at once.
    assert ann.statuses(count=4) == {401}
    time.sleep(A_SECOND)
    assert [caller.ask() for caller in callers] == [401] * len(callers)


def test_S24_a_password_that_was_changed_on_one_machine_ends_older_sessions_on_another(machines, console):
    one, other = machines
    ann = made(console, one, password=PASSWORD)
    second = Person(one, ann.name)
    second.id = ann.id
    let_in(console, second)
    callers = known_at_each_worker(other, ann.token)
    assert second.call("POST", "/me/password", {"current_password": PASSWORD, "new_password": OTHER})[0] == 204
    time.sleep(A_SECOND)
    assert [caller.ask() for caller in callers] == [401] * len(callers)
    # The session that changed it lives on, there as well.
    assert other.get("/who", headers={"Authorization": f"Bearer {second.token}"}).status_code == 200
