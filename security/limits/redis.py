"""Buckets in Redis or Valkey, for limits that hold over several machines: one script, one round trip for a whole chain.

    redis://host:6379/0  rediss://  redis+unix:///path       one server
    redis+sentinel://host:26379,host:26379/service/0         whoever the sentinels call the master
    redis+cluster://host:6379,host:6379                      a cluster

The time is the server's, so the clocks of gateways need not agree. Every key of a chain has the hash tag of its *prefix*
(``?prefix=gw``), since only keys of one slot can change together: gateways with prefixes of their own are spread over a cluster.

**A server's clock that is set** changes nothing, nor does a server that takes over with another clock. Each caller says what the
time must be by now: what it was with the last answer, and what has passed since on a clock that nobody can set. What lies further
off than an answer can be late is taken out, for all callers alike: a key beside the buckets keeps how much, and how often that was
done, since what somebody was told before the last time is no argument. The server forgets keys by its own clock: a bucket is kept
for an hour longer than it owes, so a clock set forward by more than that forgets buckets once.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from security.limits import (
    CONCURRENT,
    FIXED_WINDOW,
    GCRA,
    SLIDING_LOG,
    Charge,
    Decision,
    Standing,
    Store,
    StoreUnavailable,
)
from security.limits.clocks import up_ns
from security.limits.guarded import PATIENCE
from security.limits.redis_line import Line
from security.limits.redis_script import ADD, DEBIT, EACH, HEAD, KINDS, MOMENT, NUMBER, PEEK, RELEASE, SCRIPT, Question
from specs.problems import ConfigurationError

#: Seconds to wait for one of our own connections: that all are in use is no sign of a lost server.
QUEUE_PATIENCE = 5.0
#: Connections of one process.
CONNECTIONS = 32
#: Milliseconds that a request at once is counted which nobody has counted out.
LONGEST_HOLD_MS = 3_600_000
#: Microseconds by which the server may seem to be behind or ahead of its time, and parts of what passed, before its clock was set:
#: an answer is awaited for PATIENCE, and as long again by redis-py where the line had none.
BEHIND_US, AHEAD_US, DRIFT = 500_000, int(2 * PATIENCE * 1_000_000), 1000
#: Chains and names of keys that are kept ready. A full cache starts anew: it holds nothing that cannot be made again (A43).
READY, NAMES = 16_384, 65_536


class Ready:
    """A chain as it is asked about, while the time of day in nanoseconds is from *since* and before *until*."""

    __slots__ = ("charges", "plain", "question", "since", "until")

    def __init__(self, charges: Sequence[Charge], question: Question, since: int, until: int) -> None:
        self.charges = charges
        self.question = question
        self.since = since
        self.until = until
        self.plain = all(one.algorithm == GCRA for one in charges)


class RedisStore(Store):
    """The buckets of all gateways that share *url*. Raises ConfigurationError for a URL that cannot be used."""

    def __init__(self, url: str, *, wall: Callable[[], int] = time.time_ns, up: Callable[[], int] = up_ns) -> None:
        self._make_client, prefix = _connect(url)
        self._prefix = b"{%b}:" % prefix.encode()
        self._clock_key = b"{%b}clock" % prefix.encode()
        self._wall = wall
        self._up = up
        #: How often the store's clock was mended, its time in microseconds, and when we asked and were told, on our own clock.
        self._told: tuple[float, int, int, int] = (-1, 0, 0, 0)
        self._errors = _errors()
        self._keys: dict[bytes, bytes] = {}
        self._held: dict[bytes, list[bytes]] = {}
        self._ready: dict[int, Ready] = {}
        self._line = self._open_line()

    @cached_property
    def _client(self) -> Any:
        return self._make_client()

    def debit(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """Take from every bucket of *charges*, or from none; the server's clock counts. Raises StoreUnavailable."""
        ready = self._ready.get(id(charges))
        if ready is None or ready.charges is not charges or not ready.since <= self._wall() < ready.until:
            ready = self._make_ready(DEBIT, charges)
            # What is no tuple may be another chain by and by.
            if type(charges) is tuple:
                if len(self._ready) >= READY:
                    self._ready.clear()
                self._ready[id(charges)] = ready
        if not ready.question.named:
            return self._ask(ready)
        identifier = secrets.token_hex(8).encode()
        decision = self._ask(ready, identifier)
        if decision.allowed:
            for one in charges:
                if one.algorithm == CONCURRENT and one.policy not in decision.shadowed:
                    self._held.setdefault(one.key, []).append(identifier)
        return decision

    def peek(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """What `debit` would say."""
        return self._ask(self._make_ready(PEEK, charges)).before()

    def add(self, charges: Sequence[Charge], now_ns: int) -> None:
        """Charge afterwards."""
        self._ask(self._make_ready(ADD, charges))

    def release(self, charges: Sequence[Charge], now_ns: int) -> None:
        """These concurrent charges are over."""
        for one in charges:
            # Which of them it was does not matter: each counts one.
            if held := self._held.get(one.key):
                identifier = held.pop(0)
                if not held:
                    self._held.pop(one.key, None)
                self._ask(self._make_ready(RELEASE, (one,)), identifier)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Empty these buckets."""
        self._try(lambda: self._client.delete(*(self._key(one.key) for one in charges)))

    def ping(self) -> None:
        """Raises StoreUnavailable where the server does not answer."""
        self._try(lambda: self._client.ping())

    def close(self) -> None:
        """Give the connections back."""
        self._line.close()
        if "_client" in self.__dict__:
            self._client.close()

    def _make_ready(self, mode: int, charges: Sequence[Charge]) -> Ready:
        numbers = []
        since, until = 0, sys.maxsize
        for one in charges:
            rate, kind = one.rate, KINDS[one.algorithm]
            if one.algorithm == GCRA:
                numbers.append((kind, one.cost, one.shadow, one.interval_ns, one.capacity_ns, 0, 0))
            elif one.algorithm == FIXED_WINDOW:
                assert rate.calendar is not None
                start, end, following = rate.calendar.bounds(self._wall())
                since, until = max(since, start), min(until, end)
                numbers.append((kind, one.cost, one.shadow, rate.count, start // 1000, end // 1000, following // 1000))
            elif one.algorithm == SLIDING_LOG:
                numbers.append((kind, one.cost, one.shadow, rate.count, -(-rate.period_ns // 1000), 0, 0))
            else:
                numbers.append((kind, one.cost, one.shadow, rate.count, LONGEST_HOLD_MS, 0, 0))
        keys = [self._clock_key, *[self._keys.get(one.key) or self._key(one.key) for one in charges]]
        named = any(one.algorithm == CONCURRENT for one in charges)
        return Ready(charges, Question(mode, keys, numbers, named=named), since, until)

    def _ask(self, ready: Ready, identifier: bytes = b"") -> Decision:
        charges = ready.charges
        if not charges:
            return Decision((), (), ())
        line = self._line
        if line.process != os.getpid():
            line = self._line = self._open_line()
        # PERF: 45 us of processor time for a chain of three, 18 where many callers share the line; by redis-py 150 to 200.
        answer = line.ask(ready.question, identifier) or self._elsewhere(ready.question, identifier)
        missing, before = answer[HEAD::EACH], answer[HEAD + 1 :: EACH]
        if ready.plain:
            was: list[Standing] = [int(owed) for owed in before]
            now: list[Standing] = [int(owed) for owed in answer[HEAD + 2 :: EACH]]
        else:
            was, now = [], []
            rows = zip(charges, before, *(answer[HEAD + part :: EACH] for part in (2, 3, 4)), strict=True)
            for one, first, then, reset, late in rows:
                counts = one.algorithm != GCRA
                was.append((int(first), int(reset)) if counts else int(first))
                now.append((int(then), int(late)) if counts else int(then))
        if not any(missing):
            return Decision(charges, was, now)
        short = [one for one, missed in zip(charges, missing, strict=True) if missed]
        violated = tuple(one.policy for one in short if not one.shadow)
        return Decision(
            charges, was, was if violated else now, violated=violated,
            shadowed=tuple(one.policy for one in short if one.shadow), retry_after_ns=int(answer[1]),
        )  # fmt: skip

    def _elsewhere(self, question: Question, identifier: bytes) -> tuple[float, ...]:
        """The same question by redis-py, which loads the script, and finds who serves the keys of a cluster by now."""
        asked, moment = self._moment()
        arguments = (question.numbers, NUMBER.pack(0) + moment, identifier)
        script = self._try(lambda: self._client.register_script(SCRIPT))
        try:
            answer = question.read(self._try(lambda: script(keys=question.keys, args=arguments)))
        except AttributeError as error:
            # WHY: redis-py stumbles when a slot is on its way to a node that it has not heard of yet.
            raise StoreUnavailable("Redis does not count: the keys are on their way to another node") from error
        self._learn(asked, answer)
        return answer

    def _open_line(self) -> Line:
        return Line(self._pool, self._moment, self._learn, PATIENCE)

    def _pool(self) -> Any:
        """The pool of connections to whoever serves our keys."""
        client = self._client
        if hasattr(client, "get_node_from_key"):
            # WHY: a question that goes by way of redis-py finds out who that is, whatever has died or moved.
            client.get(self._clock_key)
            client = client.get_redis_connection(client.get_node_from_key(self._clock_key))
        return client.connection_pool

    def _learn(self, asked: int, answer: tuple[float, ...]) -> None:
        """The store's time, as it was told to who asked at *asked*."""
        self._told = (answer[3], int(answer[2]), asked, self._up() // 1000)

    def _moment(self) -> tuple[int, bytes]:
        """When we ask, and what the store's time must be when it reads this: surely passed, at least and at most."""
        asked = self._up() // 1000
        mended, then, begun, ended = self._told
        expected = then + asked - ended
        drift = (asked - begun) // DRIFT
        return asked, MOMENT.pack(
            mended, expected, expected - BEHIND_US - drift, then + asked - begun + AHEAD_US + drift
        )

    def _key(self, key: bytes) -> bytes:
        found = self._keys.get(key)
        if found is None:
            if len(self._keys) >= NAMES:
                self._keys.clear()
            # A54: the bucket's whole name, however long, in 128 bits.
            found = self._keys[key] = self._prefix + blake2b(key, digest_size=16).hexdigest().encode()
        return found

    def _try(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except self._errors as error:
            raise StoreUnavailable(f"Redis does not count: {type(error).__name__}: {str(error)[:200]}") from error


def _errors() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisError

    return (RedisError, OSError)


def _connect(url: str) -> tuple[Callable[[], Any], str]:
    """What makes a client of the server, sentinels or cluster at *url*, and the prefix of our keys."""
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise ConfigurationError(
            "gateway.limit_storage", "the client library of Redis is not installed", "pip install gatewright[redis]"
        ) from None
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        prefix = query.pop("prefix", ["gatewright-limits"])[0].replace("{", "").replace("}", "")
        # WHY: the guard around this store tries again, with pauses; a client that retries too would only add to the wait. In the
        # second protocol a server says nothing that it was not asked.
        common: dict[str, Any] = {
            "socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE, "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0, "protocol": 2,
        }  # fmt: skip
        if parts.username:
            common["username"] = unquote(parts.username)
        if parts.password:
            common["password"] = unquote(parts.password)
        hosts = [
            _host(part, 26379 if "sentinel" in parts.scheme else 6379)
            for part in parts.netloc.rpartition("@")[2].split(",")
        ]
        if parts.scheme == "redis+sentinel":
            from redis import sentinel

            make: Any = sentinel.Sentinel
            path = parts.path.strip("/").split("/")
            sentinels = make(hosts, sentinel_kwargs={"socket_timeout": PATIENCE}, **common)
            client = sentinels.master_for(path[0], db=int(path[1]) if len(path) > 1 else 0)
            return lambda: client, prefix
        if parts.scheme == "redis+cluster":
            from redis.cluster import ClusterNode, RedisCluster

            node: Any = ClusterNode
            nodes = [node(host, port) for host, port in hosts]
            # WHY: it looks for the cluster's nodes at once, and they may not be there yet.
            return lambda: RedisCluster(startup_nodes=nodes, **common), prefix
        scheme = {"valkey": "redis", "valkeys": "rediss", "redis+unix": "unix"}.get(parts.scheme, parts.scheme)
        plain = urlunsplit((scheme, parts.netloc, parts.path, "", ""))
        # WHY: a pool that waits: with each request on a connection of its own a burst would open hundreds at once.
        pool = redis.BlockingConnectionPool.from_url(
            plain, max_connections=CONNECTIONS, timeout=QUEUE_PATIENCE, **common
        )
        if parts.path.strip("/"):
            int(parts.path.strip("/") if parts.scheme != "redis+unix" else 0)
        alone = redis.Redis(connection_pool=pool)
        return lambda: alone, prefix
    except (ValueError, IndexError) as error:
        raise ConfigurationError(
            "gateway.limit_storage", f"not a URL of Redis: {str(error)[:80]}", "write redis://host:6379/0"
        ) from None


def _host(text: str, port: int) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    return (
        (host.strip("[]"), int(number)) if colon and not text.endswith("]") else (text.strip("[]") or "localhost", port)
    )
