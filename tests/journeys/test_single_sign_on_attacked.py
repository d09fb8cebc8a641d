"""What strangers and accidents do to people: floods of logins, a database that is gone."""

import threading
import time
from contextlib import ExitStack

import pytest
import requests
from people import PASSWORD
from peopled import CONFIGURATION, SERVICES, Person
from running import eventually, gateway
from servers import postgresql

KEY = {"X-API-Key": "0123456789abcdef0123456789abcdef"}


def flood(running, name, count):
    """The statuses of *count* logins of one person, all begun at once."""
    statuses, gate = [], threading.Barrier(count + 1)
    body = {"username": name, "password": PASSWORD}

    def one():
        gate.wait()
        statuses.append(running.post("/sso/v1/login", json=body, timeout=120).status_code)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    gate.wait()
    return statuses, threads


@pytest.fixture(params=["sqlite", "postgresql"])
def options(request):
    """What starts a gateway on a database of each kind."""
    if request.param == "sqlite":
        return ()
    return ("--database", request.getfixturevalue("postgresql_server").new_database())


def test_S17_a_flood_of_logins_is_answered_or_refused_and_loses_no_worker(tmp_path, options):
    with gateway(tmp_path, CONFIGURATION, SERVICES, workers=2, options=options) as running:
        ann = Person(running).sign_up()
        workers = running.workers()
        statuses, threads = flood(running, ann.name, 24)
        others = []
        while any(thread.is_alive() for thread in threads):
            others.append(running.get("/who", headers=KEY, timeout=60).status_code)
        assert len(statuses) == 24
        assert set(statuses) <= {200, 503}
        assert set(others) <= {200}
        assert running.workers() == workers
        assert "Traceback" not in running.log()


@pytest.mark.soak
def test_S17_two_hundred_logins_at_once_hold_up_nobody_else(tmp_path):
    with gateway(tmp_path, CONFIGURATION, SERVICES, workers=2) as running:
        ann = Person(running).sign_up()
        workers = running.workers()
        session = requests.Session()
        session.get(f"{running.url}/who", headers=KEY)
        took, rounds = [], []
        for _ in range(5):
            statuses, threads = flood(running, ann.name, 200)
            while any(thread.is_alive() for thread in threads):
                began = time.perf_counter()
                assert session.get(f"{running.url}/who", headers=KEY).status_code == 200
                took.append(time.perf_counter() - began)
                time.sleep(0.002)
            rounds.append({status: statuses.count(status) for status in sorted(set(statuses))})
            assert set(statuses) <= {200, 503}
        took.sort()
        p99 = took[int(len(took) * 0.99)]
        half = took[len(took) // 2]
        print(f"{len(took)} other calls: p50 {half * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms; logins {rounds}")
        assert running.workers() == workers
        assert p99 < 0.05


def test_S49_without_the_database_nobody_is_let_in_and_who_needs_none_goes_on(tmp_path):
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        url = server.enter_context(postgresql()).new_database()
        running = stack.enter_context(
            gateway(tmp_path, CONFIGURATION, SERVICES, workers=1, options=("--database", url))
        )  # fmt: skip
        ann = Person(running).sign_up().log_in()
        assert ann.get("/who").status_code == 200
        assert running.get("/who", headers=KEY).status_code == 200
        server.close()
        # Copies of a session are not taken any more once it cannot be known what others do.
        assert eventually(lambda: ann.get("/who").status_code == 503, 20)
        assert ann.call("POST", "/login", {"username": ann.name, "password": PASSWORD})[0] == 503
        assert ann.call("GET", "/me")[0] == 503
        assert [running.get("/who", headers=KEY).status_code for _ in range(3)] == [200] * 3
        wrong = running.get("/who", headers={"Authorization": f"Bearer {ann.token[:-1]}x"})
        assert wrong.status_code == 503
