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

import secrets
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
from specs.problems import ConfigurationError

#: Seconds to wait for one of our own connections: that all are in use is no sign of a lost server.
QUEUE_PATIENCE = 5.0
#: Connections of one process.
CONNECTIONS = 32
#: Milliseconds that a request at once is counted which nobody has counted out.
LONGEST_HOLD_MS = 3_600_000
#: Milliseconds that a bucket is kept for when it owes nothing any more.
KEPT_MS = 3_600_000
#: Microseconds by which the server may seem to be behind or ahead of its time, and parts of what passed, before its clock was set:
#: an answer is awaited for PATIENCE, and a caller that waited for a connection seems to be ahead.
BEHIND_US, AHEAD_US, DRIFT = 500_000, int(2 * PATIENCE * 1_000_000), 1000

# KEYS: the clock, then one a bucket. ARGV: mode, id of the caller, how often the clock had been mended when it was told the time,
# the time that it must be, at least and at most, then for each bucket algorithm, cost, shadow and four numbers.
# A bucket is a text "moment debt interval" (gcra: microseconds, nanoseconds, nanoseconds), "end hits" (fixed-window:
# microseconds), a list of "moment" by hit (sliding-log), or a sorted set of ids by their end (concurrent).
_SCRIPT = """
local time = redis.call('TIME')
local wall = time[1] * 1000000 + time[2]
local mode, id, due, least, most = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local answers, writes, settled, violated, wait = {}, {}, {}, false, 0
local function number(text) return string.format('%.0f', text) end
local shift, mended = string.match(redis.call('GET', KEYS[1]) or '0 0', '(%S+) (%S+)')
local now = wall - tonumber(shift)
if ARGV[3] == mended and (now < least or now > most) then
  -- The clock was set. What is due is never more than what has passed, so nothing is given away.
  now, mended = due, number(tonumber(mended) + 1)
  redis.call('SET', KEYS[1], number(wall - due) .. ' ' .. mended)
end
for i = 2, #KEYS do
  local key, at = KEYS[i], 7 + (i - 2) * 7
  local kind, cost, shadow = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2] == '1'
  local a, b, c, d = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local before, after, reset, late, missing = 0, 0, 0, 0, 0
  if kind == 'gcra' then
    -- a: interval, b: capacity, in nanoseconds
    local debt = 0
    local held = redis.call('GET', key)
    if held then
      local moment, owed, interval = string.match(held, '(%S+) (%S+) (%S+)')
      moment, owed, interval = tonumber(moment), tonumber(owed), tonumber(interval)
      debt = math.max(0, owed - math.max(0, now - moment) * 1000)
      -- A moment that is yet to come is of a time that was taken out: what was owed then is owed from now on.
      if moment > now then
        local text = number(now) .. ' ' .. number(owed) .. ' ' .. number(interval)
        settled[#settled + 1] = {'SET', key, text, 'PX', number(math.ceil(owed / 1000000) + KEPT)}
      end
      if interval ~= a then debt = math.min(math.ceil(debt * a / interval), b) end
    end
    before = debt
    local due = debt + cost * a
    if mode == 'add' then due = math.max(0, math.min(due, 2 * b)) end
    missing = due - b
    if missing <= 0 or mode == 'add' then
      after = due
      local text = number(now) .. ' ' .. number(due) .. ' ' .. number(a)
      writes[#writes + 1] = {'SET', key, text, 'PX', number(math.ceil(due / 1000000) + KEPT)}
    else after = debt end
  elseif kind == 'fixed-window' then
    -- a: count; b, c, d: beginning and end of the caller's window, end of the next, in microseconds of the time of day
    local used, ends, since = 0, 0, false
    local held = redis.call('GET', key)
    if held then
      local stored, hits = string.match(held, '(%S+) (%S+)')
      stored, hits = tonumber(stored), tonumber(hits)
      if stored > now then used, ends = hits, stored else since = now - stored end
    end
    if ends == 0 then
      local length, left, following = d - c, b - wall, c - wall
      if left <= 0 then left, following = c - wall, d - wall end
      -- Clocks that are further apart than a window agree on none.
      if left <= 0 or left > 2 * length then left, following = length, 2 * length end
      -- What ends for the bucket and begins anew by the calendar within a window's length was set: see Calendar.remaining_ns.
      if since and since + left < length * 0.85 then left = following end
      ends = now + left
    end
    before, reset, late = used, (ends - now) * 1000, (ends - now) * 1000
    if used + cost <= a or mode == 'add' then
      after = math.max(0, math.min(used + cost, 2 * a))
      writes[#writes + 1] = {'SET', key, number(ends) .. ' ' .. number(after), 'PX', number(math.ceil((ends - now) / 1000) + KEPT)}
    else after, missing = used, math.max(1, (ends - now) * 1000) end
  elseif kind == 'sliding-log' then
    -- a: count, b: period in microseconds. Reading drops what is old: that is no change.
    local first = tonumber(redis.call('LINDEX', key, 0) or now + 1)
    while first + b <= now do
      redis.call('LPOP', key)
      first = tonumber(redis.call('LINDEX', key, 0) or now + 1)
    end
    local used = redis.call('LLEN', key)
    before, after = used, used
    if used > 0 then reset = (first + b - now) * 1000 end
    late = b * 1000
    if used + cost <= a then
      after = used + cost
      local moment = math.max(now, tonumber(redis.call('LINDEX', key, -1) or 0))
      if moment > now + b then moment = now end
      local push = {'RPUSH', key}
      for n = 1, cost do push[#push + 1] = number(moment) end
      writes[#writes + 1] = push
      writes[#writes + 1] = {'PEXPIRE', key, number(math.ceil((moment - now + b) / 1000) + KEPT)}
    else
      local freed = tonumber(redis.call('LINDEX', key, used + cost - a - 1))
      missing = math.max(1, (freed + b - now) * 1000)
      late = reset
    end
  else
    -- a: count, b: how long one is counted at most, in milliseconds
    redis.call('ZREMRANGEBYSCORE', key, '-inf', number(now))
    local used = redis.call('ZCARD', key)
    before, after = used, used
    if used + cost <= a then
      after = used + cost
      writes[#writes + 1] = {'ZADD', key, number(now + b * 1000), id}
      writes[#writes + 1] = {'PEXPIRE', key, number(b + KEPT)}
    else missing = 1000000000 end
  end
  if missing > 0 and not shadow and mode ~= 'add' then
    violated = true
    wait = math.max(wait, missing)
  end
  answers[i - 1] = {missing > 0 and 1 or 0, number(before), number(after), number(reset), number(late)}
end
if mode ~= 'peek' then
  for _, write in ipairs(settled) do redis.call(unpack(write)) end
end
if (mode == 'debit' and not violated) or mode == 'add' then
  for _, write in ipairs(writes) do redis.call(unpack(write)) end
end
return {number(wait), answers, number(now), mended}
""".replace("KEPT", str(KEPT_MS))


