"""The session that an application is handed, for the code that people whom our pages sent to it brought along."""

from __future__ import annotations

from dataclasses import replace

from specs.elements import Text
from sso.login_api import STAGE, Staged

namespace = "sso"


class RedeemSession(Staged):
    """Gives an application that proves itself a session of the person who came with a code, once.

    `code_verifier` is the secret whose digest was the `code_challenge` in the address that the person was sent to (RFC 7636, S256).
    """

    name = "sso.session.redeem"
    input = (Text("code", max_length=200), Text("-code_verifier", min_length=43, max_length=128))
    output = STAGE

    def handle(self) -> None:
        """See the class."""
        rooms = self.rooms
        app = rooms.applications.calling(self._call.headers).app
        given = self.request.input
        self.answer(rooms.handover.redeem(given.code, replace(self.claimed(), app=app), given.code_verifier or ""))


#: Where each service is meant to be, below ``/sso/v1``: method, path, service.
PATHS = (("POST", "/session/redeem", RedeemSession.name),)
