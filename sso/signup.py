"""Sign-up: the same answer whether a name is free or not; then the address is confirmed, then a super-user approves.

A taken name or address is told to its owner by letter, never to the one who asks (S1, S3). The token of a confirmation goes
into a letter and nowhere else (Z20). What nobody confirms is forgotten: or else strangers could take names and addresses for good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from specs.problems import BackendError, Problem
from sso import names, tables, workflow
from sso.audit import SYSTEM, Audit, Caller
from sso.problems import invalid, refusal
from sso.settings import Sso
from sso.storage import Storage
from sso.throttle import LETTERS, SIGN_UP_LETTERS, SIGN_UPS, Throttle, place_of
from sso.tokens import Tokens
from sso.users import NewUser, Users

log = logging.getLogger("gatewright.sso")

#: How long a sign-up waits to be confirmed; longer where its last link holds for longer.
PATIENCE: Final = timedelta(days=7)
#: Calls a service by its name.
Invoke = Callable[[str, Mapping[str, Any]], Any]


class SignUp:
    """How people come to have an account."""

    def __init__(
        self, database: Storage, settings: Sso, users: Users, tokens: Tokens, throttle: Throttle, audit: Audit
    ) -> None:
        self.database = database
        self.settings = settings
        self.users = users
        self.tokens = tokens
        self.throttle = throttle
        self.audit = audit

    def sign_up(self, new: NewUser, caller: Caller, ask: Invoke | None = None, tell: Invoke | None = None) -> None:
        """Begin. *ask* reaches the service of the operator's that is asked, *tell* those that are told, in the background.

        Raises Problem 403 where the application has no sign-up (Z1), 422 for what cannot be, 429, and what the validating
        service raises; nothing for what is taken.
        """
        app = self.settings.app_of(caller.app)
        if app is None or not app.signup:
            raise refusal(
                "app-not-allowed", "nobody signs up through this application", members={"sub_codes": ["E004002"]}
            )
        charges = [(SIGN_UPS, place_of(caller.address))]
        self.database.write(lambda connection: self._count(connection, charges))
        rules = self.settings.signup
        plain = NewUser(new.username, new.email, new.password, display_name=new.display_name, language=new.language)
        # SECURITY: S1. One hash and one transaction, whether the name is free or not.
        state = workflow.first(approval=rules.approval, confirmation=rules.email_confirmation)
        row = self.users.prepare(plain, state, caller)
        if row["username_key"] in names.RESERVED.union(rules.reserved_names):
            raise invalid("username", "reserved", "choose another user name")
        told = {"username": new.username, "email": new.email, "display_name": new.display_name, "app": app.name}
        if rules.validation_service and ask is not None:
            ask(rules.validation_service, told)
        try:
            made = self.database.write(lambda connection: self._begin(connection, row, caller))
        except IntegrityError:
            # S10: somebody else was first by a moment; by now the row is there to be found.
            made = self.database.write(lambda connection: self._begin(connection, row, caller))
        if made and tell is not None:
            self._tell(tell, {"user_id": row["id"], "username": new.username, "app": app.name, "state": state})

    def confirm(self, token: str, caller: Caller) -> str:
        """Confirm the address by the token of the letter; the state that follows. Raises Problem 400 (S5, Z4)."""

        def work(connection: Connection) -> str:
            found = self.tokens.use(connection, "confirm", token)
            if found is None:
                raise refusal("token-invalid", "this confirmation cannot be used (any more)")
            return self.users.apply(connection, found.user_id, "confirm", caller)

        return self.database.write(work)

    def send_again(self, identifier: str, caller: Caller) -> None:
        """Another letter to somebody who waits to confirm; nothing is said of whether there is such a one. Raises Problem 429."""
        self.throttle.asking(caller)

        def work(connection: Connection) -> None:
            row = self.users.by_identifier(connection, identifier)
            if row is not None and row.state in workflow.UNCONFIRMED:
                self._ask(connection, row)

        self.database.write(work)

    def forget_abandoned(self) -> int:
        """Forget sign-ups that nobody has confirmed in time; how many there were, 500 at most."""
        users, tokens, now = tables.users, tables.tokens, self.users.clock()
        open_links = select(tokens.c.user_id).where(tokens.c.kind == "confirm", tokens.c.expires_at > now)
        waited = (users.c.state.in_(workflow.UNCONFIRMED), users.c.created_at <= now - PATIENCE)
        abandoned = select(users.c.id).where(*waited, users.c.id.not_in(open_links)).limit(500)

        def work(connection: Connection) -> int:
            found = list(connection.execute(abandoned).scalars())
            for user_id in found:
                self.users.forget(connection, user_id)
                self.audit.record(connection, "user.abandon", Caller(actor=SYSTEM), target=user_id)
            return len(found)

        # WHY: mostly there is nobody, and others who write need not wait.
        anybody = self.database.read(lambda connection: connection.execute(abandoned.limit(1)).first())
        return self.database.write(work) if anybody is not None else 0

    def _tell(self, tell: Invoke, told: Mapping[str, Any]) -> None:
        # SECURITY: S1. What becomes of it, and how long it takes, is not to be seen by who signed up: nobody is told of a name that
        # was taken. A call that waits is in the database as it stands, so that it holds nothing that is encrypted elsewhere.
        for service in self.settings.signup.callback_services:
            try:
                tell(service, told)
            except (Problem, BackendError) as error:
                log.error("the service '%s' cannot be told that '%s' signed up: %s", service, told["user_id"], error)

    def _count(self, connection: Connection, charges: list[Any]) -> None:
        self.throttle.check(connection, charges)
        self.throttle.count(connection, charges)

    def _begin(self, connection: Connection, row: dict[str, Any], caller: Caller) -> bool:
        if self.users.taken(connection, row):
            self._tell_owner(connection, row, caller)
            return False
        connection.execute(insert(tables.users).values(row))
        self.audit.record(connection, "user.sign-up", caller, target=row["id"], actor=row["id"])
        kept = self.users.row(connection, row["id"])
        if kept.state in workflow.UNCONFIRMED:
            self._ask(connection, kept)
        elif kept.state == "active":
            self.users.write_to(connection, kept, "welcome")
        return True

    def _ask(self, connection: Connection, row: Any) -> None:
        if self._may_write(connection, row):
            lifetime = self.settings.signup.confirmation_lifetime
            token = self.tokens.issue(connection, "confirm", row.id, lifetime)
            self.users.write_to(connection, row, "confirm", {"token": token})

    def _tell_owner(self, connection: Connection, row: dict[str, Any], caller: Caller) -> None:
        owner = self.users.with_address(connection, row["email_digest"])
        self.audit.record(connection, "user.sign-up", caller, target=owner.id if owner else "", result="refused")
        if owner is not None and owner.state not in ("deleted", "rejected") and self._may_write(connection, owner):
            self.users.write_to(connection, owner, "already-registered")

    def _may_write(self, connection: Connection, row: Any) -> bool:
        charges = [(LETTERS, row.id), (SIGN_UP_LETTERS, row.id)]
        if self.throttle.wait(connection, charges) > 0:
            return False
        self.throttle.count(connection, charges)
        return True
