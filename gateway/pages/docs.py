"""The documentation: pages for people, and the documents that they are made from for programs.

SECURITY: A51. What a reader gets depends on who they are. Every answer but for the style sheets is therefore private, is asked
for again each time (``no-cache``), and its entity tag is a digest of what was sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import falcon
import gevent
from gevent.event import AsyncResult

from gateway import pages
from gateway.documentation import files
from gateway.documentation.assets import asset
from gateway.documentation.audience import Audience, Shown
from gateway.documentation.site import Site, _environment, quoted
from gateway.pages import POLICY
from specs.documents import openapi
from specs.problems import BackendUnavailable, Problem

if TYPE_CHECKING:
    from backends.changelog import Release
    from gateway.snapshot import Snapshot
    from specs.exchange import Exchange

HTML = "text/html; charset=utf-8"
#: SECURITY: the console runs a script, our own, and calls this host; its pictures are data in its own style sheet.
CONSOLE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
CATALOG = "application/linkset+json"


class Pages(pages.Pages):
    """The documentation of the snapshot that a request reads."""

    word = "docs"

    def __init__(self, mount: str, public_url: str) -> None:
        super().__init__(mount, public_url)
        self._audience: Audience | None = None
        self._examples: Any = None
        self._releases: tuple[Snapshot, list[Release]] | None = None
        self._documents: dict[Any, AsyncResult] = {}
        self.application = falcon.App(media_type=HTML)
        self.application.add_sink(self._serve, "/")
        self.application.add_error_handler(Exception, _raise)

    def _serve(self, req: falcon.Request, resp: falcon.Response, **_: Any) -> None:
        request, response = req, resp
        exchange: Exchange = request.env["gatewright.exchange"]
        audience = self._audience_of(exchange.snapshot)
        path = request.path.strip("/")
        first, _slash, rest = path.partition("/")
        if first == "assets":
            self._asset(rest, audience, request, response)
            return
        shown = audience.of(exchange)
        response.set_header("Cache-Control", "private, no-cache")
        response.set_header("Vary", audience.varies)
        response.append_link(self._url("openapi.json"), "service-desc", type_hint="application/json")
        response.append_link("/.well-known/api-catalog", "api-catalog")
        if path == "sign-in":
            if not shown.names and audience.can_sign_in:
                raise audience.challenge()
            raise falcon.HTTPSeeOther(self._url(""))
        made = self._document(path, shown) or self._console(path, audience, shown)
        if made is None:
            made = self._page(path, request.params, exchange, audience, shown)
        body, content_type = made
        _send(request, response, body, content_type)
        if content_type == HTML:
            console = path == "console"
            response.set_header("Content-Security-Policy", CONSOLE_POLICY if console else POLICY)

    def _audience_of(self, snapshot: Snapshot) -> Audience:
        state = examples_state(snapshot)
        if self._audience is None or self._audience.snapshot is not snapshot or state not in (None, self._examples):
            self._audience = Audience(snapshot, self.public_url)
            self._examples = state
            self._documents = {}
        return self._audience

    def _asset(self, name: str, audience: Audience, request: falcon.Request, response: falcon.Response) -> None:
        found = asset(name, audience.docs)
        if found is None:
            raise Problem.of("not-found", "there is no such page")
        response.set_header(
            "Cache-Control", "public, no-cache" if name in ("brand.css", "logo") else "public, max-age=3600"
        )
        response.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
        _send(request, response, found.body, found.content_type)

    def _document(self, path: str, shown: Shown) -> tuple[bytes, str] | None:
        """A document for programs. What was printed is kept by what is shown, so that callers are never mixed."""
        if path == ".well-known/api-catalog":
            return files.catalog(shown.interface, self._url("")), CATALOG
        found = files.find(path, shown.interface)
        if found is None:
            return None
        name, make, content_type = found
        return self._printed((name, shown.key), make), content_type

    def _printed(self, key: Any, make: Callable[[], bytes]) -> bytes:
        """What *make* gives: printed once, whoever asks for it meanwhile, and in a thread.

        PERF: the OpenAPI document of 1,000 services takes 0.25 s of a processor. On the loop, every caller of the gateway would
        wait for it; with a thread each of them waits for 5 ms at a time.
        """
        documents = self._documents
        printed = documents.get(key)
        if printed is None:
            if len(documents) > 64:
                documents.clear()
            printed = documents[key] = AsyncResult()
            try:
                printed.set(gevent.get_hub().threadpool.apply(make))
            except BaseException as error:
                documents.pop(key, None)
                printed.set_exception(error)
        return printed.get()  # type: ignore[no-any-return]

    def _console(self, path: str, audience: Audience, shown: Shown) -> tuple[bytes, str] | None:
        if not audience.docs.console or path not in ("console", "console/openapi.json"):
            return None
        if path == "console":
            text = _environment().get_template("console.html").render(docs=audience.docs, url=self._url)
            return text.encode(), HTML
        # The console calls the very host that it came from, whatever the public URL is.
        found = openapi.document(shown.interface)
        return openapi.to_json({**found, "servers": [{"url": "/"}]}), "application/json"

    def _page(
        self, path: str, query: Mapping[str, Any], exchange: Exchange, audience: Audience, shown: Shown
    ) -> tuple[bytes, str]:
        names = sorted({identity.name for identity in shown.names.values()})
        site = Site(
            shown.interface,
            audience.docs,
            self._url,
            releases=lambda: self._history(audience.snapshot),
            reader=", ".join(names),
            can_sign_in=audience.can_sign_in,
            left=audience.left(exchange, shown) if path == "limits" or path.startswith("services/") else {},
        )
        texts = {name: value if isinstance(value, str) else value[0] for name, value in query.items()}
        text = site.render(unquote(path), texts)
        if text is None:
            raise Problem.of("not-found", "there is no such page")
        return text.encode(), HTML

    def _history(self, snapshot: Snapshot) -> list[Release]:
        if self._releases is None or self._releases[0] is not snapshot:
            self._releases = (snapshot, list(snapshot.history()))
        return self._releases[1]

    def _url(self, path: str) -> str:
        return f"{self.mount}/{quoted(path)}" if path else self.mount


def examples_state(snapshot: Snapshot) -> Any:
    """What changes when an example is promoted or dropped; None where the database cannot say."""
    try:
        # PERF: an indexed read, 60 us; only readers of the documentation wait for it.
        return snapshot.examples.state() if snapshot.examples is not None else None
    except BackendUnavailable:
        return None


def _send(request: falcon.Request, response: falcon.Response, body: bytes, content_type: str) -> None:
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    response.set_header("ETag", tag)
    if tag in [part.strip() for part in (request.get_header("If-None-Match") or "").split(",")]:
        response.status = 304
        return
    response.content_type = content_type
    response.data = body


def _raise(request: falcon.Request, response: falcon.Response, error: Exception, params: dict[str, Any]) -> None:
    """Refusals are the pipeline's to answer."""
    raise error
