"""People's own account: profile, password, address, sessions, second factor, linked credentials, data.

What is delicate asks for a proof that is recent, and comes back to where it was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.accounts.entrance import least_of, link_of, required
from gateway.accounts.languages import LANGUAGES
from gateway.accounts.page import Form, Page, Shown, protect
from gateway.accounts.passkeys import options_of, signed
from gateway.accounts.safety import onward
from specs.problems import Fault, Problem
from sso.problems import invalid, refusal
from sso.totp import picture
from sso.users import OWN_MEMBERS

if TYPE_CHECKING:
    import falcon

    from gateway.accounts.visit import Visit

_SECRET: Final = re.compile(r"[A-Z2-7]{32}", re.ASCII)


class Own(Form):
    """A page of the account."""

    area = "account"

    def submit(self, visit: Visit) -> Shown | str:
        """Do what the button that was pressed says. Raises Problem 400 for one that there is not."""
        do = getattr(self, "do_" + visit.form.get("do", "save").replace("-", "_"), None)
        if do is None:
            raise Problem.of("bad-request", "there is no such button on this page")
        visit.user  # noqa: B018  who has no session is stopped here
        done: Shown | str = do(visit)
        return done


class Profile(Own):
    """Name, language, and what there is to be known of the account."""

    template = "profile.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        sso, user = visit.sso, visit.user
        row = sso.database.read(lambda connection: sso.users.row(connection, user.id))
        warnings = sso.database.read(lambda connection: sso.login.warnings_of(connection, row))
        return {"user": user, "warnings": warnings}

    def do_save(self, visit: Visit) -> str:
        """Change the profile."""
        changes = {"display_name": visit.field("display_name", 512), "language": visit.field("own_language", 16)}
        if changes["language"] not in LANGUAGES:
            raise invalid("own_language", "invalid", "choose one of the languages")
        visit.sso.users.change(visit.user.id, changes, visit.person(), allowed=OWN_MEMBERS)
        visit.keep("language", changes["language"])
        return visit.url("/account", notice="saved")


class Password(Own):
    """Another password."""

    template = "password.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        return {
            "user": visit.user,
            "least": least_of(visit, enrolled=visit.user.has_second_factor),
            "coded": coded(visit),
        }

    def do_save(self, visit: Visit) -> str:
        """Change it; other sessions end."""
        factor = coded(visit)
        required(visit, "current_password", "new_password", *(["code"] if factor else []))
        visit.sso.accounts.change_password(
            visit.session, visit.field("current_password"), visit.field("new_password"), visit.person(),
            totp_code=visit.field("code", 16).replace(" ", ""),
        )  # fmt: skip
        return visit.url("/account/password", notice="password-changed")


class Email(Own):
    """Another address, which counts once it is confirmed."""

    template = "email.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        visit.sso.sessions.require_recent(visit.session)
        return {"user": visit.user}

    def do_save(self, visit: Visit) -> str:
        """Have a letter sent to the new address."""
        required(visit, "email")
        visit.sso.accounts.change_email(visit.session, visit.field("email", 320), visit.person())
        return visit.url("/account/email", notice="sent")


class ConfirmEmail(Own):
    """The link of the letter that went to the new address."""

    template = "confirm_email.html"
    referrer = "no-referrer"

    def show(self, visit: Visit) -> Mapping[str, Any] | str:
        """See the class."""
        found = link_of(visit, "email")
        if not visit.logged_in:
            # WHY: the address that is come back to holds the link's token, which does nothing for anybody else.
            return visit.url("/login", next=visit.url("/account/email/confirm", token=found["token"]))
        return found

    def do_save(self, visit: Visit) -> str:
        """The new address is the address."""
        visit.sso.accounts.confirm_email(visit.session, visit.field("token", 200), visit.person())
        return visit.url("/account", notice="saved")


class OwnSessions(Own):
    """Where the person is logged in."""

    template = "sessions.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        current = visit.session.id
        found = visit.sso.sessions.list(visit.session.user_id)
        return {"sessions": sorted(found, key=lambda session: session.id != current), "current": current}

    def do_end(self, visit: Visit) -> str:
        """End one."""
        sessions = visit.sso.sessions
        sessions.require_recent(visit.session)
        sessions.end(visit.session.user_id, visit.field("id", 40), visit.person())
        return visit.url("/account/sessions", notice="ended")

    def do_end_others(self, visit: Visit) -> str:
        """End all but this one."""
        sessions = visit.sso.sessions
        sessions.require_recent(visit.session)
        sessions.end_all(visit.session.user_id, visit.person(), keep=visit.session.id)
        return visit.url("/account/sessions", notice="ended")


class OwnSecondFactor(Own):
    """One-time codes: enrolled, renewed, taken away."""

    template = "second_factor.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        sso, user = visit.sso, visit.user
        sso.sessions.require_recent(visit.session)
        row = sso.database.read(lambda connection: sso.users.row(connection, user.id))
        remaining = sso.database.read(lambda connection: sso.factors.remaining(connection, user.id))
        required = sso.factors.required_of(row)
        passkeys = bool(sso.passkeys.all(row))
        return {
            "user": user, "remaining": remaining, "required": required, "coded": coded(visit),
            "removable": passkeys or not required,
        }  # fmt: skip

    def do_enrol(self, visit: Visit) -> Shown:
        """Show a new secret, once."""
        made = visit.sso.factors.enrol(visit.session, visit.person())
        return Shown("enrol.html", {"secret": made.secret, "qr": made.qr_svg})

    def do_confirm(self, visit: Visit) -> Shown:
        """Finish with a code of that secret; show the recovery codes, once."""
        secret = visit.field("secret", 32)
        try:
            required(visit, "code")
            codes = visit.sso.factors.confirm(visit.session, visit.field("code", 16).replace(" ", ""), visit.person())
        except Problem as problem:
            if problem.code not in ("mfa-invalid", "validation-failed"):
                raise
            visit.problem = problem
            # The picture is drawn again from what the page itself held; what is confirmed is the secret that is kept here.
            uri = visit.sso.factors.uri_of(visit.session, secret) if _SECRET.fullmatch(secret) else ""
            return Shown("enrol.html", {"secret": secret if uri else "", "qr": picture(uri) if uri else ""})
        return Shown("recovery_codes.html", {"codes": codes, "fresh": True})

    def do_codes(self, visit: Visit) -> Shown:
        """Ten new recovery codes, shown once."""
        codes = visit.sso.factors.renew_recovery_codes(visit.session, visit.person())
        return Shown("recovery_codes.html", {"codes": codes, "fresh": False})

    def do_remove(self, visit: Visit) -> str:
        """Take it away."""
        visit.sso.sessions.require_recent(visit.session)
        visit.sso.factors.remove(visit.session.user_id, visit.person())
        return visit.url("/account/second-factor", notice="removed")


class OwnPasskeys(Own):
    """Passkeys: added, and taken away."""

    template = "passkeys.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        sso = visit.sso
        sso.sessions.require_recent(visit.session)
        row = sso.database.read(lambda connection: sso.users.row(connection, visit.session.user_id))
        options = options_of(visit, lambda: sso.webauthn.registration_options(visit.session))
        return {"passkeys": sso.passkeys.all(row), "passkey": options}

    def do_add(self, visit: Visit) -> Shown | str:
        """Enrol one; show the recovery codes, once, where they came with it."""
        name = visit.field("name", 100)[:100]
        done = visit.sso.webauthn.register(visit.session, signed(visit), name, visit.person())
        if done.recovery_codes:
            return Shown("recovery_codes.html", {"codes": done.recovery_codes, "fresh": True})
        return visit.url("/account/passkeys", notice="saved")

    def do_remove(self, visit: Visit) -> str:
        """Take one away."""
        visit.sso.webauthn.remove(visit.session, visit.field("id", 40), visit.person())
        return visit.url("/account/passkeys", notice="removed")


class OwnLinks(Own):
    """Credentials of other kinds that are this person's, too."""

    template = "links.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        return {"links": visit.sso.links.all(visit.session.user_id), "own": visit.sso.settings.own_links}

    def do_add(self, visit: Visit) -> str:
        """Link one that the person proves to have: a name with its password, or a key alone."""
        visit.sso.sessions.require_recent(visit.session)
        required(visit, "definition", "secret")
        name, secret = visit.field("username", 320), visit.field("secret")
        credential = {"username": name, "password": secret} if name else {"key": secret}
        definition = visit.field("definition", 200)
        visit.sso.links.add_proven(visit.session.user_id, definition, credential, visit.person())
        return visit.url("/account/links", notice="saved")

    def do_remove(self, visit: Visit) -> str:
        """Take one away."""
        visit.sso.sessions.require_recent(visit.session)
        visit.sso.links.remove(visit.session.user_id, visit.field("id", 40), visit.person())
        return visit.url("/account/links", notice="removed")


