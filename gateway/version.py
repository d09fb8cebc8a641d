"""Which Gatewright this is."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The version of the installed distribution; ``0`` where the program runs from a folder that was never installed."""
    try:
        return metadata.version("gatewright")
    except metadata.PackageNotFoundError:
        return "0"
