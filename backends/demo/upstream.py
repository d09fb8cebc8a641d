"""A double of the Treasury's feed of real long-term rates: the same XML, made-up numbers, on a loopback port.

The feed is OData as Atom: one ``entry`` for each quoted day, whose ``m:properties`` hold ``d:Id``, ``d:QUOTE_DATE`` and
``d:RATE``. Its ``$filter`` understands the one form that the demo's service asks for:
``month(QUOTE_DATE) eq 9 and year(QUOTE_DATE) eq 2013``.

    python -m backends.demo.upstream 8002
"""

from __future__ import annotations

import calendar
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_FILTER = re.compile(r"month\(QUOTE_DATE\) eq (\d{1,2}) and year\(QUOTE_DATE\) eq (\d{4})")

_FEED = """<?xml version="1.0" encoding="utf-8" standalone="yes"?>
<feed xml:base="{base}/" xmlns:d="http://schemas.microsoft.com/ado/2007/08/dataservices" \
xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" xmlns="http://www.w3.org/2005/Atom">
  <title type="text">DailyTreasuryRealLongTermRateAverageData</title>
  <id>{base}/DailyTreasuryRealLongTermRateAverageData</id>
  <updated>{updated}</updated>
{entries}</feed>
"""
_ENTRY = """  <entry>
    <id>{base}/DailyTreasuryRealLongTermRateAverageData({number})</id>
    <title type="text"></title>
    <updated>{updated}</updated>
    <author><name /></author>
    <category term="TreasuryDataWarehouseModel.DailyTreasuryRealLongTermRateAverageDatum" \
scheme="http://schemas.microsoft.com/ado/2007/08/dataservices/scheme" />
    <content type="application/xml">
      <m:properties>
        <d:Id m:type="Edm.Int32">{number}</d:Id>
        <d:QUOTE_DATE m:type="Edm.DateTime">{day}T00:00:00</d:QUOTE_DATE>
        <d:RATE m:type="Edm.Double">{rate}</d:RATE>
      </m:properties>
    </content>
  </entry>
"""


def rate_of(day: date) -> str:
    """The rate quoted on a day, as text: made up, but always the same, and 1.22 on 3 September 2013.

    >>> rate_of(date(2013, 9, 3))
    '1.22'
    """
    return f"{0.75 + (day.toordinal() * 37 + 79) % 125 / 100:.2f}"


def feed(year: int, month: int, today: date, base: str) -> str:
    """The feed of one month: its working days up to *today*."""
    days = [date(year, month, number + 1) for number in range(calendar.monthrange(year, month)[1])]
    entries = [
        _ENTRY.format(base=base, number=number, updated=f"{today}T00:00:00Z", day=day, rate=rate_of(day))
        for number, day in enumerate((day for day in days if day.weekday() < 5 and day <= today), 1)
    ]
    return _FEED.format(base=base, updated=f"{today}T00:00:00Z", entries="".join(entries))


class Upstream:
    """The feed's server on *port* (0: any free one) of 127.0.0.1; `url` is where the feed is. Serves until `close`.

    It runs in a thread, or in a greenlet where gevent has patched.
    """

    def __init__(self, port: int = 0, *, today: Callable[[], date] = date.today) -> None:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream._answer(self, today())

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/feed"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _answer(self, handler: BaseHTTPRequestHandler, today: date) -> None:
        parts = urlsplit(handler.path)
        match = _FILTER.fullmatch(parse_qs(parts.query).get("$filter", [""])[0])
        status, body = 200, ""
        if parts.path != "/feed":
            status = 404
        elif match is None or not 1 <= int(match[1]) <= 12 or int(match[2]) < 1:
            status = 400 if handler.command == "GET" else 200
        else:
            body = feed(int(match[2]), int(match[1]), today, self.url)
        encoded = body.encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/atom+xml;type=feed;charset=utf-8")
        handler.send_header("Content-Length", str(len(encoded)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(encoded)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


if __name__ == "__main__":
    served = Upstream(int(sys.argv[1]) if len(sys.argv) > 1 else 8002)
    print(served.url, flush=True)
    parent = os.getppid()
    try:
        while os.getppid() == parent:
            time.sleep(0.5)
    except KeyboardInterrupt:
        pass
    served.close()
