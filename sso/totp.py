"""Second factors: one-time codes by time (RFC 6238), each good once, and ten recovery codes for the day the telephone is gone.

A code is used up by writing its time step where only a later one fits, in one statement: of many who send the same code at
once one is let in (S32). A recovery code begins with its number, so that a try costs one hash and not ten.
"""

from __future__ import annotations

import base64
import hmac
import io
import re
from typing import Any, Final, NamedTuple

import pyotp
import segno
from sqlalchemy import Connection, delete, func, insert, select, update

from backends.clock import Clock
from security.database import upsert
from specs.problems import Problem
from sso import tables
from sso.audit import Audit, Caller
from sso.passkeys import Assertion, Passkeys, count
from sso.passwords import Passwords
from sso.privacy import Keys, Randomness
from sso.problems import refusal
from sso.sessions import Session, Sessions
from sso.settings import Sso
from sso.storage import Storage
from sso.throttle import FAILED_CODES, Throttle
from sso.tokens import Tokens
from sso.users import Users

STEP: Final = 30
CODES: Final = 10
SECRET_BYTES: Final = 20
#: An enrolment that was begun can be finished for so many seconds.
ENROLMENT: Final = 900.0
_CODE: Final = re.compile(r"[0-9]{6}", re.ASCII)
_RECOVERY: Final = re.compile(r"([0-9]{2})([0-9A-HJKMNP-TV-Z]{10})", re.ASCII)
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Enrolment(NamedTuple):
    """What is shown once: the secret as text, as a URI, and as a picture (SVG) of the URI."""

    secret: str
    otpauth_uri: str
    qr_svg: str


class Proof(NamedTuple):
    """A second factor that was found right, not used up yet: its method, and the time step or the number of the code."""

    method: str
    number: int


