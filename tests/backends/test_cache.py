"""The shared cache: `self.cache` and `self.kvdb.conn`."""

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.cache import Caches, cache_entries, sweep_cache
from backends.keyvalue import KeyValueDatabase
from security.database import Database


class ManualClock:
    def __init__(self):
        self.now = datetime(2026, 5, 1, tzinfo=UTC)

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.write(cache_entries.create)
    yield database
    database.close()


@pytest.fixture
def cache(database, clock):
    return Caches(database, clock=clock)


@pytest.fixture
def conn(database, clock):
    return KeyValueDatabase(database, clock=clock).conn


texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(json_values | st.binary(), texts.filter(lambda key: key and "\0" not in key))
def test_a_value_comes_back_as_what_it_was(cache, value, key):
    cache.set(key, value)
    got = cache.default[key]
    assert (got, type(got)) == (value, type(value))


def test_an_entry_goes_when_it_expires(cache, clock):
    cache.set("a", 1, expiry=10)
    cache.set("b", 2)
    clock.advance(9.9)
    assert cache.get("a") == 1
    clock.advance(0.1)
    assert [cache.get("a"), cache.get("b"), "a" in cache, "b" in cache, cache.keys()] == [None, 2, False, True, ["b"]]
    with pytest.raises(KeyError):
        cache.default["a"]
    assert cache.delete("a") is False


def test_an_expiry_can_be_set_and_taken_away(cache, clock):
    cache.set("a", 1)
    assert [cache.expire("a", 5), cache.expire("b", 5)] == [True, False]
    assert cache.expire("a")
    clock.advance(100)
    assert cache.get("a") == 1


def test_caches_do_not_see_one_another(cache, conn):
    cache.set("a", 1)
    cache.get_cache("builtin", "second").set("a", 2)
    conn.set("a", "3")
    assert [cache.default["a"], cache.get_cache("builtin", "second")["a"], conn.get("a")] == [1, 2, "3"]
    assert cache.get_cache("builtin", "default").get("a") == 1
    with pytest.raises(LookupError, match="no type of cache called 'memcached'"):
        cache.get_cache("memcached", "x")


def test_prefixes_are_taken_literally(cache):
    for key in ("a%b", "a_b", "A_c", "axb", "a"):
        cache[key] = key
    assert cache.get_by_prefix("a_") == {"a_b": "a_b"}
    assert cache.delete_by_prefix("a") == 4
    assert list(cache) == ["A_c"]
    del cache["A_c"]
    with pytest.raises(KeyError):
        del cache["A_c"]


def test_what_cannot_be_kept_is_refused_and_changes_nothing(cache, conn):
    cache.set("a", 1)
    for value, error in ((object(), TypeError), (datetime(2026, 1, 1), TypeError), ("x" * (1 << 20 | 1), ValueError)):
        with pytest.raises(error):
            cache.set("a", value)
    for key in ("", "k" * 501, "a\0b"):
        with pytest.raises(ValueError, match="a key has 1 to 500 characters"):
            cache.set(key, 1)
    with pytest.raises(ValueError, match="at most 1048576"):
        conn.mset({"b": "1", "c": "x" * (1 << 20 | 1)})
    with pytest.raises(TypeError, match="not list: convert it first"):
        conn.set("b", ["x"])
    assert [cache.get("a"), conn.get("b")] == [1, None]


def test_what_is_made_on_demand_is_made_once(cache):
    made = []
    for _ in range(2):
        assert cache.get_or_set("a", lambda: made.append(1) or None, expiry=5) is None
    assert made == [1]


def test_counting_loses_nothing(cache, conn):
    def count():
        for _ in range(10):
            cache.incr("n")
            conn.incr("n")
            conn.hincrby("h", "n", 2)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [cache["n"], conn.get("n"), conn.hget("h", "n")] == [40, "40", "80"]


def test_counting_keeps_the_expiry(cache, conn, clock):
    cache.set("n", 5, expiry=10)
    conn.set("n", 5, ex=10)
    assert [cache.incr("n", 3), conn.incrby("n", 3), conn.ttl("n")] == [8, 8, 10]
    clock.advance(10)
    assert [cache.incr("n"), conn.decr("n")] == [1, -1]


def test_only_whole_numbers_are_counted(cache, conn):
    cache.set("n", True)
    conn.set("n", "1.5")
    conn.set("big", 2**63 - 1)
    with pytest.raises(ValueError):
        cache.incr("n")
    for name in ("n", "big"):
        with pytest.raises(ValueError, match=f"'{name}' does not hold a whole number of 64 bits"):
            conn.incr(name)
    assert conn.get("big") == str(2**63 - 1)


