"""What many channels cost: a start, memory, a request beside ten channels, and the time until a change serves."""

from __future__ import annotations

import socket
import tempfile
import time
from pathlib import Path

import workload
from harness import CLIENT_CORE, SCRATCH, SERVER_CORE, Load, family
from parts import REQUESTS
from subjects import Running, gatewright, say

CHANGES = 3


def lines(load: Load, count: int, seconds: float) -> list[str]:
    """The table's lines."""
    found = [
        f"{'':24} {'first start':>12} {'next start':>12} {'MB a worker':>12} {'CPU us/req':>11} {'accepted':>10} {'serves':>10}"
    ]
    cost = {}
    for number in (10, count):
        with tempfile.TemporaryDirectory(prefix="channels-", dir=SCRATCH) as temporary:
            folder = Path(temporary)
            document = workload.many_channels(number)
            both = (SERVER_CORE, CLIENT_CORE)
            with gatewright(document, folder=folder, cores=both) as server:
                first = server.ready_after
            with gatewright(document, folder=folder, cores=both) as server:
                again, memory = server.ready_after, resident(server)
                changes = [change(server, turn) for turn in range(CHANGES)]
            with gatewright(document, folder=folder) as server:
                sample = load.measure(server.port, server.pid, some_requests(number), seconds)
            cost[number] = sample.cpu
            accepted, served = (min(values) for values in zip(*changes, strict=True))
            found.append(
                f"{number:>15,} channels {first:10.2f} s {again:10.2f} s {memory:12.1f} {sample.cpu:11.1f} {accepted:8.2f} s"
                f" {served:8.2f} s"
            )
            say(found[-1])
    found.append(f"a request costs {cost[count] / cost[10]:.2f} times what it costs with ten channels")
    return found


def some_requests(count: int) -> list[bytes]:
    """Requests to 64 channels that are alike, far apart where there are many."""
    further = count - 10
    if further <= 0:
        return [REQUESTS["whole"]]
    step = max(1, further // 64)
    return [workload.request(f"/many/{number % 100}/{number}", workload.ORDER) for number in range(0, further, step)][
        :64
    ]


def resident(server: Running) -> float:
    """Resident megabytes of the largest process that serves: the worker."""
    most = 0
    for pid in family(server.pid):
        if "gateway.steward" in Path(f"/proc/{pid}/cmdline").read_text():
            continue
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                most = max(most, int(line.split()[1]))
    return most / 1024


def change(server: Running, turn: int) -> tuple[float, float]:
    """Add one channel by the admin API; seconds until it is accepted, and from then until it serves."""
    document = f"format: 1\nchannels:\n  new-{turn}: {{type: rest, path: /new/{turn}, methods: [POST], service: orders.place}}\n"
    head = (
        "POST /config HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\nConnection: close\r\n"
        f"Content-Length: {len(document)}\r\n\r\n"
    )
    began = time.monotonic()
    answer = talk(socket.AF_UNIX, str(server.folder / "data" / "control.sock"), (head + document).encode())
    accepted = time.monotonic()
    if b" 200 " not in answer[:20]:
        raise RuntimeError(f"the change was refused: {answer[:600]!r}")
    request = workload.request(f"/new/{turn}", workload.ORDER, user="").replace(
        b"Accept:", b"Connection: close\r\nAccept:"
    )
    while b" 200 " not in talk(socket.AF_INET, ("127.0.0.1", server.port), request)[:20]:
        if time.monotonic() > accepted + 30:
            raise RuntimeError("the change was not taken up within 30 s")
        time.sleep(0.005)
    return accepted - began, time.monotonic() - accepted


def talk(family_: int, address: object, request: bytes) -> bytes:
    """The answer to one request on a connection of its own."""
    with socket.socket(family_) as sock:
        sock.settimeout(60)
        sock.connect(address)
        sock.sendall(request)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
        return answer
