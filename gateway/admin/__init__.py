"""The admin API: a Falcon application behind a guard, served by the steward.

GET  /status /ready /metrics                 health; without credentials from this machine only
GET  /config[?revision=N]                    the configuration, YAML or JSON; never a secret
PUT  /config[?dry_run=true&comment=...]      make a document the configuration (If-Match: "REVISION")
POST /config[?dry_run=true&comment=...]      the same, keeping what the document does not name
GET  /config/history                         accepted changes, the latest first
POST /config/rollback                        {"revision": N}
GET  /services                               what is deployed
GET  /services/{name}/versions               its versions
POST /services                               deploy {"files": {"x.py": "..."}}; refused without --allow-deploy
POST /services/{name}/rollback               {"version": N}
GET  /examples[?service=&promoted=]          samples of real calls, and the documentation's examples
GET  /examples/{number}                      one of them; DELETE takes it away
POST /examples/{number}/promote              {"title": "..."}: documents show it
GET  /limits/explain?channel=&consumer=&address=   how such a call stands: every level, which binds, when it frees
GET  /limits/top                             who is refused most
POST /limits/reset                           {"channel": "...", "consumer": "...", "level": "..."}

``contract_changes`` (refuse, warn, allow), in the query of ``/config`` or in what is sent to ``/services``, stands for what the
configuration says of changes that break callers.
"""

from __future__ import annotations

import logging
from typing import Any

import falcon
import orjson

from gateway.admin.configuration import ConfigurationResource, HistoryResource, RollbackResource
from gateway.admin.connections import ConnectionsResource
from gateway.admin.examples import ExampleResource, ExamplesResource, PromotionResource
from gateway.admin.health import MetricsResource, ReadyResource, StatusResource
from gateway.admin.installation import Installation
from gateway.admin.limits import Counting, ExplainResource, ResetResource, TopResource
from gateway.admin.services import (
    ServicesResource,
    SetResource,
    SetRollbackResource,
    SetUnpinResource,
    VersionsResource,
)
from gateway.configuration.store import StaleRevision
from specs.exchange import Exchange
from specs.problems import BackendError, ConfigurationError, ConfigurationErrors, Fault, InternalError, Problem

log = logging.getLogger("gatewright.admin")
_CODES = {
    404: "no-such-path",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "body-too-large",
    415: "unsupported-media-type",
}


def make_app(installation: Installation) -> Any:
    """The admin API of *installation*, without its guard."""
    app = falcon.App(media_type=falcon.MEDIA_JSON)
    app.resp_options.secure_cookies_by_default = True
    app.add_route("/status", StatusResource(installation))
    app.add_route("/ready", ReadyResource(installation))
    app.add_route("/metrics", MetricsResource(installation))
    app.add_route("/config", ConfigurationResource(installation))
    app.add_route("/config/history", HistoryResource(installation))
    app.add_route("/config/rollback", RollbackResource(installation))
    app.add_route("/connections", ConnectionsResource(installation))
    app.add_route("/services", ServicesResource(installation))
    app.add_route("/services/{set_name}", SetResource(installation))
    app.add_route("/services/{set_name}/versions", VersionsResource(installation))
    app.add_route("/services/{set_name}/rollback", SetRollbackResource(installation))
    app.add_route("/services/{set_name}/unpin", SetUnpinResource(installation))
    app.add_route("/examples", ExamplesResource(installation))
    app.add_route("/examples/{number:int(max=9223372036854775807)}", ExampleResource(installation))
    app.add_route("/examples/{number:int(max=9223372036854775807)}/promote", PromotionResource(installation))
    counting = Counting(installation)
    app.add_route("/limits/explain", ExplainResource(counting))
    app.add_route("/limits/top", TopResource(counting))
    app.add_route("/limits/reset", ResetResource(counting))
    handlers: tuple[tuple[type[Exception], Any], ...] = (
        (Exception, _unexpected),
        (falcon.HTTPError, _of_falcon),
        (BackendError, _backend),
        (ConfigurationError, _refused),
        (Problem, _problem),
    )
    for kind, handler in handlers:
        app.add_error_handler(kind, handler)
    return app


def answer_problem(exchange: Exchange, problem: Problem) -> None:
    """Answer *exchange* with *problem*."""
    exchange.problem = problem
    exchange.response_status = problem.status
    exchange.response_headers = [("Content-Type", "application/problem+json"), *problem.headers]
    exchange.response_body = orjson.dumps(problem.as_dict(exchange.cid))


def _problem(request: falcon.Request, response: falcon.Response, problem: Problem, params: Any) -> None:
    exchange: Exchange = request.env["gatewright.exchange"]
    exchange.problem = problem
    response.status = problem.status
    response.content_type = "application/problem+json"
    response.data = orjson.dumps(problem.as_dict(exchange.cid))
    for name, value in problem.headers:
        response.append_header(name, value)


def _of_falcon(request: falcon.Request, response: falcon.Response, error: falcon.HTTPError, params: Any) -> None:
    code = _CODES.get(error.status_code, "bad-request")
    headers = [(name, value) for name, value in dict(error.headers or {}).items() if name.lower() == "allow"]
    _problem(request, response, Problem(error.status_code, code, error.title or "", headers=headers), params)


def _refused(request: falcon.Request, response: falcon.Response, error: ConfigurationError, params: Any) -> None:
    if isinstance(error, StaleRevision):
        _problem(request, response, Problem.of("conflict", str(error)), params)
        return
    errors = error.errors if isinstance(error, ConfigurationErrors) else (error,)
    faults = [
        Fault(one.path, "refused", f"{one.message}: {one.remedy}" if one.remedy else one.message) for one in errors
    ]
    detail = "nothing of the document was taken" if len(faults) > 1 else faults[0].detail
    _problem(request, response, Problem.of("configuration-refused", detail, errors=faults), params)


def _backend(request: falcon.Request, response: falcon.Response, error: BackendError, params: Any) -> None:
    log.error("cid=%s %s", request.env["gatewright.exchange"].cid, error)
    _problem(request, response, error.problem(), params)


def _unexpected(request: falcon.Request, response: falcon.Response, error: Exception, params: Any) -> None:
    log.error("cid=%s the admin API failed", request.env["gatewright.exchange"].cid, exc_info=error)
    _problem(request, response, InternalError(), params)
