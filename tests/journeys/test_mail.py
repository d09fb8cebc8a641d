"""Letters of a gateway that serves: to a server with TLS and a login, through its pauses, and past a worker that is killed."""

import asyncio
import os
import signal
from datetime import UTC, datetime

import pytest
import requests
from mail_sink import mail_sink, make_certificate
from people import PASSWORD
from program import invoke
from running import eventually, gateway
from sqlalchemy import update

from security.database import open_database
from sso import tables

CONFIGURATION = """
format: 1
gateway: {{public_url: "https://acme.example"}}
connections:
  outbox: {{type: smtp, host: 127.0.0.1, port: {port}, tls: starttls, ca: "{ca}", username: gateway,
           password: "${{env:MAIL_PASSWORD}}", timeout: 30s}}
sso:
  enabled: true
  site_name: Acme
  apps: {{crm: {{signup: true, login: true}}}}
  mail: {{connection: outbox, from: "Acme <no-reply@acme.example>"}}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mail")
    authority, server = make_certificate(folder)
    tls = {"tls": "starttls", "certificate": server, "login": True}
    with mail_sink(**tls) as sink:
        configuration = CONFIGURATION.format(port=sink.port, ca=authority)
        environment = {"MAIL_PASSWORD": "mail-password"}
        with gateway(folder, configuration, workers=2, environment=environment) as running:
            yield running, sink
    assert "mail-password" not in running.log()
    assert "@example.org" not in running.log()  # S29


def sign_up(running, name):
    given = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
    assert running.post("/sso/v1/signup", json=given).status_code == 202


def test_who_signs_up_is_written_to_and_the_link_confirms(served):
    running, sink = served
    sign_up(running, "ann")
    assert eventually(lambda: sink.to("ann@example.org"), 60)
    [letter] = sink.to("ann@example.org")
    assert (letter["Subject"], letter.encrypted) == ("Confirm your address for Acme", True)
    text = letter.get_body(("plain",)).get_content()
    [link] = [line.strip() for line in text.splitlines() if line.startswith("https://acme.example/sso/signup/confirm?")]
    token = link.partition("token=")[2]
    assert running.post("/sso/v1/signup/confirm", json={"token": token}).json() == {"status": "active"}
    assert eventually(lambda: len(sink.to("ann@example.org")) == 2, 60)
    assert sink.to("ann@example.org")[1]["Subject"] == "Welcome to Acme"


def test_what_a_command_does_holds_at_once_for_every_worker(served):
    running, _ = served

    def shell(*words, stdin=None):
        done = invoke(["sso", *words, "--data", str(running.data)], input=stdin)
        assert done.exit_code == 0, done.output
        return done.stdout

    shell("create-user", "kim", "--email", "kim@example.org", "--no-must-change", "--password-stdin", stdin=PASSWORD)
    given = {"username": "kim", "password": PASSWORD}
    tokens = [running.post("/sso/v1/login", json=given).json()["token"] for _ in range(2)]

    def statuses():
        bearers = [{"Authorization": f"Bearer {token}"} for token in tokens]
        return {running.get("/sso/v1/session", headers=bearer).status_code for bearer in bearers for _ in range(4)}

    assert statuses() == {200}
    shell("lock", "kim", "--reason", "left the company")
    assert statuses() == {401}
    assert running.post("/sso/v1/login", json=given).json()["code"] == "account-locked"
    shell("unlock", "kim")
    tokens = [running.post("/sso/v1/login", json=given).json()["token"]]
    assert statuses() == {200}
    shell("sessions", "revoke", "kim")
    assert statuses() == {401}
    assert shell("audit", "verify").endswith("\n")


def test_a_letter_outlives_the_worker_that_was_sending_it(served):
    running, sink = served
    in_hand = []
    database = open_database(running.data)

    def letters():
        return database.read(lambda c: c.execute(tables.letters.select()).all())

    assert eventually(lambda: letters() == [], 60)  # those of other tests are on their way

    async def hang(server, session, envelope):
        in_hand.append(envelope.rcpt_tos)
        await asyncio.sleep(60)
        return "451 too late"

    answer, sink.handle_DATA = sink.handle_DATA, hang
    sign_up(running, "cyd")
    assert eventually(lambda: in_hand, 60)
    before = running.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    sink.handle_DATA = answer
    assert eventually(lambda: len(running.workers()) == 2 and not running.workers() & before, 60)
    try:
        assert [(row.kind, row.tries) for row in letters()] == [("confirm", 1)]
        assert sink.to("cyd@example.org") == []
        # A quarter of an hour later, when nobody who took it can still be sending it:
        database.write(lambda c: c.execute(update(tables.letters).values(due_at=datetime.now(UTC))))
        assert eventually(lambda: sink.to("cyd@example.org"), 60)
        assert eventually(lambda: letters() == [], 60)
    finally:
        database.close()
    assert len(sink.to("cyd@example.org")) == 1


AWAY = """
format: 1
connections: {{outbox: {{type: smtp, host: 127.0.0.1, port: {port}, tls: none}}}}
sso:
  enabled: true
  apps: {{crm: {{signup: true, login: true}}}}
  mail: {{connection: outbox, from: "Acme <no-reply@acme.example>"}}
"""


def gauge(running, name):
    lines = requests.get(running.admin_url + "/metrics", timeout=30).text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"gatewright_{name} ")), None)


def test_a_mail_server_that_is_away_is_seen_in_the_status_before_there_is_a_letter_and_after_it_is_back(tmp_path):
    with mail_sink() as sink:
        pass
    with gateway(tmp_path, AWAY.format(port=sink.port)) as running:
        mail = eventually(lambda: (told := running.status().get("mail", {})).get("trouble") and told, 60)
        assert mail == {"waiting": 0, "given_up": 0, "trouble": "'outbox' cannot be reached (Connection refused)"}
        assert eventually(lambda: gauge(running, "mail_unreachable") == 1, 60)
        sign_up(running, "dan")
        assert eventually(lambda: gauge(running, "letters_waiting") == 1, 60)
        with mail_sink(sink=sink):
            assert eventually(lambda: sink.to("dan@example.org"), 120)
            well = {"waiting": 0, "given_up": 0, "trouble": ""}
            assert eventually(lambda: running.status()["mail"] == well, 60)
            assert eventually(lambda: gauge(running, "mail_unreachable") == 0, 60)
