"""Channels: the ways in. One file adds one; this page says what to write.

A channel object is one channel of one snapshot, with everything computed that can be: the pipeline only calls its steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from gateway.configuration.parts import (
    Addresses,
    Cors,
    Cost,
    Groups,
    Hosts,
    LimitName,
    Methods,
    PathTemplate,
    Requirements,
)
from specs import settings
from specs.lifetime import Deprecated, Moment
from specs.settings import Seconds, Size, setting

if TYPE_CHECKING:
    from gateway.identification import Security
    from gateway.permission import Admission, Authority
    from gateway.pipeline import Step
    from gateway.quotas import Quotas
    from specs.contract import Contract
    from specs.documents.interface import Operation
    from specs.exchange import Exchange
    from specs.problems import Problem


class Route(NamedTuple):
    """Where a channel is found. *prefix* takes every path below the template too.

    *answers* is another channel object that answers there in this one's name, with steps of its own; *secured* says whether
    its callers have to prove who they are, as those of the channel itself do.
    """

    template: str
    methods: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    prefix: bool = False
    answers: Channel | None = None
    secured: bool = True


class Channel:
    """One way in.

    *admission*, *security*, *authority* and *quotas* are there where a step needs them. *steps* are what the pipeline runs
    for a request, *options_steps* for an OPTIONS request, and `routes` says where the channel is found. A subclass names its
    `Settings` and writes `read`, `run`, `write` and `refuse`.
    """

    word = ""
    #: Whether the pipeline calls `open`, before the caller is identified.
    opens = False

    class Settings(settings.Settings):
        """What every channel over HTTP can be told."""

        #: As `Channel.opens`: definitions that read messages are of use there alone.
        opens: ClassVar[bool] = False
        path: PathTemplate = setting("path template, such as /customers/{cust_id}")
        methods: Methods | None = setting("HTTP methods; those the service has handlers for if left out", default=None)
        host: Hosts = setting("host names that the channel answers to; any if left out", default=[])
        security: Requirements = setting(
            "who may call: one name is enough, an inner list needs all of its own", default=[]
        )
        groups: Groups = setting("groups one of which the caller has to be in", default=[])
        limit: LimitName | None = setting("limit that all calls of this channel share", default=None)
        cost: Cost = setting("hits that a call takes from every limit", default=1)
        allow: Addresses = setting("addresses that may call; any if left out", default=[])
        deny: Addresses = setting("addresses that may not call", default=[])
        deadline: Seconds | None = setting(
            "the longest an answer may take; the service's own if left out", default=None
        )
        max_body: Size | None = setting("largest body that is read; the gateway's if left out", default=None)
        cors: Cors | None = setting("pages of which other origins may call", default=None)
        enabled: bool = setting("whether the channel takes calls", default=True)
        description: str = setting("a sentence for the documentation", default="")
        deprecated: Deprecated = setting(
            "whether callers are told that the channel is going away: a date, or true", default=False
        )
        sunset: Moment | None = setting(
            "when the channel ends, as callers are told; it goes on until it is removed", default=None
        )
        deprecation_page: str = setting(
            "URL of what callers are to do instead; the documentation of the service if left out", default=""
        )

    name: str
    admission: Admission
    security: Security
    authority: Authority
    quotas: Quotas
    #: Headers of every answer that tell of a deprecation: by the service that was called, else under the empty name.
    notices: Mapping[str, Sequence[tuple[str, str]]] = {}
    steps: tuple[Step, ...] = ()
    options_steps: tuple[Step, ...] = ()

    def routes(self) -> Iterator[Route]:
        """Where the channel is found."""
        raise NotImplementedError

    def operations(self) -> Iterable[Operation]:
        """What can be called here, for documents; nothing where the channel is none for programs."""
        return ()

    def called(self, exchange: Exchange) -> Contract | None:
        """The contract of the service that answered, where a service did."""
        return None

    def open(self, exchange: Exchange) -> None:
        """Open: read the body as far as the operation and the credentials in it, where `opens` is true. Raises Problem."""

    def read(self, exchange: Exchange) -> None:
        """Validate: fill body, payload and input. Raises Problem."""
        raise NotImplementedError

    def run(self, exchange: Exchange) -> None:
        """Execute: fill outcome. Raises Problem."""
        raise NotImplementedError

    def write(self, exchange: Exchange) -> None:
        """Serialise: fill the response from the outcome."""
        raise NotImplementedError

    def refuse(self, exchange: Exchange, problem: Problem) -> None:
        """Fill the response with *problem*, in the channel's format."""
        raise NotImplementedError

    @classmethod
    def keep(cls, name: str, settings: Any) -> Any:
        """What the channel needs and a change elsewhere leaves as it is, such as pools; its `close` is called in the end."""
        return None

    @classmethod
    def build(cls, name: str, settings: Any, runtimes: Mapping[str, Any], public_url: str) -> Self:
        """The channel of a snapshot. *runtimes* are what it knows of its services, by name; *public_url* is where callers come.

        A channel that names no service finds one under the empty name, without a contract.
        """
        raise NotImplementedError

    def preflight(self, exchange: Exchange) -> list[tuple[str, str]]:
        """Further headers of an answer to OPTIONS."""
        return []

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name
        self.settings = settings
