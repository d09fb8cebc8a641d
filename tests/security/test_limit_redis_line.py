"""The line to Redis: whatever a server does with it, nobody is given another caller's answer, and nobody waits for ever."""

import os
import random
import socket
import struct
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from running import eventually
from servers import free_port, redis_server

import security.limits.redis as redis_store
from security.limits import CONCURRENT, NANOSECONDS, Charge, Rate, StoreUnavailable, bucket_key
from security.limits.redis import RedisStore

redis = pytest.importorskip("redis")
SECOND = NANOSECONDS
MANY = Rate(1_000_000, 3600 * SECOND, 1_000_000)
THREE = Rate(3, 3600 * SECOND, 3)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A busy machine is waited for longer than a gateway would."""
    monkeypatch.setattr(redis_store, "PATIENCE", 20.0)


def bucket(name, rate=MANY, **more):
    return Charge.of("test", bucket_key(name), name, rate, **more)


class Pretender:
    """A server that answers a debit as it should: each bucket owes what its name says. Then *reply* does as it likes with that.

    *reply* is given what sends, the good answer, and the connection's number; what it raises ends the connection.
    """

    def __init__(self, reply):
        self.reply = reply
        self.connections = 0
        self._open = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection, number):
        with suppress(OSError, EOFError), connection, connection.makefile("rb") as stream:
            while True:
                words = [self._word(stream) for _ in range(self._count(stream, b"*"))]
                if words[0] == b"EVALSHA":
                    self.reply(connection.sendall, self._answer(words), number)
                else:
                    connection.sendall(b"+OK\r\n")

    @staticmethod
    def _count(stream, sign):
        line = stream.readline()
        if line[:1] != sign:
            raise EOFError
        return int(line[1:])

    def _word(self, stream):
        return stream.read(self._count(stream, b"$") + 2)[:-2]

    @staticmethod
    def _answer(words):
        keys = words[4 : 3 + int(words[2])]
        (number,) = struct.unpack_from("<d", words[4 + len(keys) + 1])
        numbers = [number, 0, 10**15, 0]
        for key in keys:
            numbers += [0, 0, owes(key), 0, 0]
        text = struct.pack(f"<{len(numbers)}d", *numbers)
        return b"$%d\r\n%b\r\n" % (len(text), text)


def owes(key):
    return int(key[-10:], 16)


def close(*_):
    raise EOFError


@contextmanager
def asking(reply):
    """A store on a pretender that replies so."""
    with Pretender(reply) as server:
        store = RedisStore(server.url)
        try:
            yield store, server
        finally:
            store.close()


def asks(store, *names):
    """Whether a debit of these buckets is answered; with any other answer than theirs this fails."""
    chain = tuple(bucket(name) for name in names)
    try:
        decision = store.debit(chain, 0)
    except StoreUnavailable:
        return False
    assert list(decision.standings) == [owes(store._key(one.key)) for one in chain]
    return True


def crowd(store, callers=12, times=25):
    """What many threads were told, each of whom asks about buckets of its own."""

    def one(caller):
        return [asks(store, *(f"{caller}-{turn}-{n}" for n in range(1 + (caller + turn) % 3))) for turn in range(times)]

    with ThreadPoolExecutor(callers) as threads:
        return [told for each in threads.map(one, range(callers)) for told in each]


def test_many_callers_share_one_connection_and_each_has_its_own_answer():
    with asking(lambda send, good, number: send(good)) as (store, server):
        assert crowd(store) == [True] * 300
        assert server.connections == 1


def test_answers_in_pieces_are_put_together():
    def in_pieces(send, good, number):
        for at in range(0, len(good), 7):
            send(good[at : at + 7])

    with asking(in_pieces) as (store, server):
        assert crowd(store, 6, 10) == [True] * 60
        assert server.connections == 1


def test_a_connection_that_closes_at_any_byte_is_followed_by_another():
    cut = [None]

    def cut_short(send, good, number):
        at = cut[0]  # whoever has the answer goes on to the next
        send(good[:at])
        if at is not None:
            close()

    with asking(cut_short) as (store, server):
        length = store._make_ready(0, (bucket("a"),)).question.length
        for at in range(length):
            cut[0] = at
            assert not asks(store, "a")
            cut[0] = None
            assert asks(store, "b")
        assert server.connections == 1 + length


@pytest.mark.parametrize("times", [2, 3])
def test_an_answer_that_comes_twice_is_nobody_elses(times):
    with asking(lambda send, good, number: send(good * times)) as (store, server):
        assert [asks(store, str(n)) for n in range(5)] == [True] * 5
        assert server.connections == 5


def test_an_answer_that_comes_again_later_is_nobody_elses():
    kept, sent = [], threading.Event()

    def again(send, good, number):
        if number > 1:
            send(good)
        elif kept:  # the answer to the question before, as long as the right one
            send(kept[0])
        else:
            kept.append(good)
            send(good)
            send(good)
            sent.set()

    with asking(again) as (store, server):
        assert asks(store, "a")
        assert sent.wait(10)
        assert asks(store, "b") or asks(store, "b")
        assert server.connections == 2


def test_answers_that_changed_places_are_given_to_nobody():
    held = []

    def swapped(send, good, number):
        if number > 1:
            send(good)
            return
        held.append(good)
        if len(held) == 2:
            send(held[1] + held[0])

    with asking(swapped) as (store, server):
        line, exchange = store._line, store._line._exchange

        def with_another(mine, at_rest):
            # Both questions leave in one turn: who has it waits for the other one.
            assert held or eventually(lambda: len(line._waiting) == 2)
            exchange(mine, at_rest)

        line._exchange = with_another
        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(lambda name: asks(store, name), ("first", "second"))) == [False, False]
        assert asks(store, "third")
        assert server.connections == 2


def test_an_answer_that_comes_too_late_is_nobodys(monkeypatch):
    monkeypatch.setattr(redis_store, "PATIENCE", 0.2)
    late, asked, failed = [], threading.Event(), threading.Event()

    def slow(send, good, number):
        if not failed.is_set():
            asked.set()
            assert failed.wait(20)
            late.append(good)
        send(good)

    with asking(slow) as (store, server):
        # On a busy machine a question may be given up before it is heard.
        assert eventually(lambda: not asks(store, "a") and asked.is_set())
        failed.set()
        assert eventually(lambda: asks(store, "b"))
        assert eventually(lambda: late)
        assert server.connections >= 2


def test_one_who_never_answers_keeps_nobody_for_ever(monkeypatch):
    monkeypatch.setattr(redis_store, "PATIENCE", 0.2)
    with asking(lambda send, good, number: send(good[:-1])) as (store, _):
        assert crowd(store, 8, 2) == [False] * 16


@pytest.mark.parametrize(
    "text",
    [
        b"+OK\r\n", b":1\r\n", b"$-1\r\n", b"*0\r\n", b"_\r\n", b">2\r\n$1\r\na\r\n$1\r\nb\r\n", b"\r\n", b"\0", b"HTTP/1.1 400",
        b"$71\r\n", b"$720\r\n", b"-\r\n", b"-" + b"x" * 5000,
    ],
)  # fmt: skip
def test_what_is_out_of_protocol_ends_the_connection_at_once(text):
    with asking(lambda send, good, number: send(text if number == 1 else good)) as (store, server):
        assert not asks(store, "a")
        assert asks(store, "b")
        assert server.connections == 2


def test_one_wrong_byte_in_the_frame_or_in_the_number_is_seen():
    wrong = [None]

    def one_wrong(send, good, number):
        changed = bytearray(good)
        if wrong[0] is not None:
            changed[wrong[0]] ^= 1
        send(changed)

    with asking(one_wrong) as (store, server):
        for at in (*range(13), -2, -1):
            wrong[0] = at
            assert not asks(store, "a")
            wrong[0] = None
            assert asks(store, "b")
        assert server.connections == 16


@pytest.mark.parametrize("error", [b"ERR no", b"READONLY no", b"LOADING no", b"NOAUTH no", b"OOM no", b"BUSY no"])
def test_an_error_is_told_to_who_asked_and_to_nobody_else(error):
    first = []

    def one_error(send, good, number):
        bad = not first
        first.append(number)
        send(b"-%b\r\n" % error if bad else good)

    with asking(one_error) as (store, server):
        with pytest.raises(StoreUnavailable, match="Redis does not count: " + error.decode()):
            store.debit((bucket("a"),), 0)
        assert crowd(store, 4, 5) == [True] * 20
        assert server.connections == 2


def test_whatever_a_server_does_at_random_nobody_has_anothers_answer():
    chance = random.Random(7)

    def at_random(send, good, number):
        what = chance.random()
        if what < 0.5:
            send(good)
        elif what < 0.6:
            send(good * 2)
        elif what < 0.7:
            send(good[: chance.randrange(len(good))])
            close()
        elif what < 0.8:
            send(b"-ERR no\r\n")
        elif what < 0.9:
            send(good[:10])
            send(good[10:])
        else:
            send(chance.choice([b"+OK\r\n", b"$72\r\n" + bytes(74), good[5:]]))

    with asking(at_random) as (store, _):
        told = crowd(store, 8, 40)
        assert len(told) == 320
        assert any(told)
        assert not all(told)


# real servers


@pytest.fixture(scope="module")
def server():
    with redis_server() as running:
        yield running


@pytest.fixture
def client(server):
    opened = redis.Redis.from_url(server.url)
    yield opened
    opened.close()


@pytest.fixture
def store(server, request):
    opened = RedisStore(f"{server.url}?prefix={request.node.name}")
    yield opened
    opened.close()


def test_a_connection_that_the_server_ended_meanwhile_is_no_loss(store, client):
    charge = bucket("a", THREE)
    for _ in range(3):
        assert store.debit((charge,), 0).allowed
        client.client_kill_filter(_type="normal", skipme=True)
    assert not store.debit((charge,), 0).allowed


def test_a_script_that_the_server_forgot_is_given_again(store, client):
    charge = bucket("a", Rate(30, 3600 * SECOND, 30))
    assert store.debit((charge,), 0).allowed
    line = store._line._socket
    for _ in range(5):
        client.script_flush()
        with ThreadPoolExecutor(5) as threads:
            list(threads.map(lambda _: store.debit((charge,), 0), range(5)))
    assert store.debit((charge,), 0).states[0].remaining == 3
    assert store._line._socket is line


def test_a_server_that_became_a_replica_is_asked_no_more(store, client):
    charge = bucket("a", THREE)
    assert store.debit((charge,), 0).allowed
    client.replicaof("127.0.0.1", free_port())
    try:
        with pytest.raises(StoreUnavailable, match="READONLY"):
            store.debit((charge,), 0)
        assert store._line._socket is None
    finally:
        client.execute_command("REPLICAOF", "NO", "ONE")
    assert [store.debit((charge,), 0).allowed for _ in range(3)] == [True, True, False]


def test_what_runs_is_counted_out_on_the_line(store, client):
    charge = bucket("a", Rate(3, SECOND, 3, CONCURRENT, "concurrent-requests"))
    before = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    for _ in range(5):
        assert store.debit((charge,), 0).allowed
        store.release((charge,), 0)
    # One of them was asked before the script was there, and again.
    assert 10 <= client.info("commandstats")["cmdstat_evalsha"]["calls"] - before <= 11


def test_a_forked_process_has_a_line_of_its_own(store):
    charge = bucket("a", THREE)
    assert store.debit((charge,), 0).allowed
    if (child := os.fork()) == 0:
        os._exit(0 if store.debit((charge,), 0).allowed else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert [store.debit((charge,), 0).allowed for _ in range(2)] == [True, False]


@contextmanager
def cluster_of_two():
    """Two masters, of which the first serves every slot."""
    ports = [str(free_port()) for _ in range(2)]
    with (
        redis_server("--cluster-enabled", "yes", "--cluster-port", ports[0]) as one,
        redis_server("--cluster-enabled", "yes", "--cluster-port", ports[1]) as two,
    ):
        first, second = (redis.Redis.from_url(server.url) for server in (one, two))
        first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        first.execute_command("CLUSTER", "MEET", "127.0.0.1", two.port, ports[1])
        for client in (first, second):
            assert eventually(
                lambda client=client: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), 30
            )
            assert eventually(lambda client=client: len(client.execute_command("CLUSTER", "SLOTS")) == 1, 30)
        yield first, second
        first.close()
        second.close()


def test_a_slot_that_moves_to_another_node_is_followed():
    with cluster_of_two() as (first, second):
        port = first.connection_pool.connection_kwargs["port"]
        store = RedisStore(f"redis+cluster://127.0.0.1:{port}")
        chain = (bucket("a", Rate(5, 3600 * SECOND, 5)), bucket("b"))
        assert store.debit(chain, 0).allowed
        key = store._clock_key
        slot = first.execute_command("CLUSTER", "KEYSLOT", key)
        names = [client.execute_command("CLUSTER", "MYID") for client in (first, second)]
        second.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
        first.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
        there = second.connection_pool.connection_kwargs["port"]
        for moved in first.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
            first.execute_command("MIGRATE", "127.0.0.1", there, moved, 0, 5000)
        # A chain of which some keys are here and some there cannot be debited by anybody, and is not in part.
        with pytest.raises(StoreUnavailable):
            store.debit(chain, 0)
        for client in (second, first):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[1])
        assert [store.debit(chain, 0).allowed for _ in range(5)] == [True, True, True, True, False]
        assert store._line._connection.port == there
        store.close()


def certificate(folder):
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text, private = folder / "server.pem", folder / "server.key"
    text.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*form))
    return text, private


def test_by_password_by_acl_by_a_socket_of_unix_and_by_tls(tmp_path, monkeypatch):
    text, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(text))
    tls, path = free_port(), tmp_path / "redis.sock"
    with redis_server(
        "--tls-port", str(tls), "--tls-cert-file", str(text), "--tls-key-file", str(key), "--tls-ca-cert-file", str(text),
        "--tls-auth-clients", "no", "--unixsocket", str(path),
    ) as server:  # fmt: skip
        admin = redis.Redis.from_url(server.url)
        commands = "+evalsha +script|load +time +get +set +client +select"
        admin.execute_command("ACL", "SETUSER", "counts", "on", ">s:/@ret", "~{*}*", *commands.split())
        admin.config_set("requirepass", "hidden")
        for url in (
            f"redis://:hidden@127.0.0.1:{server.port}/1",
            f"redis://counts:s%3A%2F%40ret@127.0.0.1:{server.port}/1",
            f"rediss://counts:s%3A%2F%40ret@127.0.0.1:{tls}/1",
            f"redis+unix://counts:s%3A%2F%40ret@{path}",
        ):
            store = RedisStore(f"{url}?prefix={len(url)}")
            assert store.peek((bucket("a", THREE),), 0).allowed
            line = store._line._socket
            assert [store.debit((bucket("a", THREE),), 0).allowed for _ in range(4)] == [True, True, True, False], url
            # More than one read's worth of answers, of TLS too.
            with ThreadPoolExecutor(8) as threads:
                chain = tuple(bucket(f"{n}") for n in range(100))
                assert all(one.allowed for one in threads.map(store.debit, [chain] * 24, [0] * 24))
            assert store._line._socket is line
            store.close()
        for url in (
            f"redis://:wrong@127.0.0.1:{server.port}/1", f"redis://counts:wrong@127.0.0.1:{server.port}/1",
            f"redis://127.0.0.1:{server.port}/1",
        ):  # fmt: skip
            store = RedisStore(url)
            with pytest.raises(StoreUnavailable, match=r"(?i)auth|password"):
                store.debit((bucket("a", THREE),), 0)
            store.close()
        admin.close()


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import random, sys, gevent
sys.path.insert(0, sys.argv[2])
from security.limits import NANOSECONDS, Charge, Rate, StoreUnavailable, bucket_key
from security.limits import redis

redis.PATIENCE = 20.0
store, chance = redis.RedisStore(sys.argv[1]), random.Random(5)
daily = Rate(1_000_000, 1_000_000 * 86_400 * NANOSECONDS, 1_000_000)
counted = [0] * 40

def ask(caller):
    chain = tuple(Charge.of("t", bucket_key(str(caller), str(n)), "p", daily) for n in range(1 + caller % 4))
    for _ in range(25):
        decision = store.debit(chain, 0)
        counted[caller] += 1
        used = [state.quota - state.remaining for state in decision.states]
        assert used == [counted[caller]] * len(chain), (used, counted[caller])

# Each is told of its own buckets.
gevent.joinall([gevent.spawn(ask, caller) for caller in range(40)], raise_error=True)
assert counted == [25] * 40

# Whoever is killed, whatever it was doing, leaves the others their turns.
def ask_on():
    while True:
        try:
            store.debit((Charge.of("t", b"many", "p", daily),), 0)
        except StoreUnavailable:
            pass
        gevent.sleep(0)  # an answer that is there at once is waited for by nobody

for _ in range(60):
    crowd = [gevent.spawn(ask_on) for _ in range(8)]
    for _ in range(chance.randrange(6)):
        gevent.sleep(0)
    gevent.sleep(chance.random() * 0.002)
    chance.shuffle(crowd)
    for one in crowd:
        one.kill(block=False)
    gevent.joinall(crowd)
    with gevent.Timeout(20):
        assert store.debit((Charge.of("t", b"after", "p", daily),), 0).allowed
assert not store._line._waiting
print("done")
"""


def test_greenlets_share_the_line_and_one_that_is_killed_leaves_it_to_the_others(server):
    words = [
        sys.executable,
        "-c",
        textwrap.dedent(GREENLETS),
        f"{server.url}?prefix=greenlets",
        str(Path(__file__).parents[2]),
    ]
    found = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stdout, found.stderr) == (0, "done\n", "")
