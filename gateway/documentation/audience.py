"""What one caller may call: the `Interface` that documents and pages are printed from.

SECURITY: A51. Nothing of a channel is shown to a caller whom the channel would turn away, and what is kept from one request to
the next is kept by what was shown, never by who asked.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from backends.rehearsal import misfits
from gateway.documentation.operations import with_examples
from gateway.identification import Security
from security.limits import NANOSECONDS, REQUESTS
from security.threads import give_way
from specs.documents.interface import Example, Interface, Operation, Policy, Scheme
from specs.exchange import ANONYMOUS, Identity
from specs.problems import BackendUnavailable, Problem
from sso.browsers import cookie_name

if TYPE_CHECKING:
    from backends.examples import Example as Kept
    from gateway.channels import Channel
    from gateway.configuration.kinds import Docs
    from gateway.snapshot import Snapshot
    from security.limits import Charge
    from specs.contract import Contract
    from specs.exchange import Exchange

log = logging.getLogger("gatewright.documentation")

MOST_KEPT = 32
#: What documents call the session that services of single sign-on ask for.
SESSION = "sso session"
AT_ONCE = 50
#: So many examples of a service are shown, the first that were promoted.
MOST_EXAMPLES = 6


class Caller(NamedTuple):
    """Who is asking, as a channel would see them."""

    identity: Identity
    address: str


class Shown(NamedTuple):
    """What a caller is shown: *interface* has what they may call, *names* who they are by each definition that knows them.

    *key* is the same for all callers who are shown the same.
    """

    interface: Interface
    names: Mapping[str, Identity]
    key: Any


class Audience:
    """The callers of one snapshot. *public_url* is where they reach the gateway."""

    def __init__(self, snapshot: Snapshot, public_url: str) -> None:
        self.snapshot = snapshot
        self.docs: Docs = snapshot.docs
        self._url = public_url
        channels = [channel for channel in snapshot.channels.values() if channel.name]
        self._operations: list[tuple[Channel, tuple[Operation, ...]]] = []
        definitions: dict[str, Any] = {}
        secured: Security | None = None
        for number, channel in enumerate(sorted(channels, key=lambda channel: channel.name)):
            if number % AT_ONCE == 0:
                give_way()  # 10,000 channels take a second
            security = getattr(channel, "security", None)
            if security is not None:
                secured = security
                definitions.update({definition.name: definition for definition in security.definitions})
            if found := tuple(channel.operations()):
                self._operations.append((channel, found))
        self._definitions = definitions
        self._schemes = {name: schemes_of(definition) for name, definition in definitions.items()}
        self._operations = self._with_sessions(self._operations)
        # What tells of failed credentials is the same for every channel: it counts by address.
        self._security = (
            Security([[one] for one in definitions.values()], secured.failed) if secured is not None else None
        )
        self._kept: OrderedDict[Any, Interface] = OrderedDict()
        exposed = {operation.contract.service for _, found in self._operations for operation in found}
        self._internal = tuple(contract for contract in snapshot.contracts if contract.service not in exposed)
        self.examples = examples_of(snapshot)

    @property
    def varies(self) -> str:
        """The headers that what is shown depends on."""
        return ", ".join(
            sorted({"Authorization", "Cookie", *(scheme_of(d).header for d in self._definitions.values())})
        )

    @property
    def can_sign_in(self) -> bool:
        """Whether a browser can ask for credentials that change what is shown."""
        return any(scheme_of(one).kind == "basic" for one in self._definitions.values())

    def challenge(self) -> Problem:
        """What makes a browser ask for a name and a password."""
        headers = [
            ("WWW-Authenticate", d.challenge) for d in self._definitions.values() if scheme_of(d).kind == "basic"
        ]
        return Problem.of("unauthenticated", "sign in to see what you may call", headers=headers)

    def of(self, exchange: Exchange) -> Shown:
        """What the caller of *exchange* is shown. Raises Problem 401 where credentials came and are wrong."""
        known = self._security.recognise(exchange) if self._security is not None else {}
        everything = self.docs.shows == "everything"
        parts: list[tuple[Channel, tuple[Operation, ...], tuple[Policy, ...]]] = []
        for channel, operations in self._operations:
            caller = Caller(_identity(channel, known), exchange.address)
            admitted = _admitted(channel, known, caller)
            limits = _limits(channel, caller)
            if everything or (admitted and limits is not None):
                parts.append((channel, operations, limits or ()))
        key = tuple((channel.name, limits) for channel, _, limits in parts)
        interface = self._kept.get(key)
        if interface is None:
            interface = self._kept[key] = self._interface(parts, self._internal if self.docs.internal else ())
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return Shown(interface, known, key)

    def left(self, exchange: Exchange, shown: Shown) -> dict[str, tuple[Policy, ...]]:
        """The limits of each channel, with what is left of them for this caller."""
        found: dict[str, tuple[Policy, ...]] = {}
        wanted = {operation.channel for operation in shown.interface.operations}
        for channel, _ in self._operations:
            quotas = getattr(channel, "quotas", None)
            if quotas is None or channel.name not in wanted:
                continue
            caller = Caller(_identity(channel, shown.names), exchange.address)
            if (left := quotas_left(quotas, caller)) is not None:
                found[channel.name] = left
        return found

    def whole(self) -> Interface:
        """Everything there is, whoever may call it, services that nobody can call included."""
        parts = [(channel, operations, ()) for channel, operations in self._operations]
        return self._interface(parts, self._internal)

    def _with_sessions(
        self, operations: list[tuple[Channel, tuple[Operation, ...]]]
    ) -> list[tuple[Channel, tuple[Operation, ...]]]:
        """*operations*, those of single sign-on with the session that they ask for themselves, whatever their channel wants."""
        if not any(one.contract.service.startswith("sso.") for _, found in operations for one in found):
            return operations
        from sso.surface import with_session

        secure = self._url.startswith("https:")
        self._schemes[SESSION] = _with_cookie(Scheme(SESSION, "bearer"), cookie_name(secure=secure))
        asking = with_session() - {contract.service for contract in self.snapshot.contracts}
        return [
            (
                channel,
                tuple(
                    replace(one, security=((SESSION,),), refusals=("unauthenticated", *one.refusals))
                    if one.contract.service in asking and not one.security
                    else one
                    for one in found
                ),
            )
            for channel, found in operations
        ]

    def _spelled_out(self, choices: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
        """*choices* of definitions as choices of schemes: a definition that takes either of two is two choices."""
        found: list[tuple[str, ...]] = []
        for choice in choices:
            schemes = [[one.name for one in self._schemes.get(name, ())] or [name] for name in choice]
            found += product(*schemes)
        return tuple(found)

    def _with_examples(self, operation: Operation) -> Operation:
        """*operation* with the real calls that still fit its contract."""
        contract = operation.contract
        fitting = [
            Example(one.title, one.input, one.output)
            for one in self.examples.get(contract.service, ())
            if next(misfits(contract, one.input, one.output), None) is None
        ]
        return with_examples(operation, fitting[:MOST_EXAMPLES]) if fitting else operation

    def _interface(
        self,
        parts: Sequence[tuple[Channel, tuple[Operation, ...], tuple[Policy, ...]]],
        internal: tuple[Contract, ...],
    ) -> Interface:
        operations: list[Operation] = []
        for _, found, limits in parts:
            refusals = ("quota-exceeded", "address-not-allowed") if limits else ()
            operations += [
                replace(
                    self._with_examples(one), limits=limits, refusals=tuple(dict.fromkeys((*one.refusals, *refusals)))
                )
                for one in found
            ]
        named = {name for operation in operations for choice in operation.security for name in choice}
        operations = [replace(one, security=self._spelled_out(one.security)) for one in operations]
        schemes = [one for name in sorted(named) for one in self._schemes.get(name, ())]
        docs = self.docs
        return Interface(
            title=docs.title,
            version=docs.version,
            url=self._url,
            description=docs.description,
            operations=tuple(operations),
            schemes=tuple(schemes),
            internal=internal,
            contact=docs.contact or f"{self._url}{docs.path}",
            license=docs.license,
            about=docs.namespaces,
        )


def examples_of(snapshot: Snapshot) -> Mapping[str, Sequence[Kept]]:
    """The examples of each service; none where they cannot be read: documents are made all the same."""
    try:
        return snapshot.examples.promoted() if snapshot.examples is not None else {}
    except BackendUnavailable as error:
        log.warning("documents are made without examples: %s", error)
        return {}


def schemes_of(definition: Any) -> tuple[Scheme, ...]:
    """The ways to prove oneself by a definition: one, or two where a cookie is as good."""
    return _with_cookie(scheme_of(definition), getattr(definition, "cookie", ""))


def _with_cookie(scheme: Scheme, cookie: str) -> tuple[Scheme, ...]:
    if not cookie:
        return (scheme,)
    said = "what a browser has of its log-in; a call that changes something has to come from a page of ours"
    return scheme, Scheme(f"{scheme.name} cookie", "cookie", cookie, description=said)


def scheme_of(definition: Any) -> Scheme:
    """How a security definition looks to its callers: what its challenge says."""
    word = definition.challenge.partition(" ")[0]
    settings = definition.settings
    realm = getattr(settings, "realm", "") or ""
    description = getattr(settings, "description", "") or ""
    if word.lower() == "apikey":
        return Scheme(definition.name, "key", getattr(settings, "header", "X-API-Key"), realm, description)
    return Scheme(definition.name, word.lower(), "Authorization", realm, description)


def _identity(channel: Channel, known: Mapping[str, Identity]) -> Identity:
    for choice in channel.settings.security:
        if all(name in known for name in choice):
            return known[choice[0]]
    return ANONYMOUS


def _admitted(channel: Channel, known: Mapping[str, Identity], caller: Caller) -> bool:
    choices = channel.settings.security
    if choices and not any(all(name in known for name in choice) for choice in choices):
        return False
    admission, authority = getattr(channel, "admission", None), getattr(channel, "authority", None)
    if admission is not None and not admission.admits(caller.address):
        return False
    return authority is None or _passes(lambda: authority.authorise(caller))


def _limits(channel: Channel, caller: Caller) -> tuple[Policy, ...] | None:
    """The limits that this caller meets at a channel; None where they keep the caller's address out."""
    quotas = getattr(channel, "quotas", None)
    if quotas is None:
        return ()
    try:
        charges: tuple[Charge, ...] = quotas.chain(caller.address, caller.identity)
    except Problem:
        return None
    return tuple(
        Policy(charge.policy, charge.level, charge.rate.count, charge.rate.period_ns // NANOSECONDS)
        for charge in charges
        if charge.shown and charge.rate.unit == REQUESTS
    )


def quotas_left(quotas: Any, caller: Caller) -> tuple[Policy, ...] | None:
    """The limits of a channel with what is left of them for a caller; None where the caller is kept out."""
    try:
        states = quotas.left(caller.address, caller.identity)
    except Problem:
        return None
    return tuple(Policy(s.policy, s.level, s.quota, s.window_s, s.remaining) for s in states)


def _passes(step: Callable[[], object]) -> bool:
    try:
        step()
    except Problem:
        return False
    return True
