"""Credentials that are linked to people: what a definition proves is a user's, too, with their limits, attributes and audit.

The identity stays what it was (a consumer with its groups, or a plain credential) and carries its user besides: ``identity.user``,
the user's roles among its groups, the facts of the user among its attributes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.authenticators import Authenticator
from sso.audit import Caller

if TYPE_CHECKING:
    from specs.exchange import Exchange, Identity
    from sso.recognition import Proof
    from sso.system import SingleSignOn


class Linked(Authenticator):
    """A definition, and the links of those whom it proves.

    # SECURITY: S35. Never a way around a second factor: who has one is refused with 403, whatever else the channel takes, unless
    # a super-user marked the link.
    """

    def __init__(self, proven: Authenticator, people: SingleSignOn) -> None:
        super().__init__(proven.name, proven.settings, proven.tools)
        self.word = proven.word  # type: ignore[misc]
        self.soap_headers = proven.soap_headers  # type: ignore[misc]
        self._within = proven
        self._recognition = people.recognition

    @property
    def challenge(self) -> str:
        return self._within.challenge

    def identify(self, exchange: Exchange) -> Identity | None:
        identity = self._within.identify(exchange)
        if identity is None:
            return None
        recognition = self._recognition
        known: tuple[Identity, Identity, Proof] | None = exchange.kept.get(self)
        # PERF: for who called by the same connection before, 1 us instead of 2.5; and a new identity would find nothing that
        # steps after this one have kept.
        if known is not None and known[0] is identity and recognition.holds(known[2], exchange.address):
            return known[1]
        caller = Caller("", exchange.address, "", exchange.cid)
        found, proof = recognition.prove_link(self.name, identity.name, caller)
        carrying = identity if found is None else _carrying(identity, found.identity)
        if proof is not None:
            exchange.kept[self] = (identity, carrying, proof)
        return carrying

    def spend(self, exchange: Exchange) -> None:
        self._within.spend(exchange)


def _carrying(identity: Identity, user: Identity) -> Identity:
    attributes = {**user.attributes, **identity.attributes, "username": user.name}
    return replace(identity, user=user.user, groups=identity.groups | user.groups, attributes=attributes)