class Data(Own):
    """All that is kept of the person: to take along, or to delete."""

    template = "own_data.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        return {"user": visit.user}

    def do_export(self, visit: Visit) -> Shown | str:
        """A file of all that is kept."""
        visit.sso.sessions.require_recent(visit.session)
        found = visit.sso.users.export(visit.session.user_id, visit.person())
        return Shown("", {"file": orjson.dumps(found, option=orjson.OPT_INDENT_2)})

    def do_delete(self, visit: Visit) -> str:
        """Delete the account for good, once its name was typed."""
        visit.sso.sessions.require_recent(visit.session)
        if visit.field("username", 64) != visit.session.username:
            raise invalid("username", "other", "this is not the name of your account")
        visit.sso.users.erase(visit.session.user_id, visit.person())
        visit.close()
        visit.keep("device", "")
        return visit.url("/goodbye")

    def answer(self, visit: Visit, shown: Mapping[str, Any] | Shown | str) -> None:
        """A file, or the page."""
        if not isinstance(shown, Shown) or "file" not in shown.values:
            super().answer(visit, shown)
            return
        response: falcon.Response = visit.response
        response.content_type = "application/json"
        response.downloadable_as = f"{visit.session.username}.json"
        response.data = shown.values["file"]
        protect(visit)


class Goodbye(Page):
    """After an account was deleted."""

    template = "goodbye.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        return {}


