"""Single sign-on of one process, whole: every room built from a database, a ring of keys and the settings.

>>> import tempfile
>>> from security.database import metadata, open_database
>>> from security.secrets import Keyring
>>> from sso.users import NewUser
>>> database = open_database(tempfile.mkdtemp())
>>> database.write(lambda connection: metadata.create_all(connection))
>>> settings = Sso.read({"apps": {"crm": {"login": True}}})
>>> sso = SingleSignOn(database, Keyring.generate().ring("edge"), settings)
>>> ann = sso.users.create(NewUser("ann", "ann@example.org", "green lamps over water"), COMMAND)
>>> done = sso.login.log_in(Credentials("ann", "green lamps over water"), Caller(app="crm"))
>>> sso.sessions.check(done.token, Caller(app="crm")).username
'ann'
>>> database.close()
"""

from __future__ import annotations

import secrets

from backends.clock import Clock, utc_now
from security.database import Database
from security.passwords import HashingPool, PasswordHasher
from security.secrets import Ring
from security.stamps import Stamps
from sso.account import Accounts
from sso.applications import Applications
from sso.attempts import Attempts
from sso.attributes import Attributes
from sso.audit import SYSTEM, Audit, Caller
from sso.browsers import origin_of
from sso.handover import Handover
from sso.letters import Outbox
from sso.links import Links
from sso.login import Credentials, Login
from sso.memory import Watch
from sso.passkeys import Passkeys
from sso.passwords import Passwords
from sso.privacy import Keys, Randomness
from sso.problems import refusal
from sso.recognition import Recognition
from sso.sessions import Session, Sessions
from sso.settings import Sso
from sso.signup import SignUp
from sso.storage import Storage
from sso.throttle import Throttle
from sso.tokens import Tokens, digest_of
from sso.totp import SecondFactors
from sso.users import Users
from sso.webauthn import WebAuthn

#: Who calls from a shell.
COMMAND = Caller(actor=SYSTEM)


class SingleSignOn:
    """The rooms, ready: `users`, `signup`, `login`, `attempts`, `handover`, `sessions`, `accounts`, `factors`, `attributes`,
    `links`, `recognition`, `applications`, `audit`, `outbox`.

    *engine* is the database, *ring* the keyring's ``edge``; *pool* is the process's, where it has one, *stamps* are the machine's.
    *public_url* is where people reach the gateway. New settings are a new object: all state is in the database. *rounds* is for
    tests alone; otherwise the settings say it.
    """

    def __init__(
        self,
        engine: Database,
        ring: Ring,
        settings: Sso,
        *,
        pool: HashingPool | None = None,
        stamps: Stamps | None = None,
        public_url: str = "",
        clock: Clock = utc_now,
        randomness: Randomness = secrets.token_bytes,
        rounds: int | None = None,
    ) -> None:
        database = Storage(engine, stamps)
        self.database = database
        self.settings = settings
        self.public_url = public_url
        self.clock = clock
        self.keys = keys = Keys(database, ring, randomness)
        self.audit = audit = Audit(database, keys.audit, clock)
        self.outbox = Outbox(ring, clock, randomness)
        self.tokens = tokens = Tokens(clock, randomness)
        self.throttle = throttle = Throttle(database, keys, clock)
        hasher = PasswordHasher(ring, rounds=rounds or settings.password.rounds)
        self.passwords = passwords = Passwords(settings.password, hasher, pool or HashingPool())
        watch = Watch(database, database.stamps)
        self.sessions = sessions = Sessions(database, settings, keys, audit, clock, watch)
        self.users = users = Users(database, settings, keys, passwords, sessions, tokens, self.outbox, audit, clock)
        self.passkeys = passkeys = Passkeys(database, keys, audit, clock)
        self.factors = factors = SecondFactors(
            database, settings, keys, passwords, users, sessions, tokens, throttle, audit, clock, randomness, passkeys
        )
        self.webauthn = WebAuthn(
            database, settings, users, sessions, factors, passkeys, tokens, audit, clock, public_url
        )
        self.attempts = attempts = Attempts(database, settings.login, keys, throttle, audit)
        self.login = Login(
            database, settings, keys, passwords, users, sessions, factors, tokens, throttle, audit, clock, self.webauthn,
            attempts,
        )  # fmt: skip
        self.handover = Handover(self.login)
        self.accounts = Accounts(
            database, settings, keys, passwords, users, sessions, factors, tokens, throttle, audit, clock
        )
        self.signup = SignUp(database, settings, users, tokens, throttle, audit)
        self.attributes = Attributes(database, keys, users, audit, clock)
        self.links = Links(database, settings, keys, users, factors, throttle, audit, clock)
        self.recognition = Recognition(database, sessions, users, self.attributes, self.links, clock, watch)
        self.applications = Applications(database, settings, audit, clock, randomness, watch)

    @property
    def secure(self) -> bool:
        """Whether people reach the gateway over TLS."""
        return self.public_url.startswith("https:")

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins that pages of ours have."""
        return (origin_of(self.public_url),) if self.public_url else ()

    def form_proof(self, token: str) -> str:
        """What a page of ours sends back to change something by the cookie of the session *token*."""
        return self.keys.device(f"csrf {digest_of(token)}")

    def proves_form(self, token: str, given: str) -> bool:
        """Whether *given* is the `form_proof` of the session *token*."""
        return self.keys.proves(f"csrf {digest_of(token)}", given)

    def require_super_user(self, session: Session, caller: Caller, what: str) -> None:
        """Raise Problem 403, audited, where *session* is no super-user's (S7); and where the second factor is missing."""
        if not session.is_super_user:
            self.database.write(
                lambda connection: self.audit.record(
                    connection, f"refused {what}"[:64], caller, target=session.user_id, result="refused"
                )
            )
            raise refusal("super-user-required", "only super-users may do this")
        if session.level < 2 and self.settings.second_factor.required != "off":
            raise refusal("mfa-required", "log in with a second factor, or enrol one first")

    def sweep(self) -> int:
        """Forget what is over: sessions, counters, attributes, tokens, sign-ups. How many rows there were."""
        rooms = (self.sessions, self.throttle, self.attributes, self.tokens, self.passkeys)
        swept = self.database.write(lambda connection: sum(room.sweep(connection) for room in rooms), audited=False)
        return swept + self.signup.forget_abandoned()


__all__ = ["COMMAND", "Caller", "Credentials", "SingleSignOn", "Sso"]
