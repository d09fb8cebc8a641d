"""Runs services in this process, under a deadline; what they raise comes out as a `Problem`."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from backends.catalogue import Catalogue, Deployed
from backends.deadlines import Deadline
from backends.executors import Executor
from backends.guard import Guard
from backends.platform import Platform
from backends.response import Response, checked_type
from specs.exchange import ANONYMOUS, Call, Identity, Outcome
from specs.problems import BackendError, InternalError, Problem
from specs.values import Record

log = logging.getLogger("gatewright.services")

#: How deep services may invoke one another.
MOST_DEPTH = 32


class LocalExecutor(Executor):
    """Runs the services of one catalogue in this process.

    Cheap to make: each snapshot has its own, with its catalogue and its connections (*platform*); all of a process share the
    *guard*. It is the `Runtime` of the services that it runs.
    """

    def __init__(self, catalogue: Catalogue, platform: Platform, guard: Guard) -> None:
        self.catalogue = catalogue
        self.platform = platform
        self._guard = guard

    def run(self, call: Call) -> Outcome:
        """The outcome of *call*, whose input has been read. Raises Problem and nothing else."""
        return self._run(call, self.find(call.service), 0)

    def perform(self, call: Call) -> Outcome:
        """Read ``call.payload`` by the contract, then run: for calls that no channel has read (jobs, queues, commands)."""
        deployed = self.find(call.service)
        call.input = deployed.compiled.read(call.payload, {**call.query, **call.params} or None)
        return self._run(call, deployed, 0)

    def find(self, name: str) -> Deployed:
        """The service of that name. Raises Problem 503."""
        deployed = self.catalogue.find(name)
        if deployed is None:
            detail = f"the service '{name}' is not deployed"
            raise Problem.of("service-not-deployed", detail, headers=[("Retry-After", "5")])
        return deployed

    def invoke(
        self,
        name: str,
        payload: Any = None,
        *,
        parent: Call | None = None,
        depth: int = 0,
        timeout: float | None = None,
        identity: Identity = ANONYMOUS,
        cid: str = "",
    ) -> Any:
        """The payload that the service called *name* answers; a map comes as a `Record`, with its members as attributes.

        It inherits *parent*'s cid, identity and the rest of its time. Raises Problem.
        """
        if depth > MOST_DEPTH:
            log.error("cid=%s services invoke one another more than %d deep, at last '%s'", cid, MOST_DEPTH, name)
            raise InternalError
        deployed = self.find(name)
        if parent is not None:
            cid, identity = parent.cid, parent.identity
        call = Call(deployed.name, payload=payload, cid=cid or self.platform.new_cid(), identity=identity)
        call.input = deployed.compiled.read(payload)
        latest = parent.deadline if parent is not None else 0.0
        own = deployed.contract.deadline if timeout is None else timeout
        call.deadline = time.monotonic() + own if own else latest
        if latest:
            call.deadline = min(call.deadline, latest)
        outcome = self._run(call, deployed, depth)
        if outcome.stream is not None:
            return outcome.stream
        answer = outcome.payload
        return Record(answer) if type(answer) is dict else answer

    def invoke_async(
        self, name: str, payload: Any = None, *, parent: Call | None = None, callback: str = "", after: float = 0.0
    ) -> str:
        """Keep a call to be run in the background, at least once; its cid. Raises Problem where it could never run."""
        deployed = self.find(name)
        deployed.compiled.read(payload)
        if callback:
            self.find(callback)
        cid = self.platform.new_cid()
        identity = parent.identity if parent is not None else ANONYMOUS
        call = Call(deployed.name, payload=payload, cid=cid, identity=identity, channel_type="async")
        self.platform.enqueue(call, after=after, callback=callback)
        if parent is not None:
            log.info("cid=%s goes on in the background as cid=%s: '%s'", parent.cid, cid, deployed.name)
        return cid

    # PERF: 3.4 us for a service that does nothing, hub watched and Call included (CPython 3.11, best of five on a busy machine).
    def _run(self, call: Call, deployed: Deployed, depth: int) -> Outcome:
        guard = self._guard
        guard.suspensions.check(deployed.name, deployed.version)
        if not call.deadline:
            call.deadline = time.monotonic() + (deployed.contract.deadline or guard.deadline)
        watched = None
        try:
            try:
                if deployed.contract.blocking:
                    left = call.deadline - time.monotonic()
                    return guard.slots.run(lambda: self._answer(call, deployed, depth), left)
                watched = guard.deadlines.enter(call.deadline)
                if watched is not None:
                    watched.armed = True
                return self._answer(call, deployed, depth)
            finally:
                guard.deadlines.leave(watched)
        except Problem:
            raise
        except BackendError as error:
            log.error("cid=%s service '%s': %s: %s", call.cid, deployed.name, type(error).__name__, error)
            raise error.problem() from error
        except Deadline as deadline:
            guard.deadlines.leave(watched)
            raise self._late(call, deployed, deadline) from None
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            raise self._failed(call, deployed, error) from error

    def _answer(self, call: Call, deployed: Deployed, depth: int) -> Outcome:
        handler = deployed.handler
        if deployed.handlers:
            handler = _handler_of(deployed, call.method)
        writer = deployed.compiled.writer
        response = Response(writer.new)
        service = deployed.service_class(call, response, self, depth)
        if deployed.before is not None:
            deployed.before(service)
        handler(service)  # type: ignore[misc]
        if deployed.after is not None:
            deployed.after(service)
        payload, content_type = response.payload, response.content_type and checked_type(response.content_type)
        if writer.declared:
            if content_type and isinstance(payload, (str, bytes)):
                return Outcome(payload, response.status_code, response.header_pairs(), content_type)
        elif isinstance(payload, Iterator):
            return Outcome(None, response.status_code, response.header_pairs(), content_type, _as_bytes(payload))
        try:
            payload = writer.write(payload)
        except Problem as problem:
            log.error(
                "cid=%s service '%s' answered what its contract does not allow: %s", call.cid, deployed.name, problem
            )
            raise
        return Outcome(payload, response.status_code, response.header_pairs(), content_type)

    def _late(self, call: Call, deployed: Deployed, deadline: Deadline) -> Problem:
        if deadline.stalled:
            log.error("cid=%s service '%s' held the worker and was ended; see `blocking`", call.cid, deployed.name)
            if self._guard.suspensions.stalled(deployed.name, deployed.version):
                log.error("service '%s' held the worker again and again: put aside until redeployed", deployed.name)
        else:
            log.error("cid=%s service '%s' did not answer by its deadline", call.cid, deployed.name)
        return Problem.of("deadline-exceeded", "the service did not answer in time")

    def _failed(self, call: Call, deployed: Deployed, error: BaseException) -> Problem:
        gevent = sys.modules.get("gevent")
        if gevent is not None and isinstance(error, gevent.GreenletExit):
            raise error
        log.error("cid=%s service '%s' failed", call.cid, deployed.name, exc_info=error)
        if gevent is not None and isinstance(error, gevent.Timeout):
            return Problem.of("deadline-exceeded", "the service did not answer in time")
        # SECURITY: Z33. What the exception says stays in the log.
        return InternalError()


def _handler_of(deployed: Deployed, method: str) -> Any:
    """The handler for *method*. Raises Problem 405 with what is allowed."""
    handlers = deployed.handlers
    found = handlers.get(method) or (handlers.get("GET") if method == "HEAD" else None) or deployed.handler
    if found is None and not method and len(handlers) == 1:
        # A job, a queue or another service has no method: the only handler there is, is meant.
        return next(iter(handlers.values()))
    if found is None:
        allowed = ", ".join(sorted({*handlers, *(["HEAD"] if "GET" in handlers else [])}))
        raise Problem.of("method-not-allowed", f"this service takes {allowed}", headers=[("Allow", allowed)])
    return found


def _as_bytes(parts: Iterable[Any]) -> Iterator[bytes]:
    for part in parts:
        yield part.encode() if isinstance(part, str) else part