class RedisStore(Store):
    """The buckets of all gateways that share *url*. Raises ConfigurationError for a URL that cannot be used."""

    def __init__(self, url: str, *, wall: Callable[[], int] = time.time_ns, up: Callable[[], int] = up_ns) -> None:
        self._make_client, prefix = _connect(url)
        self._prefix = b"{%b}:" % prefix.encode()
        self._clock_key = b"{%b}clock" % prefix.encode()
        self._wall = wall
        self._up = up
        #: How often the store's clock was mended, its time in microseconds, and when we asked and were told, on our own clock.
        self._told: tuple[bytes, int, int, int] = (b"", 0, 0, 0)
        self._errors = _errors()
        self._keys: dict[bytes, bytes] = {}
        self._held: dict[bytes, list[str]] = {}

    @cached_property
    def _client(self) -> Any:
        return self._make_client()

    @cached_property
    def _script(self) -> Any:
        return self._client.register_script(_SCRIPT)

    def debit(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """Take from every bucket of *charges*, or from none; the server's clock counts. Raises StoreUnavailable."""
        # PERF: 0.16 ms for a chain of 5 on the same machine, nearly all of it the round trip.
        identifier = ""
        if any(one.algorithm == CONCURRENT for one in charges):
            identifier = secrets.token_hex(8)
        decision = self._run("debit", charges, identifier)
        if identifier and decision.allowed:
            for one in charges:
                if one.algorithm == CONCURRENT and one.policy not in decision.shadowed:
                    self._held.setdefault(one.key, []).append(identifier)
        return decision

    def peek(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """What `debit` would say."""
        return self._run("peek", charges).before()

    def add(self, charges: Sequence[Charge], now_ns: int) -> None:
        """Charge afterwards."""
        self._run("add", charges)

    def release(self, charges: Sequence[Charge], now_ns: int) -> None:
        """These concurrent charges are over."""
        for one in charges:
            # Which of them it was does not matter: each counts one.
            if held := self._held.get(one.key):
                identifier = held.pop(0)
                if not held:
                    self._held.pop(one.key, None)
                self._forget(self._key(one.key), identifier)

    def _forget(self, key: bytes, identifier: str) -> None:
        self._try(lambda: self._client.zrem(key, identifier))

    def reset(self, charges: Sequence[Charge]) -> None:
        """Empty these buckets."""
        self._try(lambda: self._client.delete(*(self._key(one.key) for one in charges)))

    def ping(self) -> None:
        """Raises StoreUnavailable where the server does not answer."""
        self._try(lambda: self._client.ping())

    def close(self) -> None:
        """Give the connections back."""
        if "_client" in self.__dict__:
            self._client.close()

    def _run(self, mode: str, charges: Sequence[Charge], identifier: str = "") -> Decision:
        keys = self._keys
        names = [keys.get(one.key) or self._key(one.key) for one in charges]
        if not charges:
            return Decision((), (), ())
        asked = self._up() // 1000
        arguments: list[Any] = [mode, identifier, *self._must_be(asked)]
        for one in charges:
            arguments += (one.algorithm, one.cost, int(one.shadow), *self._numbers(one))
        wait, answers, now, mended = self._try(lambda: self._script(keys=[self._clock_key, *names], args=arguments))
        self._told = (mended, int(now), asked, self._up() // 1000)
        before: list[Standing] = []
        after: list[Standing] = []
        violated: list[str] = []
        shadowed: list[str] = []
        for one, (missing, was, now, reset, late) in zip(charges, answers, strict=True):
            if one.algorithm == GCRA:
                before.append(int(was))
                after.append(int(now))
            else:
                before.append((int(was), int(reset)))
                after.append((int(now), int(late)))
            if missing:
                (shadowed if one.shadow else violated).append(one.policy)
        return Decision(
            charges, before, before if violated else after, violated=tuple(violated), shadowed=tuple(shadowed),
            retry_after_ns=int(wait),
        )  # fmt: skip

    def _must_be(self, asked: int) -> tuple[bytes, int, int, int]:
        """What the store's time must be when it reads this: surely passed, at least and at most."""
        mended, then, begun, ended = self._told
        due = then + asked - ended
        drift = (asked - begun) // DRIFT
        return mended, due, due - BEHIND_US - drift, then + asked - begun + AHEAD_US + drift

    def _numbers(self, one: Charge) -> tuple[int, int, int, int]:
        if one.algorithm == GCRA:
            return one.interval_ns, one.capacity_ns, 0, 0
        if one.algorithm == FIXED_WINDOW:
            assert one.rate.calendar is not None
            start, end, following = one.rate.calendar.bounds(self._wall())
            return one.rate.count, start // 1000, end // 1000, following // 1000
        if one.algorithm == SLIDING_LOG:
            return one.rate.count, -(-one.rate.period_ns // 1000), 0, 0
        return one.rate.count, LONGEST_HOLD_MS, 0, 0

    def _key(self, key: bytes) -> bytes:
        found = self._keys.get(key)
        if found is None:
            if len(self._keys) >= 65_536:
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
        # WHY: the guard around this store tries again, with pauses; a client that retries too would only add to the wait.
        common: dict[str, Any] = {
            "socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE, "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
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
