"""The load client where there is no compiler: the arguments and the answer of `load.c`, closed loop only, and slow.

Its figures of processor time are good, its requests a second are its own limit as often as the server's.
"""

import json
import os
import selectors
import socket
import sys
import time
from pathlib import Path


def processor_seconds(pids: str) -> float:
    """user + system seconds of the processes."""
    ticks = 0
    for pid in pids.split(","):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Load, then print."""
    port, connections, warm, seconds, _, _, pids, _ = sys.argv[1:9]
    requests = [Path(name).read_bytes() for name in sys.argv[9:]]
    selector = selectors.DefaultSelector()
    for number in range(int(connections)):
        sock = socket.create_connection(("127.0.0.1", int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ, [time.monotonic(), b"", number])
        sock.sendall(requests[number % len(requests)])
    latencies: list[float] = []
    refused = 0
    begin = time.monotonic() + float(warm)
    cpu = None
    while (now := time.monotonic()) < begin + float(seconds):
        if cpu is None and now >= begin:
            cpu, begin = processor_seconds(pids), now
        for key, _ in selector.select(0):
            sock, state = key.fileobj, key.data
            state[1] += sock.recv(65536)
            head, found, body = state[1].partition(b"\r\n\r\n")
            if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r")[0]):
                continue
            refused += head[9:10] != b"2"
            if cpu is not None:
                latencies.append((time.monotonic() - state[0]) * 1e6)
            state[:] = [time.monotonic(), b"", state[2] + 1]
            sock.sendall(requests[state[2] % len(requests)])
    took = time.monotonic() - begin
    latencies.sort()
    print(
        json.dumps({
            "requests": len(latencies), "seconds": took, "refused": refused, "foreign": 0.0,
            "p50_us": latencies[len(latencies) // 2], "p99_us": latencies[len(latencies) * 99 // 100],
            "cpu_seconds": processor_seconds(pids) - (cpu or 0.0),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
