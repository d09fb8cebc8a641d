"""A system behind the gateway, in this process: remembers what it was asked and answers by the path."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def read_body(self):
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                piece = self.rfile.read(size)
                self.server.pieces.append((time.monotonic(), len(piece)))
                body += piece
                self.rfile.readline()
            self.rfile.readline()
            return body
        left, pieces = int(self.headers.get("content-length", 0)), []
        while left:
            piece = self.rfile.read1(min(left, 65536))
            if not piece:
                self.server.broken.append(sum(map(len, pieces)))
                self.close_connection = True
                raise ConnectionError
            self.server.pieces.append((time.monotonic(), len(piece)))
            left -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def answer(self):
        server = self.server
        server.connections.add(self.client_address)
        if self.path.endswith("/lazy"):
            server.go_on.wait(30)
        try:
            body = self.read_body()
        except (ConnectionError, ValueError):
            return
        path = self.path.partition("?")[0]
        if path != "/health":
            server.seen.append((self.command, self.path, dict(self.headers.items()), body))
        status = server.statuses.get(path, 200)
        if path == "/health":
            status = server.health
        if path.endswith("/slow"):
            server.go_on.wait(10)
        if path.endswith("/endless"):
            self.endless()
            return
        if path.endswith("/feed"):
            self.feed()
            return
        content = json.dumps(
            {
                "name": server.name,
                "method": self.command,
                "path": self.path,
                "length": len(body),
                "headers": dict(self.headers),
            }
        ).encode()
        self.send_response(status)
        for name, value in server.headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(content)

    def chunk(self, octets):
        self.wfile.write(b"%x\r\n%b\r\n" % (len(octets), octets))

    def feed(self):
        """Three pieces, each when told to."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            self.chunk(b"piece %d\n" % number)
            self.server.step.acquire(timeout=10)
        self.wfile.write(b"0\r\n\r\n")

    def endless(self):
        """As much as whoever reads will take, up to 64 MiB."""
        self.send_response(200)
        self.send_header("Content-Length", str(64 << 20))
        self.end_headers()
        try:
            for _ in range(1024):
                self.wfile.write(b"x" * 65536)
                self.server.written += 65536
        except OSError:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815


class Upstream(ThreadingHTTPServer):
    """Listens at a port, under TLS where it has a *context*, or at a Unix socket's *path*."""

    daemon_threads = True

    def __init__(self, name, context=None, path=None):
        if path is not None:
            self.address_family = socket.AF_UNIX
        super().__init__(path or ("127.0.0.1", 0), Handler)
        self.name = name
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        scheme, host = ("http", "127.0.0.1") if context is None else ("https", "localhost")
        self.url = f"http+unix://{path}" if path is not None else f"{scheme}://{host}:{self.server_port}"
        self.health = 200
        self.go_on = threading.Event()
        self.step = threading.Semaphore(0)
        self.forget()

    def server_bind(self):
        if self.address_family == socket.AF_UNIX:
            self.socket.bind(self.server_address)
        else:
            super().server_bind()

    def forget(self):
        self.seen, self.connections, self.pieces, self.broken = [], set(), [], []
        self.statuses, self.headers, self.written = {}, [], 0

    def handle_error(self, request, client_address):
        pass


@contextmanager
def upstream(name="upstream", context=None, path=None):
    server = Upstream(name, context, path)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        server.server_close()
