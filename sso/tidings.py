"""Which actions of the audit change who is known by what: sessions, accounts, links, attributes. Others are quiet.

>>> is_quiet("user.read"), is_quiet("user.lock"), is_quiet("something.new")
(True, False, False)
"""

from __future__ import annotations

from typing import Final

#: What changes nothing of a session, an account, a link or an attribute. PERF: a failed login makes nobody's copies stale.
_QUIET: Final = frozenset((
    "login.password", "login.second-factor", "user.read", "user.search", "user.export", "user.create", "user.sign-up",
    "password.forgot", "password.reset-begin", "email.change-begin", "totp.enrol", "recovery-codes.renew",
))  # fmt: skip
#: What is remembered of everybody is stale after these; that somebody has no link is remembered, too, and so are the credentials
#: of applications, which are of no user.
EVERYBODYS: Final = frozenset(("session.end-everybodys", "link.add", "link.remove", "app.credential-remove"))


def is_quiet(action: str) -> bool:
    """Whether nothing that is remembered of anybody is stale after that action."""
    return action in _QUIET or action.startswith("refused ")