class Prove(Own):
    """The password or a code once more, before what is delicate."""

    template = "prove.html"
    area = ""

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        asked = visit.query.get("method") or visit.form.get("method") or ""
        by_code = coded(visit)
        options = options_of(visit, lambda: visit.sso.webauthn.again_options(visit.session), known=True)
        return {
            "user": visit.user, "totp": by_code and asked == "totp", "next": visit.next, "coded": by_code,
            "passkey": options,
        }  # fmt: skip

    def do_save(self, visit: Visit) -> str:
        """Prove, and go back."""
        name = "code" if visit.form.get("method") == "totp" else "password"
        credential = signed(visit)
        if not credential:
            required(visit, name)
        password = visit.field("password") if name == "password" else ""
        code = visit.field("code", 16).replace(" ", "") if name == "code" else ""
        try:
            opened = visit.sso.login.prove_again(
                visit.session, "" if credential else password, code, visit.person(), webauthn=credential
            )
        except Problem as problem:
            if problem.code != "invalid-credentials":
                raise
            fault = Fault("/password", "wrong", "the password is wrong")
            raise refusal("invalid-credentials", errors=[fault]) from None
        visit.keep("session", opened.token)
        return onward(visit.next, visit.own_origins) or visit.url("/account")


def pages() -> Mapping[str, Page]:
    """Where each of these is."""
    return {
        "/account": Profile(), "/account/password": Password(), "/account/email": Email(),
        "/account/email/confirm": ConfirmEmail(), "/account/sessions": OwnSessions(),
        "/account/second-factor": OwnSecondFactor(), "/account/passkeys": OwnPasskeys(), "/account/links": OwnLinks(),
        "/account/data": Data(),
        "/account/prove": Prove(), "/goodbye": Goodbye(),
    }  # fmt: skip


def coded(visit: Visit) -> bool:
    """Whether the person has one-time codes."""
    sso = visit.sso
    return sso.database.read(lambda connection: sso.factors.has_codes(connection, visit.session.user_id))
