"""The kinds of objects that a document holds, in the order in which it is written, and the settings of each.

Three kinds are open: `security`, `channels` and `connections` have types, each a class in a folder of its own
(`specs.registry`). Of five kinds there is one object at most, which has no name (`gateway`, `sso`, `docs`, `vault`, `keys`).

>>> settings_class("channels", {"type": "rest"}, "channels.c").__qualname__
'Channel.Settings'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from backends.jobs import Job as ScheduledJob
from backends.schedules import zone_of
from gateway.configuration.parts import Addresses, ApiKey, Cost, Groups, Levels, PathTemplate, Requirements
from gateway.configuration.sampling import Sampling
from security.limits.rules import LimitDefinition
from specs.lifetime import Deprecated, Lifetime, Moment
from specs.names import LimitName, ServiceName
from specs.problems import ConfigurationError, nearest
from specs.registry import Registry
from specs.settings import Password, Seconds, Settings, Size, setting
from specs.strict_json import DEPTH
from sso import settings as people

AUTHENTICATORS = Registry("authenticator", "gateway.authenticators", "Authenticator")
CHANNELS = Registry("channel", "gateway.channels", "Channel")
#: How the URL of a store of limits may begin; what is held by reference is only known when it is resolved.
STORAGES = (
    "redis://",
    "rediss://",
    "redis+sentinel://",
    "redis+cluster://",
    "valkey://",
    "valkeys://",
    "redis+unix://",
    "${",
)
CONNECTORS = Registry("connector", "backends.connectors", "Connector")


class Timeouts(Settings):
    """How long the public listener waits for callers and services."""

    head: Seconds = setting("for a whole request head, from its first byte", default="10s")
    body: Seconds = setting("for the next part of a request body", default="60s")
    idle: Seconds = setting("for the next request on a kept connection", default="75s")
    send: Seconds = setting("for a caller to take the next part of an answer", default="60s")
    total: Seconds = setting("for a request and its answer together, however busy both sides are", default="1h")
    deadline: Seconds = setting("for a service to answer, unless it, its settings or its channel say so", default="60s")
    drain: Seconds = setting("for requests in progress when the gateway stops", default="30s")


class WireBounds(Settings):
    """What strangers can have of one worker process. What is beyond is refused with 503 and Retry-After, not queued."""

    connections: int = setting("how many connections may be open", default=2000)
    connections_per_address: int = setting(
        "open connections of one address (of IPv6 a /64), trusted proxies excepted", default=500
    )
    requests: int = setting("how many requests may be under way", default=1000)
    requests_per_address: int = setting("requests of one caller's address being answered", default=500)
    bodies: Size = setting(
        "bytes of request bodies that are held at a time, all requests together, packed ones as they are unpacked, and as "
        "many again of what is made of them",
        default="256MiB",
    )
    answers: Size = setting(
        "bytes of answers that wait for callers who do not take them, all together, of long answers the whole",
        default="256MiB",
    )
    min_rate: Size = setting(
        "bytes a second that a caller has to send or take on the whole, beyond the time it is given", default="1KiB"
    )

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        for name in self.__settings__:
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{path}.{name}", "nobody could call", "write 1 or more")


class Gateway(Settings):
    """What holds for the whole gateway."""

    public_url: str | None = setting("where callers reach the gateway, such as https://api.example.com", default=None)
    trusted_proxies: Addresses = setting("proxies whose word on the caller's address is taken", default=[])
    limit: LimitName | None = setting("limit definition of everything together, by caller", default=None)
    allow: Addresses = setting("addresses and networks that may call at all; all if left out", default=[])
    deny: Addresses = setting("addresses and networks that may not", default=[])
    admission: LimitName | None = setting("limit definition by address, before callers are identified", default=None)
    limit_storage: str = setting(
        "where limits are counted: shm, the shared memory of this machine, or redis://host:port/0 for several machines",
        default="shm",
    )
    legacy_headers: bool = setting("whether answers carry X-RateLimit-Limit, -Remaining and -Reset too", default=False)
    on_store_failure: Literal["deny", "allow", "local"] = setting(
        "what becomes of requests while limits cannot be counted: deny, allow, or this process's own share",
        default="deny",
    )
    timeouts: Timeouts = setting("how long to wait for what", default={})
    bounds: WireBounds = setting("how much strangers can have at a time", default={})
    max_body: Size = setting("largest request body, unless a channel says otherwise", default="8MiB")
    contract_changes: Literal["refuse", "warn", "allow"] = setting(
        "what becomes of a change of services or channels that breaks callers: it is refused, taken and told, or taken",
        default="warn",
    )
    example_changes: Literal["refuse", "warn", "allow"] = setting(
        "what becomes of services that answer the documentation's examples differently: refused, taken and told, or taken",
        default="warn",
    )
    json_depth: Levels = setting(
        "most levels that a JSON body is nested, unless a channel says otherwise", default=DEPTH
    )

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if self.limit_storage != "shm" and not self.limit_storage.startswith(STORAGES):
            raise ConfigurationError(
                f"{path}.limit_storage",
                f"limits cannot be counted in '{self.limit_storage[:60]}'",
                "use shm, redis://host:6379/0, redis+sentinel://host:26379/service/0 or redis+cluster://host:6379",
            )
        if self.public_url is not None and not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", self.public_url):
            raise ConfigurationError(
                f"{path}.public_url", f"not a URL: '{self.public_url}'", "write https://api.example.com"
            )


class Group(Settings):
    """A group of consumers: what its members have in common."""

    limit: LimitName | None = setting("limit definition that the whole group shares", default=None)
    description: str = setting("a sentence for documents", default="")


class BasicCredential(Settings):
    """A username and password of a consumer."""

    username: str = setting("the name that the caller sends")
    password: Password = setting("how they prove it; kept as a hash alone")

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if ":" in self.username or not self.username:
            raise ConfigurationError(f"{path}.username", "a username is not empty and holds no colon (RFC 7617)")


class KeyCredential(Settings):
    """An API key of a consumer."""

    key: ApiKey = setting("the key that the caller sends; only its digest is kept")
    description: str = setting("what or where it is for", default="")


class Consumer(Settings):
    """An API client: its credentials, groups and limit."""

    groups: Groups = setting("groups that it is in", default=[])
    basic: BasicCredential | list[BasicCredential] | None = setting("its usernames and passwords", default=None)
    apikey: KeyCredential | list[KeyCredential] | None = setting("its API keys", default=None)
    limit: LimitName | None = setting("limit definition of this consumer, over all channels", default=None)
    allow: Addresses = setting("addresses and networks that it may call from; all if left out", default=[])
    deny: Addresses = setting("addresses and networks that it may not call from", default=[])
    attributes: dict[str, Any] = setting("further facts that services may read", default={})
    enabled: bool = setting("whether its credentials are taken", default=True)
    description: str = setting("a sentence for documents", default="")

    @property
    def basics(self) -> list[BasicCredential]:
        """Its usernames and passwords, however they were written."""
        return _listed(self.basic)

    @property
    def keys_held(self) -> list[KeyCredential]:
        """Its API keys, however they were written."""
        return _listed(self.apikey)

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if "*" in self.groups:
            raise ConfigurationError(
                f"{path}.groups", "'*' stands for every consumer and is no group", "name the groups"
            )


class Service(Settings):
    """How a service is run, whatever its class says."""

    validate: bool = setting("check input against the service's JSON Schema", default=True)
    error_details: Literal["full", "pointer", "none"] = setting(
        "what callers are told of faulty input: everything, where alone, or only that it is faulty", default="full"
    )
    deadline: Seconds | None = setting("when its answer is due; what its class says if left out", default=None)
    limit: LimitName | None = setting("limit definition of the service, over all channels", default=None)
    cost: Cost = setting("hits that a call takes from every limit", default=1)
    enabled: bool = setting("whether it can be called", default=True)
    contract_changes: Literal["refuse", "warn", "allow"] | None = setting(
        "what becomes of a change that breaks its callers; what the gateway says if left out", default=None
    )
    deprecated: Deprecated = setting("whether callers are told that it is going away: a date, or true", default=False)
    sunset: Moment | None = setting("when it ends, as callers are told; it goes on until it is removed", default=None)
    deprecation_page: str = setting("URL of what callers are to do instead; its documentation if left out", default="")
    example_changes: Literal["refuse", "warn", "allow"] | None = setting(
        "what becomes of a version that answers its examples differently; what the gateway says if left out",
        default=None,
    )
    samples: Sampling | None = setting("real calls that are kept to make examples of; none if left out", default=None)
    description: str = setting("a sentence for documents", default="")


class Job(Settings):
    """A service that is run by the clock. One of `every`, `cron` and `at` says when."""

    service: ServiceName = setting("name of the service to run")
    every: Seconds | None = setting("run it again and again, so far apart", default=None)
    cron: str | None = setting("run it at these times, in the five fields of cron", default=None)
    at: str | None = setting("run it once, at this ISO 8601 moment", default=None)
    payload: Any = setting("what the service gets as input", default=None)
    missed: Literal["skip", "run-once", "run-all"] = setting(
        "what becomes of runs that were due while nobody could run them", default="skip"
    )
    overlap: Literal["skip", "queue", "allow"] = setting("what to do while the run before is not over", default="skip")
    repeats: int | None = setting("how many runs of `every` there are; no end if left out", default=None)
    start: str | None = setting("the ISO 8601 moment before which nothing runs", default=None)
    timezone: str = setting("time zone of cron, and of moments without one", default="UTC")
    enabled: bool = setting("whether it runs", default=True)
    description: str = setting("a sentence for documents", default="")

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if self.repeats is not None and (self.every is None or self.repeats < 1):
            raise ConfigurationError(f"{path}.repeats", "repeats is 1 or more and goes with every")
        # What the scheduler could not use is refused here: a worker never refuses a committed revision.
        try:
            zone_of(self.timezone)
            ScheduledJob.of("", self).schedule(datetime(2026, 1, 1, tzinfo=UTC)).next_run(
                datetime(2026, 1, 1, tzinfo=UTC)
            )
        except ConfigurationError as error:
            setting = error.path.replace("time_zone", "timezone")
            raise ConfigurationError(f"{path}.{setting}".rstrip("."), error.message, error.remedy) from None


class Person(Settings):
    """What holds for one person."""

    limit: LimitName | None = setting("limit definition of this person, instead of everybody's", default=None)
    allow: Addresses = setting("addresses and networks that they may call from; all if left out", default=[])
    deny: Addresses = setting("addresses and networks that they may not call from", default=[])


class Sso(people.Sso):
    """Sign-up and login of people, and where they do it."""

    path: PathTemplate = setting("where the pages are; the API is at v1 below it", default="/sso")
    limit: LimitName | None = setting("limit that all calls of the API and the pages share", default=None)
    allow: Addresses = setting("addresses that may sign up and log in; any if left out", default=[])
    deny: Addresses = setting("addresses that may not", default=[])
    user_limit: LimitName | None = setting("limit definition of each person, over all channels", default=None)
    users: dict[str, Person] = setting("what holds for single people, by user name", default={})

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        super().check(path)
        if "{" in self.path or self.path == "/":
            raise ConfigurationError(f"{path}.path", f"people cannot log in at '{self.path}'", "write /sso")
        for name in self.users:
            if name != name.casefold():
                raise ConfigurationError(
                    f"{path}.users.{name}", "user names are kept in lower case", f"write {name.casefold()}"
                )


class Docs(Settings):
    """Documents made from contracts."""

    enabled: bool = setting("whether documents are served", default=True)
    path: PathTemplate = setting("where the pages are; documents for machines are below it too", default="/docs")
    openapi: bool = setting(
        "whether /openapi.json, /openapi.yaml and /.well-known/api-catalog lead there as well", default=True
    )
    console: bool = setting("whether there is a console, which tries calls from the browser", default=True)
    shows: Literal["callable", "everything"] = setting(
        "what a reader is shown: what they may call themselves, or everything", default="callable"
    )
    internal: bool = setting(
        "whether readers are shown services that no channel leads to, as not exposed; `docs export` always has them",
        default=False,
    )
    security: Requirements = setting("who may read: as the security of a channel", default=[])
    groups: Groups = setting("groups one of which a reader has to be in", default=[])
    limit: LimitName | None = setting("limit that all reading shares", default=None)
    allow: Addresses = setting("addresses that may read; any if left out", default=[])
    deny: Addresses = setting("addresses that may not read", default=[])
    title: str = setting("what the interface is called", default="API")
    version: str = setting("the version of the interface", default="1.0")
    description: str = setting("what newcomers read first, in Markdown", default="")
    contact: str = setting("whom readers ask: an e-mail address or a URL; the pages' own if left out", default="")
    license: str = setting("the terms of use, as an SPDX expression", default="LicenseRef-Proprietary")
    namespaces: dict[str, str] = setting("what each namespace is about, in Markdown", default={})
    colour: str = setting("colour of links and buttons, as #rrggbb", default="#4f46e5")
    logo: str = setting("a picture instead of the letter mark: SVG text, or a data: URL of base64", default="")
    css: str = setting("style sheet that is read after ours", default="")

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.colour):
            raise ConfigurationError(f"{path}.colour", f"not a colour: '{self.colour}'", 'write "#4f46e5"')
        if self.logo and not re.match(r"\s*<(\?xml|svg)|data:image/(png|jpeg|webp|gif|svg\+xml);base64,", self.logo):
            raise ConfigurationError(
                f"{path}.logo", "not a picture", 'write "${file:logo.svg}" or a data: URL of base64'
            )
        if "{" in self.path or self.path == "/":
            raise ConfigurationError(f"{path}.path", f"pages cannot be at '{self.path}'", "write /docs")


class Vault(Settings):
    """Secrets held in Vault."""

    enabled: bool = setting("whether secrets are read from Vault; not part of this version", default=False)

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if self.enabled:
            raise ConfigurationError(f"{path}.enabled", "Vault is not part of this version", "use ${env:} or ${file:}")


class Keys(Settings):
    """Encryption keys. There is nothing to set yet: keys are made with the keyring."""


class Topic(Settings):
    """A topic of messages."""

    description: str = setting("a sentence for documents", default="")

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        raise ConfigurationError(path, "topics are not part of this version", "leave it out")


@dataclass(frozen=True, slots=True)
class Kind:
    """A top-level key of the document: objects with `settings`, or with the settings of a type in `registry`."""

    word: str
    sentence: str
    settings: type[Settings] | None = None
    registry: Registry | None = None
    single: bool = False


KINDS: dict[str, Kind] = {
    kind.word: kind
    for kind in (
        Kind("gateway", "what holds for the whole gateway", Gateway, single=True),
        Kind("security", "how callers prove who they are", registry=AUTHENTICATORS),
        Kind("limits", "how often, from where", LimitDefinition),
        Kind("groups", "groups of consumers", Group),
        Kind("consumers", "API clients and their credentials", Consumer),
        Kind("services", "how services are run", Service),
        Kind("channels", "the ways in", registry=CHANNELS),
        Kind("connections", "the ways out", registry=CONNECTORS),
        Kind("jobs", "services that the clock runs", Job),
        Kind("topics", "topics of messages", Topic),
        Kind("sso", "sign-up and login of people", Sso, single=True),
        Kind("docs", "documents made from contracts", Docs, single=True),
        Kind("vault", "secrets held in Vault", Vault, single=True),
        Kind("keys", "encryption keys", Keys, single=True),
    )
}


def settings_class(word: str, body: Any, path: str) -> type[Settings]:
    """The settings of an object of a kind, by its ``type`` where the kind has types. Raises ConfigurationError."""
    kind = KINDS[word]
    if kind.registry is None:
        assert kind.settings is not None
        return kind.settings
    if not isinstance(body, Mapping):
        raise ConfigurationError(path, "this is a map of settings", "write {type: ..., ...}")
    known = kind.registry.words()
    if "type" not in body:
        raise ConfigurationError(f"{path}.type", "this setting is required", f"use one of {', '.join(known)}")
    if not isinstance(body["type"], str):
        raise ConfigurationError(f"{path}.type", f"not a type: {body['type']!r}", nearest(str(body["type"]), known))
    return kind.registry.get(body["type"], f"{path}.type").Settings  # type: ignore[no-any-return]


def read_object(word: str, body: Any, path: str) -> Settings:
    """The settings of one object as a document has it. Raises ConfigurationErrors."""
    settings = settings_class(word, body, path)
    if KINDS[word].registry is not None:
        body = {key: value for key, value in body.items() if key != "type"}
    return settings.read({} if body is None else body, path)


def place(kind: str, name: str) -> str:
    """The path of an object in its document: ``channels.get-customer``, ``gateway``."""
    return kind if KINDS[kind].single else f"{kind}.{name}"


def lifetime_of(settings: Any) -> Lifetime:
    """What the settings of a channel or service say of its end; nothing for other settings, or none."""
    if not hasattr(settings, "sunset"):
        return Lifetime()
    return Lifetime(settings.deprecated or None, settings.sunset, settings.deprecation_page)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
