"""People who call again with the same head: what is kept of their proof, and when it is looked at anew."""

from types import SimpleNamespace

import pytest
from people import PASSWORD, on_database, refused

from gateway.authenticators import Authenticator, Rejected, sso
from gateway.identification import Security
from gateway.linked import Linked
from specs.exchange import Exchange, Identity
from sso.attributes import Given
from sso.system import COMMAND

SETTINGS = {"apps": (), "second_factor": False, "cookie": True, "origins": ()}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lasting_world(request):
    with on_database(request) as world:
        yield world


@pytest.fixture
def world(lasting_world):
    """An installation without people; its database is the same for all tests of this file."""
    return lasting_world.emptied()


class Caller:
    """One connection on which the same head comes again and again, to the definition *asked*."""

    def __init__(self, asked, headers, address="192.0.2.1", method="GET"):
        self.asked = asked
        self.headers = headers
        self.address = address
        self.method = method
        self.kept = {}

    def ask(self, **changes):
        """Who this is: the identity, or what the caller is refused with."""
        given = {"address": self.address, **changes}
        exchange = Exchange(
            "t", self.method, "/", "", dict(self.headers), 0, "acme.example", "https", kept=self.kept, **given
        )
        try:
            return self.asked.identify(exchange)
        except Rejected:
            return "unauthenticated"


@pytest.fixture
def staff(world):
    return sso.Authenticator("staff", SimpleNamespace(**SETTINGS), SimpleNamespace(people=world.sso))


def bearer(staff, token, **more):
    return Caller(staff, {"authorization": f"Bearer {token}", **more})


def by_cookie(staff, token, **more):
    headers = {"cookie": f"gw_session_dev={token}", "sec-fetch-site": "same-origin", **more}
    return Caller(staff, headers, method="POST")


WAYS = [bearer, by_cookie]


class Reads:
    """Counts what is read and written from here on."""

    def __init__(self, world, monkeypatch):
        self.reads = self.writes = 0
        database = type(world.database)
        read, write = database.read, database.write

        def reading(*given):
            self.reads += 1
            return read(*given)

        def writing(*given):
            self.writes += 1
            return write(*given)

        monkeypatch.setattr(database, "read", reading)
        monkeypatch.setattr(database, "write", writing)


@pytest.mark.parametrize("way", WAYS)
def test_who_calls_again_is_the_same_identity_and_costs_no_look_at_the_token(world, staff, way, monkeypatch):
    world.person()
    caller = way(staff, world.log_in().token)
    first = caller.ask()
    assert first.name == "ann"

    def never(*given):
        raise AssertionError("the token was looked at")

    monkeypatch.setattr(world.sso.sessions, "check_until", never)
    assert [caller.ask() is first for _ in range(5)] == [True] * 5


@pytest.mark.parametrize("given", ["\xe9" * 64, "", "0" * 64])
def test_a_form_token_that_is_none_is_refused_whatever_letters_are_in_it(world, staff, given):
    world.person()
    caller = by_cookie(staff, world.log_in().token, **{"x-gateway-csrf": given})
    del caller.headers["sec-fetch-site"]
    with refused("csrf-failed"):
        caller.ask()


@pytest.mark.parametrize("way", WAYS)
def test_S24_the_ends_of_a_session_hold_for_who_is_known_already(world, staff, way):
    world.person()
    caller = way(staff, world.log_in().token)
    assert caller.ask().name == "ann"
    world.passes(minutes=29)
    assert caller.ask().name == "ann"
    world.passes(minutes=31)
    assert caller.ask() == "unauthenticated"
    other = way(staff, world.log_in().token)
    for _ in range(35):
        assert other.ask().name == "ann"
        world.passes(minutes=20)
    world.passes(minutes=20)
    assert other.ask() == "unauthenticated"


ENDS = {
    "revoked": lambda sso, user, session: sso.sessions.end(user, session, COMMAND),
    "all revoked": lambda sso, user, session: sso.sessions.end_all(user, COMMAND),
    "everybody's revoked": lambda sso, user, session: sso.sessions.end_everybodys(COMMAND),
    "locked": lambda sso, user, session: sso.users.decide(user, "lock", COMMAND),
    "erased": lambda sso, user, session: sso.users.erase(user, COMMAND),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ENDS)
