"""The SOAP channel over the wire: dispatch, versions, faults, credentials in headers, and the description at ?wsdl."""

import base64
import datetime
import hashlib
import os
import subprocess
import sys

import pytest
from lxml import etree
from running import ROOT, gateway
from soap_endpoint import ENVIRONMENT, NAMESPACE, PARTNER

ENVELOPES = {"1.1": "http://schemas.xmlsoap.org/soap/envelope/", "1.2": "http://www.w3.org/2003/05/soap-envelope"}
TYPES = {"1.1": "text/xml; charset=utf-8", "1.2": "application/soap+xml; charset=utf-8"}
FIND = f'<FindOrder xmlns="{NAMESPACE}"><number>7</number></FindOrder>'
OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
BOTH = pytest.mark.parametrize("version", ["1.1", "1.2"])


@pytest.fixture
def served(soap_gateway):
    return soap_gateway


def call(served, body=FIND, *, version="1.1", header="", path="/soap/orders", encoding="utf-8", envelope=None, **more):
    envelope = envelope or ENVELOPES[version]
    text = f'<e:Envelope xmlns:e="{envelope}"><e:Header>{header}</e:Header><e:Body>{body}</e:Body></e:Envelope>'
    headers = {"Content-Type": TYPES[version].replace("utf-8", encoding), **more.pop("headers", {})}
    return served.post(path, data=text.encode(encoding), headers=headers, **more)


def fault(answer):
    """What a fault says: its code without the prefix, the code of the problem, and its status."""
    root = etree.fromstring(answer.content)
    code = root.find(".//faultcode")
    if code is None:
        code = root.find(".//{*}Fault/{*}Code/{*}Value")
    detail = root.find(".//{*}GatewayFault")
    assert detail.findtext("{*}cid") == answer.headers["x-request-id"]
    return code.text.partition(":")[2], detail.findtext("{*}code"), int(detail.findtext("{*}status"))


@BOTH
def test_a_fault_of_the_service_has_the_status_of_its_version(served, version):
    answer = call(served, version=version)
    assert answer.headers["content-type"] == TYPES[version]
    caller = {"1.1": "Client", "1.2": "Sender"}[version]
    assert (answer.status_code, fault(answer)) == ({"1.1": 500, "1.2": 400}[version], (caller, "no-such-order", 404))
    broken = call(served, FIND.replace("7", "500"), version=version)
    service = {"1.1": "Server", "1.2": "Receiver"}[version]
    assert (broken.status_code, fault(broken)) == (500, (service, "internal-error", 500))
    assert "kaboom" not in broken.text


def test_the_fault_says_what_the_json_form_says(served):
    root = etree.fromstring(call(served, f'<PlaceOrder xmlns="{NAMESPACE}"><urgent>x</urgent></PlaceOrder>').content)
    detail = root.find(".//{*}GatewayFault")
    told = [tuple(part.text for part in error) for error in detail.find("{*}errors")]
    problem = served.post("/orders", json={"urgent": "x"}).json()
    # Lists that are required are empty in SOAP, where JSON has to say so.
    expected = [tuple(e.values()) for e in problem["errors"] if e["pointer"] not in ("/tags", "/lines")]
    assert told == expected
    assert [detail.findtext("{*}" + name) for name in ("type", "title", "code")] == [
        problem["type"], problem["title"], problem["code"],
    ]  # fmt: skip


@BOTH
@pytest.mark.parametrize(
    ("action", "right"),
    [
        ('"urn:gatewright:acme.orders:FindOrder"', True),
        ("urn:gatewright:acme.orders:FindOrder", True),
        ('"FindOrder"', True),
        ('"orders.find"', True),
        ('""', True),
        ("", True),
        (None, True),
        ('"urn:gatewright:acme.orders:PlaceOrder"', False),
        ("urn:evil", False),
    ],
)
def test_A40_the_action_may_be_missing_but_not_contradict_the_body(served, version, action, right):
    headers = {} if action is None else {"SOAPAction": action}
    answer = call(served, version=version, headers=headers)
    assert fault(answer)[1] == ("no-such-order" if right else "soap-action-mismatch")
    if version == "1.2" and action is not None:
        quoted = action if action.startswith('"') else f'"{action}"'
        answer = call(served, version=version, headers={"Content-Type": f"application/soap+xml;action={quoted}"})
        assert fault(answer)[1] == ("no-such-order" if right else "soap-action-mismatch")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@BOTH
