"""TLS of a listener, with the certificate read again when its file changes: `Certificates`."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from specs.problems import ConfigurationError

log = logging.getLogger("gatewright.tls")


class Certificates:
    """A certificate (with its chain) and its key in PEM files; `context` is always made of what they hold now.

    The files are looked at once each *interval* seconds. A pair that cannot be used, half a renewal say, leaves the one
    before in use, and the log says so. TLS 1.2 and later.
    """

    def __init__(
        self, certificate: Path, key: Path, *, interval: float = 2.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._interval = interval
        self._clock = clock
        self._looked = clock()
        self._seen = self._state()
        try:
            self._context = self._load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                "tls-cert", f"{str(certificate)!r} and its key cannot be used", str(error)
            ) from None

    def context(self) -> ssl.SSLContext:
        """The context for a connection that begins now."""
        now = self._clock()
        if now - self._looked >= self._interval:
            self._looked = now
            state = self._state()
            if state != self._seen:
                self._seen = state
                try:
                    self._context = self._load()
                    log.info("the certificate %s has been read again", self._certificate)
                except (OSError, ssl.SSLError) as error:
                    log.error("the certificate %s cannot be used, the one before stays: %s", self._certificate, error)
        return self._context

    def _state(self) -> tuple[object, ...]:
        try:
            found = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return ()
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in found)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.load_cert_chain(self._certificate, self._key)
        return context
