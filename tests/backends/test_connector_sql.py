"""The sql connector on SQLite and PostgreSQL."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from backends.connectors.sql import Connector
from backends.statements import ConstraintViolated, Row, prepared
from specs.problems import BackendError, BackendTimeout, BackendUnavailable, ConfigurationError

ROOT = Path(__file__).parents[2]


def connect(url, **settings):
    return Connector("crm", Connector.Settings.read({"url": url, "timeout": "5s", **settings}, "connections.crm"))


@pytest.fixture
def crm(database_url):
    connector = connect(database_url)
    connector.execute("create table customers (id integer primary key, name text unique not null, region text)")
    connector.execute("insert into customers values (1, 'Ann', 'north'), (2, 'Bob', 'south')")
    yield connector
    connector.close()


@pytest.fixture
def postgresql(postgresql_server):
    connector = connect(postgresql_server.new_database())
    yield connector
    connector.close()


# Statements


def test_one_is_the_row_or_none_and_never_one_of_several(crm):
    assert crm.one("select name, region from customers where id = :id", id=1) == {"name": "Ann", "region": "north"}
    assert crm.one("select name from customers where id = :id", id=9) is None
    with pytest.raises(BackendError, match="more than one row"):
        crm.one("select name from customers")


def test_rows_have_members_and_attributes_and_are_plain_dicts_to_json(crm):
    rows = crm.all("select id, name from customers order by id")
    assert [row.name for row in rows] == ["Ann", "Bob"]
    assert json.dumps(rows) == '[{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bob"}]'
    with pytest.raises(AttributeError, match="no column 'nmae': did you mean 'name'"):
        rows[0].nmae  # noqa: B018


def test_execute_says_how_many_rows_it_changed(crm):
    assert crm.execute("update customers set region = 'x' where id < :most", most=9) == 2
    assert crm.execute("delete from customers where id = 9") == 0


def test_a_row_that_an_insert_returns_is_kept(crm):
    row = crm.one("insert into customers (id, name) values (:id, :name) returning id", id=7, name="Gus")
    assert (row, crm.one("select name from customers where id = 7")) == ({"id": 7}, {"name": "Gus"})


def test_parameters_are_values_and_never_text_of_the_statement(crm):
    name = "Ann'; drop table customers; --"
    crm.execute("insert into customers (id, name) values (3, :name)", name=name)
    assert crm.one("select name from customers where name = :name", name=name).name == name
    assert crm.one("select '12:30' as time, :a as a", a="x") == {"time": "12:30", "a": "x"}


def test_a_missing_parameter_is_named(crm):
    with pytest.raises(BackendError, match="id"):
        crm.one("select name from customers where id = :id")


def test_types_of_the_database_come_as_those_of_python(postgresql):
    row = postgresql.one("select 1.50::numeric as n, date '2026-01-02' as d, true as b, null as e, '{1,2}'::int[] as l")
    assert row == {"n": Decimal("1.50"), "d": date(2026, 1, 2), "b": True, "e": None, "l": [1, 2]}


# Several together


def test_a_transaction_is_kept_whole_or_not_at_all(crm):
    with crm.transaction() as both:
        both.execute("insert into customers (id, name) values (3, 'Cem')")
        both.execute("update customers set region = 'east' where id = 3")
        assert both.one("select region from customers where id = 3").region == "east"

    def insert_twice():
        with crm.transaction() as failing:
            failing.execute("insert into customers (id, name) values (4, 'Dan')")
            failing.execute("insert into customers (id, name) values (5, 'Ann')")

    def insert_and_be_interrupted():
        with crm.transaction() as ended:
            ended.execute("insert into customers (id, name) values (6, 'Eve')")
            raise KeyboardInterrupt

    with pytest.raises(ConstraintViolated):
        insert_twice()
    with pytest.raises(KeyboardInterrupt):
        insert_and_be_interrupted()
    assert [row.id for row in crm.all("select id from customers order by id")] == [1, 2, 3]


def test_transactions_of_many_threads_wait_for_each_other(crm):
    crm.execute("create table counters (n integer)")
    crm.execute("insert into counters values (0)")
    failures = []

    def count():
        try:
            for _ in range(5):
                with crm.transaction() as one:
                    if crm.dialect == "postgresql":
                        one.execute("lock table counters")
                    seen = one.one("select n from counters").n
                    time.sleep(0.001)
                    one.execute("update counters set n = :n", n=seen + 1)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failures, crm.one("select n from counters").n) == ([], 20)


def test_a_commit_that_finds_the_file_locked_by_a_reader_waits_and_is_kept(tmp_path):
    crm = connect(f"sqlite:///{tmp_path}/journal.db")  # no WAL: a reader keeps a writer from committing
    crm.execute("create table t (n integer)")
    crm.execute("insert into t values (1), (2), (3)")
    reading = crm.rows("select n from t")
    next(reading)
    timer = threading.Timer(0.1, reading.close)

    with crm.transaction() as one:
        one.execute("insert into t values (4)")
        timer.start()
    timer.join()
    assert crm.one("select count(*) as n from t").n == 4
    crm.close()


def test_a_session_lasts_until_it_is_committed(crm):
    session = crm.session()
    session.execute("insert into customers (id, name) values (:id, :name)", {"id": 3, "name": "Cem"})
    session.execute("update customers set region = :region where id = 3", region="east")
    session.rollback()
    assert session.execute("select id from customers where id = 3") == []
    session.commit()
    with crm.session() as other:
        other.execute("insert into customers (id, name) values (3, 'Cem')")
    assert crm.one("select name from customers where id = 3").name == "Cem"


def test_a_session_that_failed_can_be_used_again(crm):
    session = crm.session()
    with pytest.raises(ConstraintViolated):
        session.execute("insert into customers (id, name) values (3, 'Ann')")
    assert session.execute("select name from customers where id = 1") == [{"name": "Ann"}]
    session.close()


def test_a_session_that_is_forgotten_keeps_no_connection_and_no_change(database_url):
    crm = connect(database_url, pool_size=1, timeout="500ms")
    crm.execute("create table t (n integer)")
    crm.session().execute("insert into t values (1)")
    assert crm.all("select n from t") == []
    crm.close()


# Lazily


def test_rows_come_one_by_one_and_the_connection_goes_back(database_url):
    crm = connect(database_url, pool_size=1, timeout="1s")
    crm.execute("create table t (n integer)")
    crm.execute(
        "insert into t with recursive s(n) as (select 1 union all select n + 1 from s where n < 5000) select n from s"
    )
    rows = crm.rows("select n from t order by n")
    assert [next(rows).n, next(rows).n] == [1, 2]
    with pytest.raises(BackendUnavailable, match="no connection of the pool"):
        crm.ping()
    rows.close()
    crm.ping()
    assert sum(row.n for row in crm.rows("select n from t")) == 5000 * 5001 // 2
    with crm.transaction() as one:
        assert sum(1 for _ in one.rows("select n from t")) == 5000
    crm.ping()
    crm.close()


def test_a_large_result_is_never_whole_in_memory(postgresql):
    started = time.monotonic()
    rows = postgresql.rows("select generate_series(1, 3000000) as n")
    assert next(rows).n == 1
    rows.close()
    assert time.monotonic() - started < 3


# Procedures

PROCEDURES = (
    "create function get_current_user(who text) returns table (name text, who_asked text) language sql as "
    "$$ select 'Ann', who union all select 'Bob', who $$",
    "create function add_one(n integer) returns integer language sql as $$ select n + 1 $$",
    'create function "Mixed Case"() returns integer language sql as $$ select 1 $$',
    "create table calls (n integer)",
    "create procedure note_call(n integer) language sql as $$ insert into calls values (n) $$",
    "create procedure doubled(inout n integer) language plpgsql as $$ begin n := n * 2; end $$",
    "create schema other",
    "create function other.answer() returns integer language sql as $$ select 42 $$",
    "create function big() returns setof integer language sql as $$ select generate_series(1, 200000) $$",
    "create function noting(k integer) returns integer language plpgsql as "
    "$$ begin insert into calls values (k); return k; end $$",
)


@pytest.fixture
def procedures(postgresql):
    for statement in PROCEDURES:
        postgresql.execute(statement.replace(":=", r"\:="))
    return postgresql


def test_Z46_a_procedure_s_rows_are_a_list_of_dicts(procedures):
    data = procedures.session().callproc("get_current_user", [""])
    assert data == [{"name": "Ann", "who_asked": ""}, {"name": "Bob", "who_asked": ""}]


def test_Z46_with_use_yield_rows_are_read_one_by_one(procedures):
    data = procedures.session().callproc("big", [], use_yield=True)
    assert not isinstance(data, list)
    assert next(data).big == 1
    data.close()
    assert sum(1 for _ in procedures.session().callproc("big", use_yield=True)) == 200000


def test_functions_and_procedures_are_called_each_as_it_must_be_and_kept(procedures):
    session = procedures.session()
    assert session.callproc("add_one", [41]) == [{"add_one": 42}]
    assert session.callproc("ADD_ONE", [1]) == [{"add_one": 2}]
    assert session.callproc("doubled", [21]) == [{"n": 42}]
    assert session.callproc("note_call", [7]) == []
    assert session.callproc("noting", [8]) == [{"noting": 8}]
    assert session.callproc("other.answer") == [{"answer": 42}]
    assert procedures.all("select n from calls") == [{"n": 7}, {"n": 8}]


@pytest.mark.parametrize("name", ["nothing", "add_one(1); drop table calls", 'x"y', "", "a.b.c"])
def test_Z47_a_procedure_that_cannot_be_called_is_an_error_and_not_an_empty_list(procedures, name):
    with pytest.raises(BackendError, match="procedure"):
        procedures.session().callproc(name, [1])


def test_Z47_what_goes_wrong_in_a_procedure_is_not_swallowed(procedures):
    procedures.execute("create function broken() returns integer language sql as $$ select 1 / 0 $$")
    with pytest.raises(BackendError, match="division by zero"):
        procedures.session().callproc("broken")


def test_sqlite_has_no_procedures_and_says_so(tmp_path):
    crm = connect(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(BackendError, match="SQLite has no stored procedures"):
        crm.session().callproc("get_current_user", [""])


# What goes wrong


def test_a_statement_that_takes_too_long_is_ended(database_url):
    crm = connect(database_url, timeout="200ms")
    endless = "with recursive s(n) as (select 1 union all select n + 1 from s) select count(*) from s"
    started = time.monotonic()
    with pytest.raises(BackendTimeout):
        crm.all(endless)
    assert time.monotonic() - started < 3
    crm.ping()
    crm.close()


def test_a_duplicate_is_an_error_that_services_can_tell(crm):
    with pytest.raises(ConstraintViolated) as failed:
        crm.execute("insert into customers (id, name) values (:id, :name)", id=3, name="Ann")
    assert failed.value.problem().status == 502


def test_the_log_has_the_driver_s_words_and_never_the_parameters(crm):
    with pytest.raises(BackendError) as failed:
        crm.execute("insert into nowhere values (:secret)", secret="hush-hush")
    assert "nowhere" in str(failed.value)
    assert "hush" not in str(failed.value)
    assert "hush" not in str(failed.value.__cause__)
    assert "nowhere" not in failed.value.problem().detail


def test_a_database_that_is_not_there_is_unavailable(tmp_path):
    for url in ("postgresql://gw@127.0.0.1:1/none", f"sqlite:///{tmp_path}/no/such/folder/a.db"):
        crm = connect(url, timeout="2s")
        with pytest.raises(BackendUnavailable):
            crm.ping()


def test_a_wrong_password_does_not_show_the_right_one(postgresql_server):
    crm = connect(postgresql_server.url().replace(":secret", ""), password="wrong-one")
    with pytest.raises(BackendUnavailable) as failed:
        crm.ping()
    assert "wrong-one" not in repr(failed.value) + repr(crm.settings)


def test_the_password_is_put_into_the_address(postgresql_server):
    crm = connect(postgresql_server.url().replace(":secret", ""), password="secret")
    assert crm.one("select current_user as who").who == "gw"
    crm.close()


def test_a_connection_that_the_server_ended_is_replaced(postgresql, postgresql_server):
    pid = postgresql.one("select pg_backend_pid() as pid").pid
    other = connect(postgresql_server.url())
    other.execute("select pg_terminate_backend(:pid)", pid=pid)
    other.close()
    assert postgresql.one("select pg_backend_pid() as pid").pid != pid


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("postgresql+psycopg2://gw@h/d", "postgresql+psycopg"),
        ("mysql+mysqldb://gw@h/d", "mysql+pymysql"),
        ("mssql+pyodbc://gw@h/d", "mssql"),
        ("mssql+pymssql://gw@h/d", "mssql"),
        ("postgres+psycopg://gw@h/d", "did you mean"),
        ("sqlite://", "/path/to/file"),
        ("just text", "postgresql+psycopg://"),
    ],
)
def test_a_driver_that_blocks_or_does_not_exist_is_refused_with_the_one_to_use(url, remedy):
    with pytest.raises(ConfigurationError) as refused:
        Connector.Settings.read({"url": url}, "connections.crm")
    assert refused.value.path == "connections.crm.url"
    assert remedy in refused.value.remedy


def test_a_row_is_a_dict_and_statements_are_prepared_once():
    assert Row(a=1) == {"a": 1}
    assert prepared("select 1") is prepared("select 1")


# Under gevent


def in_gevent(script, *arguments):
    """Run a script in a process that gevent has patched; what it printed."""
    head = """
        import gevent.monkey
        gevent.monkey.patch_all()
        import sys, time
        import gevent
        sys.path.insert(0, sys.argv[1])
        from backends.connectors.sql import Connector
        from specs.problems import BackendError

        def connect(url, **more):
            return Connector("crm", Connector.Settings.read({"url": url, "timeout": "5s", **more}))

        class Ticks:
            def __enter__(self):
                self.longest, self.running = 0.0, True
                self.greenlet = gevent.spawn(self.run)
                gevent.sleep(0)
                return self
            def run(self):
                last = time.monotonic()
                while self.running:
                    gevent.sleep(0.002)
                    self.longest = max(self.longest, time.monotonic() - last)
                    last = time.monotonic()
            def __exit__(self, *exc):
                self.running = False
                self.greenlet.join()
    """
    code = textwrap.dedent(head) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(ROOT), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_under_gevent_a_transaction_across_a_yield_does_not_stop_the_hub(tmp_path):
    printed = in_gevent(
        """
        crm = connect(sys.argv[2])
        crm.execute("create table t (n integer)")

        def write(n):
            with crm.transaction() as one:
                one.execute("insert into t values (:n)", n=n)
                gevent.sleep(0.05)

        with Ticks() as ticks:
            gevent.joinall([gevent.spawn(write, n) for n in range(6)], raise_error=True)
        print(crm.one("select count(*) as n from t").n, ticks.longest < 0.2)
        crm.close()
        """,
        f"sqlite:///{tmp_path}/a.db",
    )
    assert printed == ["6", "True"]


def test_under_gevent_a_file_locked_by_another_process_does_not_stop_the_hub(tmp_path):
    path = tmp_path / "a.db"
    connect(f"sqlite:///{path}").execute("create table t (n integer)")
    holder = subprocess.Popen(
        [sys.executable, "-c",
         "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\nc.execute('BEGIN IMMEDIATE')\n"
         "print('locked', flush=True)\nsys.stdin.read()\nc.execute('COMMIT')", str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == b"locked\n"
        printed = in_gevent(
            """
            import os, signal
            crm = connect(sys.argv[2])
            gevent.spawn_later(0.3, os.kill, int(sys.argv[3]), signal.SIGTERM)
            with Ticks() as ticks:
                crm.execute("insert into t values (1)")
            print(crm.one("select count(*) as n from t").n, ticks.longest < 0.2)
            crm.close()
            """,
            f"sqlite:///{path}",
            str(holder.pid),
        )
        assert printed == ["1", "True"]
    finally:
        if holder.poll() is None:
            os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()


def test_under_gevent_postgresql_lets_others_run_and_A7_a_killed_statement_costs_its_connection(postgresql_server):
    printed = in_gevent(
        """
        crm = connect(sys.argv[2], pool_size=4)
        with Ticks() as ticks:
            started = time.monotonic()
            gevent.joinall([gevent.spawn(crm.all, "select pg_sleep(0.3)") for _ in range(4)], raise_error=True)
            took = time.monotonic() - started
        print(took < 0.9, ticks.longest < 0.25)

        victims = [gevent.spawn(crm.one, "select pg_sleep(0.5)::text || 'of the killed' as said") for _ in range(4)]
        gevent.sleep(0.1)
        gevent.killall(victims)
        print(*[crm.one("select :n as n", n=str(n)).n for n in range(8)])
        with gevent.Timeout(0.1, False):
            crm.all("select pg_sleep(0.5)")
        print(crm.one("select 'clean' as said").said, crm._engine.pool.checkedout())
        crm.close()
        """,
        postgresql_server.new_database(),
    )
    assert printed == ["True", "True", *"01234567", "clean", "0"]
