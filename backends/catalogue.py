"""The catalogue: every service that can be called, by name, with all that calling it needs made ready once.

A service's name is its own ``name``, else its module and its class in kebab case; such a name is found without the dashes
of the class too.

>>> kebab("MQSender"), kebab("GetCustomerCase"), kebab("HTTP2Probe")
('mq-sender', 'get-customer-case', 'http2-probe')
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from backends.service import Service
from specs.compiled import CompiledContract
from specs.contract import Contract
from specs.problems import ConfigurationError
from specs.simpleio import contract_of

_VERB = re.compile(r"handle_([A-Z]+)")
_WORDS = (re.compile(r"([A-Z]+[0-9]*)([A-Z][a-z])"), re.compile(r"([a-z0-9])([A-Z])"))


@dataclass(frozen=True, slots=True)
class Deployed:
    """One service, ready to be called.

    *handlers* are its methods by HTTP verb and *handler* the one for all others, if it has any. *keepalive* holds what must
    live as long as a call of the service may run: the version that its code was loaded with.
    """

    service_class: type[Service]
    contract: Contract
    compiled: CompiledContract
    handler: Callable[[Service], Any] | None
    handlers: Mapping[str, Callable[[Service], Any]]
    before: Callable[[Service], Any] | None
    after: Callable[[Service], Any] | None
    alias: str = ""
    version: int = 0
    module: str = ""
    keepalive: Any = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """What channels and other services call it by."""
        return self.contract.service


class Catalogue:
    """Services by name. Never changes: a new set of services is a new catalogue."""

    def __init__(self, deployed: Iterable[Deployed] = ()) -> None:
        """Raises ConfigurationError where two services have one name; it names both."""
        self._by_name: dict[str, Deployed] = {}
        for one in deployed:
            other = self._by_name.setdefault(one.name, one)
            if other is not one:
                raise duplicate(one.contract, other.contract)
        # PERF: one dict look-up a call; aliases are entries of their own.
        self._found = {one.alias: one for one in self._by_name.values() if one.alias} | self._by_name

    def find(self, name: str) -> Deployed | None:
        """The service of that name or alias."""
        return self._found.get(name)

    def names(self) -> list[str]:
        """Every name, in order."""
        return sorted(self._by_name)

    def __iter__(self) -> Iterator[Deployed]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: str) -> bool:
        return name in self._found


def duplicate(one: Contract, other: Contract) -> ConfigurationError:
    """The error for two services of one name."""
    places = " and ".join(sorted(f"{contract.module}.{contract.class_name}" for contract in (one, other)))
    return ConfigurationError(
        one.service, f"two services have the name '{one.service}': {places}", "give one of them another `name`"
    )


def services_in(module: ModuleType) -> list[type[Service]]:
    """The services that *module* defines itself, in its order: what it imports and what has no handler are none."""
    return [
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, Service)
        and found.__module__ == module.__name__
        and (found.handle is not Service.handle or verbs_of(found))
        and not inspect.isabstract(found)
    ]


def name_of(service_class: type[Service], module: str) -> str:
    """What a service of that *module* is called by."""
    own = vars(service_class).get("name", "")
    if not isinstance(own, str):
        raise ConfigurationError(service_class.__name__, "the name of a service is a text", 'write name = "my.service"')
    return own or f"{module}.{kebab(service_class.__name__)}"


def describe(service_class: type[Service], *, module: str, root: Path | None = None, namespace: str = "") -> Contract:
    """The contract of a service. Schema files are relative to *root*; *namespace* is what its module says.

    Raises ConfigurationError, which names the class and what is wrong with its declaration.
    """
    contract = contract_of(
        service_class, service=name_of(service_class, module), module=module, namespace=namespace, root=root
    )
    # A class that has `handle` too takes every verb.
    return contract if service_class.handle is Service.handle else replace(contract, verbs=())


def deploy(
    service_class: type[Service],
    contract: Contract,
    *,
    compiled: CompiledContract | None = None,
    version: int = 0,
    keepalive: Any = None,
) -> Deployed:
    """A service ready to be called: its class, and the *contract* that callers go by."""
    service_class.name = contract.service
    handler = service_class.handle
    before, after = service_class.before_handle, service_class.after_handle
    return Deployed(
        service_class=service_class,
        contract=contract,
        compiled=compiled or CompiledContract(contract),
        handler=handler if handler is not Service.handle else None,
        handlers=verbs_of(service_class),
        before=before if before is not Service.before_handle else None,
        after=after if after is not Service.after_handle else None,
        alias=alias_of(contract),
        version=version,
        module=contract.module,
        keepalive=keepalive,
    )


def deployed_from(module: ModuleType) -> list[Deployed]:
    """Every service of a module that was imported the ordinary way, such as our own built-in ones."""
    name = module.__name__.rpartition(".")[2]
    file = getattr(module, "__file__", None)
    root = Path(file).parent if file else None
    namespace = getattr(module, "namespace", "")
    return [
        deploy(found, describe(found, module=name, root=root, namespace=namespace)) for found in services_in(module)
    ]


def alias_of(contract: Contract) -> str:
    """The name without the dashes of the class, where the name was made of module and class."""
    alias = f"{contract.module}.{contract.class_name.lower()}"
    default = f"{contract.module}.{kebab(contract.class_name)}"
    return alias if contract.service == default != alias else ""


def verbs_of(service_class: type[Service]) -> dict[str, Callable[[Service], Any]]:
    """The handlers of single HTTP verbs: ``handle_GET`` and the like."""
    found = {}
    for attribute in dir(service_class):
        match = _VERB.fullmatch(attribute)
        if match:
            found[match[1]] = getattr(service_class, attribute)
    return found


def kebab(name: str) -> str:
    """A class's name in kebab case; a run of capitals is one word."""
    for pattern in _WORDS:
        name = pattern.sub(r"\1-\2", name)
    return name.lower()
