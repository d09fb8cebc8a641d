"""Notices: the headers by which answers say that what was called is going away (`specs.lifetime`), computed once per channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway.configuration.kinds import lifetime_of
from specs.lifetime import Lifetime, Moment

if TYPE_CHECKING:
    from backends.catalogue import Deployed
    from gateway.configuration.objects import Definition


def lifetime_here(settings: Any, tuning: Definition | None, deployed: Deployed | None) -> Lifetime:
    """What callers of a service by a channel are told of its end: the channel's word goes before the service's."""
    said = lifetime_of(settings).over(lifetime_of(tuning.settings if tuning is not None else None))
    if deployed is None:
        return said
    deprecated, sunset = (
        Moment(text) if text else None for text in (deployed.contract.deprecated, deployed.contract.sunset)
    )
    return said.over(Lifetime(deprecated, sunset))


def notices_of(
    own: Lifetime, services: Mapping[str, Lifetime], deployed: Mapping[str, Deployed | None], docs: str
) -> dict[str, tuple[tuple[str, str], ...]]:
    """The headers of a channel's answers by service, those of the channel itself under the empty name.

    *docs* is where the documentation is, if anywhere.
    """
    notices = {"": own.headers(docs)}
    for service, lifetime in services.items():
        one = deployed[service]
        name = one.name if one is not None else service
        if lifetime:
            notices[name] = lifetime.headers(f"{docs}/services/{quote(name)}" if docs else "")
            if len(services) == 1:
                notices[""] = notices[name]
    return notices
