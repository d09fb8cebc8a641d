"""A crowd of clients of one process: slow ones that hold on to what they have, and a well-behaved one with a watch."""

import json
import select
import selectors
import socket
import subprocess
import sys
import threading
import time

from wires import read_answer

POST = b'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"text":"x"}'


KINDS = ("head", "body", "reader")


class Crowd:
    """*count* connections each of slow heads, slow bodies and slow readers; each comes back when it is cut off.

    They are in a process of their own, so that the watch of a well-behaved client is not theirs, and each does something once
    in *pause* seconds, at a moment of its own. *cut_off* counts by kind how often one was.
    """

    def __init__(self, address, count, pause=0.5, source="127.0.0.2"):
        self.cut_off = dict.fromkeys(KINDS, 0)
        self.connected = 0
        self._words = [*map(str, address), str(count), str(pause), source]

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__, *self._words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self):
        for line in self._process.stdout:
            told = json.loads(line)
            self.connected = told.pop("connected")
            self.cut_off = told

    def __exit__(self, *problem):
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(30)
        self._process.stdout.close()


def be_slow(host, port, count, pause, source):
    """What the process of a crowd does, until its standard input ends."""
    address, pause = (host, int(port)), float(pause)
    kinds = [kind for _ in range(int(count)) for kind in KINDS]
    socks = [None] * len(kinds)
    cut_off = dict.fromkeys(KINDS, 0)
    told = began = time.monotonic()
    turn = 0
    while not select.select([sys.stdin], [], [], max(0.0, began + turn * pause / len(kinds) - time.monotonic()))[0]:
        number = turn % len(kinds)
        turn += 1
        kind, sock = kinds[number], socks[number]
        try:
            if sock is None:
                socks[number] = connect_slowly(address, kind, source)
            elif kind == "reader":
                # A reset is seen at once, and not when what has come is read.
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or not sock.recv(64):
                    raise ConnectionResetError
            else:
                sock.send(b"X: y\r\n" if kind == "head" else b" ")
                if sock.recv(1000):
                    raise ConnectionResetError
        except BlockingIOError:
            pass
        except OSError:
            cut_off[kind] += 1
            if sock is not None:
                sock.close()
            socks[number] = None
        if time.monotonic() - told > 0.2:
            told = time.monotonic()
            print(json.dumps({"connected": sum(sock is not None for sock in socks), **cut_off}), flush=True)


def connect_slowly(address, kind, source):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.bind((source, 0))
    sock.settimeout(5)
    sock.connect(address)
    first = {
        "head": b"GET /echo HTTP/1.1\r\nHost: a\r\n",
        "body": b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{",
        "reader": b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
    }[kind]
    sock.sendall(first)
    sock.setblocking(False)
    return sock


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def ask_often(address, count, pause=0.0, request=POST):
    """The seconds that each of *count* requests over one kept connection took."""
    times = []
    with socket.create_connection(address, timeout=20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began = time.perf_counter()
            sock.sendall(request)
            answer = read_answer(sock)
            times.append(time.perf_counter() - began)
            assert answer.status == 200, answer.body
            if pause:
                time.sleep(pause)
    return times


def overload(address, connections, seconds, path=b"/work"):
    """How many answers of each status *connections* clients at once got that never wait; what was no answer is under 0."""
    statuses = {}
    chooser = selectors.DefaultSelector()
    octets = b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    end = time.monotonic() + seconds

    def begin():
        try:
            sock = socket.create_connection(address, timeout=10)
            sock.sendall(octets)
            sock.setblocking(False)
            chooser.register(sock, selectors.EVENT_READ)
        except OSError:
            statuses[0] = statuses.get(0, 0) + 1

    for _ in range(connections):
        begin()
    while time.monotonic() < end:
        for key, _ in chooser.select(0.5):
            sock = key.fileobj
            try:
                received = sock.recv(65536)
                if not received:
                    raise ConnectionResetError
                status = int(received.split()[1])
                statuses[status] = statuses.get(status, 0) + 1
                if b"Connection: close" in received:
                    raise EOFError
                sock.send(octets)
            except (OSError, EOFError, ValueError, IndexError) as problem:
                if isinstance(problem, OSError):
                    statuses[0] = statuses.get(0, 0) + 1
                chooser.unregister(sock)
                sock.close()
                begin()
    for key in list(chooser.get_map().values()):
        key.fileobj.close()
    chooser.close()
    return statuses


def memory_of(pid):
    """Resident bytes of a process."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


def json_post(path, value):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (path, len(body)) + body


if __name__ == "__main__":
    be_slow(*sys.argv[1:])
