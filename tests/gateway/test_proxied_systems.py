"""The proxy channel and the systems behind it: TLS, Unix sockets, workers, breakers, budgets, and bytes that nobody takes."""

import json
import socket
import ssl
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import requests
from crowd import memory_of
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from running import eventually, free_port, gateway
from scripted import ok, scripted
from upstream import upstream
from wires import read_answer

DOCUMENT = """
format: 1
gateway: {{max_body: 128MiB, timeouts: {{body: 30s, send: 30s}}}}
channels:
  sealed: {{type: proxy, path: /sealed, upstreams: ["{sealed}"], ca: "{ca}"}}
  known: {{type: proxy, path: /known, upstreams: ["{sealed}"], ca: "{ca}", cert: "{ours}", key: "{ours_key}"}}
  strict: {{type: proxy, path: /strict, upstreams: ["{strict}"], ca: "{ca}", retries: 0}}
  stranger: {{type: proxy, path: /stranger, upstreams: ["{sealed}"], breaker_failures: 0}}
  misnamed: {{type: proxy, path: /misnamed, upstreams: ["{misnamed}"], ca: "{ca}", breaker_failures: 0}}
  careless: {{type: proxy, path: /careless, upstreams: ["{misnamed}"], verify: false}}
  unix: {{type: proxy, path: /unix, upstreams: ["{unix}"]}}
  plain: {{type: proxy, path: /plain, upstreams: ["{one}"], silence: 30s}}
  breaks: {{type: proxy, path: /breaks, upstreams: ["{one}"], retries: 0, breaker_failures: 2, breaker_pause: 5s}}
  pair: {{type: proxy, path: /pair, upstreams: ["{one}", "{two}"], breaker_failures: 2, breaker_pause: 2s, retries: 0}}
  budget: {{type: proxy, path: /budget, upstreams: ["{dead}", "{one}"], breaker_failures: 0, retry_percent: 10}}
  never: {{type: proxy, path: /never, upstreams: ["{dead}", "{one}"], breaker_failures: 0, retry_percent: 0}}
  odd: {{type: proxy, path: /odd, upstreams: ["{odd}"], breaker_failures: 0}}
"""


