"""The Redis store: the same answers as memory gives, in one round trip; alone, behind sentinels, in a cluster."""

import itertools
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest
from servers import free_port, redis_server

import security.limits.redis as redis_store
from security.limits import (
    CONCURRENT,
    FIXED_WINDOW,
    NANOSECONDS,
    SLIDING_LOG,
    Charge,
    Rate,
    StoreUnavailable,
    bucket_key,
    redis_script,
)
from security.limits.guarded import LONGEST_PAUSE, GuardedStore
from security.limits.memory import MemoryStore
from security.limits.redis import RedisStore
from security.limits.times import Calendar
from specs.problems import ConfigurationError

pytest.importorskip("redis")
SECOND = NANOSECONDS


@pytest.fixture(scope="module")
def server():
    with redis_server() as running:
        yield running


@pytest.fixture
def store(server, request):
    opened = RedisStore(f"{server.url}?prefix={request.node.name}")
    yield opened
    opened.close()


def bucket(name, rate, **more):
    return Charge.of("test", bucket_key(name), name, rate, **more)


GCRA = Rate(3, 60 * SECOND, 3)
LOG = Rate(3, 60 * SECOND, 3, SLIDING_LOG)
WINDOW = Rate(3, 86_400 * SECOND, 3, FIXED_WINDOW, calendar=Calendar("year"))
AT_ONCE = Rate(3, SECOND, 3, CONCURRENT, "concurrent-requests")
EVERY = pytest.mark.parametrize("rate", [GCRA, LOG, WINDOW, AT_ONCE], ids=lambda rate: rate.algorithm)


def debits(store, charge, times):
    return [store.debit([charge], 0).allowed for _ in range(times)]


@EVERY
def test_n_are_let_in_and_the_next_is_told_when(store, rate):
    charge = bucket("a", rate)
    decisions = [store.debit([charge], 0) for _ in range(4)]
    assert [d.allowed for d in decisions] == [True, True, True, False]
    assert [d.states[0].remaining for d in decisions] == [2, 1, 0, 0]
    assert decisions[3].violated == ("a",)
    assert 0 < decisions[3].retry_after_ns <= (366 * 86_400 if rate is WINDOW else 60) * SECOND
    assert not store.peek([charge], 0).allowed
    store.reset([charge])
    assert store.peek([charge], 0).allowed
    assert debits(store, charge, 4) == [True, True, True, False]


@EVERY
def test_a_peek_takes_nothing_and_a_cost_takes_so_many(store, rate):
    charge = bucket("a", rate)
    assert [store.peek([charge], 0).allowed for _ in range(5)] == [True] * 5
    if rate is not AT_ONCE:
        assert debits(store, charge.costing(2), 2) == [True, False]
        assert debits(store, charge, 2) == [True, False]


@EVERY
def test_Z49_a_refusal_by_one_level_spends_nothing_on_the_others(store, rate):
    wide, narrow = bucket("wide", Rate(100, 60 * SECOND, 100)), bucket("narrow", rate)
    for _ in range(3):
        assert store.debit([wide, narrow], 0).allowed
    before = store.peek([wide], 0).states[0].remaining
    for chain in ([wide, narrow], [narrow, wide]):
        assert store.debit(chain, 0).violated == ("narrow",)
    assert store.peek([wide], 0).states[0].remaining >= before == 97


def test_shadow_counts_and_refuses_nothing(store):
    shadow = bucket("s", Rate(1, 60 * SECOND, 1), shadow=True)
    assert [(d.allowed, d.shadowed) for d in (store.debit([shadow], 0) for _ in range(3))] == [
        (True, ()), (True, ("s",)), (True, ("s",)),
    ]  # fmt: skip


def test_a_changed_rate_carries_the_hits_over(store):
    for _ in range(6):
        store.debit([bucket("a", Rate(10, 600 * SECOND, 10))], 0)
    assert debits(store, bucket("a", Rate(10, 6000 * SECOND, 10)), 5) == [True] * 4 + [False]
    assert store.debit([bucket("a", Rate(2, 6000 * SECOND, 2))], 0).states[0].remaining == 0


def test_requests_at_once_are_counted_out(store):
    charge = bucket("a", AT_ONCE)
    assert debits(store, charge, 4) == [True, True, True, False]
    store.release([charge], 0)
    assert debits(store, charge, 2) == [True, False]


def test_what_is_charged_afterwards_is_never_refused(store):
    window = Rate(100, SECOND, 100, FIXED_WINDOW, calendar=Calendar("year"))
    for charge in (bucket("g", Rate(100, 100 * SECOND, 100, unit="content-bytes")), bucket("w", window)):
        store.add([charge.costing(80)], 0)
        assert store.peek([charge], 0).states[0].remaining == 20
        store.add([charge.costing(100)], 0)
        assert not store.debit([charge], 0).allowed


