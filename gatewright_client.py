"""A client of Gatewright's single sign-on, for programs in Python: the calls of ``/sso/v1`` by their names.

    from gatewright_client import Client, SecondFactorRequired

    client = Client("https://gateway.example.org", app="crm")
    try:
        ann = client.log_in("ann", "green lamps over water")
    except SecondFactorRequired as stage:
        ann = stage.finish(totp_code="123456")
    print(ann.session.get()["user"]["email"])
    ann.attributes.set(name="colour", value="blue")
    ann.log_out()

A call is named as its service is, without ``sso.``: the service ``sso.attributes.set`` is ``ann.attributes.set(...)``, its input
by keyword, and gives the answer's JSON, or None where there is none. `CALLS` has them all. What the gateway refuses is raised
as `Problem`. A session asks for a new token by itself from time to time. This file needs nothing but Python's own library
and may be copied by itself; its objects may be shared by threads.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

__all__ = ["CALLS", "Client", "Problem", "SecondFactorRequired", "Session", "Unreachable"]

#: Every call: its name, and the method and path below ``/sso/v1``. A member that stands in the path is put there.
CALLS: dict[str, tuple[tuple[str, str], ...]] = {
    "signup": (("POST", "/signup"),),
    "signup.confirm": (("POST", "/signup/confirm"),),
    "login": (("POST", "/login"),),
    "login.mfa": (("POST", "/login/mfa"),),
    "login.webauthn.options": (("POST", "/login/webauthn/options"),),
    "login.webauthn": (("POST", "/login/webauthn"),),
    "logout": (("POST", "/logout"),),
    "config": (("GET", "/config"),),
    "password.forgot": (("POST", "/password/forgot"),),
    "password.reset.verify": (("POST", "/password/reset/verify"),),
    "password.reset": (("POST", "/password/reset"),),
    "introspect": (("POST", "/introspect"),),
    "revoke": (("POST", "/revoke"),),
    "session.get": (("GET", "/session"),),
    "session.redeem": (("POST", "/session/redeem"),),
    "session.renew": (("POST", "/session/renew"),),
    "session.reauthenticate": (("POST", "/session/reauthenticate"),),
    "session.webauthn.options": (("POST", "/session/webauthn/options"),),
    "sessions.list": (("GET", "/sessions"),),
    "sessions.end": (("DELETE", "/sessions"), ("DELETE", "/sessions/{id}")),
    "sessions.end-everybodys": (("DELETE", "/sessions/all"),),
    "me.get": (("GET", "/me"),),
    "me.change": (("PATCH", "/me"),),
    "me.delete": (("DELETE", "/me"),),
    "me.export": (("GET", "/me/export"),),
    "me.password": (("POST", "/me/password"),),
    "me.email": (("POST", "/me/email"),),
    "me.email.confirm": (("POST", "/me/email/confirm"),),
    "me.totp.enrol": (("POST", "/me/totp"),),
    "me.totp.confirm": (("POST", "/me/totp/confirm"),),
    "me.totp.remove": (("DELETE", "/me/totp"),),
    "me.recovery-codes.get": (("GET", "/me/recovery-codes"),),
    "me.recovery-codes.renew": (("POST", "/me/recovery-codes"),),
    "me.webauthn.options": (("POST", "/me/webauthn/options"),),
    "me.webauthn.add": (("POST", "/me/webauthn"),),
    "me.webauthn.list": (("GET", "/me/webauthn"),),
    "me.webauthn.change": (("PATCH", "/me/webauthn/{id}"),),
    "me.webauthn.remove": (("DELETE", "/me/webauthn/{id}"),),
    "me.links.list": (("GET", "/me/links"),),
    "me.links.add": (("POST", "/me/links"),),
    "me.links.remove": (("DELETE", "/me/links/{id}"),),
    "attributes.list": (("GET", "/me/attributes"),),
    "attributes.get": (("GET", "/me/attributes/{name}"),),
    "attributes.set": (("PUT", "/me/attributes/{name}"),),
    "attributes.delete": (("DELETE", "/me/attributes/{name}"),),
    "users.create": (("POST", "/users"),),
    "users.search": (("POST", "/users/search"),),
    "users.get": (("GET", "/users/{id}"),),
    "users.change": (("PATCH", "/users/{id}"),),
    "users.delete": (("DELETE", "/users/{id}"),),
    "users.decide": (("POST", "/users/{id}/decide"),),
    "users.require-password-change": (("POST", "/users/{id}/require-password-change"),),
    "users.send-password-reset": (("POST", "/users/{id}/send-password-reset"),),
    "users.reset-totp": (("POST", "/users/{id}/reset-totp"),),
    "users.sessions.list": (("GET", "/users/{id}/sessions"),),
    "users.sessions.end": (("DELETE", "/users/{id}/sessions"), ("DELETE", "/users/{id}/sessions/{session_id}")),
    "users.links.list": (("GET", "/users/{id}/links"),),
    "users.links.add": (("POST", "/users/{id}/links"),),
    "users.links.remove": (("DELETE", "/users/{id}/links/{link_id}"),),
    "users.attributes.list": (("GET", "/users/{id}/attributes"),),
    "users.attributes.set": (("PUT", "/users/{id}/attributes/{name}"),),
    "users.attributes.delete": (("DELETE", "/users/{id}/attributes/{name}"),),
    "apps.credentials.list": (("GET", "/apps/{app}/credentials"),),
    "apps.credentials.add": (("POST", "/apps/{app}/credentials"),),
    "apps.credentials.remove": (("DELETE", "/apps/{app}/credentials/{id}"),),
    "audit.list": (("GET", "/audit"),),
    "audit.verify": (("GET", "/audit/verify"),),
}
#: Seconds after which a session asks for a new token, the next time that it is used.
RENEW_AFTER = 600.0


class Problem(Exception):
    """What the gateway refused: *status*, the published *code*, *detail*, *errors* of single members, *cid* of the call.

    *retry_after* is in seconds, where the gateway says how long to wait; *members* is all that it told.
    """

    def __init__(self, status: int, members: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.members = dict(members)
        self.code: str = str(members.get("code", ""))
        self.detail: str = str(members.get("detail", ""))
        self.errors: list[dict[str, Any]] = list(members.get("errors") or ())
        self.cid: str = str(members.get("cid", ""))
        self.retry_after = retry_after
        super().__init__(f"{status} {self.code}: {self.detail}")


class Unreachable(Exception):
    """There was no answer: the gateway is away, or is none."""


class SecondFactorRequired(Exception):
    """The password was right. *methods* says what can be proven now, until *expires_at*; `finish` does it."""

    def __init__(self, client: Client, answer: Mapping[str, Any]) -> None:
        super().__init__("a second factor is required: " + ", ".join(answer["methods"]))
        self._client = client
        self._token: str = answer["login_token"]
        self.methods: list[str] = list(answer["methods"])
        self.expires_at: str = answer["expires_at"]

    def options(self) -> dict[str, Any]:
        """What a browser is handed to use a passkey. Raises Problem."""
        return dict(self._client.call("login.webauthn.options", login_token=self._token)["options"])

    def finish(self, **proof: Any) -> Session:
        """The session, for *totp_code*, *recovery_code* or *webauthn*; *new_password* beside it. Raises Problem."""
        return self._client._enter(self._client.call("login.mfa", login_token=self._token, **proof))


class _Calls:
    """A part of a call's name; called, it is the call. A name with a dash has an underscore here."""

    def __init__(self, call: Callable[..., Any], name: str) -> None:
        self._call = call
        self._name = name

    def __getattr__(self, part: str) -> _Calls:
        if part.startswith("_"):
            raise AttributeError(part)
        return _Calls(self._call, f"{self._name}.{part.replace('_', '-')}")

    def __call__(self, **members: Any) -> Any:
        return self._call(self._name, **members)


