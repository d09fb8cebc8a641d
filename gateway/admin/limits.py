"""``/limits``: how a caller stands, who is refused, and a way to empty buckets."""

from __future__ import annotations

import time
from dataclasses import fields
from functools import cached_property
from typing import Any

import falcon

from gateway.admin.configuration import body_of
from gateway.admin.installation import Installation
from gateway.limit_reports import Question, charges_of, explain, top_of
from gateway.limit_stores import Stores, durable_store, open_store
from gateway.metrics import merge
from gateway.quotas import Limits
from specs.problems import ConfigurationError, Problem

_ASKED = tuple(field.name for field in fields(Question))


class Counting:
    """The limits as the steward sees them: the buckets of the workers, opened when they are first asked for."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    @cached_property
    def limits(self) -> Limits:
        """The limits of this machine."""
        installation = self.installation
        return Limits(
            Stores(open_store(installation.options.data), durable=lambda: durable_store(installation.store.database))
        )


class ExplainResource:
    """How a caller stands."""

    def __init__(self, counting: Counting) -> None:
        self._counting = counting

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """``?channel=&consumer=&address=&security=&operation=``: every level, its state, which binds, when it frees."""
        asked = {name: str(value) for name in _ASKED if (value := request.get_param(name))}
        if "channel" not in asked:
            raise Problem.of("invalid-input", "'channel' is missing")
        question = Question(**asked)
        configuration = self._counting.installation.store.load()
        try:
            response.media = explain(configuration, self._counting.limits, question, time.monotonic_ns())
        except ConfigurationError as error:
            raise Problem.of("not-found", str(error)) from None


class TopResource:
    """Who is refused."""

    def __init__(self, counting: Counting) -> None:
        self._counting = counting

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The callers who are refused most, at most ``?most=``."""
        most = request.get_param_as_int("most", min_value=1, max_value=200, default=20)
        total = merge(self._counting.installation.collected.all())
        response.media = {"callers": top_of(total, most)}


class ResetResource:
    """A fresh start for somebody."""

    def __init__(self, counting: Counting) -> None:
        self._counting = counting

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """``{"channel": "...", "consumer": "...", "level": "..."}``: empty the buckets of such a call."""
        members: dict[str, type] = dict.fromkeys((*_ASKED, "level"), str)
        asked: dict[str, Any] = body_of(request, members, required=("channel",))
        level = asked.pop("level", "")
        limits = self._counting.limits
        configuration = self._counting.installation.store.load()
        try:
            charges = charges_of(configuration, limits, Question(**asked), level)
        except ConfigurationError as error:
            raise Problem.of("not-found", str(error)) from None
        limits.stores.reset(configuration.gateway.limit_storage, charges)
        response.media = {"emptied": [{"level": one.level, "policy": one.policy} for one in charges]}
