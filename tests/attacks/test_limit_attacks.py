"""What strangers try against limits and lists of addresses, over the wire: A20, A22, A33, A43, A54."""

import json

import pytest
from running import eventually, gateway
from wires import read_answer

SERVICES = {
    "ping.py": """
        from gatewright import Service

        class Ping(Service):
            name = "ping"

            def handle(self):
                self.response.payload = {"pong": True}
    """
}
CONFIGURATION = """
format: 1
gateway: {trusted_proxies: [127.0.0.1], admission: door}
security:
  people: {type: basic, groups: ["*"]}
limits:
  door: {rules: [{from: "*", rate: 20/hour}]}
  five: {rules: [{from: "*", rate: 5/hour}]}
  kib:  {rules: [{from: "*", rate: 10KiB/hour}]}
  calendar: {algorithm: fixed-window, rules: [{from: "*", rate: 10KiB/day}]}
  lan:  {rules: [{from: "10.0.0.0/8", rate: unlimited}, {from: "*", rate: deny}]}
consumers:
  "a:b": {basic: {username: first, password: first-password-1}, limit: five}
  "a":   {basic: {username: second, password: second-password-1}, limit: five}
  victim: {basic: {username: victim, password: victim-password-1}}
channels:
  "c":   {type: rest, path: /c, service: ping, security: [people]}
  "b:c": {type: rest, path: /bc, service: ping, security: [people]}
  login: {type: rest, path: /login, service: ping, security: [people]}
  open:  {type: rest, path: /open, service: ping}
  lan:   {type: rest, path: /lan, service: ping, limit: lan}
  told:  {type: rest, path: /told, service: ping, limit: kib}
  chunks: {type: rest, path: /chunks, service: ping, limit: kib}
  promised: {type: rest, path: /promised, service: ping, limit: kib}
  calendar: {type: rest, path: /calendar, service: ping, limit: calendar}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("attacks"), CONFIGURATION, SERVICES) as running:
        yield running


def ask(served, path, address, **more):
    return served.get(path, headers={"X-Forwarded-For": address}, **more).status_code


def test_A20_an_address_that_a_stranger_wrote_is_not_believed(served):
    # The proxy on 127.0.0.1 wrote the right-most one; the rest is the caller's invention.
    for forged in ("10.0.0.1, 192.0.2.50", "10.0.0.1,10.0.0.2 , 192.0.2.50", "[::ffff:10.0.0.1]:80, 192.0.2.50"):
        assert ask(served, "/lan", forged) == 403
    assert ask(served, "/lan", "192.0.2.50, 10.0.0.1") == 200
    garbage = served.get("/lan", headers={"X-Forwarded-For": "10.0.0.1; 192.0.2.50"})
    assert garbage.status_code == 403
    both = {"X-Forwarded-For": "10.0.0.1", "Forwarded": "for=192.0.2.50"}
    assert served.get("/lan", headers=both).status_code == 400


def test_A22_mapped_forms_leading_zeros_and_rotation_within_a_64_change_nothing(served):
    assert ask(served, "/lan", "::ffff:10.0.0.1") == 200
    assert ask(served, "/lan", "010.0.0.1") == 403
    got = [ask(served, "/open", f"2001:db8:1:1::{number:x}") for number in range(1, 26)]
    assert got == [200] * 20 + [429] * 5
    assert ask(served, "/open", "2001:db8:1:2::1") == 200


def test_A33_guessing_is_limited_by_the_real_peer_and_locks_nobody_else_out(served):
    wrong = ("victim", "guess")
    got = [ask(served, "/login", f"198.51.100.{n}, 203.0.113.9", auth=wrong) for n in range(14)]
    # Each guess costs two hits: the request, and that it was wrong.
    assert got == [401] * 10 + [429] * 4
    assert ask(served, "/login", "203.0.113.77", auth=("victim", "victim-password-1")) == 200


def test_A54_callers_and_channels_whose_names_run_together_have_buckets_of_their_own(served):
    first, second = ("first", "first-password-1"), ("second", "second-password-1")
    assert [ask(served, "/c", "192.0.2.81", auth=first) for _ in range(6)] == [200] * 5 + [429]
    assert [ask(served, "/bc", "192.0.2.82", auth=second) for _ in range(6)] == [200] * 5 + [429]


def test_A37_a_quota_of_bytes_counts_what_comes_in_chunks_too(served):
    body = json.dumps({"text": "x" * 4000}).encode()
    sent = {"headers": {"X-Forwarded-For": "192.0.2.60", "Content-Type": "application/json"}}
    told = [served.post("/told", data=body, **sent).status_code for _ in range(4)]
    # A length that is not announced is charged once it is known: one more may pass, as with answers.
    chunks = [served.post("/chunks", data=iter([body[:9], body[9:]]), **sent).status_code for _ in range(5)]
    assert (told, chunks) == ([200, 200, 429, 429], [200, 200, 200, 429, 429])


@pytest.mark.parametrize("path", ["/promised", "/calendar"])
def test_A37_bytes_that_were_announced_and_never_came_are_nobodys_quota(served, path):
    """Or else one head, for which nothing is sent, would use up what all callers of a channel share."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.61\r\nContent-Type: application/json\r\nContent-Length: "
    with served.connect() as sock:
        sock.sendall(f"{head}99999999\r\n\r\n".encode())
        assert read_answer(sock).status == 413
    with served.connect() as sock:
        sock.sendall(f'{head}9000\r\n\r\n{{"text": "'.encode())
    sent = {"json": {"text": "x" * 4000}, "headers": {"X-Forwarded-For": "192.0.2.62"}}
    assert eventually(lambda: served.post(path, **sent).status_code == 200)
    # What came is paid for.
    assert [served.post(path, **sent).status_code for _ in range(3)] == [200, 429, 429]


def test_A43_many_callers_leave_memory_bounded_and_nobody_forgotten(served):
    for _ in range(20):
        assert ask(served, "/open", "192.0.2.99") == 200
    assert ask(served, "/open", "192.0.2.99") == 429
    before = (served.data / "limits.table").stat().st_size
    for number in range(300):
        ask(served, "/open", f"172.16.{number // 250}.{number % 250 + 1}")
    assert ask(served, "/open", "192.0.2.99") == 429
    assert (served.data / "limits.table").stat().st_size == before
    rows = json.loads(served.command("limits", "top", "--most", "500", "--json"))
    assert len(rows) <= 200
