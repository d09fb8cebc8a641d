"""Several addresses of one system: which of them gets the next call, and which are left alone for now.

    upstreams = Upstreams("erp", ["http://10.0.0.1:9000", "http://10.0.0.2:9000"], balance="least-outstanding")
    upstreams.call(Letter("GET", "/stock/7", [], 0), b"", b"", timeout=10)

An address is left alone while its breaker is open (calls failed in a row: passive health) and while it does not answer a probe
as it should (active health). A call that broke before any byte of an answer goes to another address where that is safe:
when not a byte was sent, or the method is idempotent and the body can be sent again. Repetitions come out of a budget, a share
of the calls, so that a system that is down is not asked twice as often as one that is up.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from backends.breaker import Breaker
from backends.http import IDEMPOTENT, Client, NothingAnswered, PoolExhausted, Streamed, Whole, origin_of
from specs.problems import BackendError, BackendUnavailable

log = logging.getLogger("gatewright.upstreams")

#: What a system in front of the upstream says where the upstream is down: failures, as far as health goes.
FAILING = (502, 503, 504)
Balance = Literal["round-robin", "least-outstanding"]


class Probe(NamedTuple):
    """How to ask an address whether it is well: every *every* seconds, by GET of *path*, for a status below 400.

    So many failures in a row (*fall*) take it out, so many successes (*rise*) bring it back.
    """

    path: str
    every: float = 5.0
    timeout: float = 2.0
    fall: int = 2
    rise: int = 1


class Budget:
    """Repetitions: a *share* of the calls, and at most *most* at once.

    >>> budget = Budget(share=0.5, most=1)
    >>> budget.spend(), budget.spend()
    (True, False)
    >>> budget.earn(); budget.earn(); budget.spend()
    True
    """

    def __init__(self, share: float = 0.2, most: float = 10.0) -> None:
        self._share = share
        self._most = most
        self._left = most

    def earn(self) -> None:
        """A call was made."""
        left = self._left + self._share
        self._left = left if left < self._most else self._most

    def spend(self) -> bool:
        """Whether one call may be repeated."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Upstream:
    """One address: its pool, and whether probes find it well."""

    def __init__(self, url: str, client: Client, prober: Client) -> None:
        self.url = url
        self.client = client
        self.breaker = client.breaker
        self.well = True
        self._prober = prober
        self._in_a_row = 0
        parts = urlsplit(url)
        #: What stands before the path of each call.
        self.base = "" if parts.scheme == "http+unix" else parts.path.rstrip("/")

    @property
    def usable(self) -> bool:
        """Whether it is worth a call."""
        return self.well and (self.breaker.closed or self.breaker.state != "open")

    def probe(self, probe: Probe) -> None:
        """Ask whether it is well, and take it out or bring it back."""
        try:
            answered = self._prober.request("GET", self.base + probe.path, timeout=probe.timeout).status < 400
        except BackendError:
            answered = False
        if answered == self.well:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row >= (probe.rise if answered else probe.fall):
            self._in_a_row = 0
            self.well = answered
            log.warning("%s is %s", self.url, "well again" if answered else "not well and gets no calls")

    def close(self) -> None:
        """Close what is idle, and the rest as its calls end."""
        self.client.close()
        self._prober.close()


class Letter:
    """A request's head, to be sent to any of several addresses, more than once: written for each of them once.

    *target* begins with a slash; a body of *length* bytes, or in chunks, follows.
    """

    __slots__ = ("headers", "heads", "length", "method", "repeatable", "target")

    def __init__(self, method: str, target: str, headers: Iterable[tuple[str, str]], length: int | None) -> None:
        self.method = method
        self.target = target
        self.headers = tuple(headers)
        self.length = length
        self.repeatable = method in IDEMPOTENT
        self.heads: dict[str, bytes] = {}

    def to(self, upstream: Upstream) -> bytes:
        """The head that *upstream* gets, but for what each call adds. Raises ValueError for what cannot be sent."""
        head = self.heads[upstream.url] = upstream.client.head(
            self.method, upstream.base + self.target, self.headers, self.length
        )
        return head