class Client:
    """A gateway, and the application that calls it.

    *secret* proves the application, where it has a credential. *path* is where single sign-on is; *timeout* is in seconds. *tls*
    is for gateways whose certificate is not one of the machine's authorities.
    """

    def __init__(
        self,
        url: str,
        *,
        app: str = "",
        secret: str = "",
        path: str = "/sso",
        timeout: float = 30.0,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not the address of a gateway: '{url}': write https://gateway.example.org")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/") + path.rstrip("/") + "/v1"
        self._headers = {"Accept": "application/json"}
        if app:
            self._headers["X-Gateway-App"] = app
        if secret:
            self._headers["X-Gateway-App-Secret"] = secret
        self._timeout = timeout
        self._tls = tls or (ssl.create_default_context() if self._secure else None)
        self.clock = clock

    def __getattr__(self, part: str) -> _Calls:
        if part.startswith("_"):
            raise AttributeError(part)
        return _Calls(self.call, part.replace("_", "-"))

    def log_in(self, username: str, password: str, **more: Any) -> Session:
        """A session. *more* is *totp_code* or *recovery_code*, *new_password*, *device*. Raises Problem, SecondFactorRequired."""
        return self._enter(self.call("login", username=username, password=password, **more))

    def redeem(self, code: str, verifier: str = "") -> Session:
        """The session of somebody whom the gateway's pages have sent back, for the *code* in the address. Raises Problem.

        *verifier* is that of the ``code_challenge`` that they were sent with (RFC 7636, S256).
        """
        return self._enter(self.call("session.redeem", code=code, **({"code_verifier": verifier} if verifier else {})))

    def resume(self, token: str) -> Session:
        """The session with that token, which was kept. Nothing is asked: the first call tells whether it is alive."""
        return Session(self, token)

    def call(self, name: str, /, **members: Any) -> Any:
        """The answer to a call of `CALLS`, as nobody. Raises Problem, Unreachable."""
        return self.send(name, members)

    def send(self, name: str, members: Mapping[str, Any], token: str = "") -> Any:
        """The answer to a call with *members*, as the person of the session *token*. Raises Problem, Unreachable."""
        method, path, rest = _placed(name, members)
        headers, body = dict(self._headers), None
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if method == "GET":
            path += "?" + urlencode({key: _text(value) for key, value in rest.items()}) if rest else ""
        elif rest or method != "DELETE":
            headers["Content-Type"], body = "application/json", json.dumps(rest).encode()
        status, told, wait = self._exchange(method, self._path + path, headers, body)
        if status >= 400:
            raise Problem(status, told if isinstance(told, dict) else {}, wait)
        return told

    def _enter(self, answer: Mapping[str, Any]) -> Session:
        if answer["status"] == "mfa_required":
            raise SecondFactorRequired(self, answer)
        return Session(self, answer["token"], answer)

    def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Any, float | None]:
        connection: http.client.HTTPConnection
        if self._secure:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            connection.request(method, target, body, dict(headers))
            answer = connection.getresponse()
            content, wait = answer.read(), answer.headers.get("Retry-After", "")
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self._host}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        try:
            told = json.loads(content) if content else None
        except ValueError:
            if answer.status < 400:
                raise Unreachable(f"{self._host}: this is no answer of a gateway") from None
            told = None
        return answer.status, told, float(wait) if wait.isdigit() else None


