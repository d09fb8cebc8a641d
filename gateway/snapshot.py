"""A snapshot: one revision of the configuration and one catalogue of services, compiled into what the request path reads.

`Compiler` makes one after the other. What did not change is the same object as before, so that the cost of a change is the
change's; what takes long yields between its parts, so that requests go on meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from backends.loading import Loaded
from gateway.authenticators import Authenticator, Credential, Tools, Verifying
from gateway.built_in import built_in_channels, docs_of, sso_of
from gateway.channels import Channel
from gateway.channels.rest import Runtime
from gateway.configuration.kinds import AUTHENTICATORS, CHANNELS, Docs, lifetime_of
from gateway.configuration.objects import Definition
from gateway.identification import Consumers, Security
from gateway.linked import Linked
from gateway.linking import SENT, Proving
from gateway.notices import lifetime_here, notices_of
from gateway.permission import Admission, Authority
from gateway.pipeline import answer_options
from gateway.quotas import Limits
from gateway.replay import FirstUse
from gateway.routes import Routes
from security.address_files import AddressFiles, AddressSet
from security.credentials import ApiKeys
from specs.exchange import Identity
from specs.problems import ConfigurationError
from specs.registry import Registry

if TYPE_CHECKING:
    from backends.catalogue import Catalogue, Deployed
    from backends.changelog import Release
    from backends.examples import Examples
    from backends.executors import Executor
    from gateway.configuration.objects import Configuration
    from gateway.pipeline import Step
    from gateway.recording import Recorder
    from specs.contract import Contract
    from specs.formats import Format
    from sso.system import SingleSignOn

log = logging.getLogger("gatewright.snapshot")

FORMATS = Registry("format", "specs.formats", "Format")
#: So many channels are compiled before requests get their turn.
AT_ONCE = 50


@dataclass(frozen=True)
class Snapshot:
    """What one request reads from beginning to end. *close* gives back what it has on lease."""

    revision: int
    generation: int
    routes: Routes
    fallback: Format
    executor: Executor
    trusted: AddressSet
    channels: Mapping[str, Channel] = field(default_factory=dict)
    docs: Docs = field(default_factory=Docs)
    contracts: tuple[Contract, ...] = ()  #: of the services that were deployed
    history: Callable[[], Sequence[Release]] = tuple
    examples: Examples | None = None
    faults: tuple[str, ...] = ()


class Compiler:
    """Compiles snapshots. *verifier* and *limits* live as long as the process; *pause* lets others go on.

    *first_use* tells replayed credentials (`gateway.replay`); *listener* is where the gateway is reached if no public URL is
    configured. *recorder* takes samples where channels want them, and *examples* are those that documents show.
    """

    def __init__(
        self,
        verifier: Verifying,
        limits: Limits,
        pause: Callable[[], None],
        *,
        first_use: FirstUse,
        listener: str,
        history: Callable[[], Sequence[Release]] = tuple,
        examples: Examples | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._verifier = verifier
        self.address_files = AddressFiles(pause)
        self._limits = limits
        self._pause = pause
        self._first_use = first_use
        self._listener = listener
        self._history = history
        self._examples = examples
        self._recorder = recorder
        self._formats: dict[tuple[str, int | None], Format] = {}
        self._channels: dict[str, tuple[Any, Channel]] = {}
        self._parts: dict[Any, Any] = {}
        self._next_parts: dict[Any, Any] = {}

    def compile(
        self,
        configuration: Configuration,
        catalogue: Catalogue,
        generation: int,
        executor: Executor,
        people: SingleSignOn | None = None,
    ) -> Snapshot:
        """The snapshot of a revision and a catalogue; *people* is single sign-on, where it is on.

        Never refuses: a channel that cannot be compiled is left out and named in `faults` and the log.
        """
        self._next_parts = {}
        routes = Routes()
        faults = [f"{kind}.{name}: {error}" for (kind, name), error in configuration.faults.items()]
        channels: dict[str, tuple[Any, Channel]] = {}
        shared = self._shared(configuration, people)
        configured = configuration.of("channels")
        built_in = built_in_channels(configuration)
        for number, (name, definition) in enumerate([*configured.items(), *built_in.items()]):
            if number % AT_ONCE == 0:
                self._pause()
            if not getattr(definition.settings, "enabled", True):
                continue
            try:
                key, channel = self._channel(configuration, definition, catalogue, shared)
                for found in channel.routes():
                    target = found.answers or channel
                    if definition.name in built_in and routes.taken(found.template, found.methods, prefix=found.prefix):
                        continue  # what is configured comes before what is built in
                    routes.add(found.template, found.methods, target, name=name, hosts=found.hosts, prefix=found.prefix)
                channels[name] = (key, channel)
            except ConfigurationError as error:
                faults.append(str(error))
        for fault in faults:
            log.error("left out of revision %s: %s", configuration.revision, fault)
        self._channels = channels
        replaced = [part for key, part in self._parts.items() if key not in self._next_parts]
        self._parts = self._next_parts
        for part in replaced:
            # Requests that began with the snapshot before go on with it: what they use is closed as they end.
            if hasattr(part, "close"):
                part.close()
        if people is not None:
            people.links.prove = self._proving(shared)
        return Snapshot(
            revision=configuration.revision,
            generation=generation,
            routes=routes,
            fallback=self._format("json"),
            executor=executor,
            trusted=shared.trusted,
            channels={name: channel for name, (_, channel) in channels.items()},
            docs=docs_of(configuration),
            contracts=tuple(one.contract for one in catalogue if isinstance(one.keepalive, Loaded)),
            history=self._history,
            examples=self._examples,
            faults=tuple(faults),
        )

    def kept(self) -> list[Any]:
        """What channels keep beyond snapshots, such as pools."""
        return [part for key, part in self._parts.items() if key[0] == "kept" and part is not None]

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        """The part that *key* stands for: the one of the snapshot before, where it had the same key."""
        if key not in self._next_parts:
            self._next_parts[key] = self._parts[key] if key in self._parts else make()
        return self._next_parts[key]

    def _format(self, word: str, levels: int | None = None) -> Format:
        key = (word, levels)
        if key not in self._formats:
            found: Format = FORMATS.get(word)()
            self._formats[key] = found if levels is None else found.nested(levels)
        return self._formats[key]

    def _shared(self, configuration: Configuration, people: SingleSignOn | None) -> Shared:
        gateway = configuration.find("gateway")
        settings = configuration.gateway
        consumers = {n: d for n, d in configuration.of("consumers").items() if d.settings.enabled}
        callers = _digests([*consumers.values(), *configuration.of("groups").values()])
        limits = _digests(configuration.of("limits").values())
        return Shared(
            digest=(gateway.digest if gateway else "", callers, limits, id(people)),
            consumers=self._once(("consumers", callers), lambda: consumers_of(consumers.values())),
            addresses={
                name: (self._allowed(d.settings.allow), self._denied(d.settings.deny))
                for name, d in consumers.items()
                if d.settings.allow or d.settings.deny
            },
            trusted=self._once(
                ("trusted", tuple(settings.trusted_proxies)), lambda: self._allowed(settings.trusted_proxies)
            ),
            denied=[self._denied(settings.deny)] if settings.deny else [],
            allowed=[self._allowed(settings.allow)] if settings.allow else [],
            configuration=configuration,
            people=people,
            users=self._users(configuration),
        )

    def _users(self, configuration: Configuration) -> dict[str, tuple[AddressSet, AddressSet]]:
        people = sso_of(configuration)
        return {
            name: (self._allowed(one.allow), self._denied(one.deny))
            for name, one in (people.settings.users.items() if people is not None else ())
            if one.allow or one.deny
        }

    def _allowed(self, networks: Iterable[str]) -> AddressSet:
        """A list of those who may; a file of it that cannot be read holds nobody."""
        return AddressSet(networks, self.address_files, otherwise=False)

    def _denied(self, networks: Iterable[str]) -> AddressSet:
        """A list of those who may not; a file of it that cannot be read holds everybody."""
        return AddressSet(networks, self.address_files, otherwise=True)

    def _channel(
        self, configuration: Configuration, definition: Definition, catalogue: Catalogue, shared: Shared
    ) -> tuple[Any, Channel]:
        settings = definition.settings
        service = getattr(settings, "service", None)
        services: tuple[str, ...] = getattr(settings, "services", None) or ((service,) if service else ())
        deployed = {service: catalogue.find(service) for service in services}
        tunings = {service: configuration.find("services", service) for service in services}
        named = {name for alternative in settings.security for name in alternative}
        definitions = [configuration.find("security", name) for name in sorted(named)]
        lifetimes = {service: lifetime_here(settings, tunings[service], deployed[service]) for service in services}
        docs = docs_of(configuration)
        ends = bool(lifetime_of(settings) or any(lifetimes.values()))
        key = (
            (docs.enabled, docs.path) if ends else None,
            definition.digest,
            shared.digest,
            tuple(d.digest if d else "" for d in tunings.values()),
            tuple(d.digest if d else "" for d in definitions),
            tuple(id(d.compiled) if d else 0 for d in deployed.values()),
        )
        path = f"channels.{definition.name}"
        kind = CHANNELS.get(definition.type, path)
        kept = self._once(("kept", definition.name, definition.digest), lambda: kind.keep(definition.name, settings))
        before = self._channels.get(definition.name)
        if before is not None and before[0] == key:
            return before
        runtimes = {
            service: self._runtime(configuration, settings, deployed[service], tunings[service])._replace(
                lifetime=lifetimes[service]
            )
            for service in services
        }
        if not services:
            runtimes[""] = self._runtime(configuration, settings, None, None)._replace(kept=kept)
        public_url = (configuration.gateway.public_url or self._listener).rstrip("/")
        channel: Channel = kind.build(definition.name, settings, runtimes, public_url)
        if ends:
            page = f"{public_url}{docs.path}" if docs.enabled else ""
            channel.notices = notices_of(lifetime_of(settings), lifetimes, deployed, page)
        # Of several services only what the channel, its callers and the gateway have in common is limited here.
        tuning = next(iter(tunings.values())) if len(tunings) == 1 else None
        self._equip(channel, settings, settings.security, shared, tuning, path)
        self._sample(channel, deployed, tunings)
        for found in channel.routes():
            if found.answers is not None:
                requirements = settings.security if found.secured else ()
                self._equip(found.answers, settings, requirements, shared, None, path)
        return key, channel

    def _runtime(
        self, configuration: Configuration, settings: Any, deployed: Deployed | None, tuning: Definition | None
    ) -> Runtime:
        gateway = configuration.gateway
        contract = deployed.contract if deployed is not None else None
        tuned = tuning.settings if tuning is not None else None
        enabled = tuned is None or tuned.enabled
        levels = getattr(settings, "json_depth", None) or gateway.json_depth
        return Runtime(
            contract=deployed.compiled if deployed is not None and enabled else None,
            formats=[self._format(word, levels) for word in getattr(settings, "format", ())],
            max_body=settings.max_body if settings.max_body is not None else gateway.max_body,
            deadline=float(
                settings.deadline
                or (tuned.deadline if tuned is not None else None)
                or (contract.deadline if contract is not None else None)
                or gateway.timeouts.deadline
            ),
            validate=tuned.validate if tuned is not None else True,
            error_details=tuned.error_details if tuned is not None else "full",
        )

    def _equip(
        self, channel: Channel, settings: Any, requirements: Any, shared: Shared, tuning: Definition | None, path: str
    ) -> None:
        """Give *channel* the steps that it needs, and what they work with."""
        configuration = shared.configuration
        admission = Admission(
            [*shared.denied, *([self._denied(settings.deny)] if settings.deny else [])],
            [*shared.allowed, *([self._allowed(settings.allow)] if settings.allow else [])],
            self._limits.admission(configuration),
        )
        security = self._security(requirements, shared, path)
        # Whoever need not prove who they are cannot be in a group either.
        groups = frozenset(settings.groups) if requirements or not settings.security else frozenset()
        authority = Authority(groups, shared.addresses, shared.users if requirements else {})
        quotas = self._limits.quotas(configuration, channel.name, settings, tuning)
        steps: list[Step] = []
        if admission:
            channel.admission = admission
            steps.append(admission.admit)
        if channel.opens:
            steps.append(channel.open)
        if security is not None:
            channel.security = security
            steps.append(security.identify)
        if authority:
            channel.authority = authority
            steps.append(authority.authorise)
        answer: tuple[Step, ...] = (channel.read, channel.run, channel.write)
        if quotas is not None:
            channel.quotas = quotas
            answer = (quotas.until_answered(answer),) if quotas.has_end else (quotas.debit, *answer)
        channel.steps = (*steps, *answer)
        # SECURITY: A52, A24. A preflight holds no credentials; it passes the admission of the channel all the same.
        channel.options_steps = (*([admission.admit] if admission else []), answer_options)

    def _sample(
        self, channel: Channel, deployed: Mapping[str, Deployed | None], tunings: Mapping[str, Definition | None]
    ) -> None:
        """Give *channel* one step more where calls of its services are to be kept as samples."""
        own = getattr(channel.settings, "samples", None)
        rules = {}
        for service, one in deployed.items():
            tuning = tunings[service]
            rule = own or (tuning.settings.samples if tuning is not None else None)
            if one is not None and rule is not None:
                rules[one.name] = rule
        if rules and self._recorder is not None:
            channel.steps = (*channel.steps, self._recorder.step(channel, rules))

    def _security(self, requirements: Any, shared: Shared, path: str) -> Security | None:
        if not requirements:
            return None
        alternatives = [[self._authenticator(name, shared, path) for name in choice] for choice in requirements]
        return Security(alternatives, self._limits.failed_authentication(shared.configuration))

    def _proving(self, shared: Shared) -> Proving:
        """What compares the credentials that people want to link."""
        definitions = shared.configuration.of("security").items()
        linkable = {name: one for name, one in definitions if one.type in SENT}
        made = {}
        for name, definition in linkable.items():
            key = ("proving", name, definition.digest, id(shared.consumers))
            made[name] = self._once(key, partial(self._made, name, definition, shared))
        return Proving(made)

    def _made(self, name: str, definition: Definition, shared: Shared) -> Authenticator:
        tools = Tools(self._verifier, shared.consumers, ApiKeys.digest, self._first_use, people=shared.people)
        found: Authenticator = AUTHENTICATORS.get(definition.type, f"security.{name}")(name, definition.settings, tools)
        return found

    def _authenticator(self, name: str, shared: Shared, path: str) -> Authenticator:
        definition = shared.configuration.find("security", name)
        if definition is None:
            # SECURITY: A30. A channel whose definition is missing is left out: it is never open.
            raise ConfigurationError(f"{path}.security", f"there is no security definition called '{name}'")

        def make() -> Authenticator:
            made = self._made(name, definition, shared)
            return made if shared.people is None or made.word == "sso" else Linked(made, shared.people)

        key = ("security", name, definition.digest, id(shared.consumers), id(shared.people))
        found: Authenticator = self._once(key, make)
        return found


@dataclass(frozen=True)
class Shared:
    """What many channels of a snapshot have in common."""

    digest: Any
    consumers: Consumers
    addresses: Mapping[str, tuple[AddressSet, AddressSet]]
    trusted: AddressSet
    denied: list[AddressSet]
    allowed: list[AddressSet]
    configuration: Configuration
    people: SingleSignOn | None
    users: Mapping[str, tuple[AddressSet, AddressSet]]


def consumers_of(definitions: Iterable[Definition]) -> Consumers:
    """The directory of consumers: who a username or a key belongs to."""
    by_username: dict[str, Credential] = {}
    by_key: dict[str, Identity] = {}
    for definition in definitions:
        consumer = definition.settings
        identity = Identity(
            definition.name,
            "consumer",
            groups=frozenset(consumer.groups),
            attributes=consumer.attributes,
        )
        for basic in consumer.basics:
            by_username[basic.username] = Credential(basic.password.reveal(), identity)
        for held in consumer.keys_held:
            by_key[held.key.reveal()] = identity
    return Consumers(by_username, by_key)


def _digests(definitions: Iterable[Definition]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((definition.name, definition.digest) for definition in definitions))