class SecondFactors:
    """The one-time codes of people."""

    def __init__(
        self,
        database: Storage,
        settings: Sso,
        keys: Keys,
        passwords: Passwords,
        users: Users,
        sessions: Sessions,
        tokens: Tokens,
        throttle: Throttle,
        audit: Audit,
        clock: Clock,
        randomness: Randomness,
        passkeys: Passkeys,
    ) -> None:
        self.database = database
        self.settings = settings
        self.keys = keys
        self.passwords = passwords
        self.users = users
        self.sessions = sessions
        self.tokens = tokens
        self.throttle = throttle
        self.audit = audit
        self.clock = clock
        self.randomness = randomness
        self.passkeys = passkeys

    def required_of(self, row: Any) -> bool:
        """Whether the user of a row has to have a second factor."""
        required = self.settings.second_factor.required
        return required == "all" or (required == "super_users" and bool(row.is_super_user))

    def enrolled(self, connection: Connection, user_id: str) -> bool:
        """Whether the user has a second factor that was confirmed: codes by time, or a passkey."""
        return self.has_codes(connection, user_id) or count(connection, user_id) > 0

    def has_codes(self, connection: Connection, user_id: str) -> bool:
        """Whether the user has one-time codes by time."""
        query = select(tables.totp.c.user_id).where(tables.totp.c.user_id == user_id)
        return connection.execute(query).first() is not None

    def methods(self, connection: Connection, user_id: str) -> tuple[str, ...]:
        """What the user can prove a second factor by, as the second stage of a login names it."""
        found = ["totp"] if self.has_codes(connection, user_id) else []
        found += ["recovery_code"] if self.remaining(connection, user_id) else []
        return (*found, "webauthn") if count(connection, user_id) else tuple(found)

    # Enrolled

    def enrol(self, session: Session, caller: Caller) -> Enrolment:
        """Begin: a secret, which is nothing yet before `confirm` (S33). An older second factor holds until then."""
        self.sessions.require_recent(session)
        secret = base64.b32encode(self.randomness(SECRET_BYTES)).decode()
        uri = self.uri_of(session, secret)

        def work(connection: Connection) -> None:
            row = self.users.row(connection, session.user_id)
            box = self.keys.person(row.key_box).encrypt(secret, "totp")
            self.tokens.issue(connection, "totp", row.id, ENROLMENT, {"box": box})
            self.audit.record(connection, "totp.enrol", caller, target=row.id)

        self.database.write(work)
        return Enrolment(secret, uri, picture(uri))

    def uri_of(self, session: Session, secret: str) -> str:
        """What the picture of *secret* says to the application that shows codes."""
        return pyotp.TOTP(secret).provisioning_uri(name=session.username, issuer_name=self.settings.site_name)

    def confirm(self, session: Session, code: str, caller: Caller) -> list[str]:
        """Finish with a code of the new secret, which is used up by it; the recovery codes, to be shown once.

        Every other session of the person ends. Raises Problem 400 where nothing was begun, 401 for a wrong code.
        """
        self.sessions.require_recent(session)

        def proven(connection: Connection) -> tuple[Any, Any, int | None]:
            row = self.users.row(connection, session.user_id)
            begun = self._begun(connection, row.id)
            return row, begun, self._step(self.keys.person(row.key_box).decrypt(begun.payload["box"], "totp"), code)

        # SECURITY: S17. A wrong code has nothing hashed.
        right = self.database.read(proven)[2] is not None
        codes, hashes = self.fresh_codes(session.user_id) if right else ([], [])

        def work(connection: Connection) -> bool:
            row, begun, step = proven(connection)
            if step is None or not right:
                self.tokens.spend_try(connection, begun.digest)
                return False
            self.tokens.revoke(connection, row.id, "totp")
            values = {"secret_box": begun.payload["box"], "last_step": step, "confirmed_at": self.clock()}
            upsert(connection, tables.totp, {"user_id": row.id}, values)
            self.keep_codes(connection, row.id, hashes)
            self.sessions.raise_epoch(connection, row.id, keep=session.id)
            self.audit.record(connection, "totp.confirm", caller, target=row.id)
            self.users.write_to(connection, row, "second-factor-added")
            return True

        if not self.database.write(work):
            raise self.wrong()
        return codes

    def remove(self, user_id: str, caller: Caller, *, forced: bool = False) -> None:
        """Take the second factor away; *forced* where a super-user or a command does it, which ends every session.

        Raises Problem 409 where the person has to have one.
        """

        def work(connection: Connection) -> None:
            row = self.users.row(connection, user_id)
            # Who has lost the telephone has lost the passkeys on it, too.
            gone = (tables.totp, tables.passkeys) if forced else (tables.totp,)
            for table in gone:
                connection.execute(delete(table).where(table.c.user_id == user_id))
            if not self.enrolled(connection, user_id):
                if not forced and self.required_of(row):
                    raise refusal(
                        "second-factor-kept", "this account has to have a second factor: enrol another one instead"
                    )
                self.forget_codes(connection, user_id)
            self.tokens.revoke(connection, user_id, "totp", "login")
            if forced:
                self.sessions.raise_epoch(connection, user_id)
            self.audit.record(connection, "totp.remove", caller, target=user_id)
            self.users.write_to(connection, row, "second-factor-removed")

        self.database.write(work)

    def renew_recovery_codes(self, session: Session, caller: Caller) -> list[str]:
        """Ten new recovery codes, to be shown once; the old ones are dead. Raises Problem 400 without a second factor."""
        self.sessions.require_recent(session)
        codes, hashes = self.fresh_codes(session.user_id)

        def work(connection: Connection) -> None:
            if not self.enrolled(connection, session.user_id):
                raise refusal("token-invalid", "there is no second factor to recover")
            self.keep_codes(connection, session.user_id, hashes)
            self.audit.record(connection, "recovery-codes.renew", caller, target=session.user_id)

        self.database.write(work)
        return codes

    def fresh_codes(self, user_id: str) -> tuple[list[str], list[str]]:
        """Ten new recovery codes for a user, and their hashes; none is kept yet. Raises Problem 429."""
        self.throttle.hashing(user_id)
        codes = self._new_codes()
        return codes, [self.passwords.hash(recovery_key(one)) for one in codes]

    def keep_codes(self, connection: Connection, user_id: str, hashes: list[str]) -> None:
        """Within a transaction: these are the user's recovery codes, and no others."""
        codes = tables.recovery_codes
        connection.execute(delete(codes).where(codes.c.user_id == user_id))
        rows = [{"user_id": user_id, "number": number, "hash": stored} for number, stored in enumerate(hashes, 1)]
        connection.execute(insert(codes), rows)

    def forget_codes(self, connection: Connection, user_id: str) -> None:
        """Within a transaction: the user has no recovery codes."""
        connection.execute(delete(tables.recovery_codes).where(tables.recovery_codes.c.user_id == user_id))

    def remaining(self, connection: Connection, user_id: str) -> int:
        """How many recovery codes are left."""
        codes = tables.recovery_codes
        query = select(func.count()).select_from(codes).where(codes.c.user_id == user_id, codes.c.used_at.is_(None))
        return connection.execute(query).scalar_one()

    # Proven

    def examine(self, row: Any, totp_code: str, recovery_code: str) -> Proof | None:
        """The proof in one of the two codes; None where it is wrong. Nothing is used up yet: that is `consume`."""
        if totp_code:
            secret = self.database.read(lambda connection: self._secret(connection, row))
            step = None if secret is None else self._step(secret, totp_code)
            return None if step is None else Proof("totp", step)
        match = _RECOVERY.fullmatch(recovery_key(recovery_code))
        if match is None:
            return None
        codes = tables.recovery_codes
        query = select(codes.c.hash).where(codes.c.user_id == row.id, codes.c.number == int(match[1]))
        stored = self.database.read(lambda connection: connection.execute(query).scalar())
        right = self.passwords.verify(match[0], stored)
        return Proof("recovery-code", int(match[1])) if right and stored is not None else None

    def consume(self, connection: Connection, user_id: str, proof: Proof | Assertion) -> bool:
        """Use *proof* up; False where somebody else has, or a later one was used."""
        if isinstance(proof, Assertion):
            return self.passkeys.consume(connection, user_id, proof)
        if proof.method == "totp":
            totp = tables.totp
            # SECURITY: S32. One statement compares and sets: of any number at once one changes the row.
            later = update(totp).where(totp.c.user_id == user_id, totp.c.last_step < proof.number)
            return connection.execute(later.values(last_step=proof.number)).rowcount == 1
        codes = tables.recovery_codes
        unused = update(codes).where(
            codes.c.user_id == user_id, codes.c.number == proof.number, codes.c.used_at.is_(None)
        )
        return connection.execute(unused.values(used_at=self.clock())).rowcount == 1

    def settle(self, connection: Connection, user_id: str, proof: Proof | Assertion | None) -> bool:
        """Whether *proof* was right and is used up now; a wrong one is counted. Raises Problem 429 after too many."""
        charge = [(FAILED_CODES, user_id)]
        self.throttle.check(connection, charge)
        if proof is not None and self.consume(connection, user_id, proof):
            return True
        self.throttle.count(connection, charge)
        return False

    def wrong(self) -> Problem:
        """What a wrong code is answered with; the time tells people whose clock is wrong (S37)."""
        return refusal("mfa-invalid", members={"server_time": self.clock().isoformat()})

    def _begun(self, connection: Connection, user_id: str) -> Any:
        tokens = tables.tokens
        query = select(tokens).where(tokens.c.user_id == user_id, tokens.c.kind == "totp", tokens.c.tries > 0)
        row = connection.execute(query.where(tokens.c.expires_at > self.clock())).first()
        if row is None:
            raise refusal("token-invalid", "begin to enrol first")
        return row

    def _secret(self, connection: Connection, row: Any) -> str | None:
        box = connection.execute(select(tables.totp.c.secret_box).where(tables.totp.c.user_id == row.id)).scalar()
        return None if box is None else self.keys.person(row.key_box).decrypt(box, "totp")

    def _step(self, secret: str, code: str) -> int | None:
        """The time step that *code* belongs to, of those that are taken now."""
        # SECURITY: digits of other scripts are the same code to pyotp; six ASCII digits or nothing.
        if not _CODE.fullmatch(code):
            return None
        now = int(self.clock().timestamp()) // STEP
        window = self.settings.second_factor.window
        generator = pyotp.HOTP(secret)
        steps = range(now - window, now + window + 1)
        matching = [step for step in steps if hmac.compare_digest(generator.at(step), code)]
        return matching[-1] if matching else None

    def _new_codes(self) -> list[str]:
        codes = []
        for number in range(1, CODES + 1):
            bits = int.from_bytes(self.randomness(7)) >> 6
            text = "".join(_CROCKFORD[(bits >> (5 * place)) & 31] for place in range(10))
            codes.append(f"{number:02}-{text[:5]}-{text[5:]}")
        return codes


def recovery_key(code: str) -> str:
    """A recovery code as it is compared: capitals, no dashes or blanks, the letters that look like digits as digits."""
    letters = code[:40].upper().replace("-", "").replace(" ", "")
    return letters.translate(str.maketrans("OIL", "011"))


def picture(uri: str) -> str:
    """*uri* as a QR code: an SVG element, to stand in a page."""
    buffer = io.BytesIO()
    segno.make(uri, error="m").save(buffer, kind="svg", scale=4, xmldecl=False, svgns=True)
    return buffer.getvalue().decode()
