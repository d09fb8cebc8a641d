"""Forward-auth: what proxies are answered, and the recipes for them as they stand, run by nginx, HAProxy and Caddy themselves."""

import http.client
import json
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from proxies import KINDS, proxy
from running import free_port, gateway
from upstream import upstream

from gateway.channels.forward_auth import IDENTITY_HEADERS, Channel, identity_headers, origin_of
from specs.exchange import Identity
from specs.problems import ConfigurationError

DOCUMENT = """
format: 1
gateway:
  public_url: https://app.example.org
  trusted_proxies: [127.0.0.1]
security:
  people: {{type: basic, groups: ["*"], realm: Portal}}
  keys: {{type: apikey, groups: ["*"]}}
consumers:
  ann: {{groups: [staff, "a,b"], basic: {{username: ann, password: correct-horse}}, apikey: {{key: key-of-ann}}}}
  "Zoë": {{groups: [staff], basic: {{username: zoe, password: correct-horse}}}}
  bob: {{groups: [guests], basic: {{username: bob, password: correct-horse}}}}
limits:
  twice: {{rules: [{{from: "*", rate: 2/hour}}]}}
channels:
  portal: {{type: forward_auth, path: /authz/portal, security: [people, keys], groups: [staff], origins: [{origins}]}}
  nginx: {{type: forward_auth, path: /authz/nginx, security: [people, keys], groups: [staff], origins: [{origins}],
           unauthenticated: location}}
  plain: {{type: forward_auth, path: /authz/plain, security: [people], unauthenticated: plain}}
  envoy: {{type: forward_auth, path: /authz/envoy, security: [people], below: true, origins: ["http://app.test:81"]}}
  inside: {{type: forward_auth, path: /authz/inside, security: [people], allow: [10.9.9.9]}}
  scarce: {{type: forward_auth, path: /authz/scarce, security: [people], limit: twice}}
"""
ANN = "Basic YW5uOmNvcnJlY3QtaG9yc2U="
BOB = "Basic Ym9iOmNvcnJlY3QtaG9yc2U="
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}


class Answer:
    def __init__(self, found):
        self.status = found.status
        self.headers = {}
        for name, value in found.getheaders():
            known = self.headers.get(name.lower())
            self.headers[name.lower()] = value if known is None else f"{known}, {value}"
        self.body = found.read()

    def json(self):
        return json.loads(self.body)