def test_a_whole_chain_is_one_round_trip(store, server):
    import redis

    client = redis.Redis.from_url(server.url)
    chain = [bucket(str(i), rate) for i, rate in enumerate((GCRA, LOG, WINDOW, AT_ONCE, Rate(9, SECOND, 9)))]
    store.debit(chain, 0)

    def calls():
        stats = client.info("commandstats")
        return sum(stats[f"cmdstat_{name}"]["calls"] for name in ("evalsha", "eval") if f"cmdstat_{name}" in stats)

    before = calls()
    store.debit(chain, 0)
    assert calls() == before + 1
    client.close()


def test_keys_share_a_slot_and_expire_with_what_they_owe(store, server):
    import redis

    client = redis.Redis.from_url(server.url)
    chain = [bucket("tagged" + str(i), rate) for i, rate in enumerate((Rate(3, SECOND, 3), LOG, WINDOW, AT_ONCE))]
    store.debit(chain, 0)
    tag = store._prefix.decode()
    keys = [key.decode() for key in client.keys("*") if key.decode().startswith(tag)]
    assert len(keys) == 4
    assert tag.startswith("{")
    assert len({key[: key.index("}")] for key in keys}) == 1
    assert all(client.pttl(key) > 0 for key in keys)
    assert 3_600_000 < min(client.pttl(key) for key in keys) <= 3_600_335
    client.close()


def test_the_same_as_memory_says_within_the_clocks_of_a_moment(store):
    memory = MemoryStore()
    charges = [bucket(str(i), rate) for i, rate in enumerate((GCRA, LOG, WINDOW, Rate(5, 3600 * SECOND, 2)))]
    for chain in ([0], [0, 1], [1, 2, 3], [3], [0, 1, 2, 3], [2], [3, 1], [2], [0]):
        ours = [charges[i] for i in chain]
        now = time.monotonic_ns()
        first, second = store.debit(ours, now), memory.debit(ours, now)
        assert (first.violated, [s.remaining for s in first.states]) == (
            second.violated,
            [s.remaining for s in second.states],
        )
        assert abs(first.retry_after_ns - second.retry_after_ns) < 5 * SECOND


@pytest.mark.parametrize(
    "rate", [Rate(200, 1 * SECOND, 200), Rate(200, SECOND, 200, SLIDING_LOG)], ids=lambda r: r.algorithm
)
def test_Z24_four_processes_stay_within_the_bound_and_reach_98_percent(server, rate):
    url = f"{server.url}?prefix=four-{rate.algorithm}"
    charge = bucket("a", rate)
    reads = []
    for _ in range(4):
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            opened = RedisStore(url)
            begun = time.monotonic()
            end = begun + 1.5
            admitted = 0
            while time.monotonic() < end:
                admitted += opened.debit([charge], 0).allowed
            os.write(write, f"{admitted} {begun} {time.monotonic()}".encode())
            os._exit(0)
        os.close(write)
        reads.append((child, read))
    told = []
    for child, read in reads:
        told.append([float(word) for word in os.read(read, 100).split()])
        os.close(read)
        os.waitpid(child, 0)
    admitted, begun, ended = zip(*told, strict=True)
    total = int(sum(admitted))
    bound = rate.most_in(int((max(ended) - min(begun)) * SECOND))
    assert 0.98 * (rate.burst if rate.algorithm == SLIDING_LOG else rate.most_in(int(1.4 * SECOND))) <= total <= bound


def test_a_lost_server_is_told_of_at_once_and_found_again():
    with redis_server() as server:
        store = GuardedStore(RedisStore(server.url))
        charge = bucket("a", Rate(1000, SECOND, 1000))
        assert store.debit([charge], 0).allowed
        server.kill()
        with pytest.raises(StoreUnavailable, match="Redis does not count"):
            store.debit([charge], 0)
        begun = time.monotonic()
        for _ in range(200):
            with pytest.raises(StoreUnavailable):
                store.debit([charge], 0)
        # Told by whom it knows to be lost, which is asked again twice a second.
        assert store.failures < 10 + 2 * (time.monotonic() - begun)
        server.start()
        end = time.monotonic() + 5
        while store.lost_since is not None and time.monotonic() < end:
            try:
                store.debit([charge], 0)
            except StoreUnavailable:
                time.sleep(0.01)
        assert store.debit([charge], 0).allowed
        store.close()


