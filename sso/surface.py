"""The whole surface: every service of single sign-on, and where each is found below ``/sso/v1``.

A module of services has `PATHS` (method, path, name of the service) and is added here, and nowhere else.

>>> next(every_path())
('POST', '/signup', 'sso.signup')
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache

from backends.catalogue import Deployed, deployed_from
from sso import (
    account_api,
    administration,
    applications_api,
    attributes_api,
    handover_api,
    introspection,
    links_api,
    login_api,
    webauthn_api,
)

MODULES = (
    login_api, account_api, webauthn_api, links_api, administration, applications_api, introspection, handover_api, attributes_api,
)  # fmt: skip

#: Services whose standards have them take forms.
FORMS = frozenset((introspection.Introspect.name, introspection.Revoke.name))


@cache
def with_session() -> frozenset[str]:
    """The services that ask whose session came with a call: documents say how it is sent.

    >>> {"sso.me.get", "sso.users.search"} <= with_session(), "sso.login" in with_session()
    (True, False)
    """
    asking = re.compile(r"self\.(session|recent|super_user|token)\(")
    return frozenset(one.name for one in services() if asking.search(inspect.getsource(one.service_class)))


def every_path() -> Iterator[tuple[str, str, str]]:
    """Method, path and service of everything that can be called."""
    for module in MODULES:
        yield from module.PATHS


def services() -> list[Deployed]:
    """Every service, ready to be called."""
    return [deployed for module in MODULES for deployed in deployed_from(module)]
