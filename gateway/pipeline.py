"""The path of one request, from the top of this page to the bottom.

    accept      the wire: one canonical request, or 400                      gateway/connection.py
    route       which channel? 404, 405, preflight                           below
    admit       is this address allowed, and not too fast? 403, 429          gateway/permission.py
    open        where operation or credentials are in the body; 4xx          the channel's `open`
    identify    who is calling? 401                                          gateway/identification.py
    authorise   may they? 403                                                gateway/permission.py
    debit       one debit from every quota, or from none; 429                gateway/quotas.py
    validate    read, parse and check the body by the contract; 4xx          the channel's `read`
    execute     run the service under a deadline; 5xx                        the channel's `run`
    serialise   the answer in the channel's format                           the channel's `write`
    record      the access line and the metrics; never raises                `Pipeline.record`

Each step fills its part of the exchange or raises a Problem; nothing else ends a request early. The order is the security
policy: each step is cheaper, or trusts the caller less, than the one after it. A channel holds the steps that it needs and
no others (`gateway.snapshot` puts them in their order), so that an open channel without limits pays for none.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from specs.problems import BackendError, InternalError, Problem

if TYPE_CHECKING:
    from gateway.channels import Channel
    from gateway.routes import Routes
    from specs.exchange import Exchange
    from specs.formats import Format

log = logging.getLogger("gatewright.pipeline")

Step = Callable[["Exchange"], object]


class Snapshot(Protocol):
    """What the request path reads: a revision, compiled."""

    @property
    def routes(self) -> Routes:
        """Where paths lead."""

    @property
    def fallback(self) -> Format:
        """What prints a problem where no channel does."""


class Pipeline:
    """Takes each exchange down the path. *current* gives the snapshot; *record* is told of every exchange when it is over."""

    def __init__(self, current: Callable[[], Snapshot], record: Callable[[Exchange, int], None]) -> None:
        self._current = current
        self._record = record

    def handle(self, exchange: Exchange) -> None:
        """Answer *exchange*; its ``response_*`` are filled when this returns, whatever happened."""
        snapshot = exchange.snapshot = self._current()
        try:
            for step in route(exchange, snapshot.routes):
                step(exchange)
        except Problem as problem:
            self._refuse(exchange, problem, snapshot)
        except BackendError as error:
            log.error("cid=%s %s: %s", exchange.cid, type(error).__name__, error)
            self._refuse(exchange, error.problem(), snapshot)
        except Exception:
            log.exception("cid=%s %s %s", exchange.cid, exchange.method, exchange.path)
            self._refuse(exchange, InternalError(), snapshot)
        # PERF: 0.03 us where nothing is deprecated.
        if exchange.channel is not None and exchange.channel.notices:
            announce(exchange)
        self.record(exchange)

    def refuse(self, exchange: Exchange) -> None:
        """Answer an exchange that accept refused: its `problem` says why."""
        self._refuse(exchange, exchange.problem or Problem.of("bad-request"), self._current())
        self.record(exchange)

    def record(self, exchange: Exchange) -> None:
        """Tell the journal and the metrics. Never raises: an answer is not lost for want of a line."""
        try:
            self._record(exchange, time.monotonic_ns() - exchange.started_ns)
        except Exception:
            log.exception("cid=%s the exchange could not be recorded", exchange.cid)

    def _refuse(self, exchange: Exchange, problem: Problem, snapshot: Snapshot) -> None:
        exchange.problem = problem
        # SECURITY: a traceback has the frames, and these have the exchange: whatever was refused would stay, with its body, until
        # the garbage collector comes round.
        problem.__traceback__ = problem.__context__ = problem.__cause__ = None
        exchange.response_stream = None
        channel: Channel | None = exchange.channel
        try:
            if channel is not None:
                channel.refuse(exchange, problem)
                return
        except Exception:
            log.exception("cid=%s a problem could not be printed in the channel's format", exchange.cid)
        body, content_type = snapshot.fallback.render_problem(problem, exchange.cid)
        exchange.response_status = problem.status
        exchange.response_headers = [("Content-Type", content_type), *problem.headers]
        exchange.response_body = body


def route(exchange: Exchange, routes: Routes) -> tuple[Step, ...]:
    """The steps of the channel that the path and method lead to. Raises 404, and 405 with what is allowed."""
    known = exchange.kept.get(routes)
    if known is not None:
        exchange.channel, params, steps = known
        exchange.params = params and {**params}  # a service may do with them as it likes
        return steps  # type: ignore[no-any-return]
    match = routes.find(exchange.host, exchange.path)
    if match is None:
        raise Problem.of("no-such-path", "no channel has this path")
    method = exchange.method
    methods = match.methods
    channel: Channel | None = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
    if channel is not None:
        exchange.channel = channel
        exchange.params = match.params and {**match.params}
        exchange.kept.clear()  # what was found out by another snapshot does not hold, nor is it to be held
        exchange.kept[routes] = (channel, match.params, channel.steps)
        return channel.steps
    allowed = allow_header(methods)
    if method == "OPTIONS":
        asked = exchange.headers.get("access-control-request-method", "")
        channel = methods.get(asked) or next(iter(methods.values()))
        exchange.channel = channel
        exchange.params = {"": allowed}
        return channel.options_steps
    exchange.channel = next(iter(methods.values()))
    raise Problem.of("method-not-allowed", f"this path takes {allowed}", headers=[("Allow", allowed)])


def allow_header(methods: object) -> str:
    """The methods of a path as the Allow header has them: HEAD comes with GET, OPTIONS always."""
    names = set(methods)  # type: ignore[call-overload]
    if "GET" in names:
        names.add("HEAD")
    return ", ".join(sorted({*names, "OPTIONS"}))


def announce(exchange: Exchange) -> None:
    """Tell the caller that what was called is going away: refusals say so too."""
    channel = exchange.channel
    called = channel.called(exchange)
    notices = channel.notices
    found = notices.get(called.service if called is not None else "") or notices[""]
    exchange.response_headers = [*exchange.response_headers, *found]


def answer_options(exchange: Exchange) -> None:
    """A preflight, or the plain question what a path takes."""
    exchange.response_status = 204
    exchange.response_headers = [("Allow", exchange.params.get("", "")), *exchange.channel.preflight(exchange)]
