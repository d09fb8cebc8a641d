"""The rest connector: both ways of writing a call, and what goes over the wire."""

import base64
import json
from datetime import date
from decimal import Decimal

import pytest
from lxml import etree
from scripted import ok, scripted

from backends.connectors.rest import Connector
from specs.problems import BackendError, BackendUnavailable, ConfigurationError


def connector(server_or_url, **settings):
    url = getattr(server_or_url, "url", server_or_url) + settings.pop("path", "")
    return Connector("erp", Connector.Settings.read({"url": url, "timeout": "5s", **settings}, "connections.erp"))


def lines_of(request):
    return request.split(b"\r\n\r\n")[0].decode().split("\r\n")


def target_of(request):
    return lines_of(request)[0].split(" ")[1]


def header_of(request, name):
    return [line.partition(": ")[2] for line in lines_of(request)[1:] if line.lower().startswith(name.lower() + ":")]


def test_paths_placeholders_and_parameters_make_the_target():
    with scripted() as server:
        erp = connector(server, path="/api/{version}?key=k")
        erp.get("/stock/{sku}", {"version": "v 1", "sku": "a/b", "colour": ["red", "blue"], "none": None})
        assert target_of(server.requests[0]) == "/api/v%201/stock/a%2Fb?key=k&colour=red&colour=blue"


def test_a_base_address_is_called_as_it_stands():
    with scripted() as server:
        connector(server).get()
        connector(server, path="/feed/").get()
        connector(server, path="/feed/").get("/x?y=1")
        assert [target_of(request) for request in server.requests] == ["/", "/feed/", "/feed/x?y=1"]


@pytest.mark.parametrize("sku", ["..", "."])
def test_A50_a_parameter_never_reaches_beside_the_address(sku):
    with scripted() as server:
        erp = connector(server, path="/api")
        with pytest.raises(ValueError, match="dot segments"):
            erp.get("/stock/{sku}", {"sku": sku})
        with pytest.raises(ValueError, match="dot segments"):
            erp.get(f"/stock/{sku}/x")
        with pytest.raises(ValueError, match="dot segments"):
            erp.get("/%2E%2e/admin")
        assert server.requests == []


def test_a_placeholder_without_its_parameter_is_named():
    with pytest.raises(ValueError, match="'sku'"):
        connector("http://127.0.0.1:1").get("/stock/{sku}")


def test_as_the_seeds_write_it_the_cid_goes_along_and_contents_as_they_are():
    with scripted(ok(b""), ok(b"<a>1</a>"), ok(b"{}")) as server:
        erp = connector(server, path="/in")
        erp.post("cid-7", "a;b;c")
        answer = erp.conn.get("cid-8", {"$filter": "x eq 1"})
        erp.conn.put("cid-9", {"a": 1}, {"b": 2}, {"X-C": "3"})
        assert [header_of(request, "X-Request-Id") for request in server.requests] == [["cid-7"], ["cid-8"], ["cid-9"]]
        assert [target_of(request) for request in server.requests] == ["/in", "/in?%24filter=x+eq+1", "/in?b=2"]
        assert server.requests[0].endswith(b"\r\n\r\na;b;c")
        assert header_of(server.requests[2], "X-C") == ["3"]
        assert etree.fromstring(answer).text == "1"


def test_an_answer_is_bytes_text_and_json():
    body = '{"é": [1]}'.encode()
    with scripted(ok(body, "Content-Type: application/json", "X-A: b")) as server:
        answer = connector(server).get("/")
        assert (answer, answer.content, answer.text, answer.json()) == (body, body, body.decode(), {"é": [1]})
        assert type(answer.content) is bytes
        assert (answer.status_code, answer.ok, answer.headers["x-a"], json.loads(answer)) == (
            200,
            True,
            "b",
            {"é": [1]},
        )
        answer.raise_for_status()


