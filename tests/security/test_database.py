import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from security.database import Database, DatabaseBusy, DatabaseUnavailable, Json, UtcDateTime, open_database, upsert
from specs.problems import BackendUnavailable, ConfigurationError

tables = MetaData()
counters = Table("counters", tables, Column("name", String(40), primary_key=True), Column("value", Integer))
moments = Table(
    "moments", tables, Column("id", Integer, primary_key=True), Column("at", UtcDateTime), Column("body", Json)
)


@pytest.fixture
def database(database_url):
    opened = Database(database_url, busy_timeout=2)
    opened.write(tables.create_all)
    yield opened
    opened.close()


def value_of(database, name="a"):
    return database.read(lambda c: c.execute(select(counters.c.value).where(counters.c.name == name)).scalar())


def add_one(connection):
    now = connection.execute(select(counters.c.value).where(counters.c.name == "a")).scalar_one()
    connection.execute(update(counters).where(counters.c.name == "a").values(value=now + 1))


def test_what_is_written_is_read(database):
    assert database.write(lambda c: c.execute(insert(counters).values(name="a", value=1)) and "done") == "done"
    assert value_of(database) == 1


def test_a_work_that_raises_leaves_nothing_and_its_traceback_is_kept(database):
    def fails(connection):
        connection.execute(insert(counters).values(name="a", value=1))
        raise LookupError("no")

    with pytest.raises(LookupError) as caught:
        database.write(fails)
    assert "in fails" in "".join(traceback.format_tb(caught.value.__traceback__))
    assert value_of(database) is None
    database.write(lambda c: c.execute(insert(counters).values(name="a", value=2)))
    assert value_of(database) == 2


def test_a_read_can_change_nothing(database):
    with pytest.raises(DBAPIError):
        database.read(lambda c: c.execute(insert(counters).values(name="a", value=1)))
    assert value_of(database) is None


def test_a_read_sees_one_state(database):
    database.write(lambda c: c.execute(insert(counters).values(name="a", value=1)))

    def twice(connection):
        query = select(counters.c.value).where(counters.c.name == "a")
        first = connection.execute(query).scalar()
        database.write(lambda c: c.execute(update(counters).values(value=2)))
        return first, connection.execute(query).scalar()

    assert database.read(twice) == (1, 1)
    assert value_of(database) == 2


def test_an_error_of_the_schema_is_not_mistaken_for_a_lost_server(database):
    database.write(lambda c: c.execute(insert(counters).values(name="a", value=1)))
    with pytest.raises(IntegrityError):
        database.write(lambda c: c.execute(insert(counters).values(name="a", value=1)))


def test_upsert_inserts_then_changes(database):
    for number in (1, 2):
        database.write(lambda c, n=number: upsert(c, counters, {"name": "a"}, {"value": n}))
    assert value_of(database) == 2


def test_upsert_without_values_leaves_a_row_as_it_is(database):
    database.write(lambda c: upsert(c, counters, {"name": "a"}, {"value": 1}))
    database.write(lambda c: upsert(c, counters, {"name": "a"}))
    assert value_of(database) == 1


def test_a_moment_comes_back_in_utc(database):
    tokyo = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=9)))
    database.write(lambda c: c.execute(insert(moments).values(id=1, at=tokyo)))
    got = database.read(lambda c: c.execute(select(moments.c.at)).scalar_one())
    assert (got, got.tzinfo) == (tokyo, UTC)
    assert database.read(lambda c: c.execute(select(func.count()).where(moments.c.at <= tokyo)).scalar()) == 1


def test_a_moment_without_a_zone_is_refused(database):
    with pytest.raises(Exception, match="time zone"):
        database.write(lambda c: c.execute(insert(moments).values(id=1, at=datetime(2026, 1, 1))))


@pytest.mark.parametrize("body", [{"a": [1, 2.5, None, True, "é\0"]}, [], {}, "", 0, None, 2**63])
def test_json_comes_back(database, body):
    database.write(lambda c: c.execute(insert(moments).values(id=1, body=body)))
    assert database.read(lambda c: c.execute(select(moments.c.body)).scalar_one()) == body


