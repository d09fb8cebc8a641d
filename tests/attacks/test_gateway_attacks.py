"""What strangers send, case by case of the catalogue, on raw sockets against a gateway that runs."""

import json
import re
import time

import pytest
from attack_corpus import corpus, request
from running import gateway
from wires import read_all, read_answer

SERVICES = {
    "echo.py": """
        from gatewright import Service

        CALLS = []

        class Echo(Service):
            name = "echo"
            def handle(self):
                http = self.request.http
                CALLS.append(http.path)
                self.response.payload = {
                    "method": http.method, "path": http.path, "address": http.address, "headers": dict(http.headers),
                    "identity": self.identity.name,
                }

        class Calls(Service):
            name = "calls"
            def handle(self):
                self.response.payload = list(CALLS)
                CALLS.clear()

        class Back(Service):
            name = "back"
            input = "value"
            def handle(self):
                self.response.headers["X-Back"] = self.request.input.value
                self.response.payload = {}
    """,
}
DOCUMENT = """
format: 1
gateway: {trusted_proxies: [127.0.0.9, "127.0.1.0/24"], admission: few}
security:
  admins: {type: basic, username: admin, password: a-secret-that-leaks-nowhere}
limits:
  few: {rules: [{from: "2001:db8:1::/48", rate: 2/hour}, {from: "*", rate: unlimited}]}
channels:
  echo: {type: rest, path: /read, service: echo, methods: [GET, POST]}
  calls: {type: rest, path: /calls, service: calls, methods: [GET]}
  back: {type: rest, path: /back, service: back, methods: [POST]}
  admin: {type: rest, path: /admin, service: echo, security: [admins], methods: [GET, DELETE]}
  pub: {type: rest, path: "/pub/{name}", service: echo, methods: [GET]}
  hosted: {type: rest, path: /hosted, host: api.example, service: echo, methods: [GET]}
  inside: {type: rest, path: /inside, service: echo, allow: ["10.0.0.0/8", "2001:db8::/32"], methods: [GET]}
"""
PROXY = "127.0.0.9"
CORPUS = list(corpus())


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("attacked"), DOCUMENT, SERVICES) as running:
        yield running


def ask(served, octets, source="127.0.0.1"):
    with served.connect(source=source) as sock:
        sock.sendall(octets)
        return read_answer(sock)


def get(path, *headers, host=b"Host: a.example", method=b"GET"):
    return request(method + b" " + path + b" HTTP/1.1", *headers, host=host)


def called(served):
    return ask(served, get(b"/calls")).json()


@pytest.mark.parametrize(
    ("case", "octets", "statuses"), CORPUS, ids=[f"{case}-{number}" for number, (case, _, _) in enumerate(CORPUS)]
)
def test_the_catalogue_is_refused_with_one_answer_and_no_service_hears_of_it(served, case, octets, statuses):
    with served.connect() as sock:
        sock.sendall(octets)
        answer = read_all(sock)
    assert int(answer.split()[1]) in statuses, answer
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert b"\r\nX-Request-Id: " in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == int(answer.split()[1])


def test_the_catalogue_reached_no_service(served):
    """Belongs after the test above: whatever of it had been taken for a request would stand here."""
    called(served)
    for _, octets, _ in CORPUS[::7]:
        with served.connect() as sock:
            sock.sendall(octets)
            read_all(sock)
    assert called(served) == []


def test_A3_a_length_shorter_than_the_body_makes_no_second_answer_of_its_rest(served):
    rest = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
    with served.connect() as sock:
        sock.sendall(
            request(b"POST /read HTTP/1.1", b"Content-Length: 2", b"Content-Type: application/json", body=b"{}" + rest)
        )
        first = read_answer(sock)
        second = read_answer(sock, first.after)
    # Pipelined, as HTTP/1.1 allows: a request of its own, which meets its own authentication.
    assert (first.status, second.status) == (200, 401)


def test_A8_what_a_caller_sends_cannot_split_an_answer(served):
    for value in ("a\r\nSet-Cookie: evil=1", "a\nb", "a\rb", "a\0b"):
        body = json.dumps({"value": value}).encode()
        octets = request(
            b"POST /back HTTP/1.1", b"Content-Type: application/json", b"Content-Length: %d" % len(body), body=body
        )
        answer = ask(served, octets)
        assert (answer.status, "set-cookie" in answer.headers) == (500, False)


