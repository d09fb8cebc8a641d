"""The seeds' own services, deployed together and run: see README.md beside this file for what was put back into each."""

import logging
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
from scripted import ok, scripted

from backends import builtins
from backends.background import Queue
from backends.catalogue import deployed_from
from backends.connections import CONNECTORS, Connections, Outgoing
from backends.demo.upstream import Upstream
from backends.deployment import Deployments
from backends.executors.local import LocalExecutor
from backends.guard import Guard
from backends.jobs import Jobs
from backends.keyvalue import KeyValueDatabase
from backends.platform import Platform
from security.database import metadata, open_database
from security.secrets import Keyring
from specs.exchange import Call
from specs.problems import Problem
from specs.strict_json import dumps

FOLDER = Path(__file__).parent / "services"


class Installation:
    """One process: the listings deployed, a database, and the connections that a test configures."""

    def __init__(self, folder):
        self.database = open_database(f"sqlite:///{folder / 'gatewright.db'}")
        self.database.write(metadata.create_all)
        self.deployments = Deployments(self.database, Keyring.generate().ring("edge"), builtin=deployed_from(builtins))
        self.files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in (".py", ".json")}
        self.version = self.deployments.deploy(self.files, source="test")
        self.queue = Queue(self.database)
        self.jobs = Jobs(self.database, self.queue)
        self.kvdb = KeyValueDatabase(self.database)
        self.connections = Connections()
        self.leases = []

    def connect(self, kind, name, **settings):
        read = CONNECTORS.get(kind).Settings.read(settings, f"connections.{name}")
        self.leases.append(self.connections.lease(kind, name, read))

    def perform(self, name, payload=None, *, raw=b"", cid="cid-1", out=None):
        """The outcome of one call, in an executor of its own as another process would have."""
        platform = Platform(
            out=out or Outgoing(self.leases), kvdb=self.kvdb, jobs=self.jobs, enqueue=self.queue.enqueue
        )
        executor = LocalExecutor(self.deployments.load(), platform, Guard(enforce=False))
        return executor.perform(Call(name, payload=payload, raw=raw, cid=cid))

    def close(self):
        for lease in self.leases:
            lease.release()
        self.database.close()


@pytest.fixture
def installation(tmp_path):
    installation = Installation(tmp_path)
    yield installation
    installation.close()


@pytest.fixture(autouse=True)
def everything_logged(caplog):
    caplog.set_level(logging.INFO)


def test_every_listing_is_deployed_under_the_name_that_its_author_would_look_for(installation):
    contracts = installation.deployments.contracts()
    assert {name for name in contracts if not name.startswith(("zato.", "gatewright."))} == {
        "amqp_ack.my-service", "amqp_details.my-service", "billing.billing-handler", "ftp_handler.ftp-handler",
        "get-customer", "get-customer-cases", "job_manager.job-manager", "json_schema.my-service",
        "linuxjournal.get-rate", "linuxjournal.update-cache", "mq.mq-receiver", "mq.mq-sender", "mssql_all.my-service",
        "mssql_lazy.my-service", "update-customer", "wsx_broadcast.wsx-broadcast", "wsx_client.my-service",
        "wsx_hook.on-message-hook",
    }  # fmt: skip


# Customers (the article on API specifications)


def test_the_customer_services_have_their_namespaces_and_types(installation):
    contracts = installation.deployments.contracts()
    customer = contracts["get-customer"]
    assert (customer.namespace, customer.summary) == ("my.api.customer", "Returns basic information about a customer.")
    assert contracts["get-customer-cases"].namespace == "my.api.customer-cases"
    types = {field.name: (field.type, field.required) for field in (*customer.input, *customer.output)}
    assert types == {
        "cust_id": ("int", True), "cust_type": ("text", False), "segment": ("text", False), "name": ("text", True),
        "is_active": ("bool", True), "region": ("text", True), "last_seen": ("text", False),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("get-customer", {"cust_id": 1}),
        ("update-customer", {"name": "Ann", "is_active": True, "region": "north"}),
        ("get-customer-cases", {"case_id": 1}),
    ],
)
def test_customer_services_take_their_input_and_miss_the_output_that_the_article_left_out(installation, name, payload):
    with pytest.raises(Problem) as refused:
        installation.perform(name, payload)
    assert (refused.value.status, refused.value.code) == (500, "invalid-response")
    with pytest.raises(Problem) as refused:
        installation.perform(name, {})
    assert (refused.value.status, refused.value.code) == (400, "invalid-input")


# Long-term rates (the Linux Journal)


