"""What people do with their own account: another password, another address, a password that was forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, update

from specs.problems import Problem
from sso import names, tables, workflow
from sso.audit import Caller
from sso.desk import Desk
from sso.problems import invalid, refusal
from sso.sessions import Session
from sso.throttle import FAILED_CODES, LETTERS
from sso.users import User

#: How long the second step of a reset may take, in seconds.
RESET_KEY: Final = 1800.0
_DAY: Final = 86400.0


class ResetKey(NamedTuple):
    """The second step of a reset."""

    reset_key: str
    expires_at: datetime


@dataclass(eq=False)
class Accounts(Desk):
    """The delicate changes: each proves the person once more, tells them by letter, and ends other sessions."""

    def change_password(
        self, session: Session, current: str, new: str, caller: Caller, *, totp_code: str = "", keep: bool = True
    ) -> None:
        """Another password, with the present one and, where there is one, the second factor. Other sessions end (Z9).

        Raises Problem 401 where they are wrong, 422 for a weak or the same password, 429.
        """
        user_id = session.user_id
        charge = [(FAILED_CODES, f"change {user_id}")]
        self.database.read(lambda connection: self.throttle.check(connection, charge))
        self.throttle.hashing(user_id)
        row, enrolled = self.database.read(lambda connection: self._state(connection, user_id))
        right = self.passwords.verify(current, row.password)
        coded = self.database.read(lambda connection: self.factors.has_codes(connection, user_id))
        if enrolled and not coded:
            # A passkey gives no code: the session has to be one that it has proven, a moment ago.
            self.sessions.require_recent(session)
            if session.level < 2:
                raise refusal("mfa-required", "prove yourself by the passkey first")
        proof = self.factors.examine(row, totp_code, "") if coded and right else None
        stored = None
        if right and (proof is not None or not coded):
            self._check(row, new, "new_password", enrolled)
            if current == new:
                raise invalid("new_password", "same", "this is the present password")
            stored = self.passwords.hash(new)

        def work(connection: Connection) -> bool:
            self.throttle.check(connection, charge)
            if not right or (coded and not self.factors.settle(connection, user_id, proof)):
                self.throttle.count(connection, charge)
                self.audit.record(connection, "password.change", caller, target=user_id, result="refused")
                return False
            if self.users.row(connection, user_id).password != row.password:
                raise Problem.of("conflict", "the password was changed meanwhile")
            assert stored is not None
            self.users.set_password(connection, row, stored, keep=session.id if keep else "")
            self.audit.record(connection, "password.change", caller, target=user_id)
            return True

        if not self.database.write(work):
            raise (
                refusal("invalid-credentials", "the present password or the code is wrong")
                if not right
                else self.factors.wrong()
            )

    def forgot(self, identifier: str, caller: Caller) -> None:
        """A letter with a link to somebody who has forgotten their password; nothing is said of whether there is such a one.

        The letter goes to the address that is kept, five times an hour at most (S39). Nobody is locked by it. Raises Problem 429
        for an address that asks too often, for whomever.
        """
        self.throttle.asking(caller)

        def work(connection: Connection) -> None:
            row = self.users.by_identifier(connection, identifier)
            self.audit.record(connection, "password.forgot", caller, target=row.id if row is not None else "")
            charge = [(LETTERS, row.id if row is not None else f"name {identifier[:254]}")]
            if self.throttle.wait(connection, charge) > 0:
                return
            self.throttle.count(connection, charge)
            # WHY: whoever has signed up and lost the letter is told to come here, as is who finds that somebody else has signed up
            # with their address.
            if row is not None and (row.state == "active" or row.state in workflow.UNCONFIRMED):
                lifetime = self.settings.password.reset_lifetime
                token = self.tokens.issue(connection, "reset", row.id, lifetime)
                self.users.write_to(connection, row, "password-reset", {"token": token})

        self.database.write(work)

    def verify_reset(self, token: str, caller: Caller) -> ResetKey:
        """The key that sets a new password, for the token of the letter, once. Raises Problem 400 (S40)."""

        def work(connection: Connection) -> ResetKey:
            found = self.tokens.use(connection, "reset", token)
            if found is None:
                raise refusal("token-invalid", "this link cannot be used (any more)")
            key = self.tokens.issue(connection, "reset-key", found.user_id, RESET_KEY)
            self.audit.record(connection, "password.reset-begin", caller, target=found.user_id)
            return ResetKey(key, self.clock() + timedelta(seconds=RESET_KEY))

        return self.database.write(work)

    def reset(self, reset_key: str, new: str, caller: Caller) -> None:
        """Set a new password by the key of `verify_reset`. It logs nobody in, and leaves the second factor (S40).

        Every session ends, and an address that was not confirmed yet is by this: the letter went there. SECURITY: a password that
        a stranger has chosen for an account with somebody's address is over before the account is anybody's.

        Raises Problem 400 for a key that cannot be used, 422 for a weak password, which leaves the key good.
        """
        found = self.database.read(lambda connection: self.tokens.find(connection, "reset-key", reset_key))
        if found is None:
            raise refusal("token-invalid", "this link cannot be used (any more)")
        self.throttle.hashing(found.user_id)
        row, enrolled = self.database.read(lambda connection: self._state(connection, found.user_id))
        self._check(row, new, "new_password", enrolled)
        stored = self.passwords.hash(new)

        def work(connection: Connection) -> None:
            if self.tokens.use(connection, "reset-key", reset_key) is None:
                raise refusal("token-invalid", "this link cannot be used (any more)")
            row = self.users.row(connection, found.user_id)
            self.users.set_password(connection, row, stored)
            self.audit.record(connection, "password.reset", caller, target=row.id)
            if row.state in workflow.UNCONFIRMED:
                self.tokens.revoke(connection, row.id, "confirm")
                self.users.apply(connection, row.id, "confirm", caller)

        self.database.write(work)

    def set_password(self, user_id: str, new: str, caller: Caller) -> None:
        """Another password, chosen by a command and to be replaced at the next login. Every session ends. Raises Problem 422."""
        row, enrolled = self.database.read(lambda connection: self._state(connection, user_id))
        self._check(row, new, "password", enrolled)
        stored = self.passwords.hash(new)

        def work(connection: Connection) -> None:
            self.users.set_password(connection, self.users.row(connection, user_id), stored)
            users = tables.users
            connection.execute(update(users).where(users.c.id == user_id).values(must_change=True))
            self.audit.record(connection, "password.set", caller, target=user_id)

        self.database.write(work)

    def change_email(self, session: Session, address: str, caller: Caller) -> None:
        """Begin: a link to the new address, word to the old one; nothing changes before `confirm_email` (S42).

        The answer is the same for an address that somebody has. Raises Problem 403 where the login is not recent, 422.
        """
        self.sessions.require_recent(session)
        key = names.email_key(address)

        def work(connection: Connection) -> None:
            row = self.users.row(connection, session.user_id)
            self.audit.record(connection, "email.change-begin", caller, target=row.id)
            taken = self.users.with_address(connection, self.keys.digest("email", key))
            charge = [(LETTERS, row.id)]
            if self.throttle.wait(connection, charge) > 0:
                return
            self.throttle.count(connection, charge)
            self.users.write_to(connection, row, "email-changing")
            if taken is None:
                box = self.keys.person(row.key_box).encrypt(key, "email")
                token = self.tokens.issue(connection, "email", row.id, _DAY, {"box": box})
                values = {"token": token, "site_name": self.settings.site_name, "username": row.username}
                self.users.outbox.post(connection, "email-confirm", row.id, key, row.language, values)

        self.database.write(work)

    def confirm_email(self, session: Session, token: str, caller: Caller) -> User:
        """The new address, by the token that was sent to it. Raises Problem 400 for one that is not this person's."""

        def work(connection: Connection) -> User:
            found = self.tokens.use(connection, "email", token)
            if found is None or found.user_id != session.user_id:
                raise refusal("token-invalid", "this confirmation cannot be used (any more)")
            row = self.users.row(connection, session.user_id)
            ring = self.keys.person(row.key_box)
            address = ring.decrypt(found.payload["box"], "email")
            digest = self.keys.digest("email", address)
            if self.users.with_address(connection, digest) is not None:
                raise refusal("token-invalid", "this confirmation cannot be used (any more)")
            self.users.write_to(connection, row, "email-changed")
            kept = ring.encrypt(address, "email") if self.settings.privacy.encrypt_email else address
            values = {"email": kept, "email_digest": digest}
            connection.execute(update(tables.users).where(tables.users.c.id == row.id).values(values))
            # S40: a link that went to the old address is dead.
            self.tokens.revoke(connection, row.id, "reset", "reset-key", "login")
            self.audit.record(connection, "email.change", caller, target=row.id)
            return self.users.user_of(connection, self.users.row(connection, row.id))

        return self.database.write(work)

    def _state(self, connection: Connection, user_id: str) -> tuple[Any, bool]:
        return self.users.row(connection, user_id), self.factors.enrolled(connection, user_id)

    def _check(self, row: Any, new: str, member: str, enrolled: bool) -> None:
        email, shown = self.users.email_of(row), self.users.name_of(row)
        self.users.check_password(new, member, row.username_key, email, shown, mfa=enrolled)
        self.users.check_reuse(row, new, member)