def ask(port, method="GET", path="/", headers=None, body=None, source="127.0.0.1"):
    """One request, headers in the order and as often as they are given, its path as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        given = headers.items() if isinstance(headers, dict) else headers or ()
        given = [*given] if any(name == "Host" for name, _ in given) else [("Host", f"127.0.0.1:{port}"), *given]
        if body is not None:
            given.append(("Content-Length", str(len(body))))
        for name, value in given:
            connection.putheader(name, value)
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forward-auth")
    with ExitStack() as stack:
        app = stack.enter_context(upstream("app"))
        running = stack.enter_context(gateway(folder, DOCUMENT.format(origins='"http://portal.test"')))
        running.app = app
        running.port = urlsplit(running.url).port
        running.folder = folder
        yield running


@pytest.fixture(scope="module")
def proxies(served):
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(
                proxy(
                    kind,
                    served.folder,
                    gateway_port=served.port,
                    app_port=served.app.server_port,
                    channel="/authz/nginx" if kind == "nginx" else "/authz/portal",
                )
            )
            for kind in KINDS
        }


@pytest.fixture(params=KINDS)
def port(proxies, request, served):
    served.app.forget()
    return proxies[request.param]


def identity_at(app):
    """The identity headers of the one request that the system behind got: the first and the last of each name."""
    assert len(app.seen) == 1
    last = {name.lower(): value for name, value in app.seen[0][2].items()}
    return {name: last[name.lower()] for name in IDENTITY_HEADERS if last.get(name.lower())}


# by the recipes


def test_who_may_pass_does_and_the_system_behind_is_told_who_it_is(served, port):
    answer = ask(port, path="/reports?year=2026", headers={"Authorization": ANN})
    assert (answer.status, answer.json()["path"]) == (200, "/reports?year=2026")
    assert identity_at(served.app) == {
        "Remote-User": "ann",
        "Remote-Groups": "a%2Cb,staff",
        "X-Gateway-Kind": "consumer",
    }


def test_a_program_without_credentials_is_told_what_to_send(served, port):
    answer = ask(port)
    assert (answer.status, 'Basic realm="Portal"' in answer.headers["www-authenticate"]) == (401, True)
    assert served.app.seen == []


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"])
def test_S48_no_method_gets_through_without_credentials(served, port, method):
    assert ask(port, method, headers={"Host": "portal.test", **BROWSER}).status == (302 if method == "HEAD" else 401)
    assert ask(port, method).status == 401
    assert served.app.seen == []


def test_who_is_in_no_such_group_is_refused(served, port):
    assert ask(port, headers={"Authorization": BOB, **BROWSER}).status == 403
    assert served.app.seen == []


def test_a_browser_is_sent_to_log_in_and_comes_back_to_where_it_was(served, port):
    answer = ask(port, path="/a/b?c=d&e=%2F", headers={"Host": "portal.test", **BROWSER})
    assert answer.status == 302
    assert answer.headers["location"] == "http://portal.test/sso/login?next=%2Fa%2Fb%3Fc%3Dd%26e%3D%252F"
    assert served.app.seen == []


@pytest.mark.parametrize(
    "host", ["evil.example", "portal.test.evil.example", "portal.test:81", "portal.test@evil.example"]
)
def test_S20_nobody_is_sent_to_a_host_that_is_not_registered(served, port, host):
    answer = ask(port, headers={"Host": host, **BROWSER})
    assert answer.status in (400, 401, 500)
    assert "location" not in answer.headers
    assert served.app.seen == []


@pytest.mark.parametrize(
    "path", ["//evil.example/", "/\\evil.example", "//evil.example%2f..", "/%0d%0aLocation:x", "/a;b"]
)
def test_S20_what_is_come_back_to_is_a_path_of_the_same_host(served, port, path):
    answer = ask(port, path=path, headers={"Host": "portal.test", **BROWSER})
    location = answer.headers.get("location", "")
    assert answer.status in (302, 308, 400)
    if answer.status == 302:
        start = "http://portal.test/sso/login?next=%2F"
        assert location.startswith(start)
        assert not location.startswith((f"{start}%2F", f"{start}%5C"))
    assert served.app.seen == []


@pytest.mark.parametrize(
    "spelt", [str, str.lower, lambda name: name.replace("-", "_"), lambda name: name[:-3] + name[-3:].replace("-", "_")]
)
def test_S48_identity_headers_of_the_caller_get_nowhere(served, port, spelt):
    forged = [(spelt(name), "root") for name in IDENTITY_HEADERS]
    twice = [(spelt(name).upper(), "wheel") for name in IDENTITY_HEADERS]
    answer = ask(port, headers=[*forged, ("Authorization", ANN), *twice, ("Connection", "close, x-nothing")])
    assert answer.status == 200
    assert identity_at(served.app) == {
        "Remote-User": "ann",
        "Remote-Groups": "a%2Cb,staff",
        "X-Gateway-Kind": "consumer",
    }
    assert "root" not in json.dumps(answer.json()["headers"])
    assert "wheel" not in json.dumps(answer.json()["headers"])


def test_S48_identity_headers_alone_are_no_credentials(served, port):
    forged = dict.fromkeys(IDENTITY_HEADERS, "root")
    assert ask(port, headers=forged).status == 401
    assert served.app.seen == []


def test_S15_what_the_caller_says_of_the_request_is_not_believed(served, port):
    forged = {
        "X-Forwarded-Host": "portal.test", "X-Forwarded-Uri": "/elsewhere", "X-Forwarded-Proto": "https",
        "X-Forwarded-Method": "GET", "X-Original-URL": "/elsewhere", "Forwarded": "for=10.9.9.9;host=portal.test",
        "X-Forwarded-For": "10.9.9.9",
    }  # fmt: skip
    answer = ask(port, path="/real", headers={"Host": "portal.test", **forged, **BROWSER}, source="127.0.0.5")
    assert (answer.status, answer.headers["location"]) == (302, "http://portal.test/sso/login?next=%2Freal")
    answer = ask(port, "POST", "/real", headers={"Host": "portal.test", **forged, **BROWSER}, body=b"")
    assert (answer.status, "location" in answer.headers) == (401, False)


def test_a_body_reaches_the_system_behind_whole(served, port):
    body = b"x" * 100_000
    answer = ask(port, "POST", "/upload", headers={"Authorization": ANN}, body=body)
    assert (answer.status, answer.json()["length"]) == (200, len(body))


def test_S48_a_change_of_protocol_is_asked_about_like_any_request(served, port):
    upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "x" * 22 + "=="),
    ]
    assert ask(port, path="/socket", headers=upgrade).status == 401
    assert served.app.seen == []
    assert ask(port, path="/socket", headers=[*upgrade, ("Authorization", ANN)]).status in (200, 502)


def test_the_id_of_a_call_is_not_the_callers_to_choose(served, port):
    answer = ask(port, path="/sso/nothing-here", headers={"X-Request-Id": "chosen-by-me"})
    assert answer.status == 404
    assert "chosen-by-me" not in (answer.headers["x-request-id"], answer.json()["cid"])


def test_pages_below_sso_reach_the_gateway_without_a_question(served, port):
    answer = ask(port, path="/sso/nothing-here", headers=BROWSER)
    assert (answer.status, "x-request-id" in answer.headers) == (404, True)
    assert served.app.seen == []


@pytest.mark.parametrize("kind", KINDS)
def test_S49_nobody_passes_while_the_gateway_is_away(served, kind):
    served.app.forget()
    with proxy(kind, served.folder, gateway_port=free_port(), app_port=served.app.server_port) as port:
        assert ask(port, headers={"Authorization": ANN}).status in (500, 502, 503)
    assert served.app.seen == []


def test_no_answer_is_kept_by_a_proxy_that_would_like_to(served):
    served.app.forget()

    def keep(text):
        return text.replace("internal;", "internal; proxy_cache kept; proxy_cache_key same; proxy_cache_valid 10m;")

    more = f"proxy_cache_path {served.folder}/kept keys_zone=kept:1m;"
    channel = {"gateway_port": served.port, "app_port": served.app.server_port, "channel": "/authz/nginx"}
    with proxy("nginx", served.folder, **channel, change=keep, more=more) as port:
        assert ask(port, headers={"Authorization": ANN}).status == 200
        assert ask(port).status == 401
        assert ask(port, headers={"Authorization": BOB}).status == 403
        assert ask(port, headers={"Authorization": ANN}).status == 200


# the channel itself


def question(served, channel="portal", source="127.0.0.1", **headers):
    return ask(
        served.port,
        path=f"/authz/{channel}",
        headers={n.replace("_", "-"): v for n, v in headers.items()},
        source=source,
    )


def test_an_answer_names_the_caller_and_is_for_nobody_else(served):
    answer = question(served, Authorization=ANN)
    assert (answer.status, answer.body) == (200, b"")
    assert [answer.headers[name.lower()] for name in IDENTITY_HEADERS] == ["ann", "a%2Cb,staff", "", "", "", "consumer"]
    assert (answer.headers["cache-control"], answer.headers["vary"]) == ("no-store", "Cookie, Authorization")
    assert question(served, X_API_Key="key-of-ann").headers["remote-user"] == "ann"
    refused = question(served)
    assert (refused.status, refused.headers["cache-control"]) == (401, "no-store")


def test_names_that_are_not_plain_are_escaped(served):
    assert question(served, Authorization="Basic em9lOmNvcnJlY3QtaG9yc2U=").headers["remote-user"] == "Zo%C3%AB"
    hostile = Identity("a\r\nRemote-User: root", "consumer", groups=frozenset({"x,y", "\x00"}), user="usr_1")
    assert dict(identity_headers(hostile))["Remote-User"] == "a%0D%0ARemote-User: root"
    assert dict(identity_headers(hostile))["Remote-Groups"] == "%00,x%2Cy"


def test_who_is_no_trusted_proxy_asks_in_vain(served):
    for headers in ({}, {"Authorization": ANN}, {"X_Forwarded_For": "127.0.0.1"}):
        answer = question(served, source="127.0.0.5", **headers)
        assert (answer.status, answer.json()["code"]) == (403, "proxy-not-trusted")
        assert "remote-user" not in answer.headers


def test_the_address_that_counts_is_the_callers(served):
    assert question(served, "inside", Authorization=ANN).status == 403
    assert question(served, "inside", Authorization=ANN, X_Forwarded_For="10.9.9.9").status == 200
    assert question(served, "inside", Authorization=ANN, X_Forwarded_For="10.9.9.9, 192.0.2.1").status == 403


def test_limits_hold(served):
    assert [question(served, "scarce", Authorization=ANN).status for _ in range(3)] == [200, 200, 429]


def test_OPTIONS_is_a_question_like_any_other(served):
    for headers in ({}, {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}):
        assert ask(served.port, "OPTIONS", "/authz/portal", headers).status == 401
    assert ask(served.port, "OPTIONS", "/authz/portal", {"Authorization": ANN}).status == 200


def test_programs_are_not_redirected(served):
    told = {"X_Forwarded_Host": "portal.test", "X_Forwarded_Uri": "/x"}
    assert question(served, **told, Accept="text/html").status == 302
    assert question(served, **told).status == 401
    assert question(served, **told, Accept="application/json").status == 401
    assert question(served, **told, Accept="text/html;q=0, */*").status == 401
    assert question(served, **told, Accept="text/html", Sec_Fetch_Mode="cors").status == 401
    assert question(served, **told, Accept="text/html", X_Requested_With="XMLHttpRequest").status == 401
    assert question(served, **told, Accept="text/html", X_Forwarded_Method="POST").status == 401
    assert question(served, "plain", **told, Accept="text/html").status == 401
    found = question(served, "nginx", **told, Accept="text/html")
    assert (found.status, found.headers["location"]) == (401, "http://portal.test/sso/login?next=%2Fx")


def test_S48_what_belongs_to_logging_in_is_not_redirected_to_it(served):
    for uri in ("/sso/login", "/sso/login?next=%2F", "/sso/account"):
        answer = question(served, X_Forwarded_Host="portal.test", X_Forwarded_Uri=uri, Accept="text/html")
        assert (answer.status, "location" in answer.headers) == (401, False)


def test_the_scheme_is_the_proxys_and_the_public_url_is_registered_by_itself(served):
    told = {"X_Forwarded_Host": "app.example.org", "X_Forwarded_Uri": "/x", "Accept": "text/html"}
    assert question(served, **told).status == 401
    found = question(served, **told, X_Forwarded_Proto="https")
    assert found.headers["location"] == "https://app.example.org/sso/login?next=%2Fx"


def test_envoy_writes_what_it_asks_about_behind_the_path(served):
    asked = {"Host": "app.test:81", "Accept": "text/html"}
    for method in ("GET", "POST", "DELETE", "PROPFIND", "OPTIONS"):
        found = ask(served.port, method, "/authz/envoy/a/b?c", {"Authorization": ANN, **asked})
        assert (found.status, found.headers["remote-user"]) == (200, "ann")
    found = ask(served.port, path="/authz/envoy/a/b?c", headers=asked)
    assert found.headers["location"] == "http://app.test:81/sso/login?next=%2Fa%2Fb%3Fc"
    assert ask(served.port, "POST", "/authz/envoy/a", asked).status == 401
    for path in ("/admin/..;/", "/../portal", "//evil.example", "/a%2f..%2fb"):
        assert ask(served.port, path=f"/authz/envoy{path}", headers={"Authorization": ANN, **asked}).status == 400
    assert ask(served.port, path="/authz/portal/x", headers={"Authorization": ANN, **asked}).status == 404


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example", "https://a.example"), ("HTTPS://A.Example.:443", "https://a.example"),
        ("http://[::1]:8080", "http://[::1]:8080"), ("ftp://a", None), ("https://", None), ("https://a/b", None),
        ("https://a?b", None), ("https://a#b", None), ("https://u@a", None), ("https://a,b", None), ("https://a\\b", None),
        ("null", None), ("", None),
    ],
)  # fmt: skip
def test_an_origin_is_written_in_one_way(url, origin):
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "everybody would pass"),
        ({"security": ["people"], "login": "//evil.example"}, "not a path"),
        ({"security": ["people"], "login": "/login?x"}, "not a path"),
        ({"security": ["people"], "origins": ["https://a.example/x"]}, "not an origin"),
        ({"security": ["people"], "path": "/authz/{a}"}, "no variables"),
    ],
)
def test_settings_that_would_let_somebody_pass_are_refused(settings, told):
    with pytest.raises(ConfigurationError, match=told):
        Channel.Settings.read({"path": "/authz/a", **settings}, "channels.a")
