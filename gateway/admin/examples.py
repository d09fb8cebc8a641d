"""``/examples``: samples of real calls, and the examples of the documentation that were made of them."""

from __future__ import annotations

import falcon

from backends.examples import Examples
from gateway.admin.configuration import body_of
from gateway.admin.guard import administrator
from gateway.admin.installation import Installation
from gateway.commands.examples import as_json
from specs.problems import ConfigurationError, Problem


class _Resource:
    def __init__(self, installation: Installation) -> None:
        self._examples = Examples(installation.store.database)

    def _check(self, number: int) -> None:
        try:
            self._examples.find(number)
        except ConfigurationError:
            raise Problem.of("not-found", f"there is no sample {number}") from None


class ExamplesResource(_Resource):
    """All of them."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """``?service=&promoted=true|false``: samples and examples, the newest first."""
        found = self._examples.all(
            request.get_param("service") or "", promoted=request.get_param_as_bool("promoted", default=None)
        )
        response.media = {"examples": [as_json(one) for one in found]}


class ExampleResource(_Resource):
    """One of them."""

    def on_get(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        """All that is kept of it."""
        self._check(number)
        response.media = as_json(self._examples.find(number))

    def on_delete(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        """Take it away, out of the documentation too."""
        self._check(number)
        response.media = as_json(self._examples.drop(number))


class PromotionResource(_Resource):
    """The way of a sample into the documentation."""

    def on_post(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        """``{"title": "...", "contract_only": false, "ignore": ["updated_at"]}``: every reader of the service will see it."""
        self._check(number)
        asked = body_of(request, {"title": str, "contract_only": bool, "ignore": list}, required=())
        ignored = asked.get("ignore", [])
        if not all(isinstance(name, str) for name in ignored):
            raise Problem.of("invalid-input", "'ignore' is a list of members' names")
        made = self._examples.promote(
            number,
            title=asked.get("title", ""),
            author=administrator(request),
            runs=False if asked.get("contract_only") else None,
            ignored=ignored,
        )
        response.media = as_json(made)