def test_A8_a_request_id_from_a_proxy_is_taken_where_it_is_one(served):
    for sent, kept in (
        (b"abc-1.2_3", True),
        (b"a b", False),
        (b"a%0d%0aX: y", False),
        (b"x" * 65, False),
        (b"", False),
    ):
        answer = ask(served, get(b"/read", b"X-Request-Id: " + sent), PROXY)
        assert (answer.headers["x-request-id"] == sent.decode()) is kept
    assert ask(served, get(b"/read", b"X-Request-Id: abc")).headers["x-request-id"] != "abc"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"//admin", 400), (b"/./admin", 400), (b"/pub/../admin", 400), (b"/pub/%2e%2e/admin", 400), (b"/pub/..%2fadmin", 400),
        (b"/%61dmin", 401), (b"/adm%69n", 401), (b"/admin?x=/pub", 401), (b"/admin#/pub/x", 400), (b"/admin/", 404),
        (b"/Admin", 404), (b"/%41dmin", 404), (b"/admin;x", 400), (b"/admin%00", 400), (b"/admin%20", 404), (b"/admin.", 404),
        (b"http://a.example/admin", 401), (b"/pub/x", 200),
    ],
)  # fmt: skip
def test_A9_A10_A12_A13_no_spelling_of_a_path_goes_round_its_authentication(served, path, status):
    assert ask(served, get(path)).status == status


def test_A11_a_variable_never_holds_more_than_its_segment(served):
    assert ask(served, get(b"/pub/a%20b")).json()["path"] == "/pub/a b"
    for path in (b"/pub/a/b", b"/pub/", b"/pub"):
        assert ask(served, get(path)).status == 404


def test_A13_a_host_is_the_same_in_every_spelling(served):
    for host in (b"api.example", b"API.example", b"api.example.", b"Api.Example:8000"):
        assert ask(served, get(b"/hosted", host=b"Host: " + host)).status == 200
    for host in (b"api.example.evil", b"evil-api.example", b"xapi.example"):
        assert ask(served, get(b"/hosted", host=b"Host: " + host)).status == 404


def test_A14_no_link_is_built_from_a_host_that_a_stranger_names(served):
    for source in ("127.0.0.1", PROXY):
        octets = get(b"/openapi.json", b"X-Forwarded-Host: evil.example", host=b"Host: evil.example")
        answer = ask(served, octets, source)
        assert b"evil.example" not in answer.body
        assert "evil.example" not in str(answer.headers)


def test_A15_authentication_is_asked_of_whatever_method_runs(served):
    override = (b"X-HTTP-Method-Override: DELETE", b"X-Method-Override: DELETE", b"X-HTTP-Method: DELETE")
    assert ask(served, get(b"/read", *override)).json()["method"] == "GET"
    with served.connect() as sock:
        sock.sendall(get(b"/admin", method=b"HEAD"))
        assert read_answer(sock, method="HEAD").status == 401
    assert ask(served, get(b"/admin", method=b"DELETE")).status == 401
    assert ask(served, get(b"/admin", method=b"POST")).status == 405
    assert ask(served, get(b"/read", method=b"TRACE")).status == 405
    assert ask(served, get(b"/read?_method=DELETE")).json()["method"] == "GET"


def test_A16_headers_cannot_move_the_path(served):
    moved = (b"Script-Name: /pub", b"X-Original-URL: /admin", b"X-Rewrite-URL: /admin", b"X-Forwarded-Prefix: /pub")
    for source in ("127.0.0.1", PROXY):
        assert ask(served, get(b"/read", *moved), source).json()["path"] == "/read"


def test_A17_headers_do_not_make_an_identity(served):
    spoofed = (b"X-Consumer-Name: admin", b"X-Auth-User: admin", b"Remote-User: admin", b"X-Forwarded-User: admin")
    for source in ("127.0.0.1", PROXY):
        assert ask(served, get(b"/admin", *spoofed), source).status == 401
        assert ask(served, get(b"/read", *spoofed), source).json()["identity"] == ""


