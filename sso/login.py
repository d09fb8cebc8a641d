"""Login, in stages: the password, the second factor, what the account still owes, a session.

What a stranger learns: one answer for a name that does not exist, a wrong password, an account that is rejected or whose
password is switched off, at the same cost (S11, Z18). What stands in the way of an account (locked, not confirmed, not
approved, password to be changed) is told to whoever has proven to be its owner, second factor included (S6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, update

from security.addresses import AddressList
from specs.problems import Problem
from sso import tables
from sso.attempts import Attempts
from sso.audit import Caller
from sso.desk import Desk
from sso.passkeys import Assertion
from sso.problems import invalid, refusal
from sso.sessions import Opened, Session
from sso.throttle import Charge
from sso.tokens import digest_of
from sso.totp import Proof
from sso.users import User
from sso.webauthn import VERIFIED, WebAuthn

#: How long the second stage may take, in seconds.
PENDING: Final = 300.0
_STATES: Final = {
    "new": "account-unconfirmed", "unconfirmed": "account-unconfirmed", "unapproved": "account-unapproved",
    "locked": "account-locked",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Credentials:
    """What somebody logs in with. *device* is the proof that they have logged in from this device before, *webauthn* what
    their browser gave of a passkey for the second stage.
    """

    username: str
    password: str
    totp_code: str = ""
    recovery_code: str = ""
    new_password: str = ""
    device: str = ""
    webauthn: Mapping[str, Any] = field(default_factory=dict)


class Warned(NamedTuple):
    """Something that the person should know; *days* until it happens, where it has a date."""

    code: str
    days: int | None = None


class LoggedIn(NamedTuple):
    """A session, its token and that of the device, both to be handed out once."""

    token: str
    session: Session
    user: User
    device: str
    warnings: tuple[Warned, ...]


class MfaRequired(NamedTuple):
    """The password was right; the second factor is still to come, by this token."""

    login_token: str
    methods: tuple[str, ...]
    expires_at: datetime


@dataclass(eq=False)
class Login(Desk):
    """Proves who people are."""

    webauthn: WebAuthn
    attempts: Attempts

    def log_in(self, given: Credentials, caller: Caller) -> LoggedIn | MfaRequired:
        """A session, or the token for the second stage.

        Raises Problem 401, 403 once everything was right but something stands in the way, 422 for a weak new password, 429
        with Retry-After, and 503 where too many are being checked.
        """
        caller = self.admit(caller)
        row = self.database.read(lambda connection: self.users.by_identifier(connection, given.username))
        device = self.attempts.device_of(given.device, row)
        charges = self.attempts.charges(given.username, row, device, caller)
        self.attempts.begin(charges, device, caller)
        # SECURITY: S11. One hash and one transaction for whoever comes, whatever is wrong.
        right = self.passwords.verify(given.password, row.password if row is not None else None)
        right = right and row is not None and _may_try(row, caller)
        if not right:
            self.attempts.failed(row, charges, caller)
            raise refusal("invalid-credentials", "the name or the password is wrong")
        proof = None
        if given.totp_code or given.recovery_code:
            proof = self.factors.examine(row, given.totp_code, given.recovery_code)
        return self._finish(row, given, proof, bool(given.totp_code or given.recovery_code), charges, device, caller)

    def second_stage(self, login_token: str, given: Credentials, caller: Caller) -> LoggedIn:
        """A session for who has begun with *login_token* and proves the second factor in *given* (its code, and a new password).

        Raises Problem as `log_in` does; a token that cannot be used is a 401, and after five wrong codes it cannot be.
        """
        caller = self.admit(caller)
        found = self.database.read(lambda connection: self.tokens.find(connection, "login", login_token))
        if found is None or found.payload["app"] != caller.app:
            raise refusal("invalid-credentials", "begin again with the password")
        row = self.database.read(lambda connection: self.users.row(connection, found.user_id))
        # SECURITY: S31, S40. What was begun before a lock or another password is dead.
        if row.session_epoch != found.payload["epoch"] or row.state == "deleted":
            raise refusal("invalid-credentials", "begin again with the password")
        proof: Proof | Assertion | None
        if given.webauthn:
            proven = self.webauthn.examine(given.webauthn, "second", digest_of(login_token), row.id)
            proof = proven.assertion if proven is not None else None
        else:
            if given.recovery_code:
                # WHY: apart from what the person does who is logged in: whoever knows a password does not use that up.
                self.throttle.hashing(f"second {row.id}")
            proof = self.factors.examine(row, given.totp_code, given.recovery_code)
        given = replace(given, username=row.username, password="")
        outcome = self._finish(row, given, proof, True, [], found.payload["device"], caller, pending=login_token)
        assert isinstance(outcome, LoggedIn)
        return outcome

    def by_passkey(self, credential: Mapping[str, Any], caller: Caller) -> LoggedIn:
        """A session for who holds the passkey that has signed *credential*, and was known to it; no name, no password.

        Raises Problem 401, 403 once it was right but something stands in the way, 429 with Retry-After, 501.
        """
        caller = self.admit(caller)
        self.webauthn.require_login()
        charges = self.attempts.of_address(caller)
        self.attempts.begin(charges, "", caller)
        proven = self.webauthn.examine(credential, "login", caller.app)
        row: Any = proven.row if proven is not None else None
        if proven is None or row.state == "rejected" or not is_at_home(row, caller):
            self.attempts.passkey_failed(row, charges, caller)
            raise refusal("invalid-credentials", "this passkey is not known here")
        proof = proven.assertion
        if not proof.verified:
            # SECURITY: S38. Who merely holds it has shown one factor, and this account asks for two.
            raise refusal(
                "mfa-required", "this passkey did not ask who you are: log in with the password, and then use it"
            )

        def work(connection: Connection) -> LoggedIn | Problem:
            current = self.users.row(connection, row.id)
            if current.session_epoch != row.session_epoch or not self.factors.settle(connection, row.id, proof):
                self.audit.record(connection, "login.passkey", caller, target=row.id, result="refused")
                return refusal("invalid-credentials", "this passkey is not known here")
            if current.state != "active":
                return refusal(_STATES.get(current.state, "invalid-credentials"))
            return self.let_in(connection, current, VERIFIED, caller, self.attempts.new_device(current.id))

        outcome = self.database.write(work)
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    def by_command(self, user_id: str, caller: Caller) -> LoggedIn:
        """A session of level 1 for whoever has the keyring, who is a person's equal. Raises Problem 403 and 404."""
        caller = self.admit(caller)

        def work(connection: Connection) -> LoggedIn:
            row = self.users.row(connection, user_id)
            if row.state != "active":
                raise refusal(_STATES.get(row.state, "invalid-credentials"))
            self.audit.record(connection, "login.command", caller, target=row.id)
            return self.let_in(connection, row, ("command",), caller)

        return self.database.write(work)

    def methods_of(self, login_token: str) -> tuple[str, ...]:
        """What the second stage of that login can be proven by; nothing where there is no such login."""

        def work(connection: Connection) -> tuple[str, ...]:
            found = self.tokens.find(connection, "login", login_token)
            return () if found is None else self.factors.methods(connection, found.user_id)

        return self.database.read(work)

    def prove_again(
        self,
        session: Session,
        password: str,
        totp_code: str,
        caller: Caller,
        *,
        webauthn: Mapping[str, Any] | None = None,
    ) -> Opened:
        """A new token for a session whose person proves themselves once more. Raises Problem 401 and 429."""
        row = self.database.read(lambda connection: self.users.row(connection, session.user_id))
        charges = self.attempts.charges(session.username, row, "", caller)
        self.database.read(lambda connection: self.throttle.check(connection, charges))
        proof: Proof | Assertion | None
        if password:
            self.throttle.hashing(row.id)
            right = self.passwords.verify(password, row.password)
            proof, method = None, "password"
        elif webauthn:
            proven = self.webauthn.examine(webauthn, "again", session.id, row.id)
            proof, method = (proven.assertion if proven is not None else None), "passkey"
            right = proof is not None
        else:
            proof, method = self.factors.examine(row, totp_code, ""), "totp"
            right = proof is not None

        def work(connection: Connection) -> Opened | None:
            self.throttle.check(connection, charges)
            proven = right if password else self.factors.settle(connection, row.id, proof)
            if not proven:
                if password:
                    self.throttle.count(connection, charges)
                return None
            return self.sessions.prove_again(connection, session, method, caller)

        opened = self.database.write(work)
        if opened is None:
            raise refusal("invalid-credentials") if password else self.factors.wrong()
        return opened

    def warnings_of(self, connection: Connection, row: Any) -> tuple[Warned, ...]:
        """What the user of a row should know."""
        found = []
        end = self.users.password_end(row)
        if end is not None and end - self.clock() <= timedelta(seconds=self.settings.password.warn_before):
            found.append(Warned("password-expires", max(0, (end - self.clock()).days)))
        enrolled = self.factors.enrolled(connection, row.id)
        if self.factors.required_of(row) and not enrolled:
            found.append(Warned("second-factor-required"))
        if enrolled and self.factors.remaining(connection, row.id) <= 2:
            found.append(Warned("few-recovery-codes"))
        return tuple(found)

    # The stages

    def admit(self, caller: Caller) -> Caller:
        """*caller*, with the name of its application. Raises Problem 403 where nobody logs in through that, or from there."""
        app = self.settings.app_of(caller.app)
        if app is None or not app.login:
            raise refusal("app-not-allowed", "nobody logs in through this application")
        if app.allow and caller.address not in AddressList(app.allow):
            raise refusal("address-not-allowed", "nobody logs in from this address")
        return replace(caller, app=app.name)

    def _finish(
        self,
        row: Any,
        given: Credentials,
        proof: Proof | Assertion | None,
        attempted: bool,
        charges: Sequence[Charge],
        device: str,
        caller: Caller,
        pending: str = "",
    ) -> LoggedIn | MfaRequired:
        # WHY: hashing waits for its threads, so it is done before the transaction; only a login that has every proof and
        # whose account may log in at all pays for it.
        stored, refused = self._new_hash(row, given, proof)

        def work(connection: Connection) -> LoggedIn | MfaRequired | Problem:
            self.throttle.check(connection, charges)
            current = self.users.row(connection, row.id)
            if current.session_epoch != row.session_epoch:
                # SECURITY: S31. A lock, another password or a revocation raised the epoch while the password was being checked.
                return refusal("invalid-credentials", "the name or the password is wrong")
            self.attempts.succeeded(connection, charges)
            if self.factors.enrolled(connection, row.id):
                if not attempted:
                    return self._pending(connection, row, device, caller)
                if not self.factors.settle(connection, row.id, proof):
                    if pending:
                        self._spend(connection, pending)
                    self.audit.record(connection, "login.second-factor", caller, target=row.id, result="refused")
                    return self.factors.wrong()
            if pending and self.tokens.use(connection, "login", pending) is None:
                return refusal("invalid-credentials", "begin again with the password")
            obstacle = self._obstacle(current, given) or refused
            if obstacle is not None:
                self.audit.record(
                    connection, "login", caller, target=row.id, result="refused", details={"why": obstacle.code}
                )
                return obstacle
            return self._open(connection, current, given, stored, proof, device, caller)

        outcome = self.database.write(work)
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    def _new_hash(
        self, row: Any, given: Credentials, proof: Proof | Assertion | None
    ) -> tuple[str | None, Problem | None]:
        """The hash to store with this login, if any; and why the new password cannot be one, if so."""
        enrolled = self.database.read(lambda connection: self.factors.enrolled(connection, row.id))
        if row.state != "active" or (enrolled and proof is None):
            return None, None
        if given.new_password:
            try:
                email, shown = self.users.email_of(row), self.users.name_of(row)
                self.users.check_password(
                    given.new_password, "new_password", row.username_key, email, shown, mfa=enrolled
                )
                if self.passwords.verify(given.new_password, row.password):
                    return None, same_password()
                self.users.check_reuse(row, given.new_password, "new_password")
            except Problem as problem:
                if problem.code != "validation-failed":
                    raise
                return None, problem
            return self.passwords.hash(given.new_password), None
        # S22: an older hash is replaced by the password that has just proven right.
        if given.password and self.passwords.needs_rehash(row.password):
            return self.passwords.hash(given.password), None
        return None, None

    def _obstacle(self, row: Any, given: Credentials) -> Problem | None:
        if row.state != "active":
            return refusal(_STATES.get(row.state, "invalid-credentials"))
        if given.new_password:
            return None
        if row.must_change:
            return refusal("password-change-required", "log in again with a new password beside the present one")
        end = self.users.password_end(row)
        if end is not None and end <= self.clock():
            return refusal("password-expired", "log in again with a new password beside the present one")
        return None

    def _open(
        self,
        connection: Connection,
        row: Any,
        given: Credentials,
        stored: str | None,
        proof: Proof | Assertion | None,
        device: str,
        caller: Caller,
    ) -> LoggedIn:
        users = tables.users
        if given.new_password and stored is not None:
            self.users.set_password(connection, row, stored)
        elif stored is not None:
            # SECURITY: S22. Only the hash that was verified is replaced: a change of password meanwhile stays.
            same = update(users).where(users.c.id == row.id, users.c.password == row.password)
            connection.execute(same.values(password=stored))
        connection.execute(update(users).where(users.c.id == row.id, users.c.failures > 0).values(failures=0))
        row = self.users.row(connection, row.id)
        methods = ("password",) if proof is None else ("password", proof.method)
        return self.let_in(connection, row, methods, caller, device or self.attempts.new_device(row.id))

    def let_in(
        self, connection: Connection, row: Any, methods: tuple[str, ...], caller: Caller, device: str = ""
    ) -> LoggedIn:
        """Within a transaction that has proven the person of *row* by *methods*: a session."""
        opened = self.sessions.open(connection, row, methods, caller)
        details = {"session": opened.session.id, "methods": list(methods)}
        self.audit.record(connection, "login", caller, target=row.id, actor=row.id, details=details)
        user, warnings = self.users.user_of(connection, row), self.warnings_of(connection, row)
        return LoggedIn(opened.token, opened.session, user, device, warnings)

    def _pending(self, connection: Connection, row: Any, device: str, caller: Caller) -> MfaRequired:
        payload = {"app": caller.app, "epoch": row.session_epoch, "device": device}
        token = self.tokens.issue(connection, "login", row.id, PENDING, payload)
        self.audit.record(connection, "login.password", caller, target=row.id, actor=row.id)
        methods = self.factors.methods(connection, row.id)
        return MfaRequired(token, methods, self.clock() + timedelta(seconds=PENDING))

    def _spend(self, connection: Connection, login_token: str) -> None:
        found = self.tokens.find(connection, "login", login_token)
        if found is not None:
            self.tokens.spend_try(connection, found.digest)


def _may_try(row: Any, caller: Caller) -> bool:
    """Whether a right password counts at all for this row."""
    if row.state in ("rejected", "deleted") or row.password is None or row.password_disabled:
        return False
    return is_at_home(row, caller)


def is_at_home(row: Any, caller: Caller) -> bool:
    """Whether the person may log in from where the call comes from."""
    return not row.addresses or caller.address in AddressList(row.addresses)


def same_password() -> Problem:
    """A new password that is the old one."""
    return invalid("new_password", "same", "this is the present password")
