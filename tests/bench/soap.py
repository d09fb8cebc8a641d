"""SOAP beside Spyne, and beside the same service in JSON and XML; and what refusing an attack by XML takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import workload
from harness import ROOT, SCRATCH, SERVER_CORE, Load, Sample, free_port, on, serving
from subjects import PYTHON, NotInstalled, Running, gatewright, needs, run, say

NAMESPACE = "urn:gatewright:soap"
CONFIGURATION = workload.CONFIGURATION + "  soap: {type: soap, path: /soap, services: [orders.place]}\n"
MEMBERS = (
    "<order_id>ORD-2026-000017</order_id><customer_id>1234567</customer_id><currency>EUR</currency><total>1234.5</total>"
    "<express>true</express><reference>spring delivery</reference>"
)
LINES = (("A-1001-X", 3), ("B-2002-Y", 1))
OURS = "".join(f"<lines><sku>{sku}</sku><count>{count}</count></lines>" for sku, count in LINES)
SPYNES = (
    "<lines>" + "".join(f"<Line><sku>{sku}</sku><count>{count}</count></Line>" for sku, count in LINES) + "</lines>"
)
ENVELOPES = {
    "1.1": ("http://schemas.xmlsoap.org/soap/envelope/", "text/xml; charset=utf-8"),
    "1.2": ("http://www.w3.org/2003/05/soap-envelope", "application/soap+xml; charset=utf-8"),
}
#: Runs in a process of its own, on the server's core: the dearest of the attacks that the tests know.
ATTACKS = """
import sys, time
sys.path[:0] = ["tests", "tests/attacks", "."]
from test_xml_attacks import BODIES
from specs.problems import Problem
from specs.soap import Message, open_envelope
found = []
for name, body in BODIES.items():
    times = []
    for _ in range(7):
        began = time.thread_time()
        try:
            Message(*open_envelope(body, "text/xml"))
        except Problem:
            pass
        times.append(time.thread_time() - began)
    found.append((min(times) * 1e3, len(body), name))
for milliseconds, size, name in sorted(found)[::-1][:5]:
    print(f"{name:57} {size / 1e6:8.1f} MB {milliseconds:8.1f} ms")
"""


def message(version: str, lines: str) -> bytes:
    """The order as a request by SOAP."""
    envelope, content_type = ENVELOPES[version]
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="{envelope}"><e:Body>'
        f'<PlaceOrder xmlns="{NAMESPACE}">{MEMBERS}{lines}</PlaceOrder></e:Body></e:Envelope>'
    )
    return workload.request("/soap", body.encode(), content_type=content_type, user="")


@contextmanager
def spyne() -> Iterator[Running]:
    """Spyne on gunicorn's gevent worker, as Falcon is."""
    found = sorted((SCRATCH / "python" / "lib").glob("python3*/site-packages"))
    if PYTHON.exists() and found and not (found[0] / "spyne").exists():
        say("installing Spyne")
        run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "spyne", "lxml")
    needs(PYTHON, *((found[0] / "spyne",) if found else ()))
    port = free_port()
    command = [
        PYTHON, "-m", "gunicorn", "--worker-class", "gevent", "--workers", "1", "--bind", f"127.0.0.1:{port}",
        "--keep-alive", "600", "--no-control-socket", "spyne_soap:application",
    ]  # fmt: skip
    with serving(command, port) as pid:
        yield Running(port, pid)


def lines(load: Load, seconds: float) -> list[str]:
    """The table."""
    rows: dict[str, Sample] = {}
    missing = []
    with gatewright(CONFIGURATION) as server:
        for name, request in (
            ("Gatewright JSON", workload.request("/open", workload.ORDER, user="")),
            ("Gatewright XML", workload.request("/xml", workload.XML_ORDER, content_type="application/xml", user="")),
            ("Gatewright SOAP 1.1", message("1.1", OURS)),
            ("Gatewright SOAP 1.2", message("1.2", OURS)),
        ):
            rows[name] = load.measure(server.port, server.pid, [request], seconds)
    name = "Spyne SOAP 1.1, lxml validator, gunicorn's gevent worker"
    try:
        with spyne() as server:
            rows[name] = load.measure(server.port, server.pid, [message("1.1", SPYNES)], seconds)
    except (NotInstalled, RuntimeError) as error:
        missing.append(f"{name:57} not measured: {error}")
    ours = rows["Gatewright SOAP 1.1"].cpu
    found = [f"{'':57} {'req/s':>8} {'p50 us':>8} {'CPU us/req':>10} {'x SOAP 1.1':>10} {'others':>7}"]
    for name, sample in rows.items():
        failed = f" {sample.refused} failed" if sample.refused else ""
        found.append(
            f"{name:57} {sample.per_second:8.0f} {sample.p50:8.0f} {sample.cpu:10.1f} {sample.cpu / ours:10.2f}"
            f" {sample.foreign:6.0%}{failed}"
        )
    return [*found, *missing, "", "The dearest of the attacks by XML (A40), each refused; least of 7:", *attacks()]


def attacks() -> list[str]:
    """What refusing the dearest messages takes."""
    done = subprocess.run(
        [sys.executable, "-c", ATTACKS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=on(SERVER_CORE),
    )
    return done.stdout.splitlines() if done.returncode == 0 else [f"not measured: {done.stderr.strip()[-300:]}"]


if __name__ == "__main__":
    print("\n".join(lines(Load(), 2.0)))
