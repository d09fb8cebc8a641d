"""The proxy channel in a gateway that runs, before real upstreams and before ones that misbehave."""

import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack

import pytest
from running import eventually, free_port, gateway
from scripted import ok, scripted
from upstream import upstream
from wires import read_answer

DOCUMENT = """
format: 1
gateway:
  trusted_proxies: [127.0.0.9]
  max_body: 4MiB
security:
  partners: {{type: basic, groups: ["*"]}}
consumers:
  acmé: {{groups: [gold, "a,b"], basic: {{username: acme, password: correct-horse}}}}
limits:
  little: {{rules: [{{from: "*", rate: 2/hour}}]}}
channels:
  upstream: {{type: proxy, path: "/erp/", upstreams: ["{one}"], security: [partners], forward_headers: [accept]}}
  open: {{type: proxy, path: "/open/", upstreams: ["{one}/base"], methods: [GET, POST, PUT, DELETE, OPTIONS]}}
  kept: {{type: proxy, path: "/same/", upstreams: ["{one}"], rewrite: "/same/", preserve_host: true}}
  shop: {{type: proxy, path: "/shops/{{shop}}/", upstreams: ["{one}"], rewrite: "/s-{{shop}}/v2/"}}
  parts: {{type: proxy, path: "/parts/{{name}}-{{kind}}/", upstreams: ["{one}"], rewrite: "/p/{{kind}}/{{name}}"}}
  pair: {{type: proxy, path: "/pair/", upstreams: ["{one}", "{two}"], retries: 0,
          health: {{path: /health, every: 100ms, timeout: 1s}}}}
  least: {{type: proxy, path: "/least/", upstreams: ["{one}", "{two}"], balance: least-outstanding}}
  half: {{type: proxy, path: "/half/", upstreams: ["{one}", "{dead}"], breaker_failures: 0, retry_percent: 100}}
  dead: {{type: proxy, path: "/dead/", upstreams: ["{dead}"], breaker_failures: 2, breaker_pause: 5s, retries: 0}}
  odd: {{type: proxy, path: "/odd/", upstreams: ["{odd}"], deadline: 700ms, silence: 500ms, breaker_failures: 0}}
  early: {{type: proxy, path: "/early/", upstreams: ["http://127.0.0.1:{early}"]}}
  scarce: {{type: proxy, path: "/scarce/", upstreams: ["{one}"], limit: little}}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with ExitStack() as stack:
        one, two, odd = (
            stack.enter_context(upstream("one")),
            stack.enter_context(upstream("two")),
            stack.enter_context(scripted()),
        )
        early = free_port()
        document = DOCUMENT.format(
            one=one.url, two=two.url, odd=odd.url, dead=f"http://127.0.0.1:{free_port()}", early=early
        )
        running = stack.enter_context(gateway(tmp_path_factory.mktemp("proxy"), document))
        running.one, running.two, running.odd, running.early_port = one, two, odd, early
        yield running


@pytest.fixture(autouse=True)
def _forget(served):
    served.one.forget()
    served.two.forget()
    served.odd.answers.clear()
    served.odd.requests.clear()


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


# what the upstream gets


def test_the_path_behind_the_channels_own_and_the_query_are_handed_on(served):
    answer = served.get("/erp/stock/7?q=%2F&x=1", auth=("acme", "correct-horse"))
    assert answer.status_code == 200
    assert answer.json()["path"] == "/stock/7?q=%2F&x=1"
    assert answer.headers["X-Request-Id"]
    assert served.get("/open/a").json()["path"] == "/base/a"
    assert served.get("/open").json()["path"] == "/base/"
    assert served.get("/open/").json()["path"] == "/base/"
    assert served.get("/same/a/").json()["path"] == "/same/a/"
    assert served.get("/shops/north%20pole/%C3%BC").json()["path"] == "/s-north%20pole/v2/%C3%BC"


def test_every_method_is_handed_on_as_it_is(served):
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        assert served.request(method, "/open/x").json()["method"] == method
    head = served.request("HEAD", "/open/x")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) > 10
    assert served.one.seen[-1][0] == "HEAD"
    assert served.request("PATCH", "/open/x").status_code == 405


def test_headers_that_are_not_listed_stay_here(served):
    sent = {"Accept": "text/x", "X-Secret": "1", "Cookie": "a=b", "User-Agent": "me", "Content-Type": "text/plain"}
    served.post("/erp/x", data="hello", headers=sent, auth=("acme", "correct-horse"))
    got = lower(served.one.seen[0][2])
    assert set(got) == {
        "host", "accept", "content-length", "x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
        "x-consumer-name", "x-consumer-kind", "x-consumer-groups",
    }  # fmt: skip
    assert got["accept"] == "text/x"
    assert got["host"] == served.one.url[7:]


def test_A17_identity_headers_are_cleared_then_set(served):
    spoofed = {"X-Consumer-Name": "root", "X-Consumer-Groups": "admin", "X-Auth-User": "root", "Remote-User": "root"}
    served.get("/open/x", headers=spoofed)
    got = lower(served.one.seen[0][2])
    assert not [name for name in got if name.startswith("x-consumer") or name in ("x-auth-user", "remote-user")]
    served.get("/erp/x", headers=spoofed, auth=("acme", "correct-horse"))
    got = lower(served.one.seen[1][2])
    assert (got["x-consumer-name"], got["x-consumer-kind"]) == ("acm%C3%A9", "consumer")
    assert got["x-consumer-groups"] == "a%2Cb,gold"


def test_A19_naming_our_headers_in_connection_takes_nothing_away(served):
    sent = {"Connection": "close, X-Consumer-Name, x-forwarded-for, X-Request-Id, accept", "Accept": "text/x"}
    served.get("/erp/x", headers=sent, auth=("acme", "correct-horse"))
    got = lower(served.one.seen[0][2])
    assert got["x-consumer-name"] == "acm%C3%A9"
    assert got["x-forwarded-for"] == "127.0.0.1"
    assert "accept" not in got
    assert "connection" not in got


def test_A20_A21_the_upstream_hears_who_calls_from_us_alone(served):
    spoofed = b"X-Forwarded-For: 10.1.1.1\r\nX-Forwarded-Proto: https\r\nForwarded: for=10.1.1.1\r\nX-Forwarded-Host: evil\r\n"
    octets = b"GET /open/x HTTP/1.1\r\nHost: api.example\r\n" + spoofed + b"\r\n"
    for source, address, scheme in (("127.0.0.1", "127.0.0.1", "http"), ("127.0.0.9", "10.1.1.1", "https")):
        with served.connect(source=source) as sock:
            sock.sendall(octets)
            assert read_answer(sock).status == 200
        got = lower(served.one.seen[-1][2])
        assert (got["x-forwarded-for"], got["x-forwarded-proto"]) == (address, scheme)
        assert got["x-forwarded-host"] == "api.example"
        assert "forwarded" not in got


def test_A25_credentials_are_not_handed_on(served):
    served.get("/erp/x", auth=("acme", "correct-horse"), cookies={"a": "b"})
    assert not {"authorization", "cookie"} & set(lower(served.one.seen[0][2]))


def test_the_callers_host_is_kept_where_the_channel_says_so(served):
    served.get("/same/x", headers={"Host": "shop.example"})
    assert lower(served.one.seen[0][2])["host"] == "shop.example"


def test_A11_what_is_decided_and_what_is_called_is_one_path(served):
    for path in (
        "/open/../erp/x",
        "/open/%2e%2e/erp/x",
        "/open/..%2ferp",
        "//erp/x",
        "/open/x%2fy",
        "/shops/..%2f..%2f/x",
    ):
        with served.connect() as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert read_answer(sock).status == 400
    assert served.one.seen == []
    assert served.get("/%65rp/x").status_code == 401


def test_A11_a_part_of_a_segment_cannot_become_a_segment_that_is_folded(served):
    assert served.get("/parts/bolt-steel/x").status_code == 200
    assert [target for _, target, _, _ in served.one.seen] == ["/p/steel/bolt/x"]
    served.one.forget()
    for path in (
        "/parts/..-../x",
        "/parts/bolt-../admin",
        "/parts/.-steel/x",
        "/parts/..-steel/secret",
        "/parts/%2e%2e-x/y",
    ):
        assert served.get(path).status_code == 400, path
    assert served.one.seen == []
    # Dots that fold nothing are letters like any other.
    assert served.get("/parts/...-a.b/x").status_code == 200


# what the caller gets


def test_an_answer_keeps_its_status_and_headers_but_those_of_the_hop(served):
    served.one.statuses["/base/teapot"] = 418
    served.one.headers = [
        ("X-Own", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Hop", "1"), ("Connection", "x-hop"),
        ("Keep-Alive", "timeout=5"), ("Proxy-Authenticate", "Basic"), ("X-Request-Id", "theirs"),
    ]  # fmt: skip
    answer = served.get("/open/teapot")
    assert answer.status_code == 418
    assert answer.headers["X-Own"] == "1"
    assert answer.headers["Set-Cookie"] == "a=1, b=2"
    assert not {"x-hop", "keep-alive", "proxy-authenticate"} & set(lower(answer.headers))
    assert answer.headers["X-Request-Id"] != "theirs"


def test_an_answer_without_a_body_has_none(served):
    served.one.statuses.update({"/base/none": 204, "/base/same": 304})
    assert served.get("/open/none").status_code == 204
    assert served.get("/open/same").status_code == 304
    assert served.get("/open/x").status_code == 200


def test_the_channel_is_limited_like_any_other(served):
    assert [served.get("/scarce/x").status_code for _ in range(3)] == [200, 200, 429]
    assert len(served.one.seen) == 2


def test_a_websocket_is_refused(served):
    answer = served.get("/open/x", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    assert (answer.status_code, answer.json()["code"]) == (501, "not-implemented")
    assert served.one.seen == []


# streaming


def test_pieces_of_an_answer_arrive_as_they_are_sent(served):
    with served.get("/open/feed", stream=True) as answer:
        lines = answer.iter_lines(chunk_size=1)
        for number in range(3):
            assert next(lines) == b"piece %d" % number
            served.one.step.release()


def test_a_reader_that_does_not_read_holds_the_upstream_back(served):
    with served.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(b"GET /open/endless HTTP/1.1\r\nHost: a\r\n\r\n")
        assert eventually(lambda: served.one.written > 0)
        time.sleep(0.5)
        held = served.one.written
        time.sleep(0.3)
        assert served.one.written == held < 32 << 20
    assert served.get("/open/x").status_code == 200


def test_a_long_body_goes_through_piece_by_piece(served):
    def pieces():
        for _ in range(4):
            yield b"x" * 100_000
            time.sleep(0.1)

    assert served.post("/open/x", data=pieces()).json()["length"] == 400_000
    moments = [moment for moment, _ in served.one.pieces]
    assert moments[-1] - moments[0] > 0.2
    assert lower(served.one.seen[0][2])["transfer-encoding"] == "chunked"
    big = b"y" * 3_000_000
    assert served.post("/open/x", data=big).json()["length"] == len(big)
    assert lower(served.one.seen[1][2])["content-length"] == str(len(big))


def test_A36_a_body_too_long_is_413_and_the_upstream_never_takes_it_for_whole(served):
    assert served.post("/open/x", data=b"x" * (5 << 20)).status_code == 413

    def endless():
        for _ in range(100):
            yield b"x" * 100_000

    try:
        assert served.post("/open/x", data=endless()).status_code == 413
    except OSError:
        pass  # the answer may be lost where the caller goes on sending
    assert served.one.seen == []


def test_A7_a_caller_who_leaves_in_the_middle_costs_the_connection(served):
    with served.connect() as sock:
        sock.sendall(b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000)
        assert eventually(lambda: served.one.pieces)
    assert eventually(lambda: served.one.broken)
    assert served.one.seen == []
    with served.connect() as sock:
        sock.sendall(b"GET /open/endless HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.recv(1000)
    assert served.get("/open/x").json()["path"] == "/base/x"


def test_an_upstream_that_answers_before_it_has_read_is_heard(served):
    with socket.create_server(("127.0.0.1", served.early_port)) as listener:

        def refuse():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 413 Too much\r\nContent-Length: 3\r\n\r\nno!")
                time.sleep(1.0)

        threading.Thread(target=refuse, daemon=True).start()
        with served.connect() as sock:
            sock.sendall(b"POST /early/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 70_000)
            for _ in range(3):
                time.sleep(0.1)
                sock.sendall(b"x" * 1000)
            answer = read_answer(sock)
        assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"no!", "close")


# several upstreams


def test_round_robin_and_least_outstanding(served):
    names = Counter(served.get("/pair/x").json()["name"] for _ in range(10))
    assert names == {"one": 5, "two": 5}
    served.one.go_on.clear()
    slow = threading.Thread(target=lambda: served.get("/least/slow"))
    slow.start()
    assert eventually(lambda: "/slow" in [seen[1] for seen in [*served.one.seen, *served.two.seen]])
    busy = "one" if "/slow" in [seen[1] for seen in served.one.seen] else "two"
    names = {served.get("/least/x").json()["name"] for _ in range(5)}
    assert busy not in names
    served.one.go_on.set()
    served.two.go_on.set()
    slow.join()


def test_the_least_outstanding_upstream_is_next_by_count(served):
    served.one.go_on.clear()
    served.two.go_on.clear()

    def held():
        return {server.name: sum(seen[1] == "/slow" for seen in server.seen) for server in (served.one, served.two)}

    slow = []
    for number in range(1, 6):
        slow.append(threading.Thread(target=lambda: served.get("/least/slow")))
        slow[-1].start()
        assert eventually(lambda wanted=number: sum(held().values()) == wanted)
        assert max(held().values()) - min(held().values()) == number % 2
    fewer = min(held(), key=held().get)
    assert {served.get("/least/x").json()["name"] for _ in range(4)} == {fewer}
    served.one.go_on.set()
    served.two.go_on.set()
    for thread in slow:
        thread.join()


def test_an_upstream_that_fails_its_probes_gets_no_calls_until_it_is_well(served):
    served.one.health = 500
    try:
        assert eventually(lambda: {served.get("/pair/x").json()["name"] for _ in range(4)} == {"two"})
        served.two.health = 500
        assert eventually(lambda: served.get("/pair/x").status_code == 503)
        assert served.get("/pair/x").json()["code"] == "backend-unavailable"
    finally:
        served.one.health = served.two.health = 200
    assert eventually(lambda: len({served.get("/pair/x").json().get("name", "") for _ in range(4)} - {""}) == 2)


def test_a_call_that_reached_nobody_is_repeated_elsewhere(served):
    assert {served.get("/half/x").status_code for _ in range(6)} == {200}
    assert {served.post("/half/x", data="x").status_code for _ in range(6)} == {200}


def test_an_upstream_that_is_away_is_503_and_left_alone_for_a_while(served):
    answers = [served.get("/dead/x") for _ in range(3)]
    assert [answer.json()["code"] for answer in answers] == ["backend-unavailable"] * 3
    assert [answer.status_code for answer in answers] == [503] * 3
    assert eventually(lambda: "none of 1 upstreams is well" in served.log())


# upstreams that misbehave


def test_an_upstream_that_is_silent_is_504(served):
    ended = threading.Event()
    served.odd.answers.append(lambda connection: ended.wait(30) and "close")
    answer = served.post("/odd/x")
    assert (answer.status_code, answer.json()["code"]) == (504, "backend-timeout")
    ended.set()


@pytest.mark.parametrize(
    "octets",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
def test_A6_an_upstream_that_speaks_no_http_is_502(served, octets):
    served.odd.answers.append(octets)
    answer = served.post("/odd/x")
    assert (answer.status_code, answer.json()["code"]) == (502, "backend-failed")
    assert octets.decode("latin-1")[:20] not in answer.text


def test_A6_A7_bytes_that_nobody_asked_for_reach_nobody(served):
    served.odd.answers.extend([ok(b"first") + ok(b"poison"), ok(b"second"), ok(b"third")])
    assert [served.get("/odd/x").text for _ in range(3)] == ["first", "second", "third"]


def test_A7_what_comes_after_a_timeout_reaches_nobody(served):
    def late(connection):
        time.sleep(0.9)
        try:
            connection.sendall(ok(b"too late"))
        except OSError:
            pass

    served.odd.answers.extend([late, ok(b"mine")])
    assert served.post("/odd/x").status_code == 504
    assert served.get("/odd/x").text == "mine"


def test_an_answer_that_breaks_off_is_seen_to(served):
    served.odd.answers.append(
        lambda connection: (
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70_000) or "close"
        )
    )
    with served.connect() as sock:
        sock.sendall(b"GET /odd/x HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(EOFError):
            read_answer(sock)
    served.odd.answers.append(
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") or "close"
    )
    assert served.get("/odd/x").status_code == 502


def test_a_lost_connection_is_repeated_for_idempotent_methods_alone(served):
    served.odd.answers.extend([None, ok(b"again")])
    assert served.get("/odd/x").text == "again"
    served.odd.answers.extend([None, ok(b"again")])
    assert served.post("/odd/x", data="x").status_code == 503
    assert len(served.odd.requests) == 3
