"""The example document of the design, as far as its types are here: accepted as written, and a gateway does what it says."""

import pytest
from lxml import etree
from running import gateway

SERVICES = {
    "customer.py": """
        from gatewright import Int, List, Service

        class GetCustomer(Service):
            name = "customer.get"
            input = "cust_id", "-segment"
            output = "name", "is_active", List("tags"), "-last_seen"

            def handle(self):
                self.response.payload = {"name": f"number {self.request.input.cust_id}", "is_active": True, "tags": ["a"]}

        class UpdateCustomer(Service):
            name = "customer.update"
            input = "cust_id", "name"
            output = "name"

            def handle(self):
                self.response.payload.name = self.request.input.name

        class Rates(Service):
            name = "rates.update"

            def handle(self):
                self.response.payload = {}
    """
}
AS_WRITTEN = """
format: 1
security:
  partners:  {type: basic, username: api, password: "${env:PARTNER_PASSWORD}", realm: Partners}
  staff:     {type: sso, apps: [crm]}
limits:
  standard:
    rules:
      - {from: 10.0.0.0/8, rate: unlimited}
      - {from: "*",        rate: [10/second, 1000/hour]}
channels:
  get-customer: {type: rest, path: "/customers/{cust_id}", methods: [GET], service: customer.get,
                 security: [partners, [staff]], limit: standard, allow: [10.0.0.0/8, "::1"]}
  customer:     {type: soap, path: /soap/customer, services: [customer.get, customer.update], security: [partners]}
connections:
  crm:   {type: sql, url: "postgresql+psycopg://crm@db/crm", password: "${env:CRM_PASSWORD}", pool_size: 10}
consumers:
  acme:  {groups: [gold], basic: {username: acme, password: "${env:ACME}"}, limit: standard}
jobs:
  refresh: {service: rates.update, every: 1h}
"""
#: What the example leaves to its reader: who writes the caller's address, and the people behind `type: sso`.
AROUND = """
gateway: {trusted_proxies: [127.0.0.1]}
sso: {enabled: true, apps: {crm: {login: true}}}
"""
SECRETS = {"PARTNER_PASSWORD": "partners-password-1", "CRM_PASSWORD": "crm-password-1", "ACME": "acmes-password-1"}
PARTNER = ("api", SECRETS["PARTNER_PASSWORD"])


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("example"), AS_WRITTEN + AROUND, SERVICES, environment=SECRETS) as running:
        yield running


def ask(served, address, path="/customers/7", method="GET", **more):
    return served.request(method, path, headers={"X-Forwarded-For": address}, **more)


def test_it_is_accepted_and_dumped_with_its_references(served, tmp_path):
    dumped = served.command("config", "dump")
    assert all(f"${{env:{name}}}" in dumped for name in SECRETS)
    assert not any(secret in dumped for secret in SECRETS.values())
    path = tmp_path / "dumped.yaml"
    path.write_text(dumped)
    served.command("config", "diff", str(path))  # 0: nothing differs
    assert "1h" in dumped or "3600" in dumped


def test_the_channel_is_where_it_says_for_whom_it_says(served):
    answer = ask(served, "10.1.2.3", auth=PARTNER)
    assert answer.json() == {"name": "number 7", "is_active": True, "tags": ["a"]}
    assert ask(served, "::1", auth=PARTNER).status_code == 200
    assert ask(served, "192.0.2.1", auth=PARTNER).status_code == 403
    other = ask(served, "10.1.2.3", method="POST", auth=PARTNER)
    assert (other.status_code, "GET" in other.headers["Allow"]) == (405, True)
    unknown = ask(served, "10.1.2.3")
    assert unknown.status_code == 401
    # Partners or staff: a challenge for each.
    assert 'Basic realm="Partners"' in unknown.headers["WWW-Authenticate"]
    assert "Bearer" in unknown.headers["WWW-Authenticate"]
    # A consumer is nobody to a definition that has a username of its own.
    assert ask(served, "10.1.2.3", auth=("acme", SECRETS["ACME"])).status_code == 401


def test_the_limit_is_that_of_the_longest_prefix(served):
    assert "RateLimit-Policy" not in ask(served, "10.1.2.3", auth=PARTNER).headers
    policy = ask(served, "::1", auth=PARTNER).headers["RateLimit-Policy"]
    assert ("q=10;w=1" in policy, "q=1000;w=3600" in policy) == (True, True)
    told = served.command("limits", "explain", "--channel", "get-customer", "--consumer", "acme", "--address", "::1")
    assert ("channel" in told, "consumer" in told) == (True, True)


def test_the_endpoint_has_both_services_as_operations(served):
    answer = served.get("/soap/customer?wsdl", auth=PARTNER)
    assert answer.status_code == 200, answer.text
    wsdl = "{http://schemas.xmlsoap.org/wsdl/}"
    operations = {
        one.get("name") for one in etree.fromstring(answer.content).iterfind(f"{wsdl}portType/{wsdl}operation")
    }
    assert len(operations) == 2
    assert {"get", "update"} == {name.lower().replace("customer", "") for name in operations}
    assert served.post("/soap/customer", data="<a/>", headers={"Content-Type": "text/xml"}).status_code in (
        400,
        401,
        500,
    )
