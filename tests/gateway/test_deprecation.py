"""What is going away says so: in headers, documents and pages; and what cannot be told is refused."""

import pytest
import requests
import zeep
from lxml import etree
from running import eventually, gateway

from gateway.configuration.document import check
from gateway.configuration.kinds import read_object
from specs.contract import Contract
from specs.lifetime import Deprecated, Lifetime, Moment
from specs.problems import ConfigurationError
from specs.simpleio import contract_of

SERVICES = {
    "rates.py": '''
        from gatewright import Service

        class Old(Service):
            """Gives a rate, slowly."""
            name = "rate.old"
            deprecated = "2026-12-01"
            sunset = "2027-06-30T22:00:00Z"
            input = "day"
            output = "rate"

            def handle(self):
                self.response.payload.rate = "1.20"

        class New(Service):
            """Gives a rate."""
            name = "rate.new"
            output = "rate"

            def handle(self):
                self.response.payload.rate = "1.20"
        ''',
}
CONFIGURATION = """
format: 1
gateway: {public_url: "https://api.example.com"}
services:
  rate.new: {sunset: 2030-01-01}
channels:
  old: {type: rest, path: /old, methods: [GET], service: rate.old}
  older: {type: rest, path: /older, methods: [GET], service: rate.old, deprecated: true, deprecation_page: "https://acme.example/x"}
  new: {type: rest, path: /new, methods: [GET], service: rate.new}
  soap: {type: soap, path: /soap, services: [rate.old, rate.new]}
  ways: {type: proxy, path: /ways, upstreams: ["http://127.0.0.1:9"], deprecated: 2026-12-01}
docs: {path: /reference}
"""
OLD = {
    "Deprecation": "@1796083200",
    "Sunset": "Wed, 30 Jun 2027 22:00:00 GMT",
    "Link": '<https://api.example.com/reference/services/rate.old>; rel="deprecation"; type="text/html", '
    '<https://api.example.com/reference/services/rate.old>; rel="sunset"; type="text/html"',
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("ends"), CONFIGURATION, SERVICES) as running:
        yield running


def notices(answer):
    return {name: answer.headers[name] for name in ("Deprecation", "Sunset", "Link") if name in answer.headers}


def test_every_answer_of_a_deprecated_service_says_so_refusals_too(served):
    for path in ("/old?day=2026-01-31", "/old"):
        assert notices(served.get(path)) == OLD
    assert notices(served.request("OPTIONS", "/old")) == OLD
    assert notices(served.get("/new")) == {
        "Sunset": "Tue, 01 Jan 2030 00:00:00 GMT",
        "Link": '<https://api.example.com/reference/services/rate.new>; rel="sunset"; type="text/html"',
    }


def test_a_channel_s_word_goes_before_its_service_s(served):
    found = notices(served.get("/older?day=2026-01-31"))
    assert (found["Deprecation"], found["Sunset"]) == ("@0", OLD["Sunset"])
    assert '<https://acme.example/x>; rel="deprecation"' in found["Link"]


def test_a_channel_without_a_service_says_so(served):
    answer = served.get("/ways")
    assert answer.status_code >= 500
    assert notices(answer)["Deprecation"] == "@1796083200"


def test_of_a_soap_endpoint_each_operation_says_so_for_itself(served):
    client = zeep.Client(f"{served.url}/soap?wsdl", transport=Transport(served))
    assert client.service.Old(day="2026-01-31") == "1.20"
    assert notices(client.transport.answer)["Deprecation"] == "@1796083200"
    assert client.service.New() == "1.20"
    assert "Deprecation" not in client.transport.answer.headers
    wsdl = etree.fromstring(served.get("/soap?wsdl").content)
    told = wsdl.xpath("//*[local-name()='portType']/*[local-name()='operation']/*[local-name()='documentation']/text()")
    assert told == [
        "Deprecated since 1 December 2026; it ends on 30 June 2027.\n\nGives a rate, slowly.",
        "It ends on 1 January 2030.\n\nGives a rate.",
    ]


class Transport(zeep.transports.Transport):
    """Calls the listener, whatever the public address is, and keeps the last answer."""

    def __init__(self, served):
        super().__init__(session=requests.Session())
        self._served = served
        self.answer = None

    def post(self, address, message, headers):
        self.answer = super().post(address.replace("https://api.example.com", self._served.url), message, headers)
        return self.answer


def test_documents_and_pages_say_so(served):
    paths = served.get("/openapi.json").json()["paths"]
    old = paths["/old"]["get"]
    assert (old["deprecated"], old["x-sunset"]) == (True, "2027-06-30")
    assert sorted(old["responses"]["200"]["headers"]) == ["Deprecation", "Sunset", "X-Request-Id"]
    assert "deprecated" not in paths["/new"]["get"]
    page = served.get("/reference/services/rate.old").text
    assert "Deprecated since 1 December 2026; it ends on 30 June 2027." in page
    assert 'href="https://acme.example/x"' in page
    assert "it ends on 30 June 2027" in served.get("/reference/api.md").text


def test_a_notice_comes_and_goes_while_it_runs(served):
    path = served.data.parent / "next.yaml"
    path.write_text(CONFIGURATION.replace("sunset: 2030-01-01", "sunset: 2031-01-01"))
    served.command("config", "apply", str(path))
    assert eventually(lambda: notices(served.get("/new"))["Sunset"] == "Wed, 01 Jan 2031 00:00:00 GMT")
    path.write_text(CONFIGURATION.replace("  rate.new: {sunset: 2030-01-01}\n", "  rate.new: {}\n"))
    served.command("config", "apply", str(path))
    assert eventually(lambda: notices(served.get("/new")) == {})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"deprecated": "soon"}, "channels.c.deprecated: not a moment: 'soon': write 2027-06-30"),
        ({"sunset": True}, "channels.c.sunset: not a moment: True"),
        (
            {"deprecated": "2027-01-01", "sunset": "2026-01-01"},
            "channels.c.sunset: 2026-01-01 is before its deprecation",
        ),
        ({"sunset": "2026-01-01", "deprecation_page": "https://a.example/\r\nX: y"}, "deprecation_page: not a URL"),
    ],
)
def test_what_cannot_be_told_is_refused(settings, said):
    body = {"type": "rest", "path": "/a", "service": "s", **settings}
    with pytest.raises(ConfigurationError) as caught:
        check({("channels", "c"): read_object("channels", body, "channels.c")})
    assert said in str(caught.value)


def test_a_moment_has_a_zone_and_a_lifetime_is_empty_unless_something_ends():
    assert Moment("2026-12-01T01:00:00+02:00").when.isoformat() == "2026-11-30T23:00:00+00:00"
    assert not Lifetime(Deprecated.read(False, "") or None)
    assert Lifetime(Deprecated.read(True, "")).sentence == "Deprecated."


def test_a_service_says_so_in_its_class_and_a_contract_keeps_it():
    contract = contract_of({"deprecated": True, "sunset": "2027-06-30"}, service="s")
    assert Contract.from_record(contract.as_record()) == contract
    assert (contract.deprecated, contract.sunset) == (Deprecated.LONG_AGO, "2027-06-30")
    with pytest.raises(ConfigurationError, match="sunset: not a moment"):
        contract_of({"sunset": "never"}, service="s")