def test_json_beyond_64_bits_is_refused_and_not_rounded(database):
    with pytest.raises(Exception, match="64-bit"):
        database.write(lambda c: c.execute(insert(moments).values(id=1, body=2**64)))


def test_two_threads_lose_no_update(database):
    database.write(lambda c: c.execute(insert(counters).values(name="a", value=0)))
    threads = [threading.Thread(target=lambda: [database.write(add_one) for _ in range(20)]) for _ in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert value_of(database) == 40


def _increment(url, times):
    database = Database(url)
    for _ in range(times):
        database.write(add_one)
    database.close()


def test_two_processes_lose_no_update(database, database_url):
    database.write(lambda c: c.execute(insert(counters).values(name="a", value=0)))
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_increment, args=(database_url, 25)) for _ in range(2)]
    [p.start() for p in processes]
    [p.join(30) for p in processes]
    assert [p.exitcode for p in processes] == [0, 0]
    assert value_of(database) == 50


def test_a_forked_child_is_refused(database):
    child = os.fork()
    if child == 0:
        try:
            database.read(lambda c: c.execute(text("select 1")))
        except RuntimeError as error:
            os._exit(7 if "opened before the fork" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_lock_is_held_by_one(database, database_url):
    other = Database(database_url)
    try:
        with database.locked("migrations"):
            with pytest.raises(DatabaseBusy, match="'migrations' was held"), other.locked("migrations", timeout=0):
                pass
            with other.locked("something-else", timeout=0):
                pass
        with other.locked("migrations", timeout=1):
            database.write(lambda c: c.execute(insert(counters).values(name="a", value=1)))
    finally:
        other.close()


def test_a_write_inside_a_write_is_refused_on_sqlite(tmp_path):
    database = open_database(tmp_path)
    with pytest.raises(RuntimeError, match="a write inside a write"):
        database.write(lambda c: database.write(lambda inner: None))
    database.close()


def test_a_write_waits_for_the_busy_timeout_and_no_longer(tmp_path):
    first, second = open_database(tmp_path), open_database(tmp_path, busy_timeout=0.1)

    def meanwhile(connection):
        began = time.monotonic()
        with pytest.raises(DatabaseBusy):
            second.write(lambda c: None)
        return time.monotonic() - began

    assert 0.05 < first.write(meanwhile) < 2
    assert issubclass(DatabaseBusy, BackendUnavailable)
    second.write(lambda c: None)
    first.close()
    second.close()


def test_the_embedded_database_is_private_and_careful(tmp_path):
    database = open_database(tmp_path / "new" / "var")
    pragmas = database.write(
        lambda c: [c.exec_driver_sql(f"pragma {p}").scalar() for p in ("journal_mode", "synchronous", "foreign_keys")]
    )
    assert pragmas == ["wal", 2, 1]
    files = sorted((tmp_path / "new" / "var").iterdir())
    assert {f.stat().st_mode & 0o777 for f in files} == {0o600}
    assert (tmp_path / "new" / "var").stat().st_mode & 0o777 == 0o700
    database.close()


def test_a_closed_database_is_not_used(tmp_path):
    database = open_database(tmp_path)
    database.close()
    database.close()
    with pytest.raises(RuntimeError, match="closed"):
        database.read(lambda c: None)
    with pytest.raises(RuntimeError, match="closed"):
        database.write(lambda c: None)


def test_a_copy_is_whole_private_and_overwrites_nothing(tmp_path):
    database = open_database(tmp_path)
    database.write(tables.create_all)
    database.write(lambda c: c.execute(insert(counters).values(name="a", value=5)))
    database.copy_to(tmp_path / "copy.db")
    copy = Database(f"sqlite:///{tmp_path / 'copy.db'}")
    assert value_of(copy) == 5
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigurationError, match="exists"):
        database.copy_to(tmp_path / "copy.db")
    copy.close()
    database.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "is a file"),
        ("postgresql+psycopg2://h/d", "psycopg2"),
        ("mysql://h/d", "mysql"),
        ("nonsense", "not a data"),
    ],
)
def test_a_url_that_cannot_be_used_is_named(url, said):
    with pytest.raises(ConfigurationError, match=said):
        Database(url)