def test_utf_8_and_utf_16(served, version, encoding):
    answer = call(served, FIND, version=version, encoding=encoding)
    assert fault(answer)[1] == "no-such-order"


@BOTH
def test_an_operation_that_is_not_there_is_the_callers_fault(served, version):
    for body in ("<Nothing/>", "<FindOrder/>", FIND.replace(NAMESPACE, "urn:other"), "<request/>"):
        code = {"1.1": "Client", "1.2": "Sender"}[version]
        assert fault(call(served, body, version=version)) == (code, "no-such-operation", 400)


def test_version_mismatch_and_headers_that_must_be_understood(served):
    other = call(served, envelope="urn:soap:3")
    assert (other.status_code, fault(other)[0]) == (500, "VersionMismatch")
    for version in ("1.1", "1.2"):
        header = '<x:Trace xmlns:x="urn:x" e:mustUnderstand="1"/>'
        answer = call(served, version=version, header=header)
        assert fault(answer)[:2] == ("MustUnderstand", "soap-must-understand")
        security = f'<w:Security xmlns:w="{OASIS}wssecurity-secext-1.0.xsd" e:mustUnderstand="1"/>'
        assert fault(call(served, version=version, header=security))[0] == "MustUnderstand"
        # Version and headers come before what is wrong with the body (WS-I R2725).
        assert fault(call(served, "<Nothing/>", version=version, header=header))[0] == "MustUnderstand"


