"""Authenticators: the ways callers prove who they are. One file a type; each defines a class `Authenticator`.

This page says what to write: `identify`, `challenge`, and `spend` where comparing costs something.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from specs import settings
from specs.names import LimitName
from specs.problems import Problem
from specs.settings import setting

if TYPE_CHECKING:
    from specs.exchange import Exchange, Identity
    from sso.system import SingleSignOn


class Credential(NamedTuple):
    """What is known of a caller's credential: the stored hash, and who it proves."""

    stored: str
    identity: Identity


class Verifying(Protocol):
    """Compares a password with what is stored, in constant time and off the hub; *stored* of None costs the same."""

    def verify(self, definition: str, username: str, password: str, stored: str | None) -> bytes:
        """A proof that the password is right; empty where it is not."""
        ...

    def holds(self, proof: bytes) -> bool:
        """Whether a proof of a while ago still holds."""
        ...


class Directory(Protocol):
    """The consumers of a snapshot, by their credentials; *groups* empty means any consumer."""

    def by_username(self, username: str, groups: frozenset[str]) -> Credential | None:
        """The credential with this user name."""
        ...

    def by_key(self, digest: str, groups: frozenset[str]) -> Identity | None:
        """The consumer one of whose keys has this digest."""
        ...


class Tools(NamedTuple):
    """What an authenticator is given to work with."""

    verifier: Verifying
    directory: Directory
    digest: Callable[[str], str]  #: the digest under which API keys are stored
    #: whether a credential (its definition and itself) is used for the first time in so many seconds, anywhere on this machine
    first_use: Callable[[str, bytes, float], bool]
    now: Callable[[], float] = time.time  #: seconds since 1970
    people: SingleSignOn | None = None  #: those who log in here, where single sign-on is on


class Rejected(Exception):
    """Credentials of this kind came with the request, and are wrong.

    *spent* says whether comparing them has cost what a comparison costs. An unknown user must cost as much as a known one
    (A26): `Authenticator.spend` makes up for it, once, where no other definition of the channel knew the caller either.
    """

    def __init__(self, *, spent: bool) -> None:
        super().__init__(spent)
        self.spent = spent


class Unsuited(Problem):
    """Credentials of this kind are right, but this definition takes others; what the caller is told where none takes them."""


class Authenticator:
    """One security definition, ready to prove callers.

    `identify` gives the identity; None where the request holds no credentials of this kind; raises `Rejected` where they
    are wrong, `Unsuited` where another definition may take them, and any other Problem where none is to. `challenge` is what a
    401 carries for it in WWW-Authenticate.
    """

    word: ClassVar[str] = ""
    #: The SOAP headers (namespace, name) that it reads, so that callers may insist on their being understood.
    soap_headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Whether somebody could guess at its credentials: a wrong one counts, though another one that came with it is right.
    guessed: ClassVar[bool] = True
    #: Where people prove who they are with a browser, as a path of the gateway; empty where they do not.
    login_page: str = ""

    class Settings(settings.Settings):
        """What every security definition can be told."""

        #: Whether its credentials are in the message itself, so that only channels which open messages find them.
        in_message: ClassVar[bool] = False
        description: str = setting("a sentence for documents", default="")
        limit: LimitName | None = setting("limit that all callers who are proven by it share", default=None)

    def __init__(self, name: str, settings: Any, tools: Tools) -> None:
        self.name = name
        self.settings = settings
        self.tools = tools
        self._proven: dict[str, tuple[Identity, Identity]] = {}

    def proven(self, consumer: Identity) -> Identity:
        """The identity of a consumer who was proven by this definition, whose limit then counts them too."""
        found = self._proven.get(consumer.name)
        if found is None or found[0] is not consumer:
            found = self._proven[consumer.name] = (consumer, replace(consumer, definition=self.name))
        return found[1]

    @property
    def challenge(self) -> str:
        """The value of WWW-Authenticate for this definition."""
        raise NotImplementedError

    def identify(self, exchange: Exchange) -> Identity | None:
        """Who is calling, by this definition."""
        raise NotImplementedError

    def spend(self, exchange: Exchange) -> None:
        """Cost as much as a comparison with a known caller's secret would have."""
