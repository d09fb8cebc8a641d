"""Everything that `gatewright run` can be told, as one frozen record: `Options`.

The command line builds it, the master, the workers and the steward read it. It travels to the steward as JSON.

>>> options = Options(data=Path("var"), listen=("[::1]:8000", "unix:/run/gatewright.sock"))
>>> Options.from_json(options.as_json()) == options
True
>>> [Endpoint.parse(place) for place in options.listen]
[Endpoint(host='::1', port=8000, path=''), Endpoint(host='', port=0, path='/run/gatewright.sock')]
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from specs.problems import ConfigurationError


class Endpoint(NamedTuple):
    """A place to listen at: *host* and *port*, or the *path* of a Unix socket."""

    host: str
    port: int
    path: str = ""

    @classmethod
    def parse(cls, place: str, option: str = "listen") -> Endpoint:
        """``HOST:PORT``, ``[IPv6]:PORT`` or ``unix:PATH`` as an endpoint. Raises ConfigurationError naming *option*."""
        if place.startswith("unix:") and len(place) > 5:
            return cls("", 0, place[5:])
        host, colon, port = place.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ConfigurationError(
                option, f"an IPv6 address stands in brackets, unlike in {place!r}", f"[{host}]:{port}"
            )
        if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
            raise ConfigurationError(option, f"cannot listen at {place!r}", "write HOST:PORT, [IPv6]:PORT or unix:PATH")
        return cls(host, int(port))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one gateway was started with. Paths are as given; times are in seconds.

    *workers* of 0 means one for each core. *access_log* is a file, ``-`` for standard error or empty for none; *log_format*
    is ``json`` or ``text``. *timeout* is how long a worker or the steward may be deaf before it is killed; *graceful_timeout*
    how long running requests may take to end when a worker stops; *reload_timeout* how long a reload may take to prepare. With
    *proxy_protocol* trusted proxies say by the PROXY protocol for whom they connect; with *reuse_port* each worker listens on a
    socket of its own, and the kernel deals connections out.
    """

    data: Path = Path("var")
    config: Path | None = None
    services: Path | None = None
    listen: tuple[str, ...] = ("127.0.0.1:8000",)
    admin: str = "127.0.0.1:8001"
    admin_hosts: tuple[str, ...] = ()
    health: str = ""
    workers: int = 0
    role: str = "all"
    database: str = ""
    keys: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    secrets_dir: Path | None = None
    allow_deploy: bool = False
    access_log: str = "-"
    log_format: str = "json"
    log_level: str = "info"
    timeout: int = 30
    graceful_timeout: int = 30
    reload_timeout: int = 120
    max_requests: int = 0
    proxy_protocol: bool = False
    reuse_port: bool = False
    connections: int = 2000

    @property
    def run_folder(self) -> Path:
        """Where the processes of this gateway leave word for each other."""
        return self.data / "run"

    @property
    def worker_count(self) -> int:
        """How many workers to run."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def reached_at(self) -> str:
        """The URL of the first public listener, as far as this machine knows it; for callers elsewhere set `public_url`."""
        scheme = "https" if self.tls_cert else "http"
        places = [Endpoint.parse(place) for place in self.listen]
        place = next((place for place in places if not place.path), Endpoint("localhost", 80))
        host = socket.gethostname() if place.host in ("0.0.0.0", "::") else place.host  # noqa: S104
        return f"{scheme}://{Endpoint(host, place.port)}"

    def check(self) -> None:
        """Raise ConfigurationError for what cannot be served, before anything starts."""
        for place in self.listen:
            Endpoint.parse(place)
        Endpoint.parse(self.admin, "admin")
        if self.health:
            Endpoint.parse(self.health, "health")
        if not self.listen:
            raise ConfigurationError("listen", "there is no place to listen at", "write HOST:PORT")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigurationError(
                "tls-cert", "a certificate and its key go together", "give --tls-cert and --tls-key"
            )
        for option, path in (("tls-cert", self.tls_cert), ("tls-key", self.tls_key), ("config", self.config)):
            if path is not None and not path.is_file():
                raise ConfigurationError(option, f"there is no file {str(path)!r}")
        if self.log_format not in ("json", "text"):
            raise ConfigurationError("log-format", f"no format called {self.log_format!r}", "json or text")

    def as_json(self) -> bytes:
        """The options as one JSON object."""
        values = {declared.name: getattr(self, declared.name) for declared in fields(self)}
        return orjson.dumps(values, default=str)

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The options that `as_json` wrote."""
        values: dict[str, Any] = orjson.loads(text)
        for name in ("data", "config", "services", "keys", "tls_cert", "tls_key", "secrets_dir"):
            if values.get(name) is not None:
                values[name] = Path(values[name])
        for name in ("listen", "admin_hosts"):
            values[name] = tuple(values[name])
        return cls(**values)