def test_what_is_no_soap_is_refused_as_a_fault(served):
    for data in (b"", b"{}", b"<a/>", b"<Envelope", b"\xff\xfe"):
        answer = served.post("/soap/orders", data=data, headers={"Content-Type": "text/xml"})
        assert fault(answer) == (("VersionMismatch" if data == b"<Envelope/>" else "Client"), "malformed-body", 400)
    wrong = served.post("/soap/orders", data=b"<a/>", headers={"Content-Type": "text/plain"})
    assert (wrong.status_code, fault(wrong)[1]) == (415, "unsupported-media-type")
    large = served.post("/soap/small", data=b" " * 3000, headers={"Content-Type": "application/soap+xml"})
    assert (large.status_code, large.headers["content-type"], fault(large)[0]) == (413, TYPES["1.2"], "Sender")
    put = served.request("PUT", "/soap/orders", data=b"")
    assert (put.status_code, put.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")


def test_a_service_without_a_contract_takes_and_gives_what_it_likes(served):
    body = f'<Free xmlns="{NAMESPACE}"><a type="integer">1</a><b>x</b></Free>'
    root = etree.fromstring(call(served, body).content)
    got = root.find(".//{*}FreeResponse/{*}result/{*}got")
    assert [(child.tag.partition("}")[2], child.get("type"), child.text) for child in got] == [
        ("a", "integer", "1"), ("b", None, "x"),
    ]  # fmt: skip


def test_an_endpoint_with_a_service_that_is_not_deployed(served):
    assert fault(call(served, path="/soap/absent"))[1] == "no-such-order"
    answer = call(served, FIND.replace("FindOrder", "WroteIt"), path="/soap/absent")
    assert (answer.status_code, fault(answer)) == (503, ("Server", "service-not-deployed", 503))
    assert answer.headers["retry-after"] == "5"


def test_values_of_the_path_win_over_those_of_the_body(served):
    answer = call(served, path="/soap/12/orders")
    assert "There is no order 12" in answer.text


def test_the_call_of_the_linux_journal(served):
    envelope = """
      <soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:z="https://zato.io/ns/20130518">
       <soapenv:Body>
        <z:request><z:year>2013</z:year><z:month>9</z:month><z:day>3</z:day></z:request>
       </soapenv:Body>
      </soapenv:Envelope>"""
    headers = {"SOAPAction": "get-rates", "Content-Type": "application/x-www-form-urlencoded"}
    answer = served.post("/client3/get-rate", data=envelope, headers=headers)
    assert answer.status_code == 200
    assert etree.fromstring(answer.content).findtext(".//{*}GetRateResponse/{*}rate") == "1.22"
    cookie = served.post("/client3/get-rate", data=envelope, headers={**headers, "Cookie": "session=x"})
    assert (cookie.status_code, fault(cookie)[1]) == (415, "unsupported-media-type")


# Who is calling


@BOTH
def test_http_basic_is_challenged_and_taken(served, version):
    answer = call(served, version=version, path="/soap/secured")
    assert (answer.status_code, fault(answer)[1]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Basic realm="Partners", charset="UTF-8"'
    assert fault(call(served, version=version, path="/soap/secured", auth=PARTNER))[1] == "no-such-order"
    assert call(served, version=version, path="/soap/secured", auth=("api", "wrong")).status_code == 401


def token(password, *, username="api", kind="PasswordText", nonce=b"", created=None, expires=None):
    """A Security header with a UsernameToken."""
    if created is None and nonce:
        created = datetime.datetime.now(datetime.UTC)
    stamp = created.strftime("%Y-%m-%dT%H:%M:%SZ") if created else ""
    if kind == "PasswordDigest":
        digest = hashlib.sha1(nonce + stamp.encode() + password.encode()).digest()
        password = base64.b64encode(digest).decode()
    kind = f"{OASIS}username-token-profile-1.0#{kind}"
    parts = f'<w:Username>{username}</w:Username><w:Password Type="{kind}">{password}</w:Password>'
    if nonce:
        parts += f"<w:Nonce>{base64.b64encode(nonce).decode()}</w:Nonce>"
    if stamp:
        parts += f"<u:Created>{stamp}</u:Created>"
    until = f"<u:Timestamp><u:Expires>{expires:%Y-%m-%dT%H:%M:%SZ}</u:Expires></u:Timestamp>" if expires else ""
    return (
        f'<w:Security xmlns:w="{OASIS}wssecurity-secext-1.0.xsd" xmlns:u="{OASIS}wssecurity-utility-1.0.xsd"'
        f' e:mustUnderstand="1">{until}<w:UsernameToken>{parts}</w:UsernameToken></w:Security>'
    )


def status(served, header, path="/soap/tokens", **more):
    return fault(call(served, header=header, path=path, **more))[2]


PASSWORD = ENVIRONMENT["TOKEN_PASSWORD"]
IN, OUT = 404, 401


@BOTH
def test_a_username_token_in_clear_or_as_a_digest(served, version):
    assert status(served, token(PASSWORD), version=version) == IN
    assert status(served, token("wrong"), version=version) == OUT
    assert status(served, token(PASSWORD, username="other"), version=version) == OUT
    digest = {"kind": "PasswordDigest", "version": version}
    version = digest.pop("version")
    assert status(served, token(PASSWORD, nonce=os.urandom(16), **digest), version=version) == IN
    assert status(served, token("wrong", nonce=os.urandom(16), **digest), version=version) == OUT
    assert status(served, token(PASSWORD, **digest), version=version) == OUT
    assert status(served, token(PASSWORD, nonce=b"n", kind="PasswordOther"), version=version) == OUT
    refused = call(served, path="/soap/tokens", version=version)
    assert refused.headers["www-authenticate"] == 'WSSE realm="Gatewright", profile="UsernameToken"'
    assert refused.status_code == 401


def test_a_replayed_nonce_is_refused_by_every_worker(served):
    for kind in ("PasswordDigest", "PasswordText"):
        header = token(PASSWORD, kind=kind, nonce=os.urandom(16))
        # A new connection each: the workers share what they have seen.
        assert [status(served, header) for _ in range(6)] == [IN, *[OUT] * 5]


def test_a_nonce_is_not_used_up_by_those_who_do_not_know_the_password(served):
    nonce = os.urandom(16)
    assert status(served, token("wrong", kind="PasswordDigest", nonce=nonce)) == OUT
    assert status(served, token(PASSWORD, kind="PasswordDigest", nonce=nonce)) == IN


def test_a_token_of_another_time_is_refused(served):
    now = datetime.datetime.now(datetime.UTC)
    for minutes, expected in ((-10, OUT), (10, OUT), (-4, IN), (4, IN)):
        created = now + datetime.timedelta(minutes=minutes)
        for kind in ("PasswordDigest", "PasswordText"):
            assert status(served, token(PASSWORD, kind=kind, nonce=os.urandom(16), created=created)) == expected
    assert status(served, token(PASSWORD, expires=now - datetime.timedelta(seconds=5))) == OUT
    assert status(served, token(PASSWORD, expires=now + datetime.timedelta(minutes=5))) == IN


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("</w:UsernameToken>", "<w:Password>x</w:Password></w:UsernameToken>"),
        lambda t: t.replace("</w:Security>", "<w:UsernameToken/></w:Security>"),
        lambda t: t.replace("<w:Username>api</w:Username>", "<w:Username>api<x/></w:Username>"),
        lambda t: t.replace("<w:Username>api</w:Username>", f"<w:Username>{'a' * 2000}</w:Username>"),
        lambda t: t.replace("</w:UsernameToken>", "<w:Nonce>not base64!</w:Nonce></w:UsernameToken>"),
        lambda t: t.replace("</w:UsernameToken>", "<u:Created>soon</u:Created></w:UsernameToken>"),
        lambda t: t.replace(' e:mustUnderstand="1"', ' e:actor="urn:somebody"'),
    ],
)
def test_odd_tokens_are_refused(served, change):
    assert status(served, token(PASSWORD)) == IN
    assert status(served, change(token(PASSWORD))) == OUT


