"""One service, written once: called over JSON, XML, forms and by plain text; protected, limited, negotiated, refused."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from lxml import etree
from running import eventually, gateway

SERVICES = {
    "customers.py": '''
        """Customers."""
        from gatewright import Bool, DictList, Int, List, Problem, Service

        namespace = "my.api.customer"

        class GetCustomer(Service):
            """Returns basic information about a customer."""
            name = "customer.get"
            input = "cust_id", "-segment", Bool("-with_orders")
            output = "name", "is_active", List("tags"), "-last_seen", DictList("-orders", Int("number"), "total")

            def handle(self):
                if self.request.input.cust_id == 404:
                    raise Problem(404, "no-such-customer", "no customer has this id")
                payload = self.response.payload
                payload.name = f"Customer {self.request.input.cust_id}"
                payload.is_active = True
                payload.tags = [self.request.input.segment] if "segment" in self.request.input else []
                if self.request.input.with_orders:
                    payload.orders = [{"number": 7, "total": 12.5}]

        class WhoAmI(Service):
            name = "who-am-i"
            output = "name", "kind", List("groups"), "address"

            def handle(self):
                self.response.payload.name = self.identity.name
                self.response.payload.kind = self.identity.kind
                self.response.payload.groups = sorted(self.identity.groups)
                self.response.payload.address = self._call.address

        class OldStyle(Service):
            name = "old-style"

            class SimpleIO:
                input_optional = ("year",)
                output_optional = ("rate",)

            def handle(self):
                self.response.payload.rate = "1.22"

        class Verbs(Service):
            name = "verbs"

            def handle_GET(self):
                self.response.payload = {"got": True}

            def handle_DELETE(self):
                self.response.status_code = 204

        class Raw(Service):
            name = "raw"

            def handle(self):
                self.response.payload = {
                    "raw": self.request.raw_request.decode() if self.request.raw_request else None,
                    "payload": self.request.payload,
                    "files": [[f.name, f.filename, len(f.content)] for f in self.request.http.files],
                    "form": dict(self.request.http.get_form_data() or {}),
                }

        class Stream(Service):
            name = "stream"

            def handle(self):
                self.response.content_type = "text/csv"
                self.response.payload = (f"{number},row\\n" for number in range(1000))

        class Fails(Service):
            name = "fails"

            def handle(self):
                raise RuntimeError("kaboom secret")

        class Incomplete(Service):
            name = "incomplete"
            output = "name", "-other"

            def handle(self):
                pass
    ''',
    "checked.py": """
        from gatewright import Service

        class Check(Service):
            name = "schema.check"
            schema = "myschema.json"

            def handle(self):
                self.response.payload = {"title": self.request.payload["name"]}
    """,
    "myschema.json": {
        "type": "object",
        "required": ["name", "pub_year"],
        "properties": {"name": {"type": "string"}, "pub_year": {"type": "number"}},
    },
}
CONFIGURATION = """
format: 1
gateway:
  max_body: 64KiB
security:
  partners:  {type: basic, username: api, password: "${env:PARTNER_PASSWORD}", realm: Partners}
  gold:      {type: basic, groups: [gold]}
  keys:      {type: apikey, groups: ["*"]}
  device:    {type: apikey, key: "device-key-0123456789", header: X-Device}
limits:
  three:
    rules:
      - {from: "*", rate: 3/hour}
  text: {rules: "127.0.0.1 = 2/h"}
  elsewhere: {rules: "10.0.0.0/8 = 100/s"}
groups:
  gold: {}
consumers:
  acme: {groups: [gold], basic: {username: acme, password: acme-password-1}, apikey: {key: "acme-key-0123456789abcdef"}}
  tin:  {groups: [tin], basic: {username: tin, password: tin-password-1}}
