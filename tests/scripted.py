"""A server that says exactly the bytes it is told to: for clients that must not trust what they hear."""

import socket
import threading
import time
from contextlib import contextmanager


class Scripted:
    """*answers* are bytes, or callables that get the socket; one for each request, over as many connections as it takes.

    An answer of None closes the connection. *requests* holds what came, *connections* how many were opened.
    """

    def __init__(self, answers):
        self.answers = list(answers)
        self.requests = []
        self.connections = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            while True:
                request = read_request(connection)
                if not request:
                    return
                with self.lock:
                    self.requests.append(request)
                    answer = self.answers.pop(0) if self.answers else ok(b"unscripted")
                if answer is None:
                    return
                if callable(answer):
                    if answer(connection) == "close":
                        return
                else:
                    connection.sendall(answer)

    def close(self):
        for connection in (self.listener, *self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.listener.close()


@contextmanager
def scripted(*answers):
    server = Scripted(answers)
    try:
        yield server
    finally:
        server.close()


def ok(body, *headers):
    lines = "".join(f"{header}\r\n" for header in headers).encode()
    return b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def read_request(connection):
    received = b""
    try:
        while b"\r\n\r\n" not in received:
            more = connection.recv(65536)
            if not more:
                return b""
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(body) < length:
            more = connection.recv(65536)
            if not more:
                return b""
            body += more
    except OSError:
        return b""
    return head + b"\r\n\r\n" + body


def eventually(condition, seconds=5.0):
    """Wait for another thread or process to get there."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        time.sleep(0.002)
