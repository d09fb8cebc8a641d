"""Channels that are there without being written down: the documentation, and the API of single sign-on.

Each is a channel as any other: admission, limits, log and documents hold for it. What is configured comes before what is
built in, by name and by path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.configuration.kinds import CHANNELS, Docs, Sso
from gateway.configuration.objects import Definition

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration

#: Below the path of single sign-on.
SSO_VERSION = "/v1"
#: Nothing that people send to single sign-on is longer: an attribute has 16 KiB, a password 4.
SSO_BODY = 65_536


def docs_of(configuration: Configuration) -> Docs:
    """What is said of the documentation, whether the document says anything of it or not."""
    found = configuration.find("docs")
    return found.settings if found is not None else Docs()


def sso_of(configuration: Configuration) -> Definition | None:
    """Single sign-on as it is configured; None where it is off."""
    found = configuration.find("sso")
    return found if found is not None and found.settings.enabled else None


def built_in_channels(configuration: Configuration) -> dict[str, Definition]:
    """The built-in channels by name, without those whose name is configured."""
    made = {**_documentation(configuration), **_single_sign_on(configuration)}
    return {name: one for name, one in made.items() if configuration.find("channels", name) is None}


def _documentation(configuration: Configuration) -> dict[str, Definition]:
    docs = docs_of(configuration)
    if not docs.enabled:
        return {}
    also = ["/openapi.json", "/openapi.yaml", "/.well-known/api-catalog"] if docs.openapi else []
    given = {"path": docs.path, "also": also, "security": docs.security, "groups": docs.groups}
    return {"docs": _channel(configuration, "docs", "docs", "pages", docs, given)}


def _single_sign_on(configuration: Configuration) -> dict[str, Definition]:
    definition = sso_of(configuration)
    if definition is None:
        return {}
    # PERF: 60 ms of imports, which an installation without people does not pay for.
    from sso.surface import FORMS, every_path

    sso: Sso = definition.settings
    made: dict[str, Definition] = {}
    for method, path, service in every_path():
        # A service with a second path has a second channel, named after what that path says more.
        name = service if service not in made else f"{service} {path.rpartition('{')[2].rstrip('}')}"
        given = {
            "path": f"{sso.path.rstrip('/')}{SSO_VERSION}{path}", "methods": (method,), "service": service,
            "max_body": SSO_BODY,
        }  # fmt: skip
        if service in FORMS:
            given["format"] = ("json", "form")
        made[name] = _channel(configuration, "sso", name, "rest", sso, given)
    if sso.pages.enabled:
        given = {
            "path": sso.path, "methods": ("GET", "POST"), "application": "accounts", "max_body": SSO_BODY,
            "also": ["/.well-known/change-password"],
        }  # fmt: skip
        made["accounts"] = _channel(configuration, "sso", "accounts", "pages", sso, given)
    return made


def _channel(
    configuration: Configuration, kind: str, name: str, word: str, settings: Any, given: dict[str, Any]
) -> Definition:
    found = configuration.find(kind)
    common = {"limit": settings.limit, "allow": settings.allow, "deny": settings.deny}
    made = CHANNELS.get(word).Settings(**given, **common)
    return Definition("channels", name, word, made, found.digest if found is not None else "", configuration.revision)
