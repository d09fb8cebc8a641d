"""Requests of one connection whose heads are the same, byte for byte: understood once, and never let in on yesterday's terms."""

import http.client
import json
from base64 import b64encode

import pytest
import requests
from running import eventually, gateway

SERVICES = {
    "vandal.py": '''
        from copy import deepcopy

        from gatewright import Service

        class Vandal(Service):
            """Writes into everything that it is given, and says what it was given."""
            name = "vandal"
            input = "-n"

            def handle(self):
                http = self.request.http
                facts = self.identity.attributes
                self.response.payload = {
                    "headers": sorted(http.headers), "query": deepcopy(dict(http.GET)), "input": dict(self.request.input),
                    "name": self.identity.name, "body": self.request.raw_request.decode(),
                    "params": dict(http.params), "facts": deepcopy(dict(facts)),
                }
                http.headers["x-left-behind"] = "by the call before"
                for values in (*http.GET.values(), *self.request.input.values(), *facts.values()):
                    if isinstance(values, list):
                        values.append("by the call before")
                for given in (http.GET, http.params, self.request.input, facts):
                    try:
                        given["left-behind"] = "by the call before"
                    except TypeError:
                        pass  # one that nobody can write into
    ''',
}
CONFIGURATION = """
format: 1
limits:
  few: {{rules: [{{from: "*", rate: 1000/day}}]}}
security:
  callers: {{type: basic, groups: [{groups}]}}
groups: {{old: {{}}, new: {{}}}}
consumers:
  acme: {{groups: [old], basic: {{username: acme, password: {password}}}, limit: few, attributes: {{tags: [a]}}}}
channels:
  open: {{type: rest, path: /open, methods: [GET], service: vandal}}
  below: {{type: rest, path: "/below/{{n}}", methods: [GET], service: vandal, params_priority: body}}
  vandal: {{type: rest, path: /vandal, methods: [GET, POST], service: vandal, security: [callers], {more}}}
"""


def document(password="first-password-1", groups="old", more="description: as it was"):
    return CONFIGURATION.format(password=password, groups=groups, more=more)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("same-head"), document(), SERVICES) as served:
        yield served


@pytest.fixture
def served(running):
    assert eventually(lambda: Caller(running).ask()[0] == 200)
    yield running
    change(running)


class Caller:
    """One connection, on which the same bytes are asked again and again."""

    def __init__(self, served, *, target="/vandal?n=1", body="", credentials="acme:first-password-1"):
        self.sock = served.connect()
        method, length = (
            ("POST", f"Content-Length: {len(body)}\r\nContent-Type: text/plain\r\n") if body else ("GET", "")
        )
        head = f"{method} {target} HTTP/1.1\r\nHost: a\r\n{length}Authorization: Basic "
        self.head = head + b64encode(credentials.encode()).decode() + "\r\n\r\n"

    def ask(self, body=""):
        self.sock.sendall((self.head + body).encode())
        answer = http.client.HTTPResponse(self.sock)
        answer.begin()
        return answer.status, json.loads(answer.read()), dict(answer.getheaders())


def change(served, **settings):
    """Have the gateway serve the document with these settings, in a moment."""
    found = requests.put(
        served.admin_url + "/config", data=document(**settings), auth=served.administrator(), timeout=20,
        headers={"Content-Type": "application/yaml"},
    )  # fmt: skip
    assert found.status_code == 200, found.text


def test_what_a_service_does_to_its_request_is_not_there_the_next_time(served):
    caller = Caller(served)
    first, second, third = (caller.ask()[1] for _ in range(3))
    assert first == second == third
    assert first["query"] == {"n": "1"}
    assert "x-left-behind" not in first["headers"]
    # Nor with another head on the same connection, or on another.
    caller.head = caller.head.replace("?n=1", "?n=2")
    assert caller.ask()[1]["query"] == {"n": "2"}
    assert "x-left-behind" not in Caller(served).ask()[1]["headers"]


@pytest.mark.parametrize("target", ["/vandal?n=1&more=1&more=2", "/open?more=1&more=2", "/below/7?more=1&more=2"])
def test_nothing_that_a_service_was_given_is_anybody_elses(served, target):
    caller = Caller(served, target=target)
    first, second, third = (caller.ask()[1] for _ in range(3))
    assert first == second == third
    assert first["query"]["more"] == ["1", "2"]
    assert "left-behind" not in str(first)
    # Nor do callers of another connection find it, nor those of another channel.
    assert Caller(served, target=target).ask()[1] == first
    assert "left-behind" not in str(Caller(served, target="/vandal?n=1").ask()[1])


def test_each_request_is_counted_and_has_an_id_of_its_own(served):
    caller = Caller(served)
    answers = [caller.ask()[2] for _ in range(5)]
    assert len({headers["X-Request-Id"] for headers in answers}) == 5
    left = [int(headers["RateLimit"].split(";r=")[1].split(";")[0]) for headers in answers]
    assert left == sorted(left, reverse=True)
    assert left[0] - left[-1] == 4


def test_a_head_that_differs_by_one_byte_is_another_head(served):
    caller = Caller(served)
    assert caller.ask()[0] == 200
    right = caller.head
    caller.head = right.replace(
        b64encode(b"acme:first-password-1").decode(), b64encode(b"acme:first-password-2").decode()
    )
    assert caller.ask()[0] == 401
    caller.head = right
    assert caller.ask()[0] == 200


def test_a_password_that_was_changed_is_refused_on_the_connection_that_it_opened(served):
    caller = Caller(served)
    assert caller.ask()[0] == 200
    change(served, password="second-password-2")
    assert eventually(lambda: caller.ask()[0] == 401)
    assert Caller(served, credentials="acme:second-password-2").ask()[0] == 200


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"groups": "new"}, 401),
        ({"more": "groups: [new]"}, 403),
        ({"more": "deny: [127.0.0.0/8]"}, 403),
        ({"more": "enabled: false"}, 404),
        ({"more": "limit: few, cost: 1001"}, 429),
    ],
)
def test_what_is_taken_away_is_gone_for_connections_that_had_it(served, settings, status):
    if status == 429:
        settings = {"more": "limit: few, cost: 600"}
    caller = Caller(served)
    assert caller.ask()[0] == 200
    change(served, **settings)
    assert eventually(lambda: caller.ask()[0] == status)


def test_bodies_are_each_their_own_under_one_head(served):
    caller = Caller(served, target="/vandal", body="........")
    caller.head = caller.head.replace("text/plain", "application/json")
    for number in range(3):
        body = json.dumps({"n": f"{number:02}"}).ljust(8 + 3)[:11]
        caller.head = caller.head.replace("Content-Length: 8", f"Content-Length: {len(body)}")
        status, answer, _ = caller.ask(body)
        assert (status, answer["body"], answer["input"]) == (200, body, {"n": f"{number:02}"})
