"""What tests of single sign-on share: an installation with a clock of its own, a password, and what a refusal looks like."""

import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyotp
import pytest

from gateway.configuration.kinds import Sso
from security.database import metadata, open_database
from security.passwords import HashingPool
from security.secrets import Keyring
from specs.problems import Problem
from sso.login import Credentials
from sso.system import COMMAND, Caller, SingleSignOn
from sso.users import NewUser

PASSWORD = "green lamps over water"
OTHER = "quiet violet mountains"
#: Those of single sign-on; who refers to others comes after them.
TABLES = [table for table in metadata.sorted_tables if table.name.startswith("sso_")]
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

DOCUMENT = {
    "site_name": "Acme",
    "apps": {"crm": {"signup": True, "login": True}, "batch": {"login": True}, "shut": {}},
    # Whoever tests something else logs in as often as it takes.
    "login": {"attempts_per_minute": 0},
}


@contextmanager
def refused(*codes):
    """The block ends in a Problem with one of these words."""
    with pytest.raises(Problem) as caught:
        yield caught
    assert caught.value.code in codes


class World:
    """Single sign-on with a clock that tests move; passwords are hashed with few rounds."""

    def __init__(self, url):
        self.now = NOON
        self.embedded = url.startswith("sqlite")
        self.database = open_database(url)
        self.database.write(lambda connection: metadata.create_all(connection, tables=TABLES))
        self.keyring = Keyring.generate()
        self.pool = HashingPool(2, waiting=1000)
        self.told = []
        self.configure()

    def configure(self, **sections):
        """Begin anew with these settings, on the same database."""
        document = {**DOCUMENT, "default_app": "crm", "second_factor": {"required": "off"}, **sections}
        self.sso = SingleSignOn(
            self.database,
            self.keyring.ring("edge"),
            Sso.read(document),
            pool=self.pool,
            clock=lambda: self.now,
            rounds=10,
        )

    def emptied(self):
        """The same installation with its first settings, and nobody in it."""
        kept = ("sso_keys",)
        self.database.write(lambda c: [c.execute(t.delete()) for t in reversed(TABLES) if t.name not in kept])
        self.configure()
        return self

    def passes(self, **span):
        self.now += timedelta(**span)

    def new_user(self, name="ann", **members):
        return NewUser(name, f"{name}@example.org", PASSWORD, **members)

    def person(self, name="ann", **members):
        return self.sso.users.create(self.new_user(name, **members), COMMAND)

    def caller(self, address="192.0.2.1", app="crm", **members):
        return Caller(app=app, address=address, cid="t", **members)

    def log_in(self, name="ann", password=PASSWORD, address="192.0.2.1", app="crm", **stages):
        return self.sso.login.log_in(Credentials(name, password, **stages), self.caller(address, app))

    def enrol(self, name="ann", **stages):
        """A second factor for a person: what codes are made by, and the recovery codes. The first code is used up."""
        session = self.log_in(name, **stages).session
        secret = self.sso.factors.enrol(session, self.caller()).secret
        codes = self.sso.factors.confirm(session, self.code(secret), self.caller())
        return secret, codes

    def code(self, secret, seconds=0):
        return pyotp.TOTP(secret).at(self.now + timedelta(seconds=seconds))

    def letters(self, kind=None):
        found = self.database.read(lambda connection: self.sso.outbox.due(connection, 1000))
        return [letter for letter in found if kind in (None, letter.kind)]

    def row(self, user_id):
        return self.database.read(lambda connection: self.sso.users.row(connection, user_id))

    def actions(self, **filters):
        return [record["action"] for record in self.sso.audit.find(most=100, **filters)]


def lasting(url):
    world = World(url)
    yield world
    if url.startswith("postgresql"):
        world.database.write(lambda c: [c.execute(table.delete()) for table in reversed(TABLES)])
    world.pool.close()
    world.database.close()


@contextmanager
def on_database(request):
    """An installation on a database of the kind that the parameter of *request* names."""
    if request.param == "sqlite":
        with in_memory() as world:
            yield world
    else:
        yield from lasting(request.getfixturevalue("postgresql_server").new_database())


@contextmanager
def in_memory():
    """An installation in the memory of the machine, where that has such a folder: a commit waits for no disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as directory:
        yield from lasting(f"sqlite:///{directory}/gatewright.db")
