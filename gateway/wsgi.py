"""A WSGI application behind an exchange: `call`, and `WsgiHandler`, which serves one on a wire of its own.

The application sees the canonical request and nothing else of the wire; the exchange itself is in its environ under
``gatewright.exchange``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from specs.exchange import Exchange

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

#: The largest answer that is gathered; a longer one is streamed.
_LARGEST_GATHERED = 1 << 20


def environ_of(exchange: Exchange, body: bytes, mount: str = "") -> dict[str, Any]:
    """The environ of *exchange* (PEP 3333), with *body* as its input and *mount* as the part of the path above the application."""
    path = exchange.path.encode().decode("latin-1")
    mount = mount.encode().decode("latin-1")
    host, _, port = exchange.headers.get("host", exchange.host or "localhost").rpartition(":")
    if not host or not port.isdigit():
        port = "443" if exchange.scheme == "https" else "80"
    environ = {
        "REQUEST_METHOD": exchange.method,
        "SCRIPT_NAME": mount,
        "PATH_INFO": path[len(mount) :] if path.startswith(mount) else path,
        "QUERY_STRING": exchange.query_string,
        "SERVER_NAME": exchange.host or "localhost",
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{exchange.version}",
        "REMOTE_ADDR": exchange.address,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": exchange.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "gatewright.exchange": exchange,
    }
    for name, value in exchange.headers.items():
        if name == "content-type":
            environ["CONTENT_TYPE"] = value
        elif name not in ("content-length", "transfer-encoding"):
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    return environ


def call(application: Application, exchange: Exchange, body: bytes = b"", mount: str = "") -> None:
    """Let *application* answer *exchange*: fills its ``response_*``. What the application raises, this raises."""
    started: list[Any] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info is not None and exc_info[1] is not None and not started:
            raise exc_info[1].with_traceback(exc_info[2])
        started[:] = [int(status[:3]), headers]
        return written.append

    result = application(environ_of(exchange, body, mount), start_response)
    if isinstance(result, (list, tuple)):
        pieces: Iterable[bytes] = result
    else:
        pieces = result
        length = next(
            (value for name, value in (started[1] if started else []) if name.lower() == "content-length"), ""
        )
        if not started or not length.isdigit() or int(length) > _LARGEST_GATHERED:
            exchange.response_stream = result
    if exchange.response_stream is None:
        try:
            exchange.response_body = b"".join([*written, *pieces])
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
    if not started:
        raise RuntimeError("the application answered nothing")
    exchange.response_status, exchange.response_headers = started[0], list(started[1])


class WsgiHandler:
    """The handler of a wire that serves *application*; bodies may have *most_body* bytes.

    *refuse_with* answers what cannot reach the application: a Problem of the wire or of the body.
    """

    def __init__(
        self, application: Application, refuse_with: Callable[[Exchange], None], *, most_body: int = 16 << 20
    ) -> None:
        self._application = application
        self._refuse = refuse_with
        self._most_body = most_body

    def handle(self, exchange: Exchange) -> None:
        """Let the application answer."""
        call(self._application, exchange, exchange.read_body(self._most_body))

    def refuse(self, exchange: Exchange) -> None:
        """Answer with the exchange's problem."""
        self._refuse(exchange)