class Shifted:
    """Sets the clock of a Redis server, as its script sees it."""

    def __init__(self, server, monkeypatch):
        import redis

        self.client = redis.Redis.from_url(server.url)
        told = "local time = redis.call('TIME')"
        assert told in redis_script.SCRIPT
        set_clock = "; time[1] = time[1] + tonumber(redis.call('GET', 'shift') or 0)"
        shifted = redis_script.SCRIPT.replace(told, told + set_clock)
        for module in (redis_store, redis_script):
            monkeypatch.setattr(module, "SCRIPT", shifted)

    def set(self, seconds):
        self.client.set("shift", seconds)


@pytest.fixture
def shifted(server, monkeypatch):
    clock = Shifted(server, monkeypatch)
    clock.set(0)
    yield clock
    clock.set(0)
    clock.client.close()


SLOW = [
    Rate(3, 3600 * SECOND, 3),
    Rate(3, 3600 * SECOND, 3, SLIDING_LOG),
    Rate(3, 86_400 * SECOND, 3, FIXED_WINDOW, calendar=Calendar("month")),
]


@pytest.mark.parametrize("seconds", [7200, -7200, 400 * 86_400, -400 * 86_400])
@pytest.mark.parametrize("rate", SLOW, ids=lambda rate: rate.algorithm)
def test_a_servers_clock_that_is_set_changes_nothing(store, shifted, rate, seconds):
    charge, up = bucket("a", rate), [10**15]
    store._up = lambda: up[0]
    asked_before = RedisStore(f"redis://127.0.0.1:{shifted.client.connection_pool.connection_kwargs['port']}?prefix=x")
    asked_before._prefix, asked_before._clock_key = store._prefix, store._clock_key
    asked_before._up = store._up
    assert debits(store, charge, 4) == [True, True, True, False]
    wait = asked_before.debit([charge], 0).retry_after
    for shift in (seconds, 2 * seconds, 0, seconds):
        shifted.set(shift)
        for other in (store, asked_before):
            refused = other.debit([charge], 0)
            assert not refused.allowed
            # Of the month only its own end may be later: never earlier, and the others exactly as they were.
            assert refused.retry_after >= wait - 30
            if rate.algorithm != FIXED_WINDOW:
                assert refused.retry_after <= wait
    asked_before.close()


CLOCK_THAT_CAN_BE_SET = """
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int gettimeofday(struct timeval *shown, void *zone) {
    struct timespec now;
    char text[32] = {0};
    int file = open(getenv("CLOCK_SET_BY"), O_RDONLY);
    if (file >= 0) { if (read(file, text, 31) < 0) text[0] = 0; close(file); }
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    shown->tv_sec = now.tv_sec + atol(text);
    shown->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


def test_a_real_server_whose_clock_is_set_by_an_hour(tmp_path, monkeypatch):
    """The whole server shows another time, and forgets keys by it."""
    compiler = shutil.which("cc") or shutil.which("g++")
    if compiler is None:
        pytest.skip("server missing: a compiler of C (apt-get install g++)")
    library, shown = tmp_path / "clock.so", tmp_path / "set"
    words = [compiler, "-x", "c", "-shared", "-fPIC", "-o", str(library), "-"]
    subprocess.run(words, input=CLOCK_THAT_CAN_BE_SET.encode(), check=True)
    shown.write_text("0")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("CLOCK_SET_BY", str(shown))
    with redis_server() as server:
        monkeypatch.delenv("LD_PRELOAD")
        store = RedisStore(server.url)
        year = Rate(3, 365 * 86_400 * SECOND, 3, FIXED_WINDOW, calendar=Calendar("year"))
        charges = [bucket(str(number), rate) for number, rate in enumerate((*SLOW, year, AT_ONCE))]
        for charge in charges:
            assert debits(store, charge, 4) == [True, True, True, False]
        for shift in ("3600", "0", "-3600", "3590"):
            shown.write_text(shift)
            before = store._client.time()[0]
            assert abs(before - time.time() - int(shift)) < 5
            assert [store.debit([charge], 0).allowed for charge in charges] == [False] * 5, shift
        store.close()


def test_callers_who_do_not_agree_on_the_time_give_nothing_away(server, request):
    """One whose own clock stood still for ten minutes believes that the server's was set; the others never asked to go back."""
    url, charge = f"{server.url}?prefix={request.node.name}", bucket("a", Rate(3, 600 * SECOND, 3))
    slow, right = [time.clock_gettime_ns(time.CLOCK_BOOTTIME)], [0]
    first = RedisStore(url, up=lambda: slow[0])
    second = RedisStore(url, up=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) + right[0])
    assert first.peek([charge], 0).allowed
    assert debits(second, charge, 4) == [True, True, True, False]
    first._told = (first._told[0], first._told[1] - 600_000_000, *first._told[2:])
    got = [one.debit([charge], 0) for _ in range(20) for one in (first, second)]
    assert [decision.allowed for decision in got] == [False] * 40
    assert max(decision.retry_after for decision in got) <= 201
    first.close()
    second.close()