def test_a_refusal_is_an_answer_until_it_is_asked_to_be_an_error():
    with scripted(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as server:
        answer = connector(server).get("/")
        assert (answer.status_code, answer.ok) == (404, False)
        with pytest.raises(BackendError, match="404 Not Found"):
            answer.raise_for_status()


@pytest.mark.parametrize(
    ("data_format", "sent", "body", "media_type"),
    [
        ("json", {"a": Decimal("1.50"), "d": date(2026, 1, 2)}, b'{"a":"1.50","d":"2026-01-02"}', "application/json"),
        ("json", '{"a": 1}', b'{"a": 1}', "application/json"),
        ("form", {"a": 1, "b": ["x", "y"]}, b"a=1&b=x&b=y", "application/x-www-form-urlencoded"),
        ("xml", b"<a/>", b"<a/>", "application/xml"),
        ("plain", "é", "é".encode(), "text/plain; charset=utf-8"),
        ("json", "", b"", None),
    ],
)
def test_bodies_are_written_in_the_format_of_the_connection(data_format, sent, body, media_type):
    with scripted() as server:
        connector(server, data_format=data_format).post("/", sent)
        assert server.requests[0].partition(b"\r\n\r\n")[2] == body
        assert header_of(server.requests[0], "Content-Type") == ([media_type] if media_type else [])
        assert header_of(server.requests[0], "Content-Length") == [str(len(body))]


def test_json_and_headers_of_a_call_win_over_the_connection_s():
    with scripted() as server:
        erp = connector(server, data_format="xml", headers={"Accept": "text/xml", "X-Tenant": "a"})
        erp.patch("/", json={"a": 1}, headers={"x-tenant": "b", "content-type": "application/merge-patch+json"})
        request = server.requests[0]
        assert header_of(request, "Content-Type") == ["application/merge-patch+json"]
        assert (header_of(request, "X-Tenant"), header_of(request, "Accept")) == (["b"], ["text/xml"])
        assert header_of(request, "Accept-Encoding") == ["identity"]


def test_credentials_go_to_this_system_with_each_call():
    with scripted() as server:
        connector(server, username="gw", password="söcret", api_key="k-1", header="X-Key").get("/")
        expected = "Basic " + base64.b64encode("gw:söcret".encode()).decode()
        assert header_of(server.requests[0], "Authorization") == [expected]
        assert header_of(server.requests[0], "X-Key") == ["k-1"]


def test_A25_a_redirect_is_handed_on_and_never_followed():
    with (
        scripted() as other,
        scripted(f"HTTP/1.1 302 Found\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n".encode()) as server,
    ):
        answer = connector(server, username="gw", password="secret").get("/")
        assert (answer.status_code, answer.headers["location"], other.requests) == (302, other.url + "/", [])


def test_A8_what_a_caller_sent_cannot_break_a_header():
    with scripted() as server:
        erp = connector(server)
        with pytest.raises(ValueError, match="control character"):
            erp.get("/", headers={"X-Name": "a\r\nX-Admin: yes"})
        with pytest.raises(ValueError, match="control character"):
            erp.post("cid\r\nX-Admin: yes", "x")
        erp.get("/a\r\nb", {"c\r\n": "d\r\n"})
        assert target_of(server.requests[0]) == "/a%0D%0Ab?c%0D%0A=d%0D%0A"


def test_a_ping_takes_any_answer_and_names_a_system_that_is_down():
    with scripted(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n") as server:
        erp = connector(server, path="/api/{id}")
        erp.ping()
        assert lines_of(server.requests[0])[0] == "HEAD /api/ HTTP/1.1"
        erp.close()
    with pytest.raises(BackendUnavailable):
        connector(server.url, retries=0).ping()


def test_a_file_of_tls_that_is_not_there_is_named_when_the_connection_is_used():
    with pytest.raises(BackendUnavailable, match="cannot be set up"):
        connector("https://127.0.0.1:1", ca="/nowhere/ca.pem")


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"url": "ftp://host/"}, "connections.erp.url"),
        ({"url": "http:///path"}, "connections.erp.url"),
        ({"url": "http://user:secret@host/"}, "connections.erp.url"),
        ({"url": "http://{host}/"}, "connections.erp.url"),
        ({"url": "http://host/", "username": "a"}, "connections.erp"),
        ({"url": "http://host/", "security": "partners", "api_key": "k"}, "connections.erp.security"),
        ({"url": "http://host/", "pool_size": 0}, "connections.erp.pool_size"),
        ({"url": "http://host/", "key": "k.pem"}, "connections.erp.key"),
    ],
)
def test_settings_that_cannot_work_are_refused_where_they_stand(settings, path):
    with pytest.raises(ConfigurationError) as refused:
        Connector.Settings.read(settings, "connections.erp")
    assert refused.value.path == path


def test_a_reference_in_the_address_is_left_to_whoever_resolves_it():
    assert Connector.Settings.read({"url": "${env:ERP_URL}"}).url == "${env:ERP_URL}"


def test_secrets_do_not_show():
    settings = Connector.Settings.read({"url": "http://h/", "username": "u", "password": "hush", "api_key": "hush"})
    assert "hush" not in repr(settings)
