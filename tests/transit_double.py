"""A double of Vault's Transit engine, over HTTP: encrypt, decrypt and rewrap in batches, versions of keys, tokens that may.

Written from what Vault publishes of its API.
"""

import base64
import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class TransitDouble:
    """*keys*: name -> versions, the newest last. *asked* holds method and path of each call."""

    def __init__(self):
        self.token = "s.token-of-the-test"
        self.keys = {"gatewright": [AESGCM.generate_key(256)]}
        self.asked = []
        self.url = ""

    def rotate(self, name):
        self.keys[name].append(AESGCM.generate_key(256))

    def answer(self, path, token, sent):
        """Status and JSON for one call."""
        self.asked.append(path)
        if token != self.token:
            return 403, {"errors": ["permission denied"]}
        _, version, mount, verb, name = path.split("/")
        if (version, mount) != ("v1", "transit") or verb not in ("encrypt", "decrypt", "rewrap"):
            return 404, {"errors": []}
        if name not in self.keys:
            return 400, {"errors": ["encryption key not found"]}
        results = [self._one(verb, name, item) for item in sent["batch_input"]]
        return (400 if any("error" in one for one in results) else 200), {"data": {"batch_results": results}}

    def _one(self, verb, name, item):
        try:
            if verb == "encrypt":
                return {"ciphertext": self._sealed(name, base64.b64decode(item["plaintext"], validate=True))}
            _, version, text = item["ciphertext"].split(":")
            box = base64.b64decode(text, validate=True)
            plain = AESGCM(self.keys[name][int(version[1:]) - 1]).decrypt(box[:12], box[12:], None)
        except (ValueError, KeyError, IndexError, InvalidTag):
            return {"error": "cipher: message authentication failed"}
        if verb == "rewrap":
            return {"ciphertext": self._sealed(name, plain)}
        return {"plaintext": base64.b64encode(plain).decode()}

    def _sealed(self, name, plain):
        nonce = os.urandom(12)
        box = nonce + AESGCM(self.keys[name][-1]).encrypt(nonce, plain, None)
        return f"vault:v{len(self.keys[name])}:{base64.b64encode(box).decode()}"


@contextmanager
def transit_double():
    """A double that serves on a free port."""
    double = TransitDouble()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = double.answer(self.path, self.headers.get("X-Vault-Token"), sent)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_PUT = do_POST  # noqa: N815

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    double.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
