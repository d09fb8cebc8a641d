"""Types of settings that several kinds of objects share: paths, addresses, security requirements, API keys."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Self

from gateway.routes import parse_template
from security.address_files import PREFIX
from specs.names import GroupName, LimitName, Many, SecurityName
from specs.problems import ConfigurationError, nearest
from specs.settings import Password, Seconds, Settings, setting
from specs.strict_json import DEEPEST

__all__ = [
    "METHODS", "Addresses", "ApiKey", "Cors", "Formats", "Groups", "Hosts", "Levels", "LimitName", "Methods", "PathTemplate",
    "Requirements",
]  # fmt: skip

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class ApiKey(Password):
    """A key that callers present whole. Configuration keeps its SHA-256, by which it is found; `reveal` gives that digest.

    Unlike a password it is not stretched: it must be long and random, or whoever reads the database can guess it.
    """

    leaf = "key"

    def __repr__(self) -> str:
        return "ApiKey('***')"


class PathTemplate(str):
    """A path or path template of the public listener, in Falcon's syntax: ``/customers/{cust_id}``, ``/files/{path:path}``."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        if not isinstance(value, str):
            raise ConfigurationError(path, f"this is a path, not {value!r}", 'write "/customers/{cust_id}"')
        parse_template(value, path)
        return cls(value)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"type": "string", "pattern": "^/", "examples": ["/customers/{cust_id}"]}


class Levels(int):
    """How deep a message may be nested."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        if type(value) is not int or not 1 <= value <= DEEPEST:
            raise ConfigurationError(path, f"this is a number of levels, not {value!r}", f"write 1 to {DEEPEST}")
        return cls(value)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"type": "integer", "minimum": 1, "maximum": DEEPEST}


class Cost(int):
    """How many hits a call takes from every limit."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        if type(value) is not int:
            raise ConfigurationError(path, f"this is a number of hits, not {value!r}", "write 1 or more")
        # SECURITY: a call that takes less than nothing would give others' limits back what they have used.
        if value < 1:
            raise ConfigurationError(path, f"a call takes at least one hit, not {value}", "write 1 or more")
        return cls(value)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"type": "integer", "minimum": 1}


class Address(str):
    """An IP address or a network, in canonical form, or ``file:/path`` of a file with one a line."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        if isinstance(value, str) and value.startswith(PREFIX):
            if not value[len(PREFIX) :].startswith("/"):
                raise ConfigurationError(path, f"not an absolute path: '{value[:80]}'", "write file:/etc/blocked.txt")
            return cls(value)
        try:
            if not isinstance(value, str):
                raise ValueError
            network = ipaddress.ip_network(value.strip(), strict=False)
        except ValueError:
            raise ConfigurationError(
                path, f"not an address or network: {value!r}", 'write 10.0.0.1, 10.0.0.0/8, "::1" or file:/path'
            ) from None
        if network.num_addresses == 1 and "/" not in value:
            return cls(network.network_address)
        return cls(network)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"type": "string", "examples": ["10.0.0.0/8", "::1"]}


class Addresses(Many):
    """Addresses and networks."""

    __slots__ = ()
    item = Address


class Groups(Many):
    """Groups of consumers; ``*`` stands for every consumer, in a group or not."""

    __slots__ = ()
    item = GroupName


class Methods(Many):
    """HTTP methods. HEAD goes with GET, and OPTIONS is answered by the gateway, unless a channel lists them."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        methods = super().read(value, path)
        if not methods:
            raise ConfigurationError(
                path, "a channel without methods can never be called", "leave it out for the default"
            )
        return methods

    @classmethod
    def read_item(cls, value: Any, path: str) -> Any:
        """One method. Raises ConfigurationError."""
        method = super().read_item(value, path).upper()
        if method not in METHODS:
            raise ConfigurationError(path, f"no method called '{value}'", nearest(method, METHODS))
        return method

    @classmethod
    def item_schema(cls) -> dict[str, Any]:
        """How the document's schema describes one value."""
        return {"enum": list(METHODS)}


class Hosts(Many):
    """Host names that a channel answers to, in lower case and without a port."""

    __slots__ = ()

    @classmethod
    def read_item(cls, value: Any, path: str) -> Any:
        """One host. Raises ConfigurationError."""
        host = super().read_item(value, path).lower()
        if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]", host):
            raise ConfigurationError(
                path, f"not a host name: '{value}'", "write api.example.com, without scheme and port"
            )
        return host


class Formats(Many):
    """Formats that a channel speaks; the first is the one that a caller without preferences gets."""

    __slots__ = ()
    WORDS = ("json", "xml", "form", "plain")

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        formats = super().read(value, path)
        if not formats:
            raise ConfigurationError(path, "a channel speaks at least one format", "leave it out for the default")
        return formats

    @classmethod
    def read_item(cls, value: Any, path: str) -> Any:
        """One format. Raises ConfigurationError."""
        word = super().read_item(value, path)
        if word not in cls.WORDS:
            raise ConfigurationError(path, f"no format called '{word}'", nearest(word, cls.WORDS))
        return word

    @classmethod
    def item_schema(cls) -> dict[str, Any]:
        """How the document's schema describes one value."""
        return {"enum": list(cls.WORDS)}


class Requirements(tuple[tuple[SecurityName, ...], ...]):
    """How callers prove who they are: an OR of ANDs. ``[partners, [staff, device]]`` is partners, or staff with device.

    Empty means that anybody may call.
    """

    __slots__ = ()

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        if isinstance(value, str):
            return cls(((SecurityName.read(value, path),),))
        if not isinstance(value, (list, tuple)):
            raise ConfigurationError(
                path, f"this is a name or a list of names, not {value!r}", "write [partners, [staff]]"
            )
        choices: list[tuple[SecurityName, ...]] = []
        for position, choice in enumerate(value):
            place = f"{path}[{position}]"
            if isinstance(choice, (list, tuple)):
                if not choice:
                    # SECURITY: an empty AND is always true and would open the channel beside its other definitions.
                    raise ConfigurationError(
                        place, "an empty list would let everybody in", "name a security definition"
                    )
                choices.append(tuple(SecurityName.read(name, f"{place}[{i}]") for i, name in enumerate(choice)))
            else:
                choices.append((SecurityName.read(choice, place),))
        return cls(choices)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        name = SecurityName.json_schema()
        choice = {"anyOf": [name, {"type": "array", "items": name, "minItems": 1}]}
        return {"anyOf": [name, {"type": "array", "items": choice}], "examples": [["partners", ["staff"]]]}


class Texts(Many):
    """One text or several."""

    __slots__ = ()


class Cors(Settings):
    """Who may call from a page of another origin."""

    origins: Texts = setting('origins that may call, such as https://app.example.com; "*" for all')
    methods: Methods | None = setting("methods that may be used; those of the channel if left out", default=None)
    headers: Texts = setting("request headers that may be sent beside the simple ones", default=["content-type"])
    expose: Texts = setting("answer headers that pages may read", default=[])
    credentials: bool = setting("whether cookies and authorization may be sent along", default=False)
    max_age: Seconds = setting("how long browsers may remember the answer to a preflight", default="10m")

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if self.credentials and "*" in self.origins:
            # SECURITY: every page on the web could act in the name of whoever is logged in.
            raise ConfigurationError(
                f"{path}.credentials", "credentials cannot go with every origin", "name the origins"
            )
        for position, origin in enumerate(self.origins):
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
                raise ConfigurationError(
                    f"{path}.origins[{position}]", f"not an origin: '{origin}'", "write https://app.example.com"
                )
