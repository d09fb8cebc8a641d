"""Who is calling? The security of one channel: an OR of ANDs of definitions, as in OpenAPI.

>>> requirement = [["partners"], ["staff", "device"]]     # partners, or staff together with device
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from gateway.authenticators import Authenticator, Credential, Rejected, Unsuited
from specs.exchange import ANONYMOUS, Identity
from specs.problems import Problem

if TYPE_CHECKING:
    from specs.exchange import Exchange


class Security:
    """What a channel asks of its callers. *alternatives*: one of them is enough, all definitions of it are needed.

    *failed* is told of each request whose credentials were wrong, so that guessing is limited by address.
    """

    def __init__(self, alternatives: Sequence[Sequence[Authenticator]], failed: Callable[[Exchange], None]) -> None:
        self.alternatives = [tuple(alternative) for alternative in alternatives]
        self.failed = failed
        definitions = {a.name: a for alternative in self.alternatives for a in alternative}
        self.definitions = tuple(definitions.values())
        # One challenge per definition, each once: two that say the same would tell a client nothing more.
        challenges = dict.fromkeys(definition.challenge for definition in self.definitions)
        self._challenges = tuple(("WWW-Authenticate", challenge) for challenge in challenges)

    def identify(self, exchange: Exchange) -> Identity:
        """Who is calling: the exchange's identity from here on. Of an AND the first definition names it.

        Raises Problem 401, with every challenge (A24: whatever the method, unless the channel answers it before).
        """
        if len(self.definitions) == 1:
            identity = self._single(exchange, self.definitions[0])
            if identity is not None:
                exchange.identity = identity
                return identity
        else:
            results, unspent, unsuited = self._try_each(exchange)
            for alternative in self.alternatives:
                if all(results.get(definition.name) for definition in alternative):
                    first = results[alternative[0].name]
                    exchange.identity = first if first is not None else ANONYMOUS
                    self._settle_beside(exchange, self.definitions, results, unspent)
                    return exchange.identity
            self._settle(exchange, results, unspent)
            if unsuited is not None:
                raise unsuited
        detail = "send the credentials that WWW-Authenticate asks for"
        raise Problem.of("unauthenticated", detail, headers=self._challenges)

    def recognise(self, exchange: Exchange) -> Mapping[str, Identity]:
        """Who the caller is, by each definition that knows them; empty for one who sent no credentials.

        Raises Problem 401 where credentials came and none of them was right.
        """
        results, unspent, _ = self._try_each(exchange)
        known = {name: identity for name, identity in results.items() if identity}
        if not known and len(results) < len(self.definitions):
            self._settle(exchange, results, unspent)
            raise Problem.of("unauthenticated", "these credentials are not known here", headers=self._challenges)
        self._settle_beside(exchange, self.definitions, results, unspent)
        return known

    def _single(self, exchange: Exchange, definition: Authenticator) -> Identity | None:
        try:
            return definition.identify(exchange)
        except Rejected as rejected:
            # SECURITY: A26. An unknown user costs the same as a wrong password of a known one.
            if not rejected.spent:
                definition.spend(exchange)
            self.failed(exchange)
            return None

    def _try_each(self, exchange: Exchange) -> tuple[dict[str, Identity | None], list[Authenticator], Unsuited | None]:
        """What each definition says, but those that were given wrong credentials; of these, who spent nothing on them; and why
        the first does not take what it knows to be right.

        Stops at nothing: which one refused is not to be told from the time it took.
        """
        results: dict[str, Identity | None] = {}
        unspent = []
        unsuited = None
        for number, definition in enumerate(self.definitions):
            try:
                results[definition.name] = definition.identify(exchange)
            except Rejected as rejected:
                if not rejected.spent:
                    unspent.append(definition)
            except Unsuited as problem:
                results[definition.name] = None
                unsuited = unsuited or problem
            except Problem:
                self._settle_beside(exchange, self.definitions[:number], results, unspent)
                raise
        return results, unspent, unsuited

    def _settle_beside(
        self,
        exchange: Exchange,
        asked: Sequence[Authenticator],
        results: Mapping[str, Identity | None],
        unspent: Sequence[Authenticator],
    ) -> None:
        """The request goes on, or ends for another reason, though some of those that were *asked* got wrong credentials.

        # SECURITY: A26, A33. Or else whoever has a key of their own could guess at the passwords of others beside it.
        """
        if len(results) == len(asked):
            return
        # Two definitions that read the same credential are no two guesses.
        taken = {definition.word for definition in asked if results.get(definition.name)}
        wrong = [one for one in asked if one.guessed and one.name not in results and one.word not in taken]
        for definition in wrong:
            if definition in unspent:
                definition.spend(exchange)
        if wrong:
            self.failed(exchange)

    def _settle(
        self, exchange: Exchange, results: Mapping[str, Identity | None], unspent: Sequence[Authenticator]
    ) -> None:
        """The request is refused: if credentials were wrong it counts as failed, and has cost what any such request costs."""
        if len(results) < len(self.definitions):
            # SECURITY: A26. One comparison for each definition that was given credentials: which of them know the caller, or
            # whether a second factor was right, is not to be told from the time it took.
            for definition in unspent:
                definition.spend(exchange)
            self.failed(exchange)


class Consumers:
    """The consumers of a snapshot, by user name and by digest of their keys."""

    def __init__(self, by_username: Mapping[str, Credential], by_key: Mapping[str, Identity]) -> None:
        self._by_username = by_username
        self._by_key = by_key

    def by_username(self, username: str, groups: frozenset[str]) -> Credential | None:
        """The credential of the consumer with this user name who is in one of *groups*, or in any where that is empty."""
        found = self._by_username.get(username)
        if found is None or (groups and not groups & found.identity.groups):
            return None
        return found

    def by_key(self, digest: str, groups: frozenset[str]) -> Identity | None:
        """The consumer one of whose keys has this digest, likewise.

        # SECURITY: A28. What is looked up is a digest of 256 bits: how long that takes tells nothing about a key.
        """
        found = self._by_key.get(digest)
        if found is None or (groups and not groups & found.groups):
            return None
        return found
