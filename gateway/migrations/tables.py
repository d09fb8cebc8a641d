"""Every module that declares a table: importing this one makes `security.database.metadata` whole."""

from __future__ import annotations

import importlib

from sqlalchemy import MetaData

from security.database import metadata

MODULES = (
    "gateway.configuration.store",
    "backends.leases",
    "backends.cache",
    "backends.background",
    "backends.jobs",
    "backends.versions",
    "backends.examples",
    "gateway.administrators",
    "gateway.keyrings",
    "security.limits.sql",
    "sso.tables",
)


def declared() -> MetaData:
    """The tables of the whole program."""
    for module in MODULES:
        importlib.import_module(module)
    return metadata