def test_S24_what_ends_a_session_ends_it_for_who_is_known_already(world, staff, way, end):
    ann = world.person()
    opened = world.log_in()
    caller = way(staff, opened.token)
    assert [caller.ask().name for _ in range(3)] == ["ann"] * 3
    ENDS[end](world.sso, ann.id, opened.session.id)
    assert caller.ask() == "unauthenticated"
    assert caller.ask() == "unauthenticated"


def test_S28_a_session_that_made_room_for_another_is_over_for_who_is_known_already(world):
    world.configure(session={"max_per_user": 1})
    staff = sso.Authenticator("staff", SimpleNamespace(**SETTINGS), SimpleNamespace(people=world.sso))
    world.person()
    caller = bearer(staff, world.log_in().token)
    assert [caller.ask().name for _ in range(2)] == ["ann"] * 2
    other = bearer(staff, world.log_in().token)
    assert (caller.ask(), other.ask().name) == ("unauthenticated", "ann")


def test_to_prove_oneself_again_ends_the_token_that_was_known(world, staff):
    world.person()
    opened = world.log_in()
    caller = bearer(staff, opened.token)
    assert [caller.ask().name for _ in range(2)] == ["ann"] * 2
    fresh = world.sso.login.prove_again(opened.session, PASSWORD, "", world.caller()).token
    assert (caller.ask(), bearer(staff, fresh).ask().name) == ("unauthenticated", "ann")


def test_S25_the_old_token_of_a_renewed_session_is_not_known_for_longer_than_its_grace(world, staff):
    world.person()
    token = world.log_in().token
    caller = bearer(staff, token)
    assert caller.ask().name == "ann"
    world.sso.sessions.renew(token, world.caller())
    assert caller.ask().name == "ann"
    world.passes(seconds=29)
    assert caller.ask().name == "ann"
    world.passes(seconds=2)
    assert caller.ask() == "unauthenticated"


def test_the_last_use_is_written_once_a_minute_though_nothing_else_is_looked_at(world, staff, monkeypatch):
    world.person()
    opened = world.log_in()
    caller = bearer(staff, opened.token)
    assert caller.ask().name == "ann"
    counted = Reads(world, monkeypatch)
    for _ in range(59):
        world.passes(seconds=1)
        assert caller.ask().name == "ann"
    assert counted.writes == 0
    for _ in range(61):
        world.passes(seconds=1)
        assert caller.ask().name == "ann"
    assert counted.writes == 2
    (session,) = world.sso.sessions.list(opened.user.id)
    assert (world.now - session.seen_at).total_seconds() < 60


def test_who_is_known_from_one_address_is_not_from_another(world, staff):
    ann = world.person()
    world.sso.users.change(ann.id, {"addresses": ["192.0.2.0/24"]}, COMMAND, allowed=["addresses"])
    caller = bearer(staff, world.log_in().token)
    assert caller.ask().name == "ann"
    # A list of trusted proxies that was read anew makes another address of the same head.
    with refused("address-not-allowed"):
        caller.ask(address="198.51.100.1")
    world.sso.users.change(ann.id, {"addresses": ["203.0.113.0/24"]}, COMMAND, allowed=["addresses"])
    with refused("address-not-allowed"):
        caller.ask()


def test_S27_a_session_that_is_bound_to_an_address_ends_where_its_head_comes_from_another(world):
    world.configure(session={"bind_address": True})
    staff = sso.Authenticator("staff", SimpleNamespace(**SETTINGS), SimpleNamespace(people=world.sso))
    world.person()
    caller = bearer(staff, world.log_in().token)
    assert [caller.ask().name for _ in range(2)] == ["ann"] * 2
    assert caller.ask(address="192.0.2.2") == "unauthenticated"
    assert caller.ask() == "unauthenticated"


