"""A gateway as its operator starts, reloads and stops it: TLS, a Unix socket, probes, SIGHUP, SIGTERM, and what is refused."""

import datetime
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from running import ROOT, eventually, free_port, gateway

from gateway.listening import short_name

SERVICES = {
    "answers.py": """
        import time
        from gatewright import Service

        class Said(Service):
            name = "said"
            def handle(self):
                self.response.payload = {"version": 1}

        class Slow(Service):
            name = "slow"
            def handle(self):
                time.sleep(2)
                self.response.payload = {"slept": True}
    """,
}


def configuration(path="/first"):
    return f"""
format: 1
channels:
  said: {{type: rest, path: /said, service: said, methods: [GET]}}
  slow: {{type: rest, path: /slow, service: slow, methods: [GET]}}
  moving: {{type: rest, path: {path}, service: said, methods: [GET]}}
"""


def write_certificate(folder, name):
    """A self-signed certificate for 127.0.0.1 with its key; its serial number tells it from others."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for file, content in (("tls.key", private), ("tls.crt", certificate.public_bytes(serialization.Encoding.PEM))):
        # As renewals are made: beside, then in its place.
        (folder / f"{file}.new").write_bytes(content)
        (folder / f"{file}.new").chmod(0o600)
        (folder / f"{file}.new").replace(folder / file)
    return certificate.serial_number


def serial_number(url):
    host, port = url.removeprefix("https://").split(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=10) as raw, context.wrap_socket(raw) as sock:
        return x509.load_der_x509_certificate(sock.getpeercert(binary_form=True)).serial_number


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """A gateway with TLS on a port, a listener for probes, and deployment by the admin API allowed."""
    folder = tmp_path_factory.mktemp("secure")
    write_certificate(folder, "first")
    health = free_port()
    options = ["--tls-cert", folder / "tls.crt", "--tls-key", folder / "tls.key", "--health", f"127.0.0.1:{health}"]
    with gateway(folder, configuration(), SERVICES, options=[*map(str, options), "--allow-deploy"]) as running:
        running.folder, running.health_url = folder, f"http://127.0.0.1:{health}"
        yield running


def test_it_says_that_it_serves_over_tls_and_does(secure):
    assert secure.url.startswith("https://127.0.0.1:")
    trusting = {"verify": str(secure.folder / "tls.crt"), "timeout": 20}
    address = secure.url.replace("127.0.0.1", "localhost")
    assert requests.get(address + "/said", **trusting).json() == {"version": 1}
    with pytest.raises(requests.ConnectionError):
        requests.get(secure.url.replace("https:", "http:") + "/said", timeout=10)
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(address + "/said", timeout=10)
    assert requests.get(address + "/said", **trusting).status_code == 200


def test_a_certificate_that_changes_is_read_again_and_a_broken_one_is_not_used(secure):
    before = serial_number(secure.url)
    renewed = write_certificate(secure.folder, "renewed")
    assert renewed != before
    assert eventually(lambda: serial_number(secure.url) == renewed)
    (secure.folder / "tls.crt").write_text("not a certificate")
    assert eventually(lambda: serial_number(secure.url) == renewed and "cannot be used" in secure.log())
    assert serial_number(secure.url) == renewed
    again = write_certificate(secure.folder, "again")
    assert eventually(lambda: serial_number(secure.url) == again)


def test_probes_get_bare_status_codes_and_nothing_else(secure):
    for path in ("/ready", "/status"):
        answer = requests.get(secure.health_url + path, timeout=10)
        assert (answer.status_code, answer.content) == (200, b"")
    for path in ("/", "/config", "/metrics", "/said", "/services"):
        assert requests.get(secure.health_url + path, timeout=10).status_code == 404
    assert requests.post(secure.health_url + "/ready", timeout=10).status_code == 405


def said(secure):
    """What the public listener answers to a client that trusts its certificate."""
    address = secure.url.replace("127.0.0.1", "localhost")
    return requests.get(address + "/said", verify=str(secure.folder / "tls.crt"), timeout=20).json()


def deploy(running, files, **more):
    return requests.post(
        running.admin_url + "/services/services",
        auth=running.administrator(),
        json={"files": files, **more},
        timeout=90,
    )


def test_the_admin_api_deploys_where_it_is_allowed_and_refuses_what_is_broken(secure):
    says = SERVICES["answers.py"].replace("\n        ", "\n")
    assert deploy(secure, {"answers.py": says.replace('"version": 1', '"version": 2')}).status_code == 201
    assert eventually(lambda: said(secure) == {"version": 2})
    for source, reason in (
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("import os\nos._exit(0)", "ended"),
        ("x = (", "SyntaxError"),
    ):
        refused = deploy(secure, {"answers.py": source})
        assert (refused.status_code, reason in refused.text) == (refused.status_code, True), refused.text
        assert 400 <= refused.status_code < 500
        assert said(secure) == {"version": 2}
    assert requests.get(secure.admin_url + "/ready", timeout=10).status_code == 200


@pytest.mark.soak
def test_a_module_that_never_ends_is_refused_by_the_admin_api_and_from_the_folder(secure):
    before = said(secure)
    refused = deploy(secure, {"endless.py": "while True:\n    pass\n"})
    assert "endless.py" in refused.text
    assert 400 <= refused.status_code < 500
    (secure.folder / "services" / "endless.py").write_text("while True:\n    pass\n")
    assert eventually(lambda: "endless.py:" in secure.log() and "takes too long" in secure.log(), 60)
    assert said(secure) == before
    (secure.folder / "services" / "endless.py").unlink()


def refused(*words, data):
    """What `gatewright run` says, and how it ends, where it cannot serve."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "run", "--data", str(data), *words],
        cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    lines = [line for line in done.stderr.splitlines() if line.startswith("gatewright: ")]
    assert "Traceback" not in done.stderr
    return lines[-1]


