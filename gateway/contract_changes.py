"""What a change of services or channels breaks for callers, and what the configuration wants to become of that.

Services change when they are deployed (`policies_of` is what `backends.gate` asks), channels when a document is applied
(`channel_changes`). Both are judged by `gateway.contract_changes`, or by that of the service. Who may call is no part of a
contract: to take a credential away is never a change that could be refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from backends.breakage import Change, Effect, compare_messages
from backends.changelog import MOST_RELEASES, Release, releases
from backends.gate import Policies, Policy
from gateway.configuration.document import Warned
from gateway.configuration.kinds import Gateway, place
from specs.documents.wsdl import Endpoint
from specs.problems import ConfigurationError, ConfigurationErrors, nearest

if TYPE_CHECKING:
    from backends.deployment import Deployments
    from gateway.configuration.document import Key
    from gateway.configuration.store import Store
    from specs.contract import Contract

#: What a channel without methods of its own and of its service takes.
DEFAULT_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Way(NamedTuple):
    """A channel as a document has it: the word of its type, and its settings."""

    type: str
    settings: Any

    @property
    def services(self) -> tuple[str, ...]:
        """The services that it leads to."""
        one = getattr(self.settings, "service", None)
        return tuple(getattr(self.settings, "services", None) or ((one,) if one else ()))


def policy_from(word: str) -> Policy | None:
    """The policy of that word, None for no word. Raises ConfigurationError."""
    known: tuple[Policy, ...] = get_args(Policy)
    for policy in known:
        if word == policy:
            return policy
    if word:
        raise ConfigurationError("contract_changes", f"no policy called '{word}'", nearest(word, known))
    return None


def policies_of(store: Store) -> Policies:
    """The policies for services that the latest configuration of *store* has, read when they are asked for."""

    def policies(found: Sequence[Change]) -> Sequence[Policy]:
        configuration = store.load()
        settings = configuration.settings()
        ways = [Way(d.type, d.settings) for d in configuration.of("channels").values() if d.settings.enabled]
        reached = {key_of(service): set[str]() for way in ways for service in way.services}
        for way in ways:
            for service in way.services:
                reached[key_of(service)].add(way.type)
        return [
            policy_for(settings, [change.service])
            if _concerns(change, reached.get(key_of(change.service)))
            else "allow"
            for change in found
        ]

    return policies


def policy_for(settings: Mapping[Key, Any], services: Collection[str]) -> Policy:
    """The policy for a change that concerns *services*: the strictest of theirs; the gateway's where they have none.

    *settings* are those of all objects.
    """
    wanted = {key_of(service) for service in services}
    own = {
        held.contract_changes
        for (kind, name), held in settings.items()
        if kind == "services" and key_of(name) in wanted
    }
    order: tuple[Policy, ...] = get_args(Policy)
    gateway: Gateway = settings.get(("gateway", "")) or Gateway()
    return next((policy for policy in order if policy in own), gateway.contract_changes)


def key_of(service: str) -> str:
    """What a service is found by: its name is as good without the dashes."""
    return service.replace("-", "")


def _concerns(change: Change, types: Collection[str] | None) -> bool:
    """Whether a change breaks callers who come by channels of *types*; by other ways than channels anybody may come."""
    if not types:
        return True
    return (change.wsdl == "breaks" and "soap" in types) or (change.json == "breaks" and set(types) != {"soap"})


def judge(
    before: Mapping[str, Way],
    after: Mapping[str, Way],
    settings: Mapping[Key, Any],
    contracts: Mapping[str, Contract],
    policy: Policy | None = None,
) -> list[Warned]:
    """What is to be told of channels that break their callers. *settings* are those of all objects afterwards, *policy* stands
    for theirs. Raises ConfigurationErrors for what is refused.
    """
    warned: list[Warned] = []
    refused: list[ConfigurationError] = []
    for change in channel_changes(before, after, contracts):
        word = (policy or policy_for(settings, before[change.service].services)) if change.breaks else "allow"
        path, sentence = place("channels", change.service), f"{change.sentence} ({change.effect})"
        if word == "refuse":
            refused.append(ConfigurationError(path, sentence, "leave it, or apply with other `contract_changes`"))
        elif word == "warn":
            warned.append(Warned(path, sentence))
    if refused:
        raise ConfigurationErrors(refused)
    return warned


def history(store: Store, deployments: Deployments, most: int = MOST_RELEASES) -> list[Release]:
    """What the newest versions of services and revisions of channels changed for callers, the latest first.

    Channels are compared by the contracts that their services have now.
    """
    contracts = deployments.contracts()
    found = releases(deployments, most)
    for revision, before, after in store.channels_changed(most):
        changes = tuple(
            change
            for change in channel_changes(before, after, contracts)
            if change.wsdl != "safe" or change.json != "safe"
        )
        if changes:
            found.append(Release(revision.revision, revision.at, changes, "revision"))
    return sorted(found, key=lambda release: release.made_at, reverse=True)[:most]


def channel_changes(
    before: Mapping[str, Way], after: Mapping[str, Way], contracts: Mapping[str, Contract]
) -> Iterator[Change]:
    """What callers of the channels *before* find changed *after*, by channel; *contracts* are those of deployed services."""
    found = {key_of(name): contract for name, contract in contracts.items()}
    for name, old in before.items():
        if not old.settings.enabled or old.type == "pages":
            continue
        kind: tuple[Effect, Effect] = ("safe", "breaks") if old.type == "soap" else ("breaks", "safe")
        new = after.get(name)
        if new is None or not new.settings.enabled:
            yield Change(name, "the channel is gone", *kind, "removed")
        elif (new.type == "soap") != (old.type == "soap"):
            yield Change(name, f"the channel was {old.type} and is {new.type}", *kind, "removed")
        else:
            for sentence in _address(old.settings, new.settings, found):
                yield Change(name, sentence, *kind)
            operations = (
                _soap(name, old, new, found) if old.type == "soap" else _rest(old.settings, new.settings, found)
            )
            for change in operations:
                json: Effect = "safe" if old.type == "soap" else change.json
                wsdl: Effect = change.wsdl if old.type == "soap" else "safe"
                yield replace(change, service=name, json=json, wsdl=wsdl)


def _address(old: Any, new: Any, contracts: Mapping[str, Contract]) -> Iterator[str]:
    if old.path != new.path:
        yield f"the path was {old.path} and is {new.path}"
    if new.host and (lost := sorted(set(old.host) - set(new.host)) if old.host else ["any other host"]):
        yield f"it does not answer to {', '.join(lost)} any more"
    methods = _methods(new, contracts)
    if lost := [method for method in _methods(old, contracts) if method not in methods]:
        yield f"it does not take {', '.join(lost)} any more"


def _methods(settings: Any, contracts: Mapping[str, Contract]) -> tuple[str, ...]:
    contract = contracts.get(key_of(getattr(settings, "service", None) or ""))
    return tuple(settings.methods or (contract.verbs if contract is not None else ()) or DEFAULT_METHODS)


def _rest(old: Any, new: Any, contracts: Mapping[str, Contract]) -> Iterator[Change]:
    formats = tuple(getattr(old, "format", ())), tuple(getattr(new, "format", ()))
    if lost := [word for word in formats[0] if word not in formats[1]]:
        yield Change("", f"{', '.join(lost)} is not a format any more")
    elif formats[0][:1] != formats[1][:1]:
        yield Change("", f"it answers in {formats[1][0]} and no longer in {formats[0][0]} where nobody asks for either")
    one, other = (contracts.get(key_of(getattr(settings, "service", None) or "")) for settings in (old, new))
    if one is not None and other is not None and one.service != other.service:
        yield from compare_messages(one, other)


def _soap(name: str, old: Way, new: Way, contracts: Mapping[str, Contract]) -> Iterator[Change]:
    known = {
        service: contracts[key_of(service)] for service in old.services + new.services if key_of(service) in contracts
    }
    before, after = (
        Endpoint.of(
            name, [known[service] for service in way.services if service in known], way.settings.namespace or ""
        )
        for way in (old, new)
    )
    # Of services that are not deployed nobody knows the namespace.
    if before.namespace != after.namespace and known.keys() >= {*old.services, *new.services}:
        yield Change("", f"the target namespace was {before.namespace} and is {after.namespace}")
    for operation, contract in before.operations.items():
        if operation in after.operations:
            if contract.service != after.operations[operation].service:
                yield from compare_messages(contract, after.operations[operation])
        else:
            yield Change("", f"the operation {operation} is gone")