class Upstreams:
    """The addresses of one system. *urls* are as `origin_of` takes them, with a path that stands before that of each call.

    *silence* is the longest pause of an upstream, *pool_size* the most connections to each, *retries* how often one call may
    be repeated, *retry_share* the share of all calls that may be. *failures* in a row open an address's breaker (0: never)
    for *pause* seconds. Times are in seconds. Raises ValueError and OSError for what cannot be used.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        *,
        balance: Balance = "round-robin",
        connect_timeout: float = 5.0,
        silence: float = 30.0,
        pool_size: int = 100,
        retries: int = 1,
        retry_share: float = 0.2,
        failures: int = 5,
        pause: float = 10.0,
        probe: Probe | None = None,
        tls: ssl.SSLContext | None = None,
        preserve_host: bool = False,
    ) -> None:
        self.name = name
        self.budget = Budget(retry_share, 10.0 if retry_share else 0.0)
        self._balance = balance
        self._silence = silence
        self._retries = retries
        self._turn = 0
        self._probe = probe
        self._closed = threading.Event()

        def upstream(url: str) -> Upstream:
            origin = origin_of(url)
            client = Client(
                origin,
                connect_timeout=connect_timeout,
                retries=0,
                pool_size=pool_size,
                max_response=1 << 62,  # WHY: it is handed on as it comes, and never held.
                tls=tls,
                breaker=Breaker(url, failures=failures, pause=pause),
                failing=FAILING,
                own_host=not preserve_host,
            )
            prober = Client(
                origin, connect_timeout=connect_timeout, retries=0, pool_size=1, max_response=1 << 20, tls=tls
            )
            return Upstream(url, client, prober)

        self.upstreams = tuple(upstream(url) for url in urls)
        self._only = self.upstreams[0] if len(self.upstreams) == 1 else None
        if probe is not None:
            threading.Thread(target=self._watch, name=f"probes of {name}", daemon=True).start()

    def call(
        self, letter: Letter, further: bytes, body: bytes | Iterable[bytes], *, timeout: float
    ) -> tuple[Streamed | Whole, Upstream]:
        """The answer of one upstream, whatever its status, and which that was. Take the pieces of the answer, or close it.

        *further* are header lines of this call alone, *body* is as of `Client.stream`. Raises ValueError for what cannot be
        sent, BackendTimeout, BackendUnavailable and BackendError.
        """
        tried: list[Upstream] = []
        self.budget.earn()
        end = further + b"\r\n"
        while True:
            upstream = self._pick(tried)
            head = letter.heads.get(upstream.url) or letter.to(upstream)
            try:
                streamed = upstream.client.stream(
                    letter.method,
                    head + end,
                    body,
                    chunked=letter.length is None,
                    timeout=timeout,
                    silence=self._silence,
                )
                return streamed, upstream
            except (NothingAnswered, PoolExhausted) as error:
                tried.append(upstream)
                unsent = isinstance(error, PoolExhausted) or error.unsent
                repeatable = letter.repeatable and isinstance(body, bytes)
                if not (unsent or repeatable) or len(tried) > self._retries or not self.budget.spend():
                    raise
                log.info("%s: %s; tried elsewhere", self.name, error)

    def usage(self) -> list[dict[str, Any]]:
        """How each address stands, in this process: its pool, its breaker, and whether probes find it well."""
        return [
            {"kind": "proxy", "name": self.name, "address": upstream.url, **upstream.client.usage()._asdict()}
            | {"breaker": upstream.breaker.state, "well": upstream.well}
            for upstream in self.upstreams
        ]

    def _pick(self, tried: Sequence[Upstream]) -> Upstream:
        """The next address that is usable, one that was not tried before where there is one."""
        only = self._only
        if only is not None and only.well and only.breaker.closed:
            return only
        usable = [upstream for upstream in self.upstreams if upstream.usable]
        candidates = [upstream for upstream in usable if upstream not in tried] or usable
        if not candidates:
            raise BackendUnavailable(f"{self.name}: none of {len(self.upstreams)} upstreams is well")
        # A repetition is no turn: else every call would begin with the one that was tried in vain.
        self._turn += not tried
        turn = self._turn % len(candidates)
        candidates = candidates[turn:] + candidates[:turn]
        if self._balance == "least-outstanding":
            return min(candidates, key=lambda upstream: upstream.client.busy)
        return candidates[0]

    def _watch(self) -> None:
        probe = self._probe
        assert probe is not None
        while not self._closed.wait(probe.every):
            for upstream in self.upstreams:
                try:
                    upstream.probe(probe)
                except Exception:
                    log.exception("%s could not be probed", upstream.url)

    def close(self) -> None:
        """Probe no more, close what is idle, and the rest as its calls end."""
        self._closed.set()
        for upstream in self.upstreams:
            upstream.close()
