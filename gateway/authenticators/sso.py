"""People who have logged in: the token of their session, in ``Authorization`` or in the session's cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from gateway import authenticators
from gateway.authenticators import Rejected, Tools, Unsuited
from gateway.configuration.parts import Texts
from specs.problems import ConfigurationError, Problem
from specs.settings import setting
from sso.applications import SECRET_HEADER
from sso.audit import Caller
from sso.browsers import cookie_name, origin_of, refuse_forgery, session_cookie
from sso.sessions import PREFIX

if TYPE_CHECKING:
    from gateway.configuration.kinds import Sso
    from specs.exchange import Exchange, Identity
    from sso.recognition import Proof

_BEARER = f"bearer {PREFIX}"


class Authenticator(authenticators.Authenticator):
    """People come with their session: as a bearer token, or by the cookie that they got when they logged in.

    # SECURITY: a cookie is sent by whatever page asks a browser to; a call that changes something has to come from a page of
    # ours, which is looked at before the session is (`sso.browsers`).
    """

    word = "sso"
    guessed = False  # a token has 256 bits, and browsers go on sending the cookie of a session that is over

    class Settings(authenticators.Authenticator.Settings):
        """Settings of a definition of type sso."""

        apps: Texts = setting("applications whose sessions are taken; any if left out", default=[])
        second_factor: bool = setting("whether only sessions are taken that a second factor has proven", default=False)
        cookie: bool = setting("whether the cookie of a browser is taken beside a bearer token", default=True)
        origins: Texts = setting("origins of further pages that may call with the cookie", default=[])

        def check(self, path: str) -> None:
            """Raises ConfigurationError."""
            for position, origin in enumerate(self.origins):
                if origin_of(origin) != origin:
                    raise ConfigurationError(
                        f"{path}.origins[{position}]", f"not an origin: '{origin}'", "write https://app.example.com"
                    )

    def __init__(self, name: str, settings: Any, tools: Tools) -> None:
        super().__init__(name, settings, tools)
        if tools.people is None:
            raise ConfigurationError(f"security.{name}", "single sign-on is off", "write sso: {enabled: true}")
        self._people = tools.people
        self._apps = frozenset(settings.apps)
        self._secure = self._people.secure
        self._origins = {*self._people.origins, *settings.origins}
        people = cast("Sso", self._people.settings)
        if settings.cookie and people.pages.enabled:
            self.login_page = f"{people.path.rstrip('/')}/login"

    @property
    def cookie(self) -> str:
        """The name of the cookie that is taken beside a bearer token; empty where none is."""
        return cookie_name(secure=self._secure) if self.settings.cookie else ""

    @property
    def challenge(self) -> str:
        return f'Bearer realm="{self.name}"'

    def identify(self, exchange: Exchange) -> Identity | None:
        people = self._people
        known: tuple[Identity, Proof] | None = exchange.kept.get(self)
        if known is not None and people.recognition.holds(known[1], exchange.address):
            return known[0]
        headers = exchange.headers
        token = headers.get("authorization", "")
        if token[: len(_BEARER)].lower() == _BEARER:
            token = token[len("bearer ") :].rstrip()
        elif self.settings.cookie and "cookie" in headers:
            token = session_cookie(headers["cookie"], secure=self._secure)
            if not token:
                return None
            self._refuse_forgery(exchange, token)
        else:
            return None
        try:
            app = people.applications.claimed_by(headers)
            caller = Caller(app, exchange.address, headers.get("user-agent", "")[:200], exchange.cid)
            found, proof = people.recognition.prove_token(token, caller, self.name)
        except Problem as problem:
            if problem.status != 401:
                raise
            raise Rejected(spent=True) from None
        session = found.session
        if session is None or (self._apps and session.app not in self._apps):
            raise Unsuited(403, "forbidden", "this session is of another application")
        if self.settings.second_factor and session.level < 2:
            raise Unsuited(403, "mfa-required", "log in with a second factor, or enrol one first")
        # SECURITY: S24. All that was looked at above is of the head and of this definition, but for what the proof stands on; and
        # for an application's secret, which is looked up with each call.
        if proof is not None and SECRET_HEADER not in headers:
            exchange.kept[self] = (found.identity, proof)
        return found.identity

    def _refuse_forgery(self, exchange: Exchange, token: str) -> None:
        own = f"{exchange.scheme}://{exchange.headers.get('host', '').lower()}"
        refuse_forgery(
            exchange.method,
            exchange.headers,
            {*self._origins, own},
            by_cookie=True,
            proves=lambda given: self._people.proves_form(token, given),
        )
