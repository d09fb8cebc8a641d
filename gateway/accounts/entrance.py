"""The way in: sign-up, confirmation, login, second factor, a password that has to be changed or was forgotten.

No page says whether there is an account: what is answered depends on what was typed, and on who can prove themselves (S1, S11,
S39). The same calls are made as by the API, so throttles and audit are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from gateway.accounts.page import Form, Page, Shown
from gateway.accounts.passkeys import options_of, signed
from specs.problems import Fault, Problem
from sso.login import Credentials, LoggedIn
from sso.problems import refusal
from sso.users import NewUser

if TYPE_CHECKING:
    from gateway.accounts.visit import Visit

#: What an account owes before it may be used.
_OWED: Final = ("password-change-required", "password-expired")
_SIX_DIGITS: Final = re.compile(r"[0-9]{6}", re.ASCII)

#: Gives what calls a service by its name, for a visit; None where there are no services.
#: What asks a service for a visit, and what tells one in the background.
Invoking = Callable[["Visit"], tuple[Callable[[str, Mapping[str, Any]], Any], Callable[[str, Mapping[str, Any]], Any]]]


class LogIn(Form):
    """Name and password."""

    template = "login.html"

    def show(self, visit: Visit) -> Mapping[str, Any] | str:
        """See the class."""
        if visit.problem is None and visit.logged_in:
            return visit.url("/login/continue", **visit.asked) if visit.hands_over else visit.landing
        sso = visit.sso
        options = options_of(visit, lambda: sso.webauthn.login_options(visit.caller()))
        return {"signup": visit.app is not None and visit.app.signup, "passkey": options}

    def submit(self, visit: Visit) -> Shown | str:
        """See the class."""
        required(visit, "username", "password")
        given = Credentials(visit.field("username"), visit.field("password"), device=visit.cookie("device"))
        try:
            outcome = visit.sso.login.log_in(given, visit.caller())
        except Problem as problem:
            if problem.code not in _OWED:
                raise
            return visit.url("/login/password", **visit.asked, why=problem.code)
        if isinstance(outcome, LoggedIn):
            return enter(visit, outcome)
        visit.keep("pending", outcome.login_token)
        return visit.url("/login/mfa", **visit.asked)


class LogInByPasskey(LogIn):
    """A passkey, and no name and no password."""

    def submit(self, visit: Visit) -> Shown | str:
        """See the class."""
        try:
            done = visit.sso.login.by_passkey(signed(visit), visit.caller())
        except Problem as problem:
            if problem.code != "invalid-credentials":
                raise
            raise refusal("passkey-unknown") from None
        return enter(visit, done)


class SecondFactor(Form):
    """A code or a passkey, once the password was right."""

    template = "mfa.html"

    def show(self, visit: Visit) -> Mapping[str, Any] | str:
        """See the class."""
        if not visit.cookie("pending"):
            return visit.url("/login", **visit.asked)
        sso, pending = visit.sso, visit.cookie("pending")
        options = options_of(visit, lambda: sso.webauthn.second_stage_options(pending, visit.caller()), known=True)
        coded = not options or "totp" in sso.login.methods_of(pending)
        asked = "recovery" in (visit.query.get("method"), visit.form.get("method"))
        return {"recovery": asked or not coded, "coded": coded, "passkey": options}

    def submit(self, visit: Visit) -> Shown | str:
        """See the class."""
        proof = Credentials("", "", webauthn=signed(visit))
        if not proof.webauthn:
            required(visit, "code")
            proof = _codes(visit)
        pending = visit.cookie("pending")
        try:
            done = visit.sso.login.second_stage(pending, proof, visit.caller())
        except Problem as problem:
            if problem.code in _OWED:
                visit.keep("pending", "")
                return visit.url("/login/password", **visit.asked, why=problem.code, factor="1")
            if problem.code == "invalid-credentials":
                # The token is used up, too old, or dead after five wrong codes.
                visit.keep("pending", "")
                return visit.url("/login", **visit.asked, notice="begin-again")
            raise
        return enter(visit, done)


class MustChange(Form):
    """A new password beside the present one, where the account owes it."""

    template = "must_change.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        factor = "1" in (visit.query.get("factor"), visit.form.get("factor"))
        why = visit.query.get("why") or visit.form.get("why") or ""
        return {"factor": factor, "why": why if why in _OWED else _OWED[0], "least": least_of(visit, enrolled=factor)}

    def submit(self, visit: Visit) -> Shown | str:
        """See the class."""
        required(visit, "username", "password", "new_password", *(["code"] if visit.form.get("factor") == "1" else []))
        codes = _codes(visit)
        given = Credentials(
            visit.field("username"), visit.field("password"), codes.totp_code, codes.recovery_code,
            visit.field("new_password"), visit.cookie("device"),
        )  # fmt: skip
        outcome = visit.sso.login.log_in(given, visit.caller())
        if isinstance(outcome, LoggedIn):
            return enter(visit, outcome)
        # There is a second factor after all: it is asked for on this page.
        visit.form = {**visit.form, "factor": "1"}
        raise refusal("mfa-invalid", errors=[Fault("/code", "missing", "a code of the second factor")])


class GoOn(Form):
    """For who is logged in already: whether to be known to an application, too. SECURITY: no visit alone opens a session there."""

    template = "continue.html"

    def show(self, visit: Visit) -> Mapping[str, Any] | str:
        """See the class."""
        if not visit.logged_in:
            return visit.url("/login", **visit.asked)
        return {"host": urlsplit(visit.next).netloc} if visit.hands_over else visit.landing

    def submit(self, visit: Visit) -> Shown | str:
        """See the class."""
        return visit.leave(visit.session)


class LogOut(Form):
    """The end of a session."""

    template = "logout.html"

    def show(self, visit: Visit) -> Mapping[str, Any] | str:
        """See the class."""
        return {} if visit.logged_in else visit.url("/login")

    def submit(self, visit: Visit) -> Shown | str:
        """See the class."""
        if visit.logged_in:
            visit.sso.sessions.end(visit.session.user_id, visit.session.id, visit.person())
        visit.close()
        visit.response.set_header("Clear-Site-Data", '"storage"')
        # Whoever is on the way to an application goes there as somebody else.
        where = visit.url("/login", **(visit.asked if visit.hands_over else {}), notice="logged-out")
        return where if visit.hands_over else visit.next or where


class SignUp(Form):
    """A new account. What follows looks the same whether the name and the address were free or not."""

    template = "signup.html"

    def __init__(self, invoking: Invoking) -> None:
        self.invoking = invoking

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        return {"open": visit.app is not None and visit.app.signup, "least": visit.sso.settings.password.min_length}

    def submit(self, visit: Visit) -> Shown | str:
        """See the class."""
        required(visit, "username", "email", "password")
        new = NewUser(
            visit.field("username"), visit.field("email"), visit.field("password"),
            display_name=visit.field("display_name"), language=visit.language.code,
        )  # fmt: skip
        visit.sso.signup.sign_up(new, visit.caller(), *self.invoking(visit))
        return visit.url("/signup/done", **visit.asked)


class SignedUp(Page):
    """What is to come after a sign-up."""

    template = "signed_up.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        return {"rules": visit.sso.settings.signup}


class SendAgain(Form):
    """Another letter for somebody who waits to confirm."""

    template = "send_again.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        return {}

    def submit(self, visit: Visit) -> Shown | str:
        """See the class."""
        required(visit, "identifier")
        visit.sso.signup.send_again(visit.field("identifier", 320), visit.caller())
        return visit.url("/signup/done", **visit.asked)


class Confirm(Form):
    """The link of a sign-up's letter. SECURITY: S5. Looking at it uses nothing up: scanners of mail look at every link."""

    template = "confirm.html"
    referrer = "no-referrer"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        return link_of(visit, "confirm")

    def submit(self, visit: Visit) -> Shown | str:
        """See the class."""
        state = visit.sso.signup.confirm(visit.field("token", 200), visit.caller())
        return visit.url("/login", notice="confirmed") if state == "active" else visit.url("/signup/waiting")