channels:
  get-customer:  {type: rest, path: "/customers/{cust_id}", service: customer.get, format: [json, xml]}
  post-customer: {type: rest, path: /customers, service: customer.get, methods: [POST], format: [json, form]}
  xml-customer:  {type: xml, path: "/xml/customers/{cust_id}", service: customer.get, methods: [GET, POST]}
  secured:       {type: rest, path: /secured, service: who-am-i, security: [partners, gold, keys]}
  both:          {type: rest, path: /both, service: who-am-i, security: [[partners, device]]}
  grouped:       {type: rest, path: /grouped, service: who-am-i, security: [keys, partners], groups: [gold]}
  limited:       {type: rest, path: /limited, service: who-am-i, limit: three}
  text-limited:  {type: rest, path: /text-limited, service: who-am-i, limit: text}
  not-here:      {type: rest, path: /not-here, service: who-am-i, limit: elsewhere}
  allowed:       {type: rest, path: /allowed, service: who-am-i, allow: [127.0.0.0/8]}
  denied:        {type: rest, path: /denied, service: who-am-i, allow: [10.0.0.0/8], security: [partners]}
  old:           {type: rest, path: /old, service: old-style}
  old-xml:       {type: xml, path: /old-xml, service: old-style}
  verbs:         {type: rest, path: /verbs, service: verbs}
  raw:           {type: rest, path: /raw, service: raw, format: [json, form, plain]}
  json-only:     {type: rest, path: /json-only, service: raw}
  stream:        {type: rest, path: /stream, service: stream, compress: 100B}
  big:           {type: rest, path: "/big/{cust_id}", service: customer.get, compress: 10B}
  fails:         {type: rest, path: /fails, service: fails}
  fails-xml:     {type: xml, path: /fails-xml, service: fails}
  incomplete:    {type: rest, path: /incomplete, service: incomplete}
  schema:        {type: rest, path: /schema/check, service: schema.check}
  not-deployed:  {type: rest, path: /not-deployed, service: nobody.wrote-it}
  cors:          {type: rest, path: /cors, service: who-am-i, security: [partners],
                  cors: {origins: ["https://app.example.com"], headers: [authorization], credentials: true}}
services:
  schema.check: {error_details: full}