class Broken(MemoryStore):
    """A store that fails while it is told to, slowly."""

    def __init__(self):
        super().__init__()
        self.broken = False
        self.calls = 0

    def debit(self, charges, now_ns):
        self.calls += 1
        if self.broken:
            time.sleep(0.05)
            raise StoreUnavailable("gone")
        return super().debit(charges, now_ns)


def test_of_many_who_wait_for_a_lost_store_one_tries():
    inner, clock = Broken(), [0.0]
    store = GuardedStore(inner, clock=lambda: clock[0], chance=lambda: 0.5)
    charge = bucket("a", GCRA)
    inner.broken = True
    with pytest.raises(StoreUnavailable):
        store.debit([charge], 0)
    clock[0] = 0.1
    inner.calls = 0

    def ask():
        with pytest.raises(StoreUnavailable):
            store.debit([charge], 0)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inner.calls == 1
    # The pauses grow, up to a bound.
    moments = []
    for _ in range(4000):
        clock[0] += 0.01
        before = inner.calls
        inner.calls = 0
        if clock[0] > 39:
            inner.broken = False
        try:
            store.debit([charge.costing(1)], 0)
        except StoreUnavailable:
            pass
        if inner.calls:
            moments.append(clock[0])
        inner.calls += before
        if store.lost_since is None:
            break
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert pauses[0] < 0.5
    assert max(pauses) < 1.5 * LONGEST_PAUSE
    assert store.lost_since is None


def test_a_call_that_began_before_the_store_was_found_again_is_no_sign_of_another_loss():
    clock, charge = [0.0], bucket("a", GCRA)

    class Hangs(MemoryStore):
        def debit(self, charges, now_ns):
            if charges[0].policy == "slow":  # it fails only after others have lost the store and found it again
                with pytest.raises(StoreUnavailable):
                    store.debit([charge], 0)
                clock[0] = 3.0
                assert store.peek([charge], 0).allowed
            raise StoreUnavailable("no answer in time")

    store = GuardedStore(Hangs(), clock=lambda: clock[0], chance=lambda: 0.5)
    with pytest.raises(StoreUnavailable):
        store.debit([bucket("slow", GCRA)], 0)
    assert (store.lost_since, store.losses, store.returns, store.failures, store.absent_s) == (None, 1, 1, 2, 3.0)


@pytest.mark.parametrize("url", ["redis://host:notaport/0", "redis+sentinel://h:x/s", "redis://h:6379/x"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ConfigurationError, match="not a URL"):
        RedisStore(url)


def test_a_url_may_name_valkey(server):
    """Valkey kept the protocol and the scripts of Redis; where only valkey-server is installed, all of this runs on that."""
    store = RedisStore(f"{server.url.replace('redis://', 'valkey://')}?prefix=valkey")
    assert debits(store, bucket("a", GCRA), 4) == [True, True, True, False]
    store.close()


def test_sentinels_say_where_the_master_is(tmp_path):
    program = shutil.which("redis-server")
    with redis_server() as server:
        port = free_port()
        config = tmp_path / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor limits 127.0.0.1 {server.port} 1\n"
        )
        with (tmp_path / "log").open("wb") as log:
            sentinel = subprocess.Popen([program, str(config), "--sentinel"], stdout=log, stderr=log)
        try:
            store = RedisStore(f"redis+sentinel://127.0.0.1:{port}/limits/0")
            end = time.monotonic() + 10
            while True:
                try:
                    assert debits(store, bucket("a", GCRA), 4) == [True, True, True, False]
                    break
                except StoreUnavailable:
                    assert time.monotonic() < end, (tmp_path / "log").read_text()
                    time.sleep(0.05)
            store.close()
        finally:
            sentinel.send_signal(signal.SIGKILL)
            sentinel.wait()


def test_a_cluster_takes_a_whole_chain():
    # Its second port would be 10,000 higher, which not every free port leaves room for.
    with redis_server("--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        import redis

        client = redis.Redis.from_url(server.url)
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        end = time.monotonic() + 10
        while "cluster_state:ok" not in str(client.execute_command("CLUSTER", "INFO")) and time.monotonic() < end:
            time.sleep(0.05)
        store = RedisStore(f"redis+cluster://127.0.0.1:{server.port}")
        chain = [bucket(str(i), rate) for i, rate in enumerate((GCRA, LOG, WINDOW, AT_ONCE))]
        assert [store.debit(chain, 0).allowed for _ in range(4)] == [True, True, True, False]
        store.close()
        client.close()
