"""The accounts: pages on which people sign up, log in and look after their account, and super-users after everybody's.

Every page works without a script. `gateway.accounts` has the rooms: what is done is done by the same calls as the API's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import falcon

from gateway import pages
from gateway.accounts import administration, entrance, own
from gateway.accounts.page import FOLDER, Page, show_problem
from gateway.accounts.visit import Visit
from gateway.documentation.assets import mark, readable, tints
from specs.exchange import Call, Exchange
from specs.problems import Problem

if TYPE_CHECKING:
    from sso.settings import PageRules
    from sso.system import SingleSignOn

_CSS = "text/css; charset=utf-8"
_FILES = {"accounts.css": _CSS, "chevron.svg": "image/svg+xml", "passkeys.js": "text/javascript; charset=utf-8"}


class Pages(pages.Pages):
    """The accounts of the people of a gateway."""

    word = "accounts"

    def __init__(self, mount: str, public_url: str) -> None:
        super().__init__(mount, public_url)
        self.application = falcon.App(media_type=falcon.MEDIA_HTML, middleware=[self])
        self.application.req_options.strip_url_path_trailing_slash = True
        for path, page in self._pages().items():
            self.application.add_route(path, page)
        self.application.add_route("/assets/{name}", Assets())
        for kind in (Exception, falcon.HTTPError):
            self.application.add_error_handler(kind, self._stop)

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Begin a visit."""
        request.context.visit = Visit(request, response, self.mount, self.public_url, people_of(request))

    def _pages(self) -> Mapping[str, Any]:
        return {
            "/": Start(),
            "/.well-known/change-password": ChangePassword(),
            **entrance.pages(_invoking),
            **own.pages(),
            **administration.pages(),
        }

    def _stop(
        self, request: falcon.Request, response: falcon.Response, error: Exception, parts: Mapping[str, Any]
    ) -> None:
        """What the router refuses is shown as a page; everything else is the pipeline's to answer."""
        if not isinstance(error, falcon.HTTPError) or not hasattr(request.context, "visit"):
            raise error
        status = error.status_code
        if request.path.startswith("/v1/"):
            # A program that has mistaken a path of the API is answered as the API does.
            raise Problem.of("no-such-path", "no channel has this path") from None
        if status == 405:
            headers = [(name, value) for name, value in (error.headers or {}).items() if name.lower() == "allow"]  # type: ignore[union-attr]
            problem = Problem.of("method-not-allowed", "this page is not asked for in this way", headers=headers)
        else:
            problem = Problem.of("not-found" if status == 404 else "bad-request", "there is no such page")
        show_problem(Visit.of(request), problem)


class Start(Page):
    """The front door: the account of whoever has a session, else the login."""

    def show(self, visit: Visit) -> str:
        """See the class."""
        return visit.url("/account" if visit.logged_in else "/login")


class ChangePassword(Page):
    """Where password managers send people."""

    def show(self, visit: Visit) -> str:
        """See the class."""
        return visit.url("/account/password")


class Assets:
    """Style sheets and the logo."""

    def on_get(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        """Answer with the file of that name."""
        settings = people_of(request).settings
        if name in _FILES:
            response.content_type, response.data = _FILES[name], _file(name)
        elif name == "brand.css":
            response.content_type, response.data = _CSS, brand(settings.pages).encode()
        elif name == "logo":
            found = mark(settings.pages.logo, settings.site_name, settings.pages.colour)
            response.content_type, response.data = found.content_type, found.body
        else:
            raise falcon.HTTPNotFound
        # What pages ask for has a digest of it in its address (`gateway.accounts.page`): another content is another address.
        response.set_header("Cache-Control", "public, max-age=86400")
        response.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")


def brand(rules: PageRules) -> str:
    """The style sheet of the settings: their colour, made readable on each ground, and their own rules."""
    light, dark = tints(rules.colour)
    return (
        f":root {{ --accent: {light}; --solid: {readable(rules.colour, (255, 255, 255))}; }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ --accent: {dark}; }} }}\n{rules.css}\n"
    )


def people_of(request: falcon.Request) -> SingleSignOn:
    """Single sign-on of the snapshot that a request reads. Raises Problem 404 where it is off."""
    exchange: Exchange = request.env["gatewright.exchange"]
    found = exchange.snapshot.executor.platform.sso
    if not found:
        raise Problem.of("not-found", "single sign-on is off: switch it on by sso.enabled")
    people: SingleSignOn = found
    return people


def _invoking(visit: Visit) -> tuple[Callable[[str, Mapping[str, Any]], Any], Callable[[str, Mapping[str, Any]], Any]]:
    """What asks a service for a visit, and what tells one in the background."""
    executor = visit.exchange.snapshot.executor

    def invoke(name: str, payload: Mapping[str, Any]) -> Any:
        return executor.perform(Call(name, payload=payload, cid=visit.exchange.cid)).payload

    return invoke, executor.invoke_async


@cache
def _file(name: str) -> bytes:
    return (FOLDER / "static" / name).read_bytes()
