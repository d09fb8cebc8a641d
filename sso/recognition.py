"""Who is calling a channel: the person whose session a token is of, or whom another definition's credential is linked to.

Either is asked with each request, so what was read once is remembered (`sso.memory`). What a service and a limit know of a
person is in the `Identity`: ``groups`` are the roles, ``attributes`` the facts below and what applications keep of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from backends.clock import Clock
from security.addresses import AddressList
from security.stamps import Standing
from specs.exchange import Identity
from specs.problems import BackendUnavailable
from sso import names
from sso.attributes import Attributes
from sso.audit import Caller
from sso.links import Links
from sso.memory import Memory, Watch
from sso.problems import refusal
from sso.sessions import Session, Sessions
from sso.storage import Storage
from sso.users import Users

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Recognised(NamedTuple):
    """Somebody who calls: *session* where it was by a session; *addresses* are those that they may call from, empty for all."""

    identity: Identity
    session: Session | None
    addresses: AddressList | None
    until: datetime | None


class Proof(NamedTuple):
    """That the same credentials from the same address are the same person's: as long as that stands, and *until* then at most."""

    standing: Standing
    until: datetime
    address: str


class _Linked(NamedTuple):
    person: Recognised | None


class Recognition:
    """Gives the identities of people, from memory where it can."""

    def __init__(
        self,
        database: Storage,
        sessions: Sessions,
        users: Users,
        attributes: Attributes,
        links: Links,
        clock: Clock,
        watch: Watch,
    ) -> None:
        self.sessions = sessions
        self.users = users
        self.attributes = attributes
        self.links = links
        self.clock = clock
        self._watch = watch
        self._by_session: Memory[Recognised] = Memory(database.stamps, watch)
        self._by_link: Memory[_Linked] = Memory(database.stamps, watch)

    def by_token(self, token: str, caller: Caller, definition: str) -> Recognised:
        """Whose session *token* is of. Raises Problem 401, and 403 for an address that is not theirs."""
        return self.prove_token(token, caller, definition)[0]

    def prove_token(self, token: str, caller: Caller, definition: str) -> tuple[Recognised, Proof | None]:
        """As `by_token`, and what tells later that this still holds for the same token, address and application."""
        before = self._by_session.begin()
        session, until = self.sessions.check_until(token, caller)
        key = (session.id, definition)
        found = self._by_session.recall(key)
        # WHY: a session that was read anew may have proven more since, or been noted as used; it is told as it is.
        if found is None or found.session is not session or self._over(found):
            began = self._by_session.begin()
            found = self._recognised(session.user_id, definition, session)
            self._by_session.keep(key, found, session.user_id, began)
        return _admitted(found, caller), self._proof(session.user_id, before, (until, found.until), caller)

    def holds(self, proof: Proof, address: str) -> bool:
        """Whether what was proven a while ago still is, for a call from *address*."""
        # PERF: 0.9 us, where finding the session by its token takes 6.
        return address == proof.address and self.clock() < proof.until and self._watch.stands(proof.standing)

    def by_link(self, definition: str, principal: str, caller: Caller) -> Recognised | None:
        """Who is linked to what *definition* has proven; None where nobody is. Raises Problem 403 as `Links.identity_of`."""
        return self.prove_link(definition, principal, caller)[0]

    def prove_link(self, definition: str, principal: str, caller: Caller) -> tuple[Recognised | None, Proof | None]:
        """As `by_link`, and what tells later that this still holds for whom *definition* proves from the same address."""
        before = self._by_link.begin()
        key = (definition, principal)
        linked = self._by_link.recall(key)
        if linked is None or (linked.person is not None and self._over(linked.person)):
            began = self._by_link.begin()
            try:
                identity = self.links.identity_of(definition, principal)
            except BackendUnavailable:
                # WHY: whoever is linked to nobody goes on without the database, as where there is no single sign-on.
                last = self._by_link.last(key)
                if last is None or last.person is not None:
                    raise
                return None, None
            linked = _Linked(None if identity is None else self._recognised(identity.user, definition, None))
            self._by_link.keep(key, linked, identity.user if identity is not None else "", began)
        if linked.person is None:
            return None, self._proof("", before, (), caller)
        person = _admitted(linked.person, caller)
        return person, self._proof(person.identity.user, before, (person.until,), caller)

    def _proof(self, user_id: str, began: int, ends: Sequence[datetime | None], caller: Caller) -> Proof | None:
        standing = self._by_session.standing(user_id, began)
        if standing is None:
            return None
        until = min((end for end in ends if end is not None), default=_NEVER)
        return Proof(standing, until, caller.address)

    def _over(self, found: Recognised) -> bool:
        return found.until is not None and found.until <= self.clock()

    def _recognised(self, user_id: str, definition: str, session: Session | None) -> Recognised:
        user = self.users.get(user_id)
        kept = self.attributes.all(user_id, user_id)
        ends = [one.expires_at for one in kept if one.expires_at is not None]
        facts: dict[str, Any] = {
            "username": user.username, "email": user.email, "display_name": user.display_name, "language": user.language,
            "is_super_user": user.is_super_user,
            # SECURITY: people set these themselves, so that they never stand where a fact does. Encrypted ones are asked for.
            "attributes": {one.name: one.value for one in kept if not one.encrypted},
        }  # fmt: skip
        if session is not None:
            facts |= {
                "session": session.id, "app": session.app, "level": session.level, "methods": list(session.methods),
                "authenticated_at": session.authenticated_at.isoformat(),
            }  # fmt: skip
        # One name for one person, however they write it when they log in.
        name = names.username_key(user.username)
        identity = Identity(name, "user", definition, frozenset(user.roles), facts, user.id)
        addresses = AddressList(user.addresses) if user.addresses else None
        return Recognised(identity, session, addresses, min(ends, default=None))


def _admitted(found: Recognised, caller: Caller) -> Recognised:
    if found.addresses is not None and caller.address not in found.addresses:
        raise refusal("address-not-allowed", "this person may not call from this address")
    return found
