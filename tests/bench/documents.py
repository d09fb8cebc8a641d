"""The documentation of 1,000 services: what their OpenAPI, the first page, a search and a service's page take.

The first time makes what is kept; *CPU* is all that the server's processes took meanwhile, whatever it was for."""

from __future__ import annotations

import os
import time
from http.client import HTTPConnection
from pathlib import Path

from harness import SERVER_CORE, family
from subjects import gatewright

#: Services in each file.
EACH = 50
SERVICE = '''

class Thing{number}(Service):
    """Gives the thing number {number}.

    It is found by *thing_id*, in the region that is asked for; **every** member of it is told.
    """
    name = "{name}"
    input = "thing_id", "-region", Int("-limit", minimum=1, maximum=100), Enum("-segment", "gold", "silver")
    output = "name", "is_active", List("tags"), "-last_seen", Dict("owner", "name", "-email"), DictList("parts", "part_id", "title")

    def handle(self):
        self.response.payload = {{}}
'''
ASKED = (
    ("/docs/openapi.json", "OpenAPI as JSON"),
    ("/docs/openapi.yaml", "OpenAPI as YAML"),
    ("/docs", "the first page"),
    ("/docs/search?q=thing+region", "a search"),
    ("/docs/search?q=thing-0777", "a search for one"),
    ("/docs/namespaces/area-3?page=1", "a page of a namespace"),
    ("/docs/services/area-1.thing-0153", "the page of a service"),
    ("/docs/graph", "who invokes whom"),
    ("/docs/postman.json", "the Postman collection"),
)


def services(count: int) -> dict[str, str]:
    """Their files."""
    files: dict[str, str] = {}
    for start in range(0, count, EACH):
        area = f"area-{start // EACH // 2}"
        text = f'from gatewright import Dict, DictList, Enum, Int, List, Service\n\nnamespace = "{area}"\n'
        for number in range(start, min(start + EACH, count)):
            text += SERVICE.format(number=number, name=f"{area}.thing-{number:04}")
        files[f"things_{start:04}.py"] = text
    return files


def configuration(count: int) -> str:
    """A channel for each."""
    lines = ["format: 1", "channels:"]
    for number in range(count):
        name = f"area-{number // EACH // 2}.thing-{number:04}"
        path = f"/things/{number:04}/{{thing_id}}"
        lines.append(
            f'  thing-{number:04}: {{type: rest, path: "{path}", methods: [GET], service: {name}, format: [json, xml]}}'
        )
    return "\n".join(lines) + "\n"


def lines(count: int = 1000, times: int = 5) -> list[str]:
    """The table: the first time, which makes what is kept, and the least of some further ones."""
    found = [f"{'':35} {'first ms':>9} {'CPU ms':>9} {'again ms':>9} {'KiB':>8}"]
    with gatewright(configuration(count), services=services(count), cores=(SERVER_CORE,)) as server:
        found.append(f"{'ready':35} {server.ready_after * 1e3:9.0f}")
        for path, name in ASKED:
            before = processor_seconds(server.pid)
            first, size = asked(server.port, path)
            taken = (processor_seconds(server.pid) - before) * 1e3
            again = min(asked(server.port, path)[0] for _ in range(times))
            found.append(f"{name:35} {first:9.1f} {taken:9.0f} {again:9.1f} {size / 1024:8.1f}")
    return found


def processor_seconds(pid: int) -> float:
    """What the processes of a server have taken so far, in steps of 10 ms: on a busy machine it says more than the clock."""
    ticks = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def asked(port: int, path: str) -> tuple[float, int]:
    """Milliseconds and bytes of one answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    began = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    took = (time.perf_counter() - began) * 1e3
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status}")
    return took, len(body)


if __name__ == "__main__":
    print("\n".join(lines()))