class Waiting(Page):
    """Everything is confirmed; a super-user decides."""

    template = "waiting.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        return {}


class Forgot(Form):
    """Asks for the letter that resets a password; the answer is always the same (S39)."""

    template = "forgot.html"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        return {"sent": visit.query.get("notice") == "sent" and visit.problem is None}

    def submit(self, visit: Visit) -> Shown | str:
        """See the class."""
        required(visit, "identifier")
        visit.sso.accounts.forgot(visit.field("identifier", 320), visit.caller())
        return visit.url("/password/forgot", **visit.asked, notice="sent")


class Reset(Form):
    """The link of that letter: another password. It logs nobody in (S40)."""

    template = "reset.html"
    referrer = "no-referrer"

    def show(self, visit: Visit) -> Mapping[str, Any]:
        """See the class."""
        key = visit.form.get("reset_key", "")
        found = {"usable": True, "token": ""} if key else link_of(visit, "reset")
        return {**found, "reset_key": key, "least": least_of(visit)}

    def submit(self, visit: Visit) -> Shown | str:
        """See the class."""
        required(visit, "new_password")
        accounts, key = visit.sso.accounts, visit.field("reset_key", 200)
        if not key:
            key = accounts.verify_reset(visit.field("token", 200), visit.caller()).reset_key
            # The link is used up now; a password that is not good enough is tried again with this.
            visit.form = {**visit.form, "reset_key": key}
        try:
            accounts.reset(key, visit.field("new_password"), visit.caller())
        except Problem as problem:
            if problem.code == "token-invalid":
                visit.form = {**visit.form, "reset_key": ""}
            raise
        return visit.url("/login", notice="password-reset")