def test_rates_are_fetched_by_one_process_and_answered_by_another(installation, caplog):
    upstream = Upstream(today=lambda: date(2026, 10, 14))
    try:
        installation.connect("rest", "treasury", url=upstream.url)
        installation.perform("linuxjournal.update-cache", {"year": 2013, "month": 9})
    finally:
        upstream.close()
    assert "Key linuxjournal:rates:2013:09:03 set to 1.22" in caplog.text
    outcome = installation.perform("linuxjournal.get-rate", {"year": "2013", "month": "9", "day": "3"})
    contract = installation.deployments.contracts()["linuxjournal.get-rate"]
    assert (dict(outcome.payload), contract.response_elem) == ({"rate": "1.22"}, "response")


def test_the_cache_can_be_updated_by_the_name_without_dashes_too(installation):
    upstream = Upstream(today=lambda: date(2026, 10, 14))
    try:
        installation.connect("rest", "treasury", url=upstream.url)
        installation.perform("linuxjournal.updatecache", {})
    finally:
        upstream.close()


# JSON Schema


def test_a_request_that_fits_the_schema_is_logged_and_another_is_refused(installation, caplog):
    installation.perform("json_schema.my-service", {"name": "The Garden of Cyrus", "pub_year": 1658})
    assert "My request: {'name': 'The Garden of Cyrus', 'pub_year': 1658}" in caplog.text
    with pytest.raises(Problem) as refused:
        installation.perform("json_schema.my-service", {"user_id": 123})
    assert [fault.pointer for fault in refused.value.errors] == ["/name", "/pub_year"]


# The scheduler


def test_the_job_of_the_article_is_made(installation):
    installation.perform("job_manager.job-manager")
    state = installation.jobs.get("My Sample")
    assert (state.job.service, state.job.every) == ("zato.helpers.input-logger", 2.0)


def test_billings_are_sent_on_with_the_cid(installation):
    """The FTP half is a stand-in until its connector exists; the HTTP half is real."""
    contents = b"id;amount\n1;9.50\n"
    ftp = {"Billings": SimpleNamespace(getcontents=lambda path: contents if path == "/data/current.csv" else None)}
    with scripted(ok(b"thanks")) as erp:
        installation.connect("rest", "ERP", url=f"{erp.url}/billings")
        real = Outgoing(installation.leases)
        installation.perform("billing.billing-handler", out=SimpleNamespace(ftp=ftp, plain_http=real.plain_http))
        head, _, body = erp.requests[0].partition(b"\r\n\r\n")
    assert (body, b"POST /billings HTTP/1.1" in head, b"X-Request-Id: cid-1" in head) == (contents, True, True)


# Stored procedures, on PostgreSQL until the connector for SQL Server exists


@pytest.mark.parametrize("listing", ["mssql_all", "mssql_lazy"])
def test_rows_of_a_stored_procedure_are_dictionaries(installation, postgresql_server, caplog, listing):
    installation.connect("sql", "My MS SQL Connection", url=postgresql_server.new_database())
    connection = Outgoing(installation.leases).sql["My MS SQL Connection"]
    connection.execute(
        "create function get_current_user(who text) returns table (name text, asked text) language sql as "
        "$$ select 'Ann', who union all select 'Bob', who $$"
    )
    installation.perform(f"{listing}.my-service")
    assert "{'name': 'Ann', 'asked': ''}" in caplog.text
    assert "{'name': 'Bob', 'asked': ''}" in caplog.text


# WebSockets: what needs no socket


def test_a_hook_reads_its_opaque_context(installation, caplog):
    told = SimpleNamespace(id="6fd296ec", timestamp="2018-09-03T10:49:00.540024", data=["sample"])
    installation.perform("wsx_hook.on-message-hook", {"ctx": SimpleNamespace(type="message", data=told)})
    assert "Msg type: `message`" in caplog.text
    assert "Meta: `6fd296ec` `2018-09-03T10:49:00.540024`" in caplog.text


# Queues: what needs no broker


def test_a_receiver_reads_the_raw_message(installation, caplog):
    installation.perform("mq.mq-receiver", raw=dumps({"a": 1}))
    assert '{"a":1}' in caplog.text


@pytest.mark.parametrize(
    "name", ["mq.mq-sender", "ftp_handler.ftp-handler", "wsx_client.my-service", "wsx_broadcast.wsx-broadcast"]
)
def test_a_listing_whose_connector_does_not_exist_fails_by_itself_and_tells_the_caller_nothing(installation, name):
    with pytest.raises(Problem) as refused:
        installation.perform(name)
    assert (refused.value.status, refused.value.code) == (500, "internal-error")
