"""The master, its workers and the steward, as real processes around a gateway in miniature."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.listening import short_name
from gateway.options import Options

ROOT = Path(__file__).parent.parent.parent


class Toy:
    def __init__(self, process, data):
        self.process = process
        self.data = data
        self.errors = []
        self.url = ""
        self.admin = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.errors.append(line)
            if line.startswith("admin "):
                self.admin = line.split()[1]

    def ready(self):
        line = self.process.stdout.readline()
        assert line.startswith("ready "), "".join(self.errors)
        self.url = line.split()[1]
        return self

    def get(self, path="/"):
        return requests.get(self.url + path, timeout=10)

    def pids(self):
        return {int(self.get().text.split()[0]) for _ in range(40)}

    def children(self):
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def steward(self):
        found = [pid for pid in self.children() if b"gateway.steward" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return found[0] if found else None

    def end(self, seconds=20):
        try:
            code = self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self._reader.join(5)
            self.process.stdout.close()
            self.process.stderr.close()
        return code

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.end()


@contextmanager
def started(data, environment=None, steward="toy_steward", **options):
    options = {
        "listen": ("127.0.0.1:0",),
        "admin": "127.0.0.1:0",
        "workers": 1,
        "graceful_timeout": 5,
        "access_log": "",
        **options,
    }
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "toy_gateway.py"), Options(data=data, **options).as_json().decode()],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TOY_STEWARD": steward, **(environment or {})},
        text=True, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    toy = Toy(process, data)
    try:
        yield toy
    finally:
        toy.stop()


def eventually(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except requests.ConnectionError:
            pass
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    with started(tmp_path_factory.mktemp("toy") / "var", steward="", workers=2, health="127.0.0.1:0") as running:
        yield running.ready()


def test_it_says_once_that_it_is_ready_and_serves(toy):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", toy.url)
    answer = toy.get()
    assert answer.status_code == 200
    assert answer.headers["X-Request-Id"]
    assert len(toy.pids()) == 2


def test_the_master_has_no_event_loop_no_thread_and_no_database(toy):
    master = Path(f"/proc/{toy.process.pid}")
    assert len(list((master / "task").iterdir())) == 1
    open_files = [os.readlink(link) for link in (master / "fd").iterdir()]
    assert not [name for name in open_files if "eventpoll" in name or name.endswith(".db")]


def test_files_of_the_installation_are_private(toy):
    assert (toy.data / "control.sock").stat().st_mode & 0o777 == 0o600
    assert (toy.data / "admin-password").stat().st_mode & 0o777 == 0o600
    assert toy.data.stat().st_mode & 0o077 == 0


def test_the_admin_listener_tells_how_it_is(toy):
    assert requests.get(f"{toy.admin}/ready", timeout=10).json() == {"ready": True}
    status = requests.get(f"{toy.admin}/status", timeout=10).json()
    assert status["status"] == "serving"
    assert len(status["workers"]) == 2
    assert {worker["revision"] for worker in status["workers"]} == {7}
    assert "gatewright_requests_total" in requests.get(f"{toy.admin}/metrics", timeout=10).text
    assert requests.get(f"{toy.admin}/config", timeout=10).status_code == 401
    password = (toy.data / "admin-password").read_text().strip().partition(":")[2]
    assert requests.get(f"{toy.admin}/config", auth=("admin", password), timeout=10).text.startswith("format: 1")


def test_the_control_socket_needs_no_password(toy):
    with socket.socket(socket.AF_UNIX) as sock, short_name(str(toy.data / "control.sock")) as name:
        sock.connect(name)
        sock.sendall(b"GET /config/history HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while octets := sock.recv(65536):
            answer += octets
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_worker_that_is_killed_is_replaced(toy):
    victim = min(toy.pids())
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: victim not in toy.pids() and len(toy.pids()) == 2)


def test_a_steward_that_is_killed_is_replaced_and_counters_never_go_down(toy):
    def count():
        text = requests.get(f"{toy.admin}/metrics", timeout=10).text
        return sum(
            float(line.split()[1]) for line in text.splitlines() if line.startswith("gatewright_requests_total{")
        )

    before = count()
    assert before > 0
    steward = toy.steward()
    os.kill(steward, signal.SIGKILL)
    assert eventually(lambda: toy.steward() not in (None, steward))
    assert count() >= before


def test_a_reload_loses_no_request(toy):
    failures = []
    served = set()
    stop = threading.Event()

    def ask(session):
        while not stop.is_set():
            try:
                answer = session.get(toy.url, timeout=10)
                served.add(int(answer.text.split()[0]))
                if answer.status_code != 200:
                    failures.append(answer.status_code)
            except requests.RequestException as error:
                failures.append(repr(error))

    before = toy.pids()
    callers = [threading.Thread(target=ask, args=(requests.Session(),)) for _ in range(4)]
    for caller in callers:
        caller.start()
    toy.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: not toy.pids() & before)
    stop.set()
    for caller in callers:
        caller.join()
    assert failures == []
    assert served - before


def test_sigterm_answers_what_is_under_way_and_closes_the_rest_at_once(tmp_path):
    with started(tmp_path / "var", graceful_timeout=20) as toy:
        toy.ready()
        idle = socket.create_connection(("127.0.0.1", int(toy.url.rpartition(":")[2])))
        answers = []
        asking = threading.Thread(target=lambda: answers.append(toy.get("/slow?1")))
        asking.start()
        time.sleep(0.4)
        began = time.monotonic()
        toy.process.send_signal(signal.SIGTERM)
        assert toy.end() == 0
        assert time.monotonic() - began < 6
        asking.join()
        assert [answer.status_code for answer in answers] == [200]
        assert answers[0].headers["Connection"] == "close"
        assert idle.recv(10) == b""
        idle.close()
        assert not (tmp_path / "var" / "control.sock").exists()


def test_what_cannot_be_prepared_refuses_the_start_and_a_reload_changes_nothing(tmp_path):
    document = tmp_path / "gateway.yaml"
    document.write_text("bad")
    with started(tmp_path / "var", config=document) as toy:
        assert toy.end() == 1
        assert "gatewright: the document is bad\n" in toy.errors
    document.write_text("good")
    with started(tmp_path / "var", config=document) as toy:
        toy.ready()
        before = toy.pids()
        document.write_text("bad")
        toy.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: any("the reload is refused" in line for line in toy.errors))
        assert toy.pids() == before


def test_a_reload_that_never_gets_ready_is_given_up_and_nobody_waits_for_it(tmp_path):
    document = tmp_path / "gateway.yaml"
    document.write_text("good")
    with started(tmp_path / "var", config=document, reload_timeout=6, workers=2) as toy:
        toy.ready()
        assert eventually(lambda: len(toy.pids()) == 2)
        before = toy.pids()
        document.write_text("endless")
        toy.process.send_signal(signal.SIGHUP)
        # The master goes on looking after its children meanwhile.
        assert eventually(lambda: len(toy.children()) == 4)
        os.kill(min(before), signal.SIGKILL)
        assert eventually(lambda: any("was not ready after 6 s" in line for line in toy.errors))
        assert eventually(lambda: len(toy.pids()) == 2 and len(toy.children()) == 3)
        assert max(before) in toy.pids()
        document.write_text("good")
        now = toy.pids()
        toy.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: not toy.pids() & now)


def test_a_steward_that_hangs_is_replaced(tmp_path):
    with started(tmp_path / "var", steward="", timeout=2) as toy:
        toy.ready()
        steward = toy.steward()
        os.kill(steward, signal.SIGSTOP)
        assert eventually(lambda: toy.steward() not in (None, steward))
        assert any("no sign of life" in line for line in toy.errors)
        assert toy.get().status_code == 200


def test_a_worker_that_cannot_start_says_why_in_one_line_and_is_tried_ever_more_slowly(tmp_path):
    (tmp_path / "var").mkdir()
    refusal = tmp_path / "var" / "refuse"
    refusal.touch()
    line = "gatewright: a worker could not start: toy: this cannot be: do without\n"

    def told(toy):
        return toy.errors.count(line)

    with started(tmp_path / "var") as toy:
        assert toy.end() == 1
        assert told(toy) == 1
        assert not any("Traceback" in line for line in toy.errors), "".join(toy.errors)
    refusal.unlink()
    with started(tmp_path / "var") as toy:
        victim = int(toy.ready().get().text.split()[0])
        refusal.touch()
        os.kill(victim, signal.SIGKILL)
        assert eventually(lambda: told(toy) >= 3, seconds=30)
        begun = [line[1:20] for line in toy.errors if "Booting worker" in line]
        second, third = (datetime.fromisoformat(moment) for moment in begun[2:4])
        assert (third - second).total_seconds() >= 1  # they are whole seconds: it was 2 s at least
        refusal.unlink()
        assert eventually(lambda: toy.get().status_code == 200, seconds=30)
        assert not any("Traceback" in line for line in toy.errors)


def test_a_port_that_is_taken_and_a_second_gateway_are_refused_in_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with started(tmp_path / "var", listen=(place,)) as toy:
            assert toy.end() == 1
            assert toy.errors == [f"gatewright: listen: cannot listen at {place}: address already in use\n"]
    with started(tmp_path / "var") as toy:
        toy.ready()
        with started(tmp_path / "var") as second:
            assert second.end() == 1
            assert "address already in use" in second.errors[0]
        assert toy.get().status_code == 200


def test_a_gateway_that_cannot_start_ends_with_1(tmp_path):
    with started(tmp_path / "var", {"TOY_FAILS": "1"}) as toy:
        assert toy.end() == 1
        assert toy.process.stdout.closed


def test_a_worker_that_is_deaf_is_killed_and_says_where_it_hung(tmp_path):
    with started(tmp_path / "var", timeout=2) as toy:
        toy.ready()
        with pytest.raises(requests.ConnectionError):
            toy.get("/hang")
        assert toy.get().status_code == 200
        assert any("did not come back" in line for line in toy.errors)


def test_several_places_unix_sockets_among_them_and_workers_that_make_room_after_so_many_requests(tmp_path):
    path = tmp_path / "public.sock"
    with started(tmp_path / "var", listen=("127.0.0.1:0", f"unix:{path}"), max_requests=50) as toy:
        toy.ready()
        with socket.socket(socket.AF_UNIX) as sock, short_name(str(path)) as name:
            sock.connect(name)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
        first = toy.pids()
        assert eventually(lambda: not toy.pids() & first)


def test_nobody_outlives_a_master_that_is_killed(tmp_path):
    with started(tmp_path / "var") as toy:
        toy.ready()
        children = toy.children()
        assert len(children) == 2
        os.kill(toy.process.pid, signal.SIGKILL)
        assert eventually(lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()])


def test_options_travel_as_json(tmp_path):
    options = Options(data=tmp_path, config=Path("a.yaml"), listen=("[::1]:1",), allow_deploy=True, admin_hosts=("a",))
    assert Options.from_json(options.as_json()) == options
    assert json.loads(options.as_json())["config"] == "a.yaml"


def test_the_public_listener_speaks_tls_where_it_has_a_certificate(tmp_path):
    certificate, key = self_signed(tmp_path)
    with started(tmp_path / "var", tls_cert=certificate, tls_key=key) as toy:
        toy.ready()
        assert toy.url.startswith("https://127.0.0.1:")
        assert not [link for link in Path(f"/proc/{toy.process.pid}/fd").iterdir() if "eventpoll" in os.readlink(link)]
        answer = requests.get(toy.url, timeout=10, verify=str(certificate))
        assert answer.text.endswith(" https")
    key.write_text("not a key")
    with started(tmp_path / "var", tls_cert=certificate, tls_key=key) as toy:
        assert toy.end() == 1
        assert "cannot be used" in "".join(toy.errors)


def self_signed(folder):
    now = datetime.now(UTC)
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    built = x509.CertificateBuilder(
        name, name, private.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
    )
    signed = built.add_extension(addresses, critical=False).sign(private, hashes.SHA256())
    certificate, key = folder / "tls.crt", folder / "tls.key"
    pem = serialization.Encoding.PEM
    certificate.write_bytes(signed.public_bytes(pem))
    key.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return certificate, key
