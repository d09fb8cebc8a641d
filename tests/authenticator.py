"""An authenticator made of software: passkeys as a browser and a device would make and use them, and as thieves would."""

import base64
import json
import os
from hashlib import sha256

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 1, 4, 8, 16, 64


def encoded(octets):
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Authenticator:
    """One device with one passkey. *counts* tells whether it has a counter; *flags* are set beside PRESENT."""

    def __init__(self, origin, *, flags=VERIFIED, counts=True, algorithm=-7):
        self.origin = origin
        self.flags = flags
        self.counter = 1 if counts else 0
        self.counts = counts
        self.algorithm = algorithm
        self.key = ec.generate_private_key(ec.SECP256R1()) if algorithm == -7 else ed25519.Ed25519PrivateKey.generate()
        self.id = os.urandom(32)
        self.handle = b""

    def create(self, options, **changes):
        """What ``navigator.credentials.create`` would give, as JSON; *changes* replace parts of it."""
        self.handle = decoded(options["user"]["id"])
        public = self._public()
        attested = b"\0" * 16 + len(self.id).to_bytes(2) + self.id + cbor2.dumps(public)
        data = self._data(options["rp"]["id"], changes, ATTESTED) + attested
        statement = {"fmt": "none", "attStmt": {}, "authData": data}
        return self._credential(
            {
                "clientDataJSON": self._client("webauthn.create", options, changes),
                "attestationObject": encoded(cbor2.dumps(statement)),
                "transports": ["internal", "hybrid", "quantum"],
            }
        )

    def get(self, options, **changes):
        """What ``navigator.credentials.get`` would give.

        *changes*: *origin*, *rp_id*, *flags*, *handle*, *counter*, *challenge*, *kind*.
        """
        if self.counts:
            self.counter += 1
        client = self._client(changes.get("kind", "webauthn.get"), options, changes)
        data = self._data(options["rpId"], changes)
        signed = data + sha256(decoded(client)).digest()
        signature = self.key.sign(signed, ec.ECDSA(SHA256())) if self.algorithm == -7 else self.key.sign(signed)
        handle = changes.get("handle", self.handle)
        return self._credential(
            {
                "clientDataJSON": client,
                "authenticatorData": encoded(data),
                "signature": encoded(signature),
                "userHandle": encoded(handle) if handle else None,
            }
        )

    def _data(self, rp_id, changes, more=0):
        flags = PRESENT | changes.get("flags", self.flags) | more
        domain = sha256(changes.get("rp_id", rp_id).encode()).digest()
        return domain + bytes([flags]) + changes.get("counter", self.counter).to_bytes(4)

    def _client(self, kind, options, changes):
        told = {
            "type": kind,
            "challenge": changes.get("challenge", options["challenge"]),
            "origin": changes.get("origin", self.origin),
            "crossOrigin": False,
        }
        return encoded(json.dumps(told).encode())

    def _credential(self, response):
        return {
            "id": encoded(self.id), "rawId": encoded(self.id), "type": "public-key", "response": response,
            "clientExtensionResults": {}, "authenticatorAttachment": "platform",
        }  # fmt: skip

    def _public(self):
        public = self.key.public_key()
        if self.algorithm == -8:
            return {1: 1, 3: -8, -1: 6, -2: public.public_bytes_raw()}
        numbers = public.public_numbers()
        return {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