def test_a_second_gateway_on_the_same_data_or_port_is_refused_with_a_clear_line(secure, tmp_path):
    free = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    line = refused(*free, data=secure.data)
    assert "data" in line
    assert "in use" in line
    place = secure.url.removeprefix("https://")
    line = refused("--listen", place, "--admin", "127.0.0.1:0", data=tmp_path / "var")
    assert line == f"gatewright: listen: cannot listen at {place}: address already in use"
    assert said(secure)["version"]


def over(path, target):
    with socket.socket(socket.AF_UNIX) as sock, short_name(str(path)) as name:
        sock.settimeout(20)
        sock.connect(name)
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while octets := sock.recv(65536):
            answer += octets
    return answer


def test_a_reload_takes_up_the_document_and_losing_nothing_a_stop_answers_what_is_under_way(tmp_path):
    path = tmp_path / "public.sock"
    with gateway(tmp_path, configuration(), SERVICES, workers=2, options=["--listen", f"unix:{path}"]) as running:
        assert over(path, "/said").startswith(b"HTTP/1.1 200 ")
        assert (running.get("/first").status_code, running.get("/second").status_code) == (200, 404)
        # SIGHUP: the document is read again, and no request is lost meanwhile.
        stop, failures, answered = threading.Event(), [], []

        def ask():
            with requests.Session() as session:
                while not stop.is_set():
                    try:
                        status = session.get(running.url + "/said", timeout=20).status_code
                        (answered if status == 200 else failures).append(status)
                    except requests.RequestException as error:
                        failures.append(error)
                    time.sleep(0.01)

        callers = [threading.Thread(target=ask) for _ in range(3)]
        for caller in callers:
            caller.start()
        before = running.workers()
        (tmp_path / "gateway.yaml").write_text(configuration("/second"))
        running.process.send_signal(signal.SIGHUP)
        taken_up = eventually(lambda: running.workers() and not running.workers() & before, 30)
        # A document that cannot be applied changes nothing.
        (tmp_path / "gateway.yaml").write_text(configuration("/third").replace("service: said", "servce: said"))
        now = running.workers()
        running.process.send_signal(signal.SIGHUP)
        refusal = eventually(lambda: "the reload is refused" in running.log(), 30)
        stop.set()
        for caller in callers:
            caller.join(30)
        assert taken_up
        assert refusal
        assert "gateway.yaml" in running.log()
        assert "servce" in running.log()
        assert failures == []
        assert len(answered) > 20
        assert running.workers() == now
        assert (running.get("/first").status_code, running.get("/second").status_code) == (404, 200)
        # SIGTERM: what is under way is answered, what is idle is closed, nothing new is taken, the code is 0.
        idle = socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2])))
        with ThreadPoolExecutor(4) as pool:
            slow = [pool.submit(running.get, "/slow") for _ in range(4)]
            time.sleep(0.7)
            began = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - began < 15
            answers = [one.result() for one in slow]
        assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"slept": True})] * 4
        assert {answer.headers["connection"] for answer in answers} == {"close"}
        assert idle.recv(10) == b""
        idle.close()
        assert not path.exists() or over_refused(path)
        with pytest.raises(requests.ConnectionError):
            running.get("/said")


def over_refused(path):
    try:
        over(path, "/said")
    except ConnectionRefusedError:
        return True
    return False
