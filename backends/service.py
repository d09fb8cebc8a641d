"""`Service`: the class that authors write.

>>> class Greet(Service):
...     name = "greet"
...     input = "who"
...     output = "text"
...
...     def handle(self):
...         self.response.payload.text = f"Hello, {self.request.input.who}"

One object is made for each call and thrown away after it, so ``self`` may keep what the call needs. Everything a service
reaches for is on ``self``; what it refuses is ``raise Problem(404, "no-such-customer", "no customer has this id")``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from backends.request import Request
from backends.response import Response
from specs.exchange import Call, Identity

if TYPE_CHECKING:
    from backends.platform import Platform, Server


class Runtime(Protocol):
    """What runs a service, as the service sees it: the executor."""

    platform: Platform

    def invoke(
        self,
        name: str,
        payload: Any = None,
        *,
        parent: Call | None = None,
        depth: int = 0,
        timeout: float | None = None,
    ) -> Any:
        """The payload that another service answers."""

    def invoke_async(
        self, name: str, payload: Any = None, *, parent: Call | None = None, callback: str = "", after: float = 0.0
    ) -> str:
        """The cid of a call that will be run in the background."""


class Channel(NamedTuple):
    """The channel that a call came by: ``self.channel``."""

    name: str
    type: str
    data_format: str


class Service:
    """One job: `input`, `output`, `handle`. See DESIGN.md section 5 for all that a declaration may hold.

    Class attributes are the declaration. *name* is what channels and other services call it by (else module and class in
    kebab case); *input* and *output* its contract, or an inner ``class SimpleIO``; *schema* a JSON Schema file; *invokes* the
    services it depends on, for the documents; *namespace* groups it there; *deadline* is in seconds; *blocking* means that it
    waits in C code or computes for long: it runs in a real thread.

    Write `handle`, or ``handle_GET``, ``handle_POST``... where HTTP methods differ (any other is then 405).
    """

    name: ClassVar[str] = ""
    namespace: ClassVar[str] = ""
    input: ClassVar[Any] = None
    output: ClassVar[Any] = None
    schema: ClassVar[Any] = None
    invokes: ClassVar[Sequence[str]] = ()
    deadline: ClassVar[float | str] = 0.0
    blocking: ClassVar[bool] = False
    _identity: Identity | None = None

    # PERF: five attributes and two slotted objects a call, 0.8 us; facets (http, headers, logger) are made when asked for.
    def __init__(self, call: Call, response: Response, runtime: Runtime, depth: int = 0) -> None:
        self._call = call
        self._runtime = runtime
        self._depth = depth
        self.request = Request(call)
        self.response = response

    def handle(self) -> Any:
        """Do the job. What it returns is ignored: the answer is ``self.response``."""
        raise NotImplementedError(f"{type(self).__name__} has no handle method")

    def before_handle(self) -> Any:
        """Runs before `handle`; what it raises ends the call."""

    def after_handle(self) -> Any:
        """Runs after `handle` succeeded; what it raises ends the call."""

    # Who called

    @property
    def cid(self) -> str:
        """The correlation id: the same in the answer, the log, and every service that this call leads to."""
        return self._call.cid

    @property
    def identity(self) -> Identity:
        """Who called: falsy for an anonymous caller. Its attributes are a copy of this service's own."""
        if self._identity is None:
            # SECURITY: who calls is known beyond this call, and its facts are what limits and other services read.
            found = self._call.identity
            self._identity = replace(found, attributes={name: _own(fact) for name, fact in found.attributes.items()})
        return self._identity

    @property
    def channel(self) -> Channel:
        """The channel that the call came by."""
        return Channel(self._call.channel, self._call.channel_type, self._call.data_format)

    chan = channel

    @property
    def environ(self) -> dict[str, Any]:
        """Empty: there is no WSGI here. Kept for services that ask."""
        return {}

    # What it reaches

    @property
    def platform(self) -> Platform:
        """Everything that this process offers its services."""
        return self._runtime.platform

    @property
    def out(self) -> Any:
        """Connections: ``self.out.sql["crm"]``, ``self.out.rest["erp"]``."""
        return self._runtime.platform.out

    outgoing = out

    @property
    def cache(self) -> Any:
        """The cache that all processes share: ``self.cache.default["key"]``, `get`, `set`, `delete`..."""
        return self._runtime.platform.cache

    @property
    def kvdb(self) -> Any:
        """The same store as redis-py's names have it: ``self.kvdb.conn.get("key")``."""
        return self._runtime.platform.kvdb

    @property
    def sso(self) -> Any:
        """The people who log in here: ``self.sso.users``, ``self.sso.sessions``, ``self.sso.attributes``..."""
        return self._runtime.platform.sso

    @property
    def config(self) -> Mapping[str, Any]:
        """The user's own settings."""
        return self._runtime.platform.config

    @property
    def server(self) -> Server:
        """The process that runs this: ``self.server.cluster_id``."""
        return self._runtime.platform.server

    @property
    def logger(self) -> CidLogger:
        """A logger whose every line carries the cid."""
        return CidLogger(logging.getLogger(f"gatewright.service.{self._call.service}"), {"cid": self._call.cid})

    def lock(self, name: str = "", ttl: float = 20, block: float = 10) -> AbstractContextManager[Any]:
        """A lock over all processes, for a ``with``: kept at most *ttl* seconds, waited for at most *block*."""
        return self._runtime.platform.lock(name or self._call.service, ttl=ttl, block=block)

    def invoke(self, name: str, payload: Any = None, *, timeout: float | None = None) -> Any:
        """The payload that another service answers.

        *payload* is read by that service's contract. It has what is left of this call's time, *timeout* seconds at most.
        Raises the Problem that the service ended with.
        """
        return self._runtime.invoke(name, payload, parent=self._call, depth=self._depth + 1, timeout=timeout)

    def invoke_async(self, name: str, payload: Any = None, *, callback: str = "", after: float = 0.0) -> str:
        """Have another service run in the background, at least once, *after* seconds from now; its cid at once.

        The service called *callback* gets the answer as its payload.
        """
        return self._runtime.invoke_async(name, payload, parent=self._call, callback=callback, after=after)


def _own(fact: Any) -> Any:
    """A copy of a value of JSON."""
    if isinstance(fact, dict):
        return {name: _own(value) for name, value in fact.items()}
    return [_own(value) for value in fact] if isinstance(fact, list) else fact


class CidLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose every line begins with the cid. It has `warn`, which logging deprecated and older services call."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """The message with the cid before it."""
        cid = (self.extra or {}).get("cid", "")
        return f"cid={cid} {msg}", kwargs

    def warn(self, msg: object, *args: object, **kwargs: Any) -> None:
        """The same as `warning`."""
        self.warning(msg, *args, **kwargs)