def test_a_server_that_does_not_answer_is_unavailable():
    with pytest.raises(DatabaseUnavailable):
        Database("postgresql://gw:x@127.0.0.1:1/db")


def _open_and_close(directory, start):
    start.wait(20)
    open_database(directory).close()


def test_many_processes_open_a_new_database_at_once(tmp_path):
    spawn = multiprocessing.get_context("fork")
    start = spawn.Event()
    processes = [spawn.Process(target=_open_and_close, args=(tmp_path / "var", start)) for _ in range(6)]
    [p.start() for p in processes]
    start.set()
    [p.join(30) for p in processes]
    assert [p.exitcode for p in processes] == [0] * 6


GEVENT = """
import gevent.monkey; gevent.monkey.patch_all()
import gevent, json, sys, time, traceback
from sqlalchemy import text
from security.database import Database
database = Database(sys.argv[1])
database.write(lambda c: c.execute(text("create table t (writer integer, thread bigint)")))
get_ident = gevent.monkey.get_original("_thread", "get_ident")
slow = gevent.monkey.get_original("time", "sleep")
gaps, done = [], []
def tick():
    last = time.monotonic()
    while len(done) < 50:
        gevent.sleep(0.002)
        now = time.monotonic(); gaps.append(now - last); last = now
def work(number):
    def insert(connection):
        connection.execute(text("insert into t values (:n, :t)"), {"n": number, "t": get_ident()})
        if sys.argv[1].startswith("sqlite"):
            slow(0.004)
    database.write(insert)
    done.append(database.read(lambda c: c.execute(text("select count(*) from t")).scalar()))
ticker = gevent.spawn(tick)
gevent.joinall([ticker] + [gevent.spawn(work, n) for n in range(50)], raise_error=True)
def fails(connection):
    raise LookupError("kept")
try:
    database.write(fails)
except LookupError as error:
    kept = traceback.extract_tb(error.__traceback__)[-1].name == "fails"
blocking = gevent.get_hub().threadpool.apply(lambda: database.write(lambda c: get_ident()))
threads = database.read(lambda c: c.execute(text("select count(distinct thread) from t")).scalar())
rows = database.read(lambda c: c.execute(text("select count(*) from t")).scalar())
on_hub = database.read(lambda c: c.execute(text("select count(*) from t where thread = :t"), {"t": get_ident()}).scalar())
database.close()
print(json.dumps({"rows": rows, "threads": threads, "on_hub": on_hub, "ticks": len(gaps), "gap": max(gaps),
                  "kept": kept, "blocking_ran_in_place": blocking != get_ident()}))
"""


def test_the_hub_goes_on_while_fifty_greenlets_write(database_url):
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", GEVENT, database_url], capture_output=True, text=True, timeout=60,
        cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    got = json.loads(ran.stdout)
    assert (got["rows"], got["kept"]) == (50, True)
    assert got["gap"] < 0.15
    if database_url.startswith("sqlite"):
        # 50 transactions of at least 4 ms each, one after another in one thread that is not the hub's.
        assert (got["threads"], got["on_hub"], got["blocking_ran_in_place"]) == (1, 0, True)
        assert got["ticks"] >= 50


def test_the_mark_changes_with_each_change_by_whomever_and_with_nothing_else(tmp_path):
    here, elsewhere = open_database(tmp_path), open_database(tmp_path)
    here.write(tables.create_all)
    marks = [here.mark(), here.mark()]
    value_of(here)
    marks.append(here.mark())
    assert len(set(marks)) == 1
    for database in (here, elsewhere):
        database.write(lambda c, database=database: c.execute(insert(counters).values(name=str(id(database)), value=0)))
        marks.append(here.mark())
    assert len(set(marks)) == 3
    with pytest.raises(IntegrityError):
        here.write(lambda c: c.execute(insert(counters).values(name=str(id(here)), value=0)))
    assert here.mark() == marks[-1]
    here.close()
    elsewhere.close()
    with pytest.raises(RuntimeError):
        here.write(tables.create_all)


def test_a_server_has_no_mark(database_url):
    database = Database(database_url)
    assert (database.mark() is None) == (database.dialect == "postgresql")
    database.close()
