"""Pages: applications for people, each behind a channel of type ``pages``. One file adds one; this page says what to write.

An application is Falcon's. It runs as the execute step of its channel, so that admission, security, limits and the log hold for
it as for any call. Its resources find the exchange in ``request.env["gatewright.exchange"]``.
"""

from __future__ import annotations

from typing import ClassVar

import falcon

from gateway.wsgi import Application

#: What browsers are told with each page. SECURITY: A46, S-pages. No script, style or picture of anyone else's, and no frame.
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


class Pages:
    """An application: `application` answers every path below *mount*; *public_url* is where callers reach the gateway."""

    word: ClassVar[str] = ""

    def __init__(self, mount: str, public_url: str) -> None:
        self.mount = mount.rstrip("/")
        self.public_url = public_url
        self.application: Application = falcon.App()