"""
PARTNER = ("api", "partner-password")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ways")
    with gateway(folder, CONFIGURATION, SERVICES, environment={"PARTNER_PASSWORD": PARTNER[1]}) as running:
        yield running


def assert_problem(answer, status, code):
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["cid"]) == (status, code, answer.headers["x-request-id"])
    return problem


def test_path_query_and_body_give_one_input(served):
    answer = served.get("/customers/12?segment=gold&with_orders=true")
    assert answer.json() == {
        "name": "Customer 12",
        "is_active": True,
        "tags": ["gold"],
        "orders": [{"number": 7, "total": 12.5}],
    }
    posted = served.post("/customers?segment=query", json={"cust_id": 12, "segment": "body"})
    assert posted.json() == {"name": "Customer 12", "is_active": True, "tags": ["query"]}


def test_a_form_gives_the_same_input_as_json(served):
    form = served.post("/customers", data={"cust_id": "12", "segment": "form"})
    assert form.json() == served.post("/customers", json={"cust_id": 12, "segment": "form"}).json()


def test_curl_sends_json_as_a_form_and_is_understood(served):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert served.post("/json-only", data='{"a": 1}', headers=headers).json()["payload"] == {"a": 1}
    assert_problem(served.post("/json-only", data="a=1", headers=headers), 415, "unsupported-media-type")
    cookie = {**headers, "Cookie": "session=x"}
    assert_problem(served.post("/json-only", data='{"a": 1}', headers=cookie), 415, "unsupported-media-type")


def test_xml_and_json_answer_alike(served):
    xml = served.get("/xml/customers/12?segment=gold")
    assert xml.headers["content-type"].startswith("application/xml")
    root = etree.fromstring(xml.content)
    assert [(child.tag, child.text) for child in root] == [
        ("name", "Customer 12"),
        ("is_active", "true"),
        ("tags", None),
    ]
    assert [item.text for item in root.find("tags")] == ["gold"]
    body = "<request><segment>gold</segment></request>"
    posted = served.post("/xml/customers/12", data=body, headers={"Content-Type": "application/xml"})
    assert posted.content == xml.content


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "application/json"),
        ("application/xml", "application/xml"),
        ("application/xml;q=0.5, application/json", "application/json"),
        ("text/html, application/xml;q=0.9, */*;q=0.8", "application/xml"),
    ],
)
def test_accept_chooses_among_the_formats_of_a_channel(served, accept, content_type):
    answer = served.get("/customers/1", headers={"Accept": accept})
    assert answer.headers["content-type"] == content_type


def test_what_nobody_can_answer_in_is_406_before_the_service_runs(served):
    assert_problem(served.get("/customers/1", headers={"Accept": "image/png"}), 406, "not-acceptable")


def test_the_older_form_wraps_its_answer(served):
    assert served.post("/old", json={}).json() == {"response": {"rate": "1.22"}}
    assert etree.fromstring(served.post("/old-xml", data="<request/>").content).findtext("rate") == "1.22"


def test_verbs_have_handlers_of_their_own(served):
    assert served.get("/verbs").json() == {"got": True}
    deleted = served.request("DELETE", "/verbs")
    assert (deleted.status_code, deleted.content) == (204, b"")
    refused = served.request("PUT", "/verbs", json={})
    assert_problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"
    assert served.request("OPTIONS", "/verbs").headers["allow"] == "DELETE, GET, HEAD, OPTIONS"
    head = served.request("HEAD", "/verbs")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "12")


def test_raw_and_parsed_requests_are_there_and_files_too(served):
    answer = served.post("/raw", data=b'{"a": [1, null]}', headers={"Content-Type": "application/json"}).json()
    assert (answer["raw"], answer["payload"]) == ('{"a": [1, null]}', {"a": [1, None]})
    upload = served.post("/raw", data={"title": "x"}, files={"doc": ("a.txt", b"hello")}).json()
    assert (upload["files"], upload["form"]) == ([["doc", "a.txt", 5]], {"title": "x"})
    plain = served.post("/raw", data="just text", headers={"Content-Type": "text/plain"}).json()
    assert plain["payload"] == "just text"


def test_answers_are_streamed_and_compressed(served):
    answer = served.get("/stream", headers={"Accept-Encoding": "identity"})
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.text.splitlines()[-1] == "999,row"
    packed = served.get("/stream", headers={"Accept-Encoding": "gzip"}, stream=True)
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.raw.read(decode_content=False)).decode() == answer.text
    tags = "segment=" + "x" * 500
    whole = served.get(f"/big/1?{tags}", headers={"Accept-Encoding": "gzip"})
    assert (whole.headers["content-encoding"], whole.json()["name"]) == ("gzip", "Customer 1")
    assert "content-encoding" not in served.get(f"/big/1?{tags}", headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_compressed_requests_are_read_within_the_cap(served):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert served.post("/json-only", data=gzip.compress(b'{"a": 1}'), headers=headers).json()["payload"] == {"a": 1}
    bomb = gzip.compress(b'"' + b"a" * 10_000_000 + b'"')
    assert_problem(served.post("/json-only", data=bomb, headers=headers), 413, "body-too-large")


def test_A36_a_body_over_the_cap_is_413(served):
    assert_problem(served.post("/json-only", json={"a": "x" * 70_000}), 413, "body-too-large")


def test_every_fault_is_named_with_its_pointer(served):
    problem = assert_problem(served.post("/customers", json={"with_orders": "perhaps"}), 400, "invalid-input")
    assert sorted(error["pointer"] for error in problem["errors"]) == ["/cust_id", "/with_orders"]


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[1,]", b'{"a": NaN}', b'{"a": 1e999}', b'{"a": 1, "a": 2}', b'{"a": 123456789012345678901234567890}',
        b"[" * 60_000, b'{"a": "\xff"}', b'\xef\xbb\xbf{"a": 1}', b'{"a": "\\ud800"}',
    ],
)  # fmt: skip
def test_A41_Z30_malformed_json_is_400(served, body):
    answer = served.post("/json-only", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] in ("malformed-body", "invalid-input")
    assert "Traceback" not in answer.text


def test_Z28_Z31_a_bad_integer_is_400(served):
    problem = assert_problem(served.get("/customers/twelve"), 400, "invalid-input")
    assert problem["errors"][0]["pointer"] == "/cust_id"


def test_Z32_a_json_schema_failure_is_400_with_its_faults(served):
    assert served.post("/schema/check", json={"name": "The Garden of Cyrus", "pub_year": 1658}).status_code == 200
    problem = assert_problem(served.post("/schema/check", data='{"user_id":123}'), 400, "invalid-input")
    assert sorted(error["pointer"] for error in problem["errors"]) == ["/name", "/pub_year"]


def test_Z33_an_exception_tells_the_caller_its_cid_and_nothing_else(served):
    answer = served.get("/fails")
    assert_problem(answer, 500, "internal-error")
    assert "kaboom" not in answer.text
    xml = served.get("/fails-xml")
    assert (xml.status_code, xml.headers["content-type"]) == (500, "application/problem+xml")
    root = etree.fromstring(xml.content)
    assert root.findtext("{*}cid") == xml.headers["x-request-id"]
    assert b"kaboom" not in xml.content


def test_a_missing_required_output_is_500(served):
    assert_problem(served.get("/incomplete"), 500, "invalid-response")


def test_a_refusal_by_the_service_reaches_the_caller(served):
    problem = assert_problem(served.get("/customers/404"), 404, "no-such-customer")
    assert problem["detail"] == "no customer has this id"
    xml = served.get("/xml/customers/404")
    assert etree.fromstring(xml.content).findtext("{*}code") == "no-such-customer"


def test_nothing_is_found_where_there_is_no_channel(served):
    assert_problem(served.get("/nowhere"), 404, "no-such-path")


def test_a_service_that_is_not_deployed_is_503(served):
    answer = served.get("/not-deployed")
    assert_problem(answer, 503, "service-not-deployed")
    assert answer.headers["retry-after"] == "5"


def test_any_of_several_definitions_lets_a_caller_in(served):
    assert served.get("/secured", auth=PARTNER).json()["kind"] == "credential"
    acme = served.get("/secured", auth=("acme", "acme-password-1")).json()
    assert (acme["name"], acme["kind"], acme["groups"]) == ("acme", "consumer", ["gold"])
    key = served.get("/secured", headers={"X-API-Key": "acme-key-0123456789abcdef"}).json()
    assert (key["name"], key["groups"]) == ("acme", ["gold"])


@pytest.mark.parametrize(
    "credentials",
    [
        {}, {"auth": ("api", "wrong")}, {"auth": ("nobody", "wrong")}, {"auth": ("tin", "tin-password-1")},
        {"headers": {"X-API-Key": ""}}, {"headers": {"X-API-Key": "wrong"}}, {"headers": {"Authorization": "Basic !"}},
        {"headers": {"Authorization": "Bearer x"}},
    ],
)  # fmt: skip
def test_Z36_wrong_credentials_are_401_with_every_challenge(served, credentials):
    answer = served.get("/secured", **credentials)
    assert_problem(answer, 401, "unauthenticated")
    challenges = answer.raw.headers.getlist("www-authenticate")
    assert [challenge.split()[0] for challenge in challenges] == ["Basic", "Basic", "ApiKey"]
    assert 'realm="Partners"' in challenges[0]


def test_all_definitions_of_an_and_are_needed(served):
    device = {"X-Device": "device-key-0123456789"}
    assert served.get("/both", auth=PARTNER, headers=device).json()["name"] == "api"
    assert_problem(served.get("/both", auth=PARTNER), 401, "unauthenticated")
    assert_problem(served.get("/both", headers=device), 401, "unauthenticated")
    assert_problem(served.get("/both", auth=PARTNER, headers={"X-Device": "wrong"}), 401, "unauthenticated")


def test_a_caller_in_no_group_of_the_channel_is_403(served):
    assert served.get("/grouped", headers={"X-API-Key": "acme-key-0123456789abcdef"}).status_code == 200
    assert_problem(served.get("/grouped", auth=PARTNER), 403, "forbidden")


def test_a_limit_refuses_with_what_callers_need_to_know(served):
    for remaining in (2, 1, 0):
        answer = served.get("/limited")
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"three";q=3;w=3600'
        assert answer.headers["ratelimit"].startswith(f'"three";r={remaining};t=')
    refused = served.get("/limited")
    problem = assert_problem(refused, 429, "quota-exceeded")
    assert problem["violated-policies"] == ["three"]
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 1200


def test_Z22_a_rule_for_one_address_alone_works(served):
    assert [served.get("/text-limited").status_code for _ in range(3)] == [200, 200, 429]
    assert_problem(served.get("/not-here"), 403, "address-not-allowed")


def test_an_address_is_refused_before_any_credential_is_looked_at(served):
    assert served.get("/allowed").json()["address"] == "127.0.0.1"
    assert_problem(served.get("/denied", auth=("api", "wrong")), 403, "address-not-allowed")


def test_Z21_a_forged_forwarded_header_changes_nothing(served):
    for header in ("X-Forwarded-For", "X-Zato-Forwarded-For", "X-Real-IP"):
        assert_problem(served.get("/denied", headers={header: "10.0.0.1"}), 403, "address-not-allowed")
    assert_problem(served.get("/denied", headers={"Forwarded": "for=10.0.0.1"}), 403, "address-not-allowed")


def test_A52_cross_origin_calls_are_granted_to_listed_origins_alone(served):
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    granted = served.request("OPTIONS", "/cors", headers={"Origin": "https://app.example.com", **preflight})
    assert granted.status_code == 204
    assert granted.headers["access-control-allow-origin"] == "https://app.example.com"
    assert granted.headers["access-control-allow-credentials"] == "true"
    assert granted.headers["access-control-allow-headers"] == "authorization"
    for origin in (
        "https://evil-app.example.com",
        "null",
        "https://app.example.com.evil.example",
        "http://app.example.com",
    ):
        refused = served.request("OPTIONS", "/cors", headers={"Origin": origin, **preflight})
        assert "access-control-allow-origin" not in refused.headers
        assert refused.headers["vary"] == "Origin"
    answered = served.get("/cors", auth=PARTNER, headers={"Origin": "https://app.example.com"})
    assert answered.headers["access-control-allow-origin"] == "https://app.example.com"
    unauthenticated = served.get("/cors", headers={"Origin": "https://app.example.com"})
    assert unauthenticated.status_code == 401
    assert unauthenticated.headers["access-control-allow-origin"] == "https://app.example.com"


def test_A24_a_preflight_or_a_health_check_is_no_way_around_credentials(served):
    assert_problem(served.get("/cors", headers={"User-Agent": "kube-probe/1.0"}), 401, "unauthenticated")
    assert "name" not in served.request("OPTIONS", "/cors").text


def test_A25_the_log_names_requests_and_no_secrets(served):
    with ThreadPoolExecutor(4) as pool:
        cids = list(
            pool.map(lambda _: served.get("/secured?token=hush-hush", auth=PARTNER).headers["x-request-id"], range(8))
        )
    assert len(set(cids)) == 8

    def logged():
        return [json.loads(line) for line in list(served.errors) if line.startswith("{") and line.endswith("\n")]

    # The log is written after the answer, ten times a second.
    assert eventually(lambda: set(cids) <= {line["cid"] for line in logged()})
    lines = logged()
    line = next(line for line in lines if line["cid"] == cids[0])
    assert (line["channel"], line["identity"], line["status"], line["method"]) == ("secured", "api", 200, "GET")
    assert "hush-hush" not in served.log()
    assert PARTNER[1] not in served.log()


def test_metrics_count_answers_by_channel(served):
    import requests

    served.get("/verbs")
    counted = 'gatewright_requests_total{channel="verbs",status="2xx"}'
    assert eventually(lambda: counted in requests.get(served.admin_url + "/metrics", timeout=10).text)
    status = served.status()
    assert (status["status"], status["revision"]) == ("serving", 1)
