"""One request to the pages: who asks, for which application, in which language; what they have filled in; where they may go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import parse_qsl, unquote_plus, urlencode

from gateway.accounts import cookies, safety
from gateway.accounts.languages import LANGUAGES, choose
from specs.exchange import Identity
from specs.problems import Problem
from sso.audit import Caller
from sso.browsers import origin_of
from sso.handover import CHALLENGE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    import falcon

    from specs.exchange import Exchange
    from sso.login import LoggedIn
    from sso.sessions import Session
    from sso.settings import AppRules
    from sso.system import SingleSignOn
    from sso.users import User

FORM: Final = "application/x-www-form-urlencoded"
_MOST_BODY: Final = 65_536
_MOST_FIELDS: Final = 40
#: What an address says beside the language.
_KEPT: Final = ("token", "method", "why", "factor", "actor", "target", "action", "before")


class Visit:
    """A request below *mount*, and the answer to it. *public_url* is where people reach the gateway."""

    def __init__(
        self, request: falcon.Request, response: falcon.Response, mount: str, public_url: str, sso: SingleSignOn
    ) -> None:
        self.request = request
        self.response = response
        self.mount = mount
        self.public_url = public_url
        self.sso = sso
        self.exchange: Exchange = request.env["gatewright.exchange"]
        self.secure = self.exchange.scheme == "https" or public_url.startswith("https:")
        self.path: str = request.path
        self.query = _fields(request.query_string)
        #: What the path names, and what was filled in.
        self.parts: Mapping[str, str] = {}
        self.form: Mapping[str, str] = {}
        self.problem: Problem | None = None
        chosen = self.query.get("language", "")
        if chosen in LANGUAGES:
            self.keep("language", chosen)
        accepted = request.get_header("Accept-Language") or ""
        self.language = choose(accepted, chosen or self.cookie("language"), sso.settings.pages.language)

    @classmethod
    def of(cls, request: falcon.Request) -> Self:
        """The visit that a request is."""
        found: Self = request.context.visit
        return found

    # Cookies

    def cookie(self, kind: str) -> str:
        """The value of a cookie of ours; empty where there is none."""
        return cookies.read(self.request, kind, secure=self.secure)

    def keep(self, kind: str, value: str) -> None:
        """Set a cookie; take it away where *value* is empty."""
        cookies.write(self.response, kind, value, secure=self.secure)

    # Forms

    @property
    def own_origins(self) -> tuple[str, ...]:
        """The origins that are this gateway's own."""
        host = self.exchange.headers.get("host", "")
        return origin_of(self.public_url), origin_of(f"{self.exchange.scheme}://{host}")

    @cached_property
    def form_token(self) -> str:
        """What a form of this answer carries; the cookie that it is bound to is set where there is none yet."""
        nonce = self.cookie("form")
        if not _is_nonce(nonce):
            nonce = self.new_form_cookie()
        return safety.form_token(self.sso.keys, nonce)

    def new_form_cookie(self) -> str:
        """Bind forms anew: those that were open before are no longer taken."""
        nonce = self.sso.keys.randomness(16).hex()
        self.keep("form", nonce)
        return nonce

    def take_form(self) -> bool:
        """Read the form that was sent; False where it was open for too long.

        Raises Problem 403 where it came from elsewhere, 413 and 415. Nothing else is looked at before this (S19).
        """
        if safety.from_elsewhere(self.exchange.headers, self.own_origins):
            safety.refuse_forgery()
        if self.exchange.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
            safety.refuse_forgery()
        # WHY: the channel has read it already, and a longer one was refused there.
        self.form = _fields(self.request.stream.read(_MOST_BODY).decode("utf-8", "replace"))
        nonce = self.cookie("form")
        if not self.exchange.headers.get("cookie") or "form" not in self.form:
            safety.refuse_forgery()
        return safety.is_ours(self.sso.keys, nonce, self.form["form"])

    def field(self, name: str, most: int = 4096) -> str:
        """What was filled in; empty where nothing was. Of a text that is longer than *most* no more is read than that it is."""
        return self.form.get(name, "")[: most + 1]

    # Who asks

    @property
    def app(self) -> AppRules | None:
        """The application that people log in to: the one that is asked for, else the usual one; None where there is none."""
        asked = self.form.get("app") or self.query.get("app") or ""
        return self.sso.settings.app_of(asked[:100])

    def caller(self) -> Caller:
        """Where this comes from, nobody proven. WHY: the pages are ours, so that no application proves itself to show them."""
        asked = self.form.get("app") or self.query.get("app") or ""
        if self.app is None:
            return self._caller(asked[:100])
        return replace(self._caller(self.app.name), unproven=self.app.credential)

    def _caller(self, app: str, reason: str = "") -> Caller:
        exchange = self.exchange
        agent = exchange.headers.get("user-agent", "")[:200]
        return Caller(app=app, address=exchange.address, user_agent=agent, cid=exchange.cid, reason=reason)

    @cached_property
    def session(self) -> Session:
        """The session that the cookie is of. Raises Problem 401."""
        found = self.sso.sessions.check(self.cookie("session"), self._caller(""))
        # The log says whose request it was.
        self.exchange.identity = Identity(
            found.username.lower(), "user", "sso", frozenset(found.roles), user=found.user_id
        )
        return found

    @property
    def logged_in(self) -> bool:
        """Whether there is a session."""
        try:
            return bool(self.cookie("session") and self.session)
        except Problem:
            return False

    def person(self, reason: str = "") -> Caller:
        """Whose session this is, as the caller. Raises Problem 401."""
        return replace(self._caller(self.session.app, reason), actor=self.session.user_id)

    @cached_property
    def user(self) -> User:
        """Whose session this is. Raises Problem 401."""
        return self.sso.users.get(self.session.user_id)

    def open(self, done: LoggedIn) -> None:
        """Hand out a new session. SECURITY: S18. Whatever cookies were there before are replaced, those of forms as well."""
        self.keep("session", done.token)
        self.keep("device", done.device)
        self.keep("pending", "")
        self.new_form_cookie()

    def close(self) -> None:
        """Take the session's cookies away."""
        for kind in ("session", "pending"):
            self.keep(kind, "")
        self.new_form_cookie()

    # Where to

    def url(self, path: str, **query: str) -> str:
        """The address of a page; what is empty is left out of *query*."""
        given = {name: value for name, value in query.items() if value}
        return f"{self.mount}{path}" + (f"?{urlencode(given)}" if given else "")

    def in_language(self, code: str) -> str:
        """The address of this page in another language."""
        kept = {name: self.query[name][:300] for name in _KEPT if name in self.query}
        return self.url(self.path, language=code, **self.asked, **kept)

    @cached_property
    def next(self) -> str:
        """Where people wanted to go, if they may be sent there; empty otherwise (S20)."""
        wanted = self.form.get("next") or self.query.get("next") or ""
        return safety.onward(wanted, self._places)

    @property
    def landing(self) -> str:
        """Where people are after a login."""
        return self.next or self.sso.settings.pages.home or self.url("/account")

    @property
    def hands_over(self) -> bool:
        """Whether who goes on from here takes a code along, by which their application gets a session of its own."""
        return self.sso.handover.wanted(self.app, self.next)

    def leave(self, session: Session) -> str:
        """Where whoever has logged in goes on to, with the code where one is due. Raises Problem 403."""
        if not self.hands_over:
            return self.landing
        code = self.sso.handover.issue(session, self.caller(), self._challenge)
        # WHY: a fragment is the browser's own, so what a server reads stands before it.
        place, mark, fragment = self.next.partition("#")
        path, _, query = place.partition("?")
        # SECURITY: the link may be anybody's. Of two codes an application may take the one that was in it, and its session.
        others = [pair for pair in query.split("&") if pair and unquote_plus(pair.partition("=")[0]) != "code"]
        return f"{path}?{'&'.join([*others, urlencode({'code': code})])}{mark}{fragment}"

    @property
    def _places(self) -> Sequence[str]:
        own = self.app.origins if self.app is not None else ()
        return (*self.own_origins, *self.sso.settings.pages.origins, *own)

    @property
    def asked(self) -> dict[str, str]:
        """What every page on the way to a login hands on: where to, and for which application."""
        app = self.app if self.form.get("app") or self.query.get("app") else None
        return {
            "next": self.next, "app": app.name if app is not None else "",
            "code_challenge": self._challenge if self.hands_over else "",
        }  # fmt: skip

    @property
    def _challenge(self) -> str:
        """What the application wants its code to be bound to."""
        return (self.form.get("code_challenge") or self.query.get("code_challenge") or "")[:CHALLENGE_LENGTH]


def _fields(text: str) -> dict[str, str]:
    """The fields of a query or a form by name; the first of each, and no more than there can be."""
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="replace")
    except ValueError:
        return found
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def _is_nonce(text: str) -> bool:
    return len(text) == 32 and not text.strip("0123456789abcdef")