def test_kvdb_gives_texts_as_redis_does(conn):
    assert conn.set("rates:2013:09:03", 1.22) is True
    conn.set("b", b"\xc3\xa9")
    conn.set("i", 7)
    assert conn.mget("rates:2013:09:03", "b", "i", "none") == ["1.22", "é", "7", None]
    assert conn.mget(["i", "none"]) == ["7", None]
    assert [conn.exists("b", "b", "none"), conn.delete("b", "none"), conn.get("b")] == [2, 1, None]
    assert [conn.append("i", "8"), conn.get("i"), conn.getset("i", "9"), conn.getdel("i"), conn.getdel("i")] == [
        2, "78", "78", "9", None,
    ]  # fmt: skip
    assert conn.ping()


def test_kvdb_sets_under_conditions(conn, clock):
    assert [conn.set("a", 1, xx=True), conn.set("a", 1, nx=True), conn.set("a", 2, nx=True), conn.get("a")] == [
        None, True, None, "1",
    ]  # fmt: skip
    assert [conn.setnx("a", 3), conn.setnx("b", 3), conn.set("a", 4, xx=True, get=True)] == [False, True, "1"]
    conn.set("a", 5, px=1500)
    conn.set("a", 6, keepttl=True)
    assert [conn.pttl("a"), conn.ttl("b"), conn.ttl("none")] == [1500, -1, -2]
    clock.advance(1.5)
    assert [conn.get("a"), conn.set("a", 7, nx=True), conn.ttl("a")] == [None, True, -1]
    with pytest.raises(ValueError, match="later than now"):
        conn.set("a", 1, ex=0)


def test_kvdb_expiries(conn, clock):
    conn.setex("a", 10, "x")
    conn.psetex("b", timedelta(seconds=20), "x")
    conn.set("c", "x")
    assert [conn.expire("c", timedelta(minutes=1)), conn.pexpire("none", 5), conn.persist("a"), conn.persist("a")] == [
        True, False, True, False,
    ]  # fmt: skip
    assert [conn.ttl(key) for key in "abc"] == [-1, 20, 60]
    clock.advance(60)
    assert conn.keys() == ["a"]
    assert sweep_cache(conn._entries.database, clock()) == 2


def test_kvdb_hashes(conn):
    assert [conn.hset("h", "a", 1), conn.hset("h", mapping={"a": "2", "b": b"3"}), conn.hgetall("h")] == [
        1, 1, {"a": "2", "b": "3"},
    ]  # fmt: skip
    assert [conn.hget("h", "c"), conn.hmget("h", ["a", "c"]), conn.hlen("h"), conn.hkeys("h"), conn.hexists("h", "a")] == [
        None, ["2", None], 2, ["a", "b"], True,
    ]  # fmt: skip
    assert [conn.type("h"), conn.hdel("h", "a", "b", "c"), conn.type("h"), conn.hgetall("h")] == ["hash", 2, "none", {}]
    conn.set("t", "x")
    conn.hset("h", "a", 1)
    with pytest.raises(TypeError, match="'t' holds a text"):
        conn.hget("t", "a")
    with pytest.raises(TypeError, match="'h' holds a hash"):
        conn.get("h")
    assert conn.set("h", "text now")


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [("*", ["a*c", "abc", "ac", "a{c", "xbc"]), ("a?c", ["a*c", "abc", "a{c"]), ("a[b-d]c", ["abc"]), ("a[^b]c", ["a*c", "a{c"]),
     ("a\\*c", ["a*c"]), ("[ax]bc", ["abc", "xbc"]), ("ABC", []), ("a***c", ["a*c", "abc", "ac", "a{c"]), ("a[", [])],
)  # fmt: skip
def test_kvdb_patterns_are_those_of_redis(conn, pattern, fitting):
    conn.mset(dict.fromkeys(["abc", "a*c", "ac", "a{c", "xbc"], "1"))
    assert list(conn.scan_iter(pattern)) == fitting


def test_a_command_that_kvdb_lacks_names_the_nearest_and_the_way_to_redis(conn):
    with pytest.raises(
        AttributeError, match=r"no command 'hgetal': did you mean 'hgetall'\?.*connection of type 'redis'"
    ):
        conn.hgetal("x")
    with pytest.raises(AttributeError, match="no command 'lpush'"):
        conn.lpush("x", 1)


def test_another_process_sees_what_this_one_keeps(database, database_url):
    KeyValueDatabase(database).conn.set("rate", "1.22", ex=600)
    program = (
        "import sys; from security.database import Database; from backends.keyvalue import KeyValueDatabase\n"
        "conn = KeyValueDatabase(Database(sys.argv[1])).conn; print(conn.get('rate')); conn.incr('seen')"
    )
    done = subprocess.run([sys.executable, "-c", program, database_url], capture_output=True, text=True, check=True)
    assert done.stdout == "1.22\n"
    assert KeyValueDatabase(database).conn.get("seen") == "1"