class Session:
    """Somebody who has logged in. *token* is what to keep of it; *user*, *device* and *warnings* are what the login told."""

    def __init__(self, client: Client, token: str, answer: Mapping[str, Any] | None = None) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._renewed = client.clock()
        self.token = token
        self.user: dict[str, Any] = dict((answer or {}).get("user") or {})
        self.device: str = (answer or {}).get("device") or ""
        self.warnings: list[dict[str, Any]] = list((answer or {}).get("warnings") or ())

    def __getattr__(self, part: str) -> _Calls:
        if part.startswith("_"):
            raise AttributeError(part)
        return _Calls(self.call, part.replace("_", "-"))

    def call(self, name: str, /, **members: Any) -> Any:
        """The answer to a call of `CALLS`, as this person. Raises Problem, Unreachable."""
        if name == "session.renew":
            return self.renew()
        if name == "session.reauthenticate":
            return self.prove_again(**members)
        if self._client.clock() - self._renewed > RENEW_AFTER:
            self.renew(unless_since=self._renewed)
        return self._client.send(name, members, self.token)

    def renew(self, *, unless_since: float | None = None) -> None:
        """A new token; once, however many threads ask at a time. The session's absolute end stays. Raises Problem."""
        with self._lock:
            if unless_since is not None and self._renewed != unless_since:
                return
            self._take(self._client.send("session.renew", {}, self.token))

    def prove_again(self, **proof: Any) -> None:
        """Prove *password*, *totp_code* or *webauthn* once more, for what is delicate. Raises Problem."""
        with self._lock:
            self._take(self._client.send("session.reauthenticate", proof, self.token))

    def log_out(self, scope: str = "this") -> None:
        """End this session, the ``others``, or ``all``. Raises Problem."""
        self._client.send("logout", {"scope": scope}, self.token)

    def _take(self, answer: Mapping[str, Any]) -> None:
        self.token = answer["token"]
        self._renewed = self._client.clock()


def _placed(name: str, members: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The method and path of a call, and those of *members* that are not in its path. Raises TypeError, AttributeError."""
    if name not in CALLS:
        raise AttributeError(f"there is no call '{name}': see gatewright_client.CALLS")
    rest = dict(members)
    # With an id one session is ended, without one all others: the longer path is the one that is meant.
    for method, path in reversed(CALLS[name]):
        wanted = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        if not all(one in rest for one in wanted):
            continue
        values = {one: quote(str(rest.pop(one) or ""), safe="") for one in wanted}
        if not all(values.values()):
            # WHY: an id that is missing by mistake must not end everything.
            raise TypeError(f"{name}: {', '.join(wanted)} cannot be empty")
        return method, path.format(**values), rest
    raise TypeError(
        f"{name} needs {', '.join(part[1:-1] for part in CALLS[name][0][1].split('/') if part.startswith('{'))}"
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