def test_tokens_of_consumers_and_together_with_other_definitions(served):
    acme = token("acme-password-1", username="acme")
    assert status(served, acme, "/soap/people") == IN
    assert status(served, token("tin-password-1", username="tin"), "/soap/people") == OUT
    assert status(served, token("acme-password-1", username="nobody"), "/soap/people") == OUT
    digest = token("acme-password-1", username="acme", kind="PasswordDigest", nonce=os.urandom(8))
    assert status(served, digest, "/soap/people") == OUT
    assert status(served, token(PASSWORD), "/soap/either") == IN
    assert status(served, "", "/soap/either", auth=PARTNER) == IN
    key = {"X-API-Key": "acme-key-0123456789abcdef"}
    assert status(served, acme, "/soap/both", headers=key) == IN
    assert status(served, acme, "/soap/both") == OUT
    assert status(served, "", "/soap/both", headers=key) == OUT
    assert status(served, "", "/soap/grouped", auth=PARTNER) == 403


def test_limits_hold_for_soap(served):
    body = f'<ListOrders xmlns="{NAMESPACE}"/>'
    answers = [call(served, body, path="/soap/limited") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert fault(answers[3])[1] == "quota-exceeded"
    assert answers[0].headers["ratelimit-policy"] == '"few";q=3;w=3600'
    assert int(answers[3].headers["retry-after"]) > 0
    members = etree.fromstring(answers[3].content).find(".//{*}members")
    assert members[0].tag.endswith("violated-policies")
    # Each version says as much as JSON does: which policy, when again, and under which id.
    for version, code in (("1.1", "Client"), ("1.2", "Sender")):
        refused = call(served, body, version=version, path="/soap/limited")
        assert (refused.status_code, fault(refused)) == (429, (code, "quota-exceeded", 429))
        detail = etree.fromstring(refused.content).find(".//{*}GatewayFault")
        assert "few" in [text.strip() for text in detail.find("{*}members").itertext()]
        assert detail.findtext("{*}cid") == refused.headers["x-request-id"]
        assert refused.headers["ratelimit"].startswith('"few";r=0;t=')
        assert int(refused.headers["retry-after"]) > 0


def test_pages_of_other_origins(served):
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    preflight = served.request("OPTIONS", "/soap/small", headers=headers)
    assert preflight.headers["access-control-allow-origin"] == "https://a.example"
    answer = call(served, f'<Free xmlns="{NAMESPACE}"/>', path="/soap/small", headers={"Origin": "https://a.example"})
    assert answer.headers["access-control-allow-origin"] == "https://a.example"


# The description


def ports(answer):
    return {port.get("name"): port[0].get("location") for port in etree.fromstring(answer.content).iter("{*}port")}


def test_the_description_has_both_ports_or_the_one_asked_for(served):
    address = served.url + "/soap/orders"
    both = served.get("/soap/orders?wsdl")
    assert both.headers["content-type"] == "text/xml; charset=utf-8"
    assert ports(both) == {"OrdersSoap11": address, "OrdersSoap12": address}
    assert ports(served.get("/soap/orders?wsdl&soap=1.1")) == {"OrdersSoap11": address}
    assert ports(served.get("/soap/orders?WSDL&soap=1.2")) == {"OrdersSoap12": address}
    assert served.get("/soap/orders?wsdl&soap=2").status_code == 400
    assert (served.get("/soap/orders").status_code, served.get("/soap/orders").headers["allow"]) == (405, "POST")
    assert served.request("HEAD", "/soap/orders?wsdl").headers["content-length"] == str(len(both.content))
    assert ports(served.get("/soap/12/orders?wsdl")) == dict.fromkeys(
        ("TenantSoap11", "TenantSoap12"), served.url + "/soap/12/orders"
    )


def test_the_description_is_remembered_by_its_tag(served):
    first = served.get("/soap/orders?wsdl")
    again = served.get("/soap/orders?wsdl", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert served.get("/soap/orders?wsdl", headers={"If-None-Match": '"other"'}).status_code == 200
    assert first.headers["cache-control"] == "no-cache"
    assert served.get("/soap/secured?wsdl", auth=PARTNER).headers["cache-control"] == "private, no-cache"


def test_every_process_describes_it_in_the_same_bytes(served):
    answers = [served.get("/soap/orders?wsdl") for _ in range(8)]
    assert len({(answer.content, answer.headers["etag"]) for answer in answers}) == 1
    # A process of its own has another order of hashes.
    script = "import sys; sys.path[:0] = ['.', 'tests/specs']; import test_wsdl as t; t.test_the_description_is_the_golden_file()"
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)


def test_the_address_is_never_the_callers_host(served):
    for headers in ({"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example"}, {"Forwarded": "host=evil.example"}):
        assert b"evil" not in served.get("/soap/orders?wsdl", headers=headers).content


def test_who_gets_the_description_is_for_the_channel_to_say(served):
    assert served.get("/soap/secured?wsdl").status_code == 401
    assert served.get("/soap/secured?wsdl", auth=PARTNER).status_code == 200
    assert served.get("/soap/open?wsdl").status_code == 200
    unknown = call(served, path="/soap/open")  # an operation that is not there
    assert (unknown.status_code, b"PlaceOrder" in unknown.content) == (401, False)
    assert fault(call(served, path="/soap/open", auth=PARTNER))[1] == "no-such-operation"
    assert served.get("/soap/grouped?wsdl").status_code == 200
    closed = served.get("/soap/closed?wsdl")
    assert (closed.status_code, closed.headers["allow"]) == (405, "OPTIONS, POST")
    body = FIND.replace(NAMESPACE, "urn:acme:closed")
    assert fault(call(served, body, path="/soap/closed"))[1] == "no-such-order"


EXAMPLE = """
format: 1
gateway: {public_url: "https://api.example.com/gw/"}
security:
  partners:  {type: basic, username: api, password: "${env:PARTNER_PASSWORD}", realm: Partners}
channels:
  customer:     {type: soap, path: /soap/customer, services: [customer.get, customer.update], security: [partners]}
"""
CUSTOMERS = '''
    from gatewright import List, Service

    class GetCustomer(Service):
        """Returns basic information about a customer."""
        name = "customer.get"
        input = "cust_id", "-segment"
        output = "name", "is_active", List("tags"), "-last_seen"

        def handle(self):
            self.response.payload = {"name": "Anna", "is_active": True, "tags": ["a", "b"]}

    class UpdateCustomer(Service):
        name = "customer.update"
        input = "cust_id", "name"
        namespace = ""

        def handle(self):
            pass
'''


def test_the_example_of_the_design_is_accepted_as_written(tmp_path):
    environment = {"PARTNER_PASSWORD": "pw-of-partners"}
    with gateway(tmp_path, EXAMPLE, {"customers.py": CUSTOMERS}, environment=environment) as running:
        first = running.get("/soap/customer?wsdl", auth=("api", "pw-of-partners"))
        body = '<GetCustomer xmlns="urn:gatewright:customer"><cust_id>1</cust_id></GetCustomer>'
        assert call(running, body, path="/soap/customer", auth=("api", "pw-of-partners")).status_code == 200
    address = "https://api.example.com/gw/soap/customer"
    assert ports(first) == {"CustomerSoap11": address, "CustomerSoap12": address}
    root = etree.fromstring(first.content)
    names = {
        "service": ["CustomerService"], "portType": ["CustomerPortType"],
        "message": ["GetCustomerInput", "GetCustomerOutput", "UpdateCustomerInput", "UpdateCustomerOutput", "GatewayFaultMessage"],
    }  # fmt: skip
    for tag, expected in names.items():
        assert [e.get("name") for e in root.iter("{http://schemas.xmlsoap.org/wsdl/}" + tag)] == expected
    elements = [e.get("name") for e in root.find(".//{*}schema").findall("{*}element")]
    assert elements == [
        "GetCustomer", "GetCustomerResponse", "UpdateCustomer", "UpdateCustomerResponse", "GatewayFault",
    ]  # fmt: skip
