"""Connectors: the code behind each type of connection out. One file each; this page is what to write in it.

A file ``backends/connectors/ssh.py`` makes ``type: ssh`` a word of the configuration and ``self.out.ssh["name"]`` a way out
of every service. It defines one class called ``Connector``, derived from `Base`, with its settings inside.
"""

from __future__ import annotations

from typing import Any, ClassVar

from specs.settings import Settings, setting

__all__ = ["Base", "Settings", "setting"]


class Base:
    """A named way out to one system: made from its settings at first use, shared by every caller in the process.

    Making one never waits for the network: a system that is down is found out by the first call, or by `ping`. Every
    other public method is what services call; it raises BackendError or one of its kinds and nothing of the driver's.
    """

    #: What can be set, with a sentence each.
    Settings: ClassVar[type[Settings]] = Settings

    #: Other words under ``self.out`` that lead to connections of this type as well.
    also_found_under: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name
        self.settings = settings

    def ping(self) -> None:
        """Reach the system once, to tell whether it can be reached. Raises BackendError."""
        raise NotImplementedError

    def usage(self) -> tuple[int, int, int] | None:
        """How its pool stands: connections that are used, that are idle, and the most there may be. None without a pool."""
        return None

    def close(self) -> None:
        """Keep nothing open any more: what is idle is closed now, what a running call holds when it gives it back.

        A service that still holds the object may go on calling it; it then pays for a new connection each time.
        """
        raise NotImplementedError
