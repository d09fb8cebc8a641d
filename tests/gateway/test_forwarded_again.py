"""The same request once more, handed on: what is written for an upstream once, and what is never left of it."""

import http.client

import pytest
from running import eventually, gateway
from scripted import ok, scripted
from upstream import upstream

from gateway.channels.proxy import Channel
from gateway.channels.rest import Runtime
from specs.exchange import ANONYMOUS, Exchange, Identity
from specs.problems import Problem

ACME = Identity("acme", "consumer", "partners", frozenset(["gold"]))


@pytest.fixture
def handed_on():
    """A channel, and a function that hands on a request of a head that came before; what the upstream was asked."""
    with scripted() as server:
        settings = Channel.Settings.read({"path": "/a/", "upstreams": [server.url], "cors": {"origins": ["*"]}}, "x")
        kept = Channel.keep("a", settings)
        channel = Channel.build("a", settings, {"": Runtime(None, (), 1000, 5.0, kept=kept)}, "")
        head = {}
        number = 0

        def call(identity=ANONYMOUS, address="192.0.2.1", scheme="http", body=b"", known=head, **headers):
            nonlocal number
            number += 1
            exchange = Exchange(
                f"id-{number}", "POST", "/a/x", "q=1", {"accept": "text/plain", **headers}, 0, "h", scheme, "192.0.2.1",
                address, body_length=len(body), read_body=lambda most, coding="": body, kept=known,
            )  # fmt: skip
            exchange.identity = identity
            for step in (channel.read, channel.run, channel.write):
                step(exchange)
            return exchange

        yield server, call
        kept.close()


def asked(server, *without):
    """What the upstream was asked last, as lines in lower case without those that begin with a word of *without*."""
    lines = server.requests[-1].decode().partition("\r\n\r\n")[0].lower().split("\r\n")
    return [line for line in lines if not line.startswith(without or "\0")]


def test_each_request_has_its_own_id_and_body_and_everything_else_once_more(handed_on):
    server, call = handed_on
    for number, body in enumerate((b"one", b"two", b"six"), 1):
        server.answers.append(ok(body))
        assert call(body=body).response_body == body
        assert f"x-request-id: id-{number}" in asked(server)
        assert server.requests[-1].endswith(b"\r\n\r\n" + body)
    first, *others = [
        sorted(line for line in one.split(b"\r\n\r\n")[0].split(b"\r\n") if b"id-" not in line)
        for one in server.requests
    ]
    assert others == [first, first]
    assert server.connections == 1


def test_A17_who_calls_is_told_anew_when_it_is_somebody_else_with_the_same_head(handed_on):
    server, call = handed_on
    told = []
    for identity in (ACME, ANONYMOUS, ACME, Identity("acme", "consumer", "partners", frozenset(["silver"]))):
        call(identity)
        told.append([line.partition(": ")[2] for line in asked(server) if line.startswith("x-consumer-")])
    acme = ["acme", "consumer", "gold"]
    assert told == [acme, [], acme, ["acme", "consumer", "silver"]]


def test_A20_from_where_is_told_anew_though_the_head_is_the_same(handed_on):
    server, call = handed_on
    for address, scheme in (("192.0.2.1", "http"), ("192.0.2.2", "http"), ("192.0.2.2", "https")):
        call(address=address, scheme=scheme)
        assert {f"x-forwarded-for: {address}", f"x-forwarded-proto: {scheme}"} <= set(asked(server))


def test_what_is_too_long_or_another_protocol_is_refused_each_time(handed_on):
    server, call = handed_on
    for words, status in (({"body": b"x" * 1001}, 413), ({"upgrade": "websocket"}, 501)):
        head = {}
        for _ in range(2):
            with pytest.raises(Problem) as refused:
                call(known=head, **words)
            assert refused.value.status == status
    assert server.requests == []


def test_what_an_answer_says_for_one_caller_is_not_said_to_the_next(handed_on):
    server, call = handed_on
    same = ok(b"x", "X-Own: 1", "Connection: X-Hop", "X-Hop: 1", "Access-Control-Allow-Origin: evil")
    server.answers.extend([same] * 3)
    answers = [call(origin="https://a.example").response_headers for _ in range(3)]
    answers[0].append(("X-Left-Behind", "1"))
    assert answers[1] == answers[2]
    assert [name for name, _ in answers[2]] == ["X-Own", "Content-Length", "Access-Control-Allow-Origin"]
    server.answers.extend([ok(b"x", "Set-Cookie: mine=1"), ok(b"x")])
    assert ("Set-Cookie", "mine=1") in call().response_headers
    assert "Set-Cookie" not in dict(call().response_headers)


DOCUMENT = """
format: 1
channels:
  a: {{type: proxy, path: "/a/", upstreams: ["{url}"], rewrite: "{rewrite}", forward_headers: [{forwarded}]}}
"""


def test_a_change_of_the_channel_holds_for_connections_that_called_before(tmp_path):
    with upstream("one") as one, upstream("two") as two:
        settings = {"url": one.url, "rewrite": "/v1/", "forwarded": "accept"}
        with gateway(tmp_path, DOCUMENT.format(**settings)) as served, served.connect(timeout=20) as sock:

            def ask():
                sock.sendall(b"GET /a/x HTTP/1.1\r\nHost: a\r\nAccept: text/x\r\nX-Tenant: t\r\n\r\n")
                answer = http.client.HTTPResponse(sock)
                answer.begin()
                answer.read()
                (_, path, headers, _), name = (one.seen[-1], "one") if one.seen else (two.seen[-1], "two")
                one.forget()
                two.forget()
                return name, path, "accept" in headers, "x-tenant" in headers

            assert [ask() for _ in range(3)] == [("one", "/v1/x", True, False)] * 3
            for change, expected in (
                ({"rewrite": "/v2/"}, ("one", "/v2/x", True, False)),
                ({"forwarded": "x-tenant"}, ("one", "/v2/x", False, True)),
                ({"url": two.url}, ("two", "/v2/x", False, True)),
            ):
                settings |= change
                (tmp_path / "gateway.yaml").write_text(DOCUMENT.format(**settings))
                served.command("config", "apply", str(tmp_path / "gateway.yaml"))
                assert eventually(lambda wanted=expected: ask() == wanted)
                assert ask() == expected