def pages(invoking: Invoking) -> Mapping[str, Page]:
    """Where each of these is."""
    return {
        "/login": LogIn(), "/login/passkey": LogInByPasskey(), "/login/mfa": SecondFactor(),
        "/login/password": MustChange(), "/login/continue": GoOn(), "/logout": LogOut(),
        "/signup": SignUp(invoking), "/signup/done": SignedUp(), "/signup/again": SendAgain(), "/signup/confirm": Confirm(),
        "/signup/waiting": Waiting(), "/password/forgot": Forgot(), "/password/reset": Reset(),
    }  # fmt: skip


def enter(visit: Visit, done: LoggedIn) -> str:
    """Hand the session out that somebody has logged in to; where they go on to."""
    visit.open(done)
    return visit.leave(done.session)


def required(visit: Visit, *names: str) -> None:
    """Raise Problem 422 where one of these fields is empty."""
    missing = [Fault(f"/{name}", "missing", "fill this in") for name in names if not visit.form.get(name)]
    if missing:
        raise refusal("validation-failed", "some fields are empty", errors=missing)


def least_of(visit: Visit, *, enrolled: bool = False) -> int:
    """The fewest characters that a password has, of somebody who has *enrolled* a second factor or not."""
    settings = visit.sso.settings
    always = enrolled and settings.second_factor.required == "all"
    return settings.password.min_length_with_mfa if always else settings.password.min_length


def link_of(visit: Visit, kind: str) -> Mapping[str, Any]:
    """The token of a letter's link, and whether it can be used (still); looking does not use it up."""
    token = (visit.form.get("token") or visit.query.get("token") or "")[:201]
    sso = visit.sso
    found = sso.database.read(lambda connection: sso.tokens.find(connection, kind, token))
    return {"token": token, "usable": found is not None}


def _codes(visit: Visit) -> Credentials:
    """The code that was filled in, as the kind that it is."""
    code = visit.field("code", 40).strip()
    digits = code.replace(" ", "")
    return Credentials("", "", totp_code=digits) if _SIX_DIGITS.fullmatch(digits) else Credentials("", "", "", code)