def test_A19_connection_takes_no_header_away(served):
    answer = ask(
        served, get(b"/admin", b"Connection: close, authorization, x-forwarded-for", b"Authorization: Basic eDp5")
    )
    assert answer.status == 401
    spoofed = get(b"/inside", b"Connection: x-forwarded-for", b"X-Forwarded-For: 10.0.0.1")
    assert ask(served, spoofed, PROXY).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([b"X-Forwarded-For: 10.0.0.1"], 200),
        ([b"X-Forwarded-For: 10.0.0.1, 127.0.1.7"], 200),
        ([b"X-Forwarded-For: 10.0.0.1, 9.9.9.9"], 403),
        ([b"X-Forwarded-For: 9.9.9.9, 10.0.0.1"], 200),
        ([b"X-Forwarded-For: 9.9.9.9", b"X-Forwarded-For: 10.0.0.1"], 200),
        ([b"X-Forwarded-For: 10.0.0.1", b"X-Forwarded-For: 9.9.9.9"], 403),
        ([b"X-Forwarded-For: 10.0.0.1, garbage"], 403),
        ([b"X-Forwarded-For: 10.0.0.1,"], 403),
        ([b"X-Forwarded-For: 10.0.0.1:4711"], 200),
        ([b"X-Forwarded-For: [2001:db8::1]:4711"], 200),
        ([b"X-Forwarded-For: 2001:db8::1%eth0"], 200),
        ([b"X-Forwarded-For: ::ffff:10.0.0.1"], 200),
        ([b"X-Forwarded-For: ::ffff:9.9.9.9"], 403),
        ([b"X-Forwarded-For: 010.0.0.1"], 403),
        ([b"X-Forwarded-For: 10.1"], 403),
        ([b"X-Forwarded-For: 0x0a.0.0.1"], 403),
        ([b"Forwarded: for=10.0.0.1"], 200),
        ([b'Forwarded: for="[2001:db8::1]:80";proto=https, for=127.0.1.7'], 200),
        ([b"Forwarded: for=10.0.0.1, for=9.9.9.9"], 403),
        ([b'Forwarded: for="10.0.0.1, for=9.9.9.9'], 403),
        ([b"Forwarded: for=unknown"], 403),
        ([b"Forwarded: for=10.0.0.1;for=10.0.0.2"], 403),
        ([b"Forwarded: for=10.0.0.1", b"X-Forwarded-For: 10.0.0.1"], 200),
        ([b"Forwarded: for=10.0.0.1", b"X-Forwarded-For: 9.9.9.9"], 400),
        ([b"X-Real-IP: 10.0.0.1"], 403),
    ],
)  # fmt: skip
def test_A20_A22_the_right_most_address_that_no_proxy_of_ours_has_is_the_callers(served, headers, status):
    assert ask(served, get(b"/inside", *headers), PROXY).status == status
    # A stranger is not heard at all, whatever it says.
    assert ask(served, get(b"/inside", *headers)).status == 403


def test_A21_a_stranger_does_not_say_by_which_scheme_it_came(served):
    answer = ask(
        served, get(b"/read", b"X-Forwarded-Proto: https", b"X-Forwarded-Port: 443", b"Forwarded: proto=https")
    )
    assert answer.status == 200
    assert answer.json()["address"] == "127.0.0.1"


def test_A22_a_limit_counts_a_network_of_ipv6_as_one_caller(served):
    def status(address):
        return ask(served, get(b"/read", b"X-Forwarded-For: " + address), PROXY).status

    assert [status(b"2001:db8:1:1::%d" % number) for number in range(4)] == [200, 200, 429, 429]
    assert status(b"2001:db8:1:2::1") == 200


@pytest.mark.parametrize("agent", [b"kube-probe/1.30", b"GoogleHC/1.0", b"ELB-HealthChecker/2.0", b"Prometheus/2"])
def test_A24_nobody_is_let_in_for_what_it_calls_itself(served, agent):
    assert ask(served, get(b"/admin", b"User-Agent: " + agent)).status == 401


def test_A24_options_runs_no_service_and_passes_the_allowlist(served):
    called(served)
    preflight = (b"Origin: https://evil.example", b"Access-Control-Request-Method: DELETE")
    answer = ask(served, get(b"/admin", *preflight, method=b"OPTIONS"))
    assert answer.status == 204
    assert "access-control-allow-origin" not in answer.headers
    assert ask(served, get(b"/inside", *preflight, method=b"OPTIONS")).status == 403
    assert called(served) == []


def test_A25_credentials_come_back_in_no_answer_and_stand_in_no_log(served):
    secret = b"YWRtaW46YS1zZWNyZXQtdGhhdC1sZWFrcy1ub3doZXJl"
    for path in (b"/inside", b"/nowhere", b"/pub/../x", b"/back"):
        answer = ask(
            served,
            get(
                path + b"?password=a-secret-that-leaks-nowhere",
                b"Authorization: Basic " + secret,
                b"Cookie: session=s3cr3t",
            ),
        )
        for word in (b"a-secret", secret, b"s3cr3t"):
            assert word not in answer.body
            assert word.decode() not in str(answer.headers)
    time.sleep(0.5)
    assert "/nowhere" in served.log()
    for word in ("a-secret", secret.decode(), "s3cr3t"):
        assert word not in served.log()
