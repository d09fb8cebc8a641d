"""``/connections``: how the pools of all workers stand."""

from __future__ import annotations

import falcon

from gateway.admin.installation import Installation
from gateway.connection_reports import usage_of


class ConnectionsResource:
    """The ways out, and the systems behind channels."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """A row for each connection that was used and each address of a proxy channel, summed over all workers."""
        response.media = {"connections": usage_of(self._installation.collected.workers())}
