"""Super-users of single sign-on as administrators: they send the token of their session, as they do everywhere.

A cookie is not taken: browsers send it to every port of a host, and so would any page (A46).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.configuration.store import Store
from gateway.people import People
from specs.problems import Problem

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration
    from specs.exchange import Exchange


class SuperUsers:
    """The super-users of one installation, by the configuration that holds when they come."""

    def __init__(self, store: Store, people: People) -> None:
        self._store = store
        self._people = people
        self._configuration: Configuration | None = None

    def name_of(self, token: str, exchange: Exchange) -> str:
        """Whose session *token* is of. Raises Problem 401, and 403 for who is no super-user or lacks a second factor."""
        before = self._configuration
        self._configuration = self._store.load() if before is None else self._store.refresh(before)
        sso = self._people.of(self._configuration)
        if sso is None:
            raise Problem.of("unauthenticated", "single sign-on is off here")
        from sso.audit import Caller

        headers = exchange.headers
        app = sso.applications.claimed_by(headers)
        caller = Caller(app, exchange.address, headers.get("user-agent", "")[:200], exchange.cid)
        session = sso.sessions.check(token, caller)
        sso.require_super_user(session, caller, f"{exchange.method} {exchange.path}")
        return session.username
