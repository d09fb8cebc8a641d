"""Limits on the request path: what is kept of a caller decides as if nothing were kept, on every way that a debit can go."""

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limit_tables import TWINS

from gateway.configuration.document import Document
from gateway.limit_reports import configuration_of
from gateway.limit_stores import Stores
from gateway.quotas import Limits
from security.limits import NANOSECONDS
from security.limits.memory import MemoryStore
from security.limits.shm import SharedMemoryStore
from specs.exchange import ANONYMOUS, Exchange, Identity
from specs.problems import Problem

TEXT = """
format: 1
gateway: {{limit: whole, admission: door, legacy_headers: {legacy}}}
limits:
  door:   {{rules: [{{from: "*", rate: 30/minute}}], show: false}}
  whole:  {{rules: [{{from: 10.0.0.1, rate: unlimited}}, {{from: "*", rate: 25/minute}}], mode: shadow, show: false}}
  pair:   {{rules: [{{from: "*", rate: [9/minute, 15/hour]}}]}}
  hidden: {{rules: [{{from: "*", rate: 12/minute}}], show: false}}
  few:    {{rules: [{{from: 10.0.0.2, rate: 2/minute}}, {{from: 10.0.0.3, rate: deny}}, {{from: "*", rate: 7/minute}}]}}
  night:  {{rules: [{{from: "*", rate: 2/minute, during: "00:00-06:00"}}, {{from: "*", rate: 4/minute}}]}}
consumers:
  acme: {{limit: few}}
  zeta: {{limit: hidden}}
channels:
  plain: {{type: rest, path: /plain, service: s, security: [keys], limit: pair}}
  other: {{type: rest, path: /other, service: s}}
  timed: {{type: rest, path: /timed, service: s, limit: night}}
"""
CALLERS = {
    "": ANONYMOUS,
    "acme": Identity("acme", "consumer", definition="keys"),
    "zeta": Identity("zeta", "consumer", definition="keys"),
}
NUMBERS = itertools.count()


class Path:
    """Admission and quotas of one process; one connection for each head, which keeps what was found out about it."""

    def __init__(self, store, legacy=False, *, keeps=True):
        self.now = 10**15
        self.moment = datetime(2026, 3, 2, 3, tzinfo=UTC).timestamp()
        self.configuration = configuration_of(Document.parse(TEXT.format(legacy=str(legacy).lower())))
        self.stores = Stores(store, clock=lambda: self.now)
        self.limits = Limits(self.stores, clock=lambda: self.moment)
        self.admit = self.limits.admission(self.configuration)
        self.quotas = {
            name: self.limits.quotas(self.configuration, name, definition.settings, None)
            for name, definition in self.configuration.of("channels").items()
        }
        self.keeps = keeps
        self.kept = {}

    def call(self, channel, caller="", address="10.0.0.9"):
        """The status, and the fields that tell of limits."""
        kept = self.kept.setdefault((channel, caller), {}) if self.keeps else {}
        exchange = Exchange("c", "GET", "/", "", {}, 0, address=address, kept=kept)
        exchange.identity = CALLERS[caller]
        try:
            self.admit(exchange)
            assert self.quotas[channel].debit(exchange) == ()
        except Problem as problem:
            return problem.status, [*problem.headers, *exchange.limit_headers]
        return 200, list(exchange.limit_headers)


@pytest.fixture(params=TWINS)
def path(request, tmp_path):
    made = Path(SharedMemoryStore(tmp_path / "t", slots=1024, compiled=request.param == "c"))
    yield made
    made.stores.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    legacy=st.booleans(),
    calls=st.lists(
        st.tuples(
            st.sampled_from(["plain", "other", "timed"]), st.sampled_from([*CALLERS]),
            st.sampled_from(["10.0.0.9", "10.0.0.1", "10.0.0.2", "10.0.0.3"]), st.integers(1, 3), st.integers(0, 4),
        ),
        max_size=40,
    ),
)  # fmt: skip
def test_every_way_says_the_same(tmp_path, legacy, calls):
    stores = [
        SharedMemoryStore(tmp_path / str(next(NUMBERS)), slots=1024, compiled=twin == "c", wall=lambda: 10**18)
        for twin in TWINS
    ]
    # What memory says of each request as if it were the first of all is what they have to say.
    paths = [Path(store, legacy) for store in stores] + [Path(MemoryStore(), legacy, keeps=False)]
    for channel, caller, address, times, seconds in calls:
        for _ in range(times):
            first, *others = [one.call(channel, caller, address) for one in paths]
            assert [first] * len(others) == others
        for one in paths:
            one.now += seconds * NANOSECONDS
            one.moment += seconds
    refused = [one.stores.refused for one in paths]
    assert [refused[0]] * len(paths) == refused
    for one in paths:
        one.stores.close()


def test_who_was_here_before_is_let_in_by_the_quick_debit_alone(path, monkeypatch):
    first = path.call("plain", "acme")
    assert first[0] == 200
    decided = []
    monkeypatch.setattr(path.stores.local, "_decide", lambda *given: decided.append(given))
    status, headers = path.call("plain", "acme")
    assert (status, decided) == (200, [])
    assert headers == [
        ("RateLimit-Policy", '"pair-minute";q=9;w=60, "pair-hour";q=15;w=3600, "few";q=7;w=60'),
        ("RateLimit", '"pair-minute";r=7;t=14, "pair-hour";r=13;t=480, "few";r=5;t=18'),
    ]


def test_admission_is_taken_with_each_request_of_the_same_head_until_it_refuses(path):
    got = [path.call("other")[0] for _ in range(31)]
    assert got == [200] * 30 + [429]
    path.now += 2 * NANOSECONDS
    assert [path.call("other")[0] for _ in range(2)] == [200, 429]
    assert list(path.stores.refused) == [("gateway", "whole", "shadow"), ("admission", "door", "refused")]


def test_A20_the_same_head_from_another_address_is_another_caller(path):
    assert [path.call("plain", "acme", "10.0.0.2")[0] for _ in range(3)] == [200, 200, 429]
    assert path.call("plain", "acme", "10.0.0.3")[0] == 403
    assert path.call("plain", "acme", "10.0.0.9")[0] == 200
    assert path.call("plain", "acme", "10.0.0.2")[0] == 429


def test_another_rule_counts_as_soon_as_it_is_time(path):
    assert [path.call("timed")[0] for _ in range(3)] == [200, 200, 429]
    path.moment += 4 * 3600
    assert [path.call("timed")[0] for _ in range(5)] == [200] * 4 + [429]
    path.moment += 18 * 3600
    assert path.call("timed")[0] == 429
