"""Linked accounts: what another security definition proves (a Basic user, an API key) is the identity of one of our users.

So the user's limits, attributes and audit apply to such calls, too. It is never a way around a second factor (S35): who has
one is refused with 403 ``mfa-required``, unless a super-user marked the link as having satisfied it or as a service's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from backends.clock import Clock
from specs.exchange import Identity
from specs.problems import Problem
from sso import tables
from sso.audit import Audit, Caller
from sso.privacy import Keys
from sso.problems import invalid, refusal
from sso.settings import Sso
from sso.storage import Storage
from sso.throttle import FAILED_CODES, Throttle
from sso.totp import SecondFactors
from sso.users import Users

SECOND_FACTOR: Final = ("required", "satisfied", "service-account")
#: Says who a security definition (by name) takes the holder of a credential for; None where it is wrong.
Prove = Callable[[str, Mapping[str, str], Caller], str | None]


@dataclass(frozen=True, slots=True)
class Link:
    """A link: the security definition, who it proves, and how it stands to the user's second factor."""

    id: str
    definition: str
    principal: str
    second_factor: str
    created_at: datetime


class Links:
    """The links of users. *prove* is set by the process that has security definitions; without it links are made by super-users."""

    def __init__(
        self,
        database: Storage,
        settings: Sso,
        keys: Keys,
        users: Users,
        factors: SecondFactors,
        throttle: Throttle,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self.prove: Prove | None = None
        self.settings = settings
        self.throttle = throttle
        self.database = database
        self.keys = keys
        self.users = users
        self.factors = factors
        self.audit = audit
        self.clock = clock

    def add(
        self, user_id: str, definition: str, principal: str, caller: Caller, *, second_factor: str = "required"
    ) -> Link:
        """A new link. Whoever calls this has proven both sides, or is a super-user. Raises Problem 404, 409 and 422."""
        if second_factor not in SECOND_FACTOR:
            raise invalid("second_factor", "invalid", f"use one of {', '.join(SECOND_FACTOR)}")
        if not 0 < len(definition) <= 200 or not 0 < len(principal) <= 200:
            raise invalid("principal", "invalid", "a definition and a principal have 1 to 200 characters")
        link = Link(tables.new_id("lnk_", self.keys.randomness(17)), definition, principal, second_factor, self.clock())
        row = {name: getattr(link, name) for name in link.__slots__}

        def work(connection: Connection) -> None:
            self.users.row(connection, user_id)
            if self._find(connection, definition, principal) is not None:
                raise refusal("already-linked", "this account is linked already")
            connection.execute(insert(tables.links).values(user_id=user_id, **row))
            self.audit.record(connection, "link.add", caller, target=user_id, details={"definition": definition})

        try:
            self.database.write(work)
        except IntegrityError:
            raise refusal("already-linked", "this account is linked already") from None
        return link

    def add_proven(self, user_id: str, definition: str, credential: Mapping[str, str], caller: Caller) -> Link:
        """A new link of a person who has proven themselves, and proves with *credential* who *definition* takes them for.

        It never stands for a second factor. Raises Problem 401 where the credential is wrong, 403, 409, 429, 501.
        """
        if definition not in self.settings.own_links:
            # WHY: a credential that many share is nobody's to take: their calls would be this person's.
            raise refusal("not-linkable", "only a super-user links credentials of this definition")
        if self.prove is None:
            raise Problem.of("not-implemented", "credentials cannot be proven here: a super-user links them")
        charge = [(FAILED_CODES, f"link {user_id}")]
        self.database.read(lambda connection: self.throttle.check(connection, charge))
        self.throttle.hashing(user_id)
        principal = self.prove(definition, credential, caller)

        def settle(connection: Connection) -> None:
            # SECURITY: this is no place to guess at the passwords of consumers.
            self.throttle.check(connection, charge)
            if principal is None:
                self.throttle.count(connection, charge)
                details = {"definition": definition}
                self.audit.record(connection, "link.add", caller, target=user_id, result="refused", details=details)

        self.database.write(settle)
        if principal is None:
            raise refusal("invalid-credentials", "no definition of that name knows this credential")
        return self.add(user_id, definition, principal, caller)

    def all(self, user_id: str) -> list[Link]:
        """The links of a user, the oldest first."""
        links = tables.links
        query = select(links).where(links.c.user_id == user_id).order_by(links.c.created_at, links.c.id)
        return self.database.read(lambda connection: [_link(row) for row in connection.execute(query)])

    def remove(self, user_id: str, link_id: str, caller: Caller) -> None:
        """Take a link away. Raises Problem 404 where it is not this user's."""

        def work(connection: Connection) -> None:
            links = tables.links
            gone = connection.execute(delete(links).where(links.c.user_id == user_id, links.c.id == link_id)).rowcount
            if not gone:
                raise refusal("no-such-link", "there is no such link")
            self.audit.record(connection, "link.remove", caller, target=user_id)

        self.database.write(work)

    def identity_of(self, definition: str, principal: str) -> Identity | None:
        """The user that *principal*, as proven by *definition*, is; None where it is linked to nobody.

        Raises Problem 403 where the user has, or has to have, a second factor and the link does not say that it is satisfied,
        and where the account is not active.
        """

        def work(connection: Connection) -> Identity | None:
            link = self._find(connection, definition, principal)
            if link is None:
                return None
            row = self.users.row(connection, link.user_id)
            if row.state != "active":
                raise refusal("account-locked", "the linked account cannot be used")
            bound = self.factors.enrolled(connection, row.id) or self.factors.required_of(row)
            if bound and link.second_factor == "required":
                raise refusal("mfa-required", "this account is used with a second factor")
            return Identity(
                name=row.username, kind="user", definition=definition, groups=frozenset(row.roles), user=row.id
            )

        return self.database.read(work)

    def _find(self, connection: Connection, definition: str, principal: str) -> Any:
        links = tables.links
        query = select(links).where(links.c.definition == definition, links.c.principal == principal)
        return connection.execute(query).first()


def _link(row: Any) -> Link:
    return Link(row.id, row.definition, row.principal, row.second_factor, row.created_at)
