"""The seeds' services behind a real gateway, each called by its name over the wire, as far as there is a transport for it."""

from datetime import date
from pathlib import Path

import pytest
import requests
from lxml import etree
from running import eventually, gateway

from backends.demo.upstream import Upstream
from security.database import open_database

FOLDER = Path(__file__).parent / "services"
#: The listings whose way in, and whose way out, is there; each has a channel of its own.
SERVED = (
    "get-customer", "update-customer", "get-customer-cases", "json_schema.my-service", "job_manager.job-manager",
    "linuxjournal.update-cache", "linuxjournal.get-rate", "mssql_all.my-service", "mssql_lazy.my-service", "mq.mq-receiver",
)  # fmt: skip
#: Those that wait for a connector or a channel, as README.md beside this file says.
WAITING = (
    "amqp_ack.my-service", "amqp_details.my-service", "billing.billing-handler", "ftp_handler.ftp-handler", "mq.mq-sender",
    "wsx_broadcast.wsx-broadcast", "wsx_client.my-service", "wsx_hook.on-message-hook",
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory, postgresql_server):
    folder = tmp_path_factory.mktemp("seeds")
    files = {path.name: path.read_text() for path in FOLDER.iterdir() if path.suffix in (".py", ".json")}
    url = postgresql_server.new_database()
    database = open_database(url)
    database.write(
        lambda connection: connection.exec_driver_sql(
            "create function get_current_user(who text) returns table (name text, asked text) language sql as "
            "$$ select 'Ann', who union all select 'Bob', who $$"
        )
    )
    database.close()
    channels = [f"  {name}: {{type: rest, path: '/{name}', service: {name}}}" for name in (*SERVED, *WAITING)]
    upstream = Upstream(today=lambda: date(2026, 10, 14))
    document = "\n".join(
        [
            "format: 1",
            "connections:",
            f"  treasury: {{type: rest, url: '{upstream.url}'}}",
            f"  My MS SQL Connection: {{type: sql, url: '{url}'}}",
            "channels:",
            "  rate-in-xml: {type: xml, path: /rate.xml, service: linuxjournal.get-rate}",
            *channels,
        ]
    )
    try:
        with gateway(folder, document, files, workers=2) as running:
            yield running
    finally:
        upstream.close()


def call(served, name, payload, status=200):
    answer = served.post(f"/{name}", json=payload)
    assert answer.status_code == status, answer.text
    return answer


def logged(served, text):
    return eventually(lambda: text in served.log())


def test_every_listing_is_listed_by_the_running_gateway(served):
    names = served.command("service", "list").split()
    assert {*SERVED, *WAITING} <= set(names)


@pytest.mark.parametrize(
    ("name", "payload", "missing"),
    [
        ("get-customer", {"cust_id": 1}, {"/cust_id"}),
        ("update-customer", {"name": "Ann", "is_active": True, "region": "north"}, {"/name", "/is_active", "/region"}),
        ("get-customer-cases", {"case_id": 1}, {"/case_id"}),
    ],
)
def test_customers_are_taken_in_and_the_output_that_the_article_left_out_is_missed(served, name, payload, missing):
    assert call(served, name, payload, 500).json()["code"] == "invalid-response"
    refused = call(served, name, {}, 400).json()
    assert (refused["code"], {fault["pointer"] for fault in refused["errors"]} & missing) == ("invalid-input", missing)


def test_a_request_that_fits_the_schema_is_logged_and_another_is_refused(served):
    call(served, "json_schema.my-service", {"name": "The Garden of Cyrus", "pub_year": 1658})
    assert logged(served, "My request: {'name': 'The Garden of Cyrus', 'pub_year': 1658}")
    refused = call(served, "json_schema.my-service", {"user_id": 123}, 400).json()
    assert [fault["pointer"] for fault in refused["errors"]] == ["/name", "/pub_year"]


def test_rates_are_fetched_by_one_call_and_answered_in_both_formats_by_others(served):
    call(served, "linuxjournal.update-cache", {"year": 2013, "month": 9})
    assert logged(served, "Key linuxjournal:rates:2013:09:03 set to 1.22")
    asked = {"year": "2013", "month": "9", "day": "3"}
    assert call(served, "linuxjournal.get-rate", asked).json() == {"response": {"rate": "1.22"}}
    answer = served.get("/rate.xml", params=asked)
    assert (answer.status_code, etree.fromstring(answer.content).findtext(".//{*}rate")) == (200, "1.22")
    # From a shell as well, by the name that the article writes.
    served.command("service", "invoke", "linuxjournal.update-cache", "--payload", '{"year": 2013, "month": 10}')
    rate = call(served, "linuxjournal.get-rate", {"year": "2013", "month": "10", "day": "1"}).json()
    assert rate["response"]["rate"]


def test_the_job_of_the_article_is_made_and_runs(served):
    call(served, "job_manager.job-manager", {})
    assert eventually(lambda: "input of 'My Sample'" in served.log(), 30)


@pytest.mark.parametrize("listing", ["mssql_all", "mssql_lazy"])
def test_rows_of_a_stored_procedure_are_logged_as_dictionaries(served, listing):
    before = served.log().count("{'name': 'Bob', 'asked': ''}")
    call(served, f"{listing}.my-service", {})
    assert eventually(lambda: served.log().count("{'name': 'Bob', 'asked': ''}") > before)
    assert "{'name': 'Ann', 'asked': ''}" in served.log()


def test_a_receiver_reads_what_it_was_sent(served):
    call(served, "mq.mq-receiver", {"told": "by a queue"})
    assert logged(served, "by a queue")


@pytest.mark.parametrize("name", WAITING)
def test_a_listing_that_waits_for_a_connector_fails_by_itself_and_tells_the_caller_nothing(served, name):
    answer = served.post(f"/{name}", json={})
    problem = answer.json()
    assert (answer.status_code >= 400, "Traceback" in answer.text, ".py" in answer.text) == (True, False, False)
    assert problem["cid"] == answer.headers["X-Request-Id"]
    assert requests.get(served.admin_url + "/ready", timeout=10).status_code == 200
