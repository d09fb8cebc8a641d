"""Pages: a path, and all below it, leads to an application for people, such as the documentation."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from gateway import channels, wsgi
from gateway.channels import Route
from gateway.configuration.parts import Methods, PathTemplate
from gateway.pages import HEADERS, POLICY, Pages
from specs import negotiation
from specs.formats import json_
from specs.names import Many
from specs.problems import ConfigurationError, Problem, nearest
from specs.registry import Registry
from specs.settings import setting

if TYPE_CHECKING:
    from specs.exchange import Exchange

APPLICATIONS = Registry("application", "gateway.pages", "Pages")
_JSON = json_.Format()
_MOST_BODY = 1 << 20


class Application(str):
    """The word of an application in `gateway.pages`."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        words = APPLICATIONS.words()
        if value not in words:
            raise ConfigurationError(path, f"no application called {value!r}", nearest(str(value), words))
        return cls(value)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"enum": APPLICATIONS.words()}


class Paths(Many):
    """Paths of the public listener."""

    __slots__ = ()
    item = PathTemplate


class Channel(channels.Channel):
    """An application for people below a path; it is admitted, secured, limited and logged as any other channel."""

    word = "pages"

    class Settings(channels.Channel.Settings):
        """Settings of a channel of pages."""

        application: Application = setting(
            "what is shown: docs, the documentation, or accounts, the pages of single sign-on", default="docs"
        )
        methods: Methods | None = setting("HTTP methods that reach the application", default=["GET"])
        also: Paths = setting("further paths that lead to the application", default=[])

    def __init__(self, name: str, settings: Any, pages: Pages) -> None:
        super().__init__(name, settings)
        self.pages = pages

    @classmethod
    def build(cls, name: str, settings: Any, runtimes: Mapping[str, Any], public_url: str) -> Self:
        made: Pages = APPLICATIONS.get(settings.application, f"channels.{name}.application")(settings.path, public_url)
        return cls(name, settings, made)

    def routes(self) -> Iterator[Route]:
        hosts, methods = tuple(self.settings.host), tuple(self.settings.methods or ("GET",))
        yield Route(self.settings.path, methods, hosts, prefix=True)
        for path in self.settings.also:
            yield Route(path, methods, hosts)

    def read(self, exchange: Exchange) -> None:
        if exchange.body_length:
            exchange.body = exchange.read_body(self.settings.max_body or _MOST_BODY)

    def run(self, exchange: Exchange) -> None:
        wsgi.call(self.pages.application, exchange, exchange.body, self.pages.mount)

    def write(self, exchange: Exchange) -> None:
        # An application may be stricter than all of them are.
        said = {name.lower() for name, _ in exchange.response_headers}
        exchange.response_headers.extend(header for header in HEADERS if header[0].lower() not in said)
        exchange.response_headers.extend(exchange.limit_headers)

    def refuse(self, exchange: Exchange, problem: Problem) -> None:
        body, content_type = _JSON.render_problem(problem, exchange.cid)
        headers = [*problem.headers, *HEADERS, ("Cache-Control", "no-store"), *exchange.limit_headers]
        if _wants_html(exchange.headers.get("accept", "")):
            way_in = self._way_in(exchange) if problem.status == 401 else ""
            body, content_type = _page(problem, exchange.cid, way_in), "text/html; charset=utf-8"
            headers.append(("Content-Security-Policy", POLICY))
        exchange.response_status = problem.status
        exchange.response_headers = [("Content-Type", content_type), *headers]
        exchange.response_body = body

    def _way_in(self, exchange: Exchange) -> str:
        """The URL of a page on which who reads this can log in, to come back here; empty where there is none."""
        found = next((one.login_page for one in self.security.definitions if one.login_page), "")
        if not found or exchange.method not in ("GET", "HEAD"):
            return found
        query = f"?{exchange.query_string}" if exchange.query_string else ""
        return f"{found}?next={quote(quote(exchange.path) + query, safe='')}"


def _wants_html(accept: str) -> bool:
    ranges = dict(negotiation.parse_accept(accept)) if accept else {}
    return ranges.get("text/html", 0) > 0


def _page(problem: Problem, cid: str, way_in: str) -> bytes:
    """A problem for people: no style, no script, nothing that could fail. *way_in* is where they can log in."""
    title, detail = html.escape(problem.title), html.escape(problem.detail)
    link = f'<p><a href="{html.escape(way_in)}">Log in</a></p>' if way_in else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"></head>'
        f"<body><main><h1>{title}</h1><p>{detail}</p>{link}"
        f"<p>Status {problem.status}, code <code>{html.escape(problem.code)}</code>; "
        f"the id of this call is <code>{html.escape(cid)}</code>.</p></main></body></html>"
    ).encode()