def test_what_changed_of_a_person_is_told_at_once(world, staff):
    ann = world.person()
    caller = bearer(staff, world.log_in().token)
    assert caller.ask().groups == frozenset()
    world.sso.users.change(ann.id, {"roles": ["clerk"]}, COMMAND, allowed=["roles"])
    assert caller.ask().groups == {"clerk"}
    until = world.now.replace(minute=5)
    world.sso.attributes.set(ann.id, ann.id, {"colour": Given("red", expires_at=until)}, COMMAND)
    assert caller.ask().attributes["attributes"] == {"colour": "red"}
    world.passes(minutes=5)
    assert caller.ask().attributes["attributes"] == {}


def test_an_application_that_proves_itself_is_looked_at_with_each_call(world, staff):
    world.configure(apps={"crm": {"login": True, "credential": True}})
    staff = sso.Authenticator("staff", SimpleNamespace(**SETTINGS), SimpleNamespace(people=world.sso))
    world.person()
    issued = world.sso.applications.add("crm", COMMAND)
    caller = bearer(staff, world.log_in().token, **{"x-gateway-app-secret": issued.secret})
    assert [caller.ask().name for _ in range(2)] == ["ann"] * 2
    world.sso.applications.remove("crm", issued.credential.id, COMMAND)
    assert caller.ask() == "unauthenticated"


class Acme(Authenticator):
    """Proves one consumer, and always the same identity of them."""

    identity = Identity("acme", "consumer", "partners", groups=frozenset({"gold"}))
    challenge = "Basic"

    def identify(self, exchange):
        return self.identity


def test_S35_a_link_and_its_end_hold_for_who_is_known_already(world):
    ann = world.person()
    partners = Linked(Acme("partners", SimpleNamespace(), SimpleNamespace()), world.sso)
    caller = Caller(partners, {})
    assert [caller.ask().user for _ in range(2)] == ["", ""]
    link = world.sso.links.add(ann.id, "partners", "acme", COMMAND)
    first = caller.ask()
    assert (first.user, first.groups) == (ann.id, {"gold"})
    assert [caller.ask() is first for _ in range(3)] == [True] * 3
    world.enrol()
    with refused("mfa-required"):
        caller.ask()
    world.sso.links.remove(ann.id, link.id, COMMAND)
    assert caller.ask().user == ""


def test_two_definitions_keep_what_each_has_found(world, staff):
    proven = sso.Authenticator(
        "proven", SimpleNamespace(**{**SETTINGS, "second_factor": True}), SimpleNamespace(people=world.sso)
    )
    world.person()
    caller = bearer(staff, world.log_in(password=PASSWORD).token)
    assert caller.ask().definition == "staff"
    caller.asked = proven
    for _ in range(2):
        with refused("mfa-required"):
            caller.ask()
    caller.asked = staff
    assert caller.ask().definition == "staff"


def test_a_definition_that_takes_other_sessions_keeps_nobody_out_whom_another_one_takes(world):
    world.person()
    token = world.log_in().token

    def definition(name, **settings):
        return sso.Authenticator(name, SimpleNamespace(**{**SETTINGS, **settings}), SimpleNamespace(people=world.sso))

    others, proven, staff = (
        definition("others", apps=["batch"]),
        definition("proven", second_factor=True),
        definition("staff"),
    )
    failures = []

    def asked(*alternatives):
        return bearer(Security([[one] for one in alternatives], failures.append), token)

    assert asked(others, proven, staff).ask().definition == "staff"
    for alternatives, code in (
        ([others], "forbidden"),
        ([others, proven], "forbidden"),
        ([proven, others], "mfa-required"),
    ):
        with refused(code):
            asked(*alternatives).ask()
    # Whoever reads the documentation is shown what they may call, and is refused for nothing that they may not.
    security = Security([[others], [proven], [staff]], failures.append)
    exchange = Exchange("t", "GET", "/docs", "", {"authorization": f"Bearer {token}"}, 0, "acme.example", "https")
    assert {*security.recognise(exchange)} == {"staff"}
    assert {*Security([[others], [proven]], failures.append).recognise(exchange)} == set()
    assert failures == []
