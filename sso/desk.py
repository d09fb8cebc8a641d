"""What whoever proves people works with: login, and the delicate changes of an account."""

from __future__ import annotations

from dataclasses import dataclass

from backends.clock import Clock
from sso.audit import Audit
from sso.passwords import Passwords
from sso.privacy import Keys
from sso.sessions import Sessions
from sso.settings import Sso
from sso.storage import Storage
from sso.throttle import Throttle
from sso.tokens import Tokens
from sso.totp import SecondFactors
from sso.users import Users


@dataclass(eq=False)
class Desk:
    """The rooms that are needed to look at a password and a second factor, and to count what was wrong."""

    database: Storage
    settings: Sso
    keys: Keys
    passwords: Passwords
    users: Users
    sessions: Sessions
    factors: SecondFactors
    tokens: Tokens
    throttle: Throttle
    audit: Audit
    clock: Clock
