"""Attempts to log in: how many there may be, what becomes of those that fail, and the devices that people are known to have.

Failures are counted by `sso.throttle`, where somebody guesses. All attempts of an address, right ones too, have a rate beside
that: each costs a hash, whatever comes of it. Neither keeps anybody else out: what an address has used up is its own, and a
device that its owner has logged in from is counted by itself, wherever it is (S12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select, update

from sso import names, tables
from sso.audit import Audit, Caller
from sso.privacy import Keys
from sso.settings import LoginRules
from sso.storage import Storage
from sso.throttle import (
    ASKED,
    ATTEMPTS,
    FAILED_AT_ACCOUNT,
    FAILED_AT_ADDRESS,
    FAILED_AT_DEVICE,
    FAILED_AT_PAIR,
    FAILED_CODES,
    HASHES,
    LETTERS,
    SIGN_UPS,
    Charge,
    Rule,
    Throttle,
    place_of,
)

#: NIST SP 800-63B 3.2.2: after so many failures without a success the password is switched off until it is reset.
MOST_FAILURES: Final = 100
DEVICE_PREFIX: Final = "gwd_"
_TOLD: Final = {
    FAILED_AT_ACCOUNT: "wrong passwords", FAILED_AT_ADDRESS: "failed log-ins", FAILED_AT_PAIR: "wrong passwords from one address",
    FAILED_CODES: "wrong codes", LETTERS: "letters", SIGN_UPS: "sign-ups",
    HASHES: "passwords and codes", ASKED: "requests for letters",
}  # fmt: skip


class Blocked(NamedTuple):
    """Somebody who has to wait for so many *seconds*; *who* is empty for an address, of which a digest is kept."""

    who: str
    what: str
    seconds: float


@dataclass(eq=False)
class Attempts:
    """Lets attempts begin, and counts what comes of them."""

    database: Storage
    rules: LoginRules
    keys: Keys
    throttle: Throttle
    audit: Audit

    def charges(self, username: str, row: Any, device: str, caller: Caller) -> list[Charge]:
        """What a failed attempt at the account of *row* (or at a name that nobody has) is counted by."""
        if device:
            return [(FAILED_AT_DEVICE, device)]
        # SECURITY: S14. By the account where there is one, so that its name and its address share one budget.
        place = place_of(caller.address)
        account = f"id {row.id}" if row is not None else "name {} {}".format(*names.identifier_key(username))
        return [(FAILED_AT_ADDRESS, place), (FAILED_AT_PAIR, f"{account} {place}"), (FAILED_AT_ACCOUNT, account)]

    def of_address(self, caller: Caller) -> list[Charge]:
        """What a failed attempt that names nobody is counted by."""
        return [(FAILED_AT_ADDRESS, place_of(caller.address))]

    def begin(self, charges: Sequence[Charge], device: str, caller: Caller) -> None:
        """Let one more attempt begin, and count it. Raises Problem 429 with Retry-After where *charges* or the rate forbid it."""
        rate = self._rate
        # WHY: a service that logs people in may not know from where; all of them would share one budget.
        place = device or (place_of(caller.address) if caller.address else "")
        begun: list[Charge] = [(rate, place)] if rate.most and place else []
        # PERF: who has to wait waits for no other's transaction, and makes none.
        self.database.read(lambda connection: self.throttle.check(connection, (*charges, *begun)))
        if begun:
            self.database.write(lambda connection: self.throttle.take(connection, begun))

    def failed(self, row: Any, charges: Sequence[Charge], caller: Caller) -> None:
        """Count a wrong password for *row*, or for a name that nobody has. Raises Problem 429 where it is too late to guess."""
        user_id = row.id if row is not None else ""
        users = tables.users

        def work(connection: Connection) -> None:
            self.throttle.take(connection, charges)
            # The same statements for a name that nobody has.
            failures = users.c.failures + 1
            off = users.c.password_disabled | (failures >= MOST_FAILURES)
            changed = update(users).where(users.c.id == user_id)
            connection.execute(changed.values(failures=failures, password_disabled=off))
            self.audit.record(connection, "login.password", caller, target=user_id, result="refused")

        self.database.write(work)

    def passkey_failed(self, row: Any, charges: Sequence[Charge], caller: Caller) -> None:
        """Count a passkey that is not known, or is the one of *row* who may not come in by it. Raises Problem 429."""
        target = row.id if row is not None else ""

        def work(connection: Connection) -> None:
            self.throttle.take(connection, charges)
            self.audit.record(connection, "login.passkey", caller, target=target, result="refused")

        self.database.write(work)

    def succeeded(self, connection: Connection, charges: Sequence[Charge]) -> None:
        """Forget the failures of whoever has shown the right password."""
        # SECURITY: S13. The address's own counter stays: who knows one password does not reset it for guessing at others.
        self.throttle.clear(connection, [charge for charge in charges if charge[0] is not FAILED_AT_ADDRESS])

    def blocked(self, connection: Connection) -> list[Blocked]:
        """Who has to wait, those that are waited for longest first."""
        users = tables.users
        waits = self.throttle.waits(connection, _TOLD if self._rate.most == 0 else {**_TOLD, self._rate: "log-ins"})
        told = {rule.name: words for rule, words in (*_TOLD.items(), (self._rate, "log-ins"))}
        found = []
        # PERF: a digest takes 3 us, and nobody is looked at where nobody waits.
        for row in connection.execute(select(users.c.id, users.c.username)) if waits else ():
            for rule, key in _of_person(row.id):
                seconds = waits.pop((rule.name, self.throttle.mark(key)), None)
                if seconds is not None:
                    found.append(Blocked(row.username, told[rule.name], seconds))
        found += [Blocked("", told[name], seconds) for (name, _), seconds in waits.items()]
        return sorted(found, key=lambda one: (-one.seconds, one))

    def unblock(self, caller: Caller, *, user_id: str = "", address: str = "") -> None:
        """Have a person, an address or (where none is named) nobody wait any longer."""
        charges = _of_person(user_id) if user_id else []
        if address:
            place = place_of(address)
            charges += [(rule, place) for rule in (ATTEMPTS, FAILED_AT_ADDRESS, SIGN_UPS, ASKED)]
            charges += [(FAILED_AT_PAIR, f"id {user_id} {place}")] if user_id else []

        def work(connection: Connection) -> None:
            if charges:
                self.throttle.clear(connection, charges)
            else:
                self.throttle.clear_all(connection)
            self.audit.record(connection, "user.unblock", caller, target=user_id, details={"address": address})

        self.database.write(work)

    def new_device(self, user_id: str) -> str:
        """The proof that somebody has logged in from a device, which it keeps."""
        nonce = self.keys.randomness(16).hex()
        return f"{DEVICE_PREFIX}{nonce}.{self.keys.device(f'{user_id} {nonce}')}"

    def device_of(self, device: str, row: Any) -> str:
        """*device* where we gave it to this user; empty otherwise."""
        nonce, dot, proof = device.removeprefix(DEVICE_PREFIX).partition(".")
        if row is None or not dot or len(device) > 200 or not device.isascii():
            return ""
        return device if self.keys.proves(f"{row.id} {nonce}", proof) else ""

    @property
    def _rate(self) -> Rule:
        return ATTEMPTS._replace(most=self.rules.attempts_per_minute)


def _of_person(user_id: str) -> list[Charge]:
    return [
        (FAILED_AT_ACCOUNT, f"id {user_id}"), (FAILED_CODES, user_id), (FAILED_CODES, f"change {user_id}"),
        (LETTERS, user_id), (HASHES, user_id), (HASHES, f"second {user_id}"),
    ]  # fmt: skip
