"""The pages of super-users: who waits for approval, who there is, where they are logged in, what the audit says.

Every look at somebody's data is audited, with the reason where one was given; who is no super-user is refused, and that is
audited too (S7).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway.accounts.own import Own
from gateway.accounts.page import Form, Page, Shown
from sso.workflow import TRANSITIONS

if TYPE_CHECKING:
    from gateway.accounts.visit import Visit
    from sso.audit import Caller

_WAITING: Final = ("unapproved", "new")
_STATES: Final = ("active", "locked", "unapproved", "new", "unconfirmed", "rejected")
_PER_PAGE: Final = 25


def super_user(visit: Visit, what: str) -> Caller:
    """The super-user whose session this is, as the caller. Raises Problem 401 and 403."""
    caller = visit.person(visit.field("reason", 500))
    visit.sso.require_super_user(visit.session, caller, what)
    return caller


class Start(Page):
    """The first of them."""

    def show(self, visit: Visit) -> str:
        """See the class."""
        super_user(visit, "pages.administration")
        return visit.url("/admin/approvals")


class Approvals(Own):
    """Who waits for a decision."""

    template = "approvals.html"
    area = "admin"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        caller = super_user(visit, "pages.approvals")
        found = [user for state in _WAITING for user in visit.sso.users.search({}, caller, state=state, most=100)]
        return {"found": sorted(found, key=lambda user: user.created_at)}

    def do_approve(self, visit: Visit) -> str:
        """Let somebody in."""
        return self._decide(visit, "approve")

    def do_reject(self, visit: Visit) -> str:
        """Let somebody not in."""
        return self._decide(visit, "reject")

    def _decide(self, visit: Visit, event: str) -> str:
        caller = super_user(visit, "pages.approvals")
        visit.sso.users.decide(visit.field("id", 40), event, caller)
        return visit.url("/admin/approvals", notice="done")


class People(Form):
    """Who there is. SECURITY: what is searched for is personal, so it is sent in a form and is in no address."""

    template = "people.html"
    area = "admin"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        super_user(visit, "pages.people")
        return self._found(visit)

    def submit(self, visit: Visit) -> Shown:
        """Search."""
        super_user(visit, "pages.people")
        return Shown(self.template, self._found(visit))

    def _found(self, visit: Visit) -> Mapping[str, Any]:
        wanted, state, after = visit.field("q", 320).strip(), visit.form.get("state", ""), visit.field("after", 40)
        state = state if state in _STATES else ""
        shown = {"q": wanted, "state": state, "states": _STATES, "found": [], "more": ""}
        if visit.problem is not None:
            return shown
        query = {"email" if "@" in wanted else "username": wanted} if wanted else {}
        found = visit.sso.users.search(
            query, super_user(visit, "pages.people"), prefix=True, state=state, after=after, most=_PER_PAGE
        )
        return {**shown, "found": found, "more": found[-1].id if len(found) == _PER_PAGE else ""}


class Person(Own):
    """One of them."""

    template = "person.html"
    area = "admin"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        sso, caller = visit.sso, super_user(visit, "pages.person")
        user = sso.users.get(_id(visit), caller)
        return {
            "user": user, "own": user.id == visit.session.user_id, "sessions": sso.sessions.list(user.id),
            "links": sso.links.all(user.id), "current": visit.session.id,
            "may": [event for (state, event) in TRANSITIONS if state == user.state and TRANSITIONS[state, event] != state],
        }  # fmt: skip

    def do_approve(self, visit: Visit) -> str:
        """Let them in."""
        return self._decide(visit, "approve")

    def do_reject(self, visit: Visit) -> str:
        """Let them not in."""
        return self._decide(visit, "reject")

    def do_lock(self, visit: Visit) -> str:
        """Lock them out; their sessions end."""
        return self._decide(visit, "lock")

    def do_unlock(self, visit: Visit) -> str:
        """Let them in again."""
        return self._decide(visit, "unlock")

    def do_require_change(self, visit: Visit) -> str:
        """Have them choose another password."""
        visit.sso.users.require_change(_id(visit), super_user(visit, "pages.person"))
        return self._back(visit)

    def do_send_reset(self, visit: Visit) -> str:
        """Have the letter sent that resets their password."""
        caller = super_user(visit, "pages.person")
        visit.sso.accounts.forgot(visit.sso.users.get(_id(visit), caller).username, caller)
        return self._back(visit)

    def do_reset_totp(self, visit: Visit) -> str:
        """Take their second factor away; their sessions end."""
        visit.sso.factors.remove(_id(visit), super_user(visit, "pages.person"), forced=True)
        return self._back(visit)

    def do_end(self, visit: Visit) -> str:
        """End one of their sessions."""
        visit.sso.sessions.end(_id(visit), visit.field("id", 40), super_user(visit, "pages.person"))
        return self._back(visit)

    def do_end_all(self, visit: Visit) -> str:
        """End all of their sessions."""
        caller = super_user(visit, "pages.person")
        visit.sso.sessions.end_all(visit.sso.users.get(_id(visit), caller).id, caller)
        return self._back(visit)

    def _decide(self, visit: Visit, event: str) -> str:
        visit.sso.users.decide(_id(visit), event, super_user(visit, "pages.person"))
        return self._back(visit)

    def _back(self, visit: Visit) -> str:
        return visit.url(f"/admin/users/{_id(visit)}", notice="done")


def _id(visit: Visit) -> str:
    return visit.parts["user_id"][:40]


class AuditTrail(Own):
    """What was done, by whom, to whom."""

    template = "audit.html"
    area = "admin"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        super_user(visit, "pages.audit")
        asked = {name: visit.query.get(name, "")[:64].strip() for name in ("actor", "target", "action")}
        before = visit.query.get("before", "")
        number = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else 0
        found = visit.sso.audit.find(
            actor=asked["actor"], target=asked["target"], action=asked["action"], before=number, most=50
        )
        return {
            **asked,
            "found": found,
            "more": str(found[-1]["sequence"]) if len(found) == 50 else "",
            "verdict": None,
        }

    def do_verify(self, visit: Visit) -> Shown:
        """Check every record."""
        super_user(visit, "pages.audit")
        return Shown(self.template, {**self.show(visit), "verdict": visit.sso.audit.verify()})


def pages() -> Mapping[str, Page]:
    """Where each of these is."""
    return {
        "/admin": Start(), "/admin/approvals": Approvals(), "/admin/users": People(), "/admin/users/{user_id}": Person(),
        "/admin/audit": AuditTrail(),
    }  # fmt: skip
