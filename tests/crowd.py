"""A crowd of clients of one process: slow ones that hold on to what they have, and a well-behaved one with a watch."""

import json
import selectors
import socket
import threading
import time

from wires import read_answer

POST = b'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"text":"x"}'


class Crowd:
    """*count* connections each of slow heads, slow bodies and slow readers; each comes back when it is cut off."""

    def __init__(self, address, count, pause=0.5, source="127.0.0.2"):
        self.address = address
        self.count = count
        self.pause = pause
        self.source = source
        self.cut_off = {"head": 0, "body": 0, "reader": 0}
        self.turned_away = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *problem):
        self._stop.set()
        self._thread.join(30)

    def _connect(self, kind):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.bind((self.source, 0))
        sock.settimeout(5)
        sock.connect(self.address)
        first = {
            "head": b"GET /echo HTTP/1.1\r\nHost: a\r\n",
            "body": b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{",
            "reader": b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
        }[kind]
        sock.sendall(first)
        sock.setblocking(False)
        return sock

    def _run(self):
        kinds = [kind for kind in self.cut_off for _ in range(self.count)]
        socks = dict.fromkeys(range(len(kinds)))
        while not self._stop.is_set():
            for number, kind in enumerate(kinds):
                try:
                    if socks[number] is None:
                        socks[number] = self._connect(kind)
                    elif kind == "reader":
                        # A reset is seen at once, and not when what has come is read.
                        if socks[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or not socks[number].recv(64):
                            raise ConnectionResetError
                    else:
                        socks[number].send(b"X: y\r\n" if kind == "head" else b" ")
                        if socks[number].recv(1000):
                            raise ConnectionResetError
                except BlockingIOError:
                    continue
                except OSError:
                    self.cut_off[kind] += 1
                    if socks[number] is not None:
                        socks[number].close()
                    socks[number] = None
            self._stop.wait(self.pause)
        for sock in socks.values():
            if sock is not None:
                sock.close()


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
