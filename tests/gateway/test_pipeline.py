"""The steps of a request, without a wire."""

import gc
import weakref
from types import SimpleNamespace

import pytest

from gateway.pipeline import Pipeline
from gateway.routes import Match
from specs.exchange import Exchange
from specs.formats.json_ import Format
from specs.problems import BackendTimeout, Problem


class Payload:
    """Something of a request that tells when it is gone."""


class Routes:
    """Every path leads to one channel."""

    def __init__(self, channel):
        self.channel = channel

    def find(self, host, path):
        return Match({"GET": self.channel}, {})


def wrong_input():
    try:
        raise ValueError("not what was declared")
    except ValueError:
        raise Problem.of("invalid-input", "not what was declared") from None


def lost_backend():
    raise BackendTimeout("the database did not answer")


def defect():
    raise KeyError("a defect")


@pytest.mark.parametrize("fails", [wrong_input, lost_backend, defect])
def test_of_a_refused_request_nothing_stays_behind(fails, monkeypatch):
    monkeypatch.setattr("gateway.pipeline.log.disabled", True)  # pytest keeps what is logged, with its traceback

    def step(exchange):
        fails()

    def refuse(exchange, problem):
        exchange.response_status = problem.status

    channel = SimpleNamespace(name="c", notices={}, steps=(step,), refuse=refuse)
    snapshot = SimpleNamespace(routes=Routes(channel), fallback=Format())
    statuses = []
    pipeline = Pipeline(lambda: snapshot, lambda exchange, nanoseconds: statuses.append(exchange.response_status))
    exchange = Exchange("c1", "GET", "/a", "", {}, 0)
    payload = exchange.payload = Payload()
    seen = weakref.ref(payload)
    gc.disable()
    try:
        pipeline.handle(exchange)
        del exchange, payload
        assert seen() is None
    finally:
        gc.enable()
    assert len(statuses) == 1
    assert statuses[0] >= 400
