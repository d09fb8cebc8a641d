"""The whole surface: every service of single sign-on, and where each is found below ``/sso/v1``.

A module of services has `PATHS` (method, path, name of the service) and is added here, and nowhere else.

>>> next(every_path())
('POST', '/signup', 'sso.signup')
"""

from __future__ import annotations

from collections.abc import Iterator

from backends.catalogue import Deployed, deployed_from
from sso import administration, api, applications_api, introspection, webauthn_api

MODULES = (api, webauthn_api, administration, applications_api, introspection)

#: Services whose standards have them take forms.
FORMS = frozenset((introspection.Introspect.name, introspection.Revoke.name))


def every_path() -> Iterator[tuple[str, str, str]]:
    """Method, path and service of everything that can be called."""
    for module in MODULES:
        yield from module.PATHS


def services() -> list[Deployed]:
    """Every service, ready to be called."""
    return [deployed for module in MODULES for deployed in deployed_from(module)]