class Authority:
    """A certificate authority with files in *folder*."""

    def __init__(self, folder):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "An authority of tests")])
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        built = self._builder(self.name, self.key).add_extension(x509.BasicConstraints(True, None), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        built = built.add_extension(usage, critical=True).add_extension(identifier, critical=False)
        self.certificate = folder / "authority.pem"
        self.certificate.write_bytes(self._pem(built.sign(self.key, hashes.SHA256())))

    def _builder(self, subject, key):
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            self.name,
            subject,
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(hours=1),
            now + timedelta(days=1),
        )

    def _pem(self, certificate):
        return certificate.public_bytes(serialization.Encoding.PEM)

    def certify(self, name):
        """The files of a certificate for *name*, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        built = self._builder(subject, key).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        )
        signed = built.add_extension(signer, critical=False).sign(self.key, hashes.SHA256())
        certificate, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(self._pem(signed))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("systems")
    authority = Authority(folder)
    asked_for = []

    def context(name, ask_back=False):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(*authority.certify(name))
        made.sni_callback = lambda sock, server, context: asked_for.append(server)
        if ask_back:
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(authority.certificate)
        return made

    ours, ours_key = authority.certify("gateway.example")
    with ExitStack() as stack:
        one, two = (stack.enter_context(upstream(name)) for name in ("one", "two"))
        sealed = stack.enter_context(upstream("sealed", context("localhost")))
        strict = stack.enter_context(upstream("strict", context("localhost", ask_back=True)))
        misnamed = stack.enter_context(upstream("misnamed", context("elsewhere.example")))
        unix = stack.enter_context(upstream("unix", path=str(folder / "up.sock")))
        odd = stack.enter_context(scripted())
        document = DOCUMENT.format(
            one=one.url, two=two.url, sealed=sealed.url, strict=strict.url, misnamed=misnamed.url, unix=unix.url, odd=odd.url,
            dead=f"http://127.0.0.1:{free_port()}", ca=authority.certificate, ours=ours, ours_key=ours_key,
        )  # fmt: skip
        running = stack.enter_context(gateway(folder, document, workers=2))
        running.one, running.two, running.odd, running.unix, running.asked_for = one, two, odd, unix, asked_for
        yield running


@pytest.fixture(autouse=True)
def _forget(served):
    for server in (served.one, served.two, served.unix):
        server.forget()


@pytest.fixture
def session(served):
    """Calls over one kept connection, and so to one worker, which has breakers and budgets of its own."""
    with requests.Session() as kept:
        kept.get(f"{served.url}/unix/x", timeout=20)
        yield lambda path: kept.get(served.url + path, timeout=20)


# TLS


def test_an_upstream_is_called_under_its_name_and_its_certificate_checked(served, session):
    assert [session("/sealed/x").json()["name"] for _ in range(3)] == ["sealed"] * 3
    assert session("/known/x").json()["name"] == "sealed"
    assert set(served.asked_for) == {"localhost"}


@pytest.mark.parametrize("path", ["/stranger/x", "/misnamed/x"])
def test_a_certificate_of_nobody_we_trust_or_for_somebody_else_is_refused(served, path):
    answer = served.get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "backend-unavailable")
    assert "certificate" not in answer.text
    assert eventually(lambda: "certificate verify failed" in served.log())


def test_a_certificate_that_is_not_checked_is_taken(served):
    assert served.get("/careless/x").json()["name"] == "misnamed"


def test_an_upstream_that_asks_for_our_certificate_refuses_those_who_have_none(served):
    assert served.get("/strict/x").status_code in (502, 503)


def test_a_large_answer_and_a_large_body_pass_under_tls(served):
    body = b"x" * 3_000_000
    assert served.post("/sealed/x", data=body).json()["length"] == len(body)
    with served.get("/sealed/endless", stream=True) as answer:
        assert sum(len(piece) for piece in answer.iter_content(1 << 16)) == 64 << 20


# other ways


def test_an_upstream_behind_a_unix_socket(served, session):
    assert [session(f"/unix/{number}").json()["path"] for number in range(3)] == ["/0", "/1", "/2"]
    assert served.unix.seen[-1][2]["Host"] == "localhost"


def test_every_worker_hands_on_over_connections_of_its_own_and_keeps_them(served):
    for _ in range(10):
        with requests.Session() as kept:
            for _ in range(5):
                assert kept.get(served.url + "/plain/x", timeout=20).status_code == 200
    assert len(served.one.seen) == 50
    assert len(served.one.connections) <= 4


def test_how_pools_stand_is_told_over_all_workers_and_by_whom(served, session):
    assert session("/plain/x").status_code == 200

    def found():
        rows = json.loads(served.command("connection", "stats", "plain", "--json"))
        # What workers tell of themselves is up to a second old: a call may have been under way.
        return [row for row in rows if row["idle"] and not row["busy"]]

    (row,) = eventually(found)
    assert (row["kind"], row["address"], row["busy"], row["most"]) == ("proxy", served.one.url, 0, 200)
    assert (row["breaker"], row["well"], row["workers"]) == ("closed", True, 2)
    assert f"plain {served.one.url}" in served.command("connection", "stats")
    listed = requests.get(f"{served.admin_url}/connections", auth=served.administrator(), timeout=20).json()
    assert "plain" in {row["name"] for row in listed["connections"]}


# systems that fail


def test_a_breaker_opens_lets_one_call_try_and_closes(served, session):
    served.one.statuses["/x"] = 503
    assert [session("/breaks/x").json().get("name") for _ in range(2)] == ["one", "one"]
    for spent in (2, 3):
        # Open: nobody asks the system, unless this machine has slept for as long as the breaker pauses.
        opened = time.monotonic()
        refused = session("/breaks/x").json().get("code") == "backend-unavailable"
        assert (refused and len(served.one.seen) == spent) or time.monotonic() - opened > 4
        # Half open, the system still fails: one call is spent on that, and the breaker is open again.
        assert eventually(lambda: session("/breaks/x").json().get("name") == "one")
    served.one.statuses.clear()
    assert eventually(lambda: session("/breaks/x").status_code == 200)
    assert [session("/breaks/x").status_code for _ in range(5)] == [200] * 5


def test_who_failed_gets_no_calls_for_a_while_and_then_again(served, session):
    served.one.statuses["/x"] = 502
    assert eventually(lambda: [session("/pair/x").json()["name"] for _ in range(4)] == ["two"] * 4)
    served.one.statuses.clear()
    assert eventually(lambda: {session("/pair/x").json()["name"] for _ in range(4)} == {"one", "two"})
    counted = Counter(session("/pair/x").json()["name"] for _ in range(20))
    assert counted == {"one": 10, "two": 10}


def test_repetitions_come_out_of_a_budget(served, session):
    statuses = Counter(session("/budget/x").status_code for _ in range(60))
    # Half of the calls begin with the system that is away; of those 10 and a tenth of all calls are repeated.
    assert set(statuses) == {200, 503}
    assert 30 + 10 <= statuses[200] <= 30 + 10 + 7
    assert Counter(session("/never/x").status_code for _ in range(10)) == {200: 5, 503: 5}


# hop by hop


def test_A6_what_is_said_of_one_hop_stays_there(served):
    served.odd.answers.append(
        ok(
            b"x",
            "Connection: X-Secret, close",
            "X-Secret: 1",
            "Keep-Alive: timeout=9",
            "Proxy-Connection: x",
            "X-Own: 2",
        )
    )
    answer = served.get("/odd/x", headers={"TE": "trailers", "Keep-Alive": "300", "Proxy-Authorization": "Basic eA=="})
    assert (answer.text, answer.headers["X-Own"]) == ("x", "2")
    assert not {"x-secret", "keep-alive", "proxy-connection"} & {name.lower() for name in answer.headers}
    sent = served.odd.requests[-1].lower()
    assert not [name for name in (b"\r\nte:", b"\r\nkeep-alive:", b"\r\nproxy-", b"\r\nconnection:") if name in sent]


@pytest.mark.parametrize(
    "later",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"x"],
)
def test_A6_A7_what_an_upstream_says_after_its_answer_reaches_nobody(served, session, later):
    def twice(connection):
        connection.sendall(ok(b"first"))
        time.sleep(0.05)
        connection.sendall(later)

    served.odd.answers.clear()
    served.odd.answers.extend([twice, *[ok(b"mine")] * 3])
    assert session("/odd/x").text == "first"
    time.sleep(0.2)
    assert [session("/odd/x").text for _ in range(3)] == ["mine"] * 3


# bytes that nobody takes


def test_a_reader_that_stops_is_waited_for_and_nothing_piles_up(served):
    with served.connect(timeout=30) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        before = sum(map(memory_of, served.workers()))
        sock.sendall(b"GET /plain/endless HTTP/1.1\r\nHost: a\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1)
        read = 0
        while read < 24 << 20:
            read += len(sock.recv(65536))
        written, now = -1, served.one.written
        while written != now:  # until nothing more moves
            time.sleep(0.3)
            written, now = now, served.one.written
        assert now - read < 16 << 20
        assert sum(map(memory_of, served.workers())) - before < 16 << 20
        while read < 64 << 20:
            piece = sock.recv(1 << 20)
            assert piece
            read += len(piece)
    assert read == 64 << 20


def test_an_upstream_that_does_not_read_holds_the_caller_back_and_nothing_piles_up(served):
    length = 64 << 20
    served.one.go_on.clear()
    with served.connect(timeout=30) as sock:
        before = sum(map(memory_of, served.workers()))
        sock.sendall(b"POST /plain/lazy HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
        sock.settimeout(1.0)
        sent, piece = 0, b"x" * 65536
        try:
            while sent < length:
                sent += sock.send(piece[: length - sent])
        except TimeoutError:
            pass
        assert sent < 32 << 20
        assert sum(map(memory_of, served.workers())) - before < 16 << 20
        served.one.go_on.set()
        sock.settimeout(30)
        while sent < length:
            sent += sock.send(piece[: length - sent])
        answer = read_answer(sock)
    assert (answer.status, answer.json()["length"]) == (200, length)
