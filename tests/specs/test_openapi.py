"""OpenAPI and the other documents of an interface: what they say, that validators take them, and that they stay the same."""

import json
import os
import time
from pathlib import Path

import pytest
import yaml

from specs import strict_json
from specs.contract import Contract, Field
from specs.documents import openapi
from specs.documents.interface import Interface, Operation, Policy, Scheme, operation_ids
from specs.documents.markdown import write_markdown
from specs.documents.postman import collection
from specs.documents.samples import sample_of
from specs.documents.snippets import LANGUAGES, request_of
from specs.lifetime import Lifetime, Moment
from specs.schema import Schema, schema_of

GOLDEN = Path(__file__).parent.parent / "golden"

GET = Contract(
    "customer.get", "crm", "Returns a customer.", "Returns a customer.\n\nBy **id**.",
    input=(Field("cust_id", "int", limits={"minimum": 1}), Field("segment", "enum", False, values=("gold", "silver"))),
    output=(Field("name"), Field("is_active", "bool"), Field("tags", "list", items=Field("tags")),
            Field("born", "date", False, nullable=True), Field("balance", "decimal")),
    invokes=("customer.score",),
)  # fmt: skip
UPDATE = Contract(
    "customer.update", "crm", "Updates a customer.", input=(Field("cust_id", "int"), Field("name", limits={"minLength": 2})),
    output=(Field("result"),), response_elem="response",
)  # fmt: skip
ADD = Contract("books.add", schema={"type": "object", "$defs": {"n": {"type": "string"}},
                                    "properties": {"name": {"$ref": "#/$defs/n"}}, "required": ["name"]})  # fmt: skip
LIMITED = (Policy("standard", "channel", 10, 1), Policy("daily", "consumer", 1000, 86_400))


def faults(document):
    validator = pytest.importorskip("openapi_spec_validator", reason="server missing: openapi-spec-validator")
    return list(validator.OpenAPIV31SpecValidator(document).iter_errors())


def interface(**more):
    operations = (
        Operation("get", "get", "rest", "GET", "/customers/{cust_id}", GET, ("cust_id",), ("json", "xml"),
                  (("partners",), ("staff", "device")), LIMITED,
                  ("bad-request", "invalid-input", "unauthenticated", "quota-exceeded", "internal-error")),
        Operation("update", "update", "rest", "PUT", "/customers/{cust_id}", UPDATE, ("cust_id",), ("json", "form"),
                  (("partners",),), refusals=("malformed-body", "body-too-large", "unsupported-media-type"),
                  lifetime=Lifetime(Moment("2026-12-01"), Moment("2027-06-30"), "https://acme.example/instead")),
        Operation("add", "add", "rest", "POST", "/books", ADD),
    )  # fmt: skip
    schemes = (
        Scheme("partners", "basic", realm="Partners"),
        Scheme("staff", "bearer"),
        Scheme("device", "key", "X-Device"),
    )
    return Interface("Acme", "1.2", "https://api.example.com", "All of it.", operations, schemes, **more)


def golden(name, content):
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_bytes(content)
    assert content == path.read_bytes(), f"run UPDATE_GOLDEN=1 pytest {__file__} and look at the difference"


def test_the_document_is_as_it_was():
    golden("openapi.json", openapi.to_json(openapi.document(interface())))


def test_markdown_is_as_it_was():
    golden("interface.md", write_markdown(interface()).encode())


def test_the_postman_collection_is_as_it_was():
    golden("postman.json", openapi.to_json(collection(interface())))


def test_a_validator_finds_nothing():
    assert faults(openapi.document(interface())) == []


def test_json_and_yaml_say_the_same():
    document = openapi.document(interface())
    assert yaml.safe_load(openapi.to_yaml(document)) == json.loads(openapi.to_json(document))


def test_Z38_each_type_has_the_schema_that_it_has_on_the_wire():
    properties = openapi.document(interface())["components"]["schemas"]["CustomerGetOutput"]["properties"]
    assert {name: (held["type"], held.get("format")) for name, held in properties.items()} == {
        "name": ("string", None), "is_active": ("boolean", None), "tags": ("array", None),
        "born": (["string", "null"], "date"), "balance": ("string", "decimal"),
    }  # fmt: skip


def test_Z39_the_title_the_server_and_each_way_to_prove_oneself_are_the_real_ones():
    document = openapi.document(interface())
    assert (document["info"]["title"], document["info"]["version"]) == ("Acme", "1.2")
    assert document["servers"] == [{"url": "https://api.example.com"}]
    assert document["components"]["securitySchemes"] == {
        "partners": {"type": "http", "scheme": "basic", "description": "Partners"},
        "staff": {"type": "http", "scheme": "bearer"},
        "device": {"type": "apiKey", "in": "header", "name": "X-Device"},
    }
    paths = document["paths"]
    assert paths["/customers/{cust_id}"]["get"]["security"] == [{"partners": []}, {"staff": [], "device": []}]
    assert paths["/books"]["post"]["security"] == []


def test_Z39_verbs_path_query_and_body_are_the_real_ones():
    paths = openapi.document(interface())["paths"]
    assert {path: sorted(item) for path, item in paths.items()} == {
        "/books": ["post"],
        "/customers/{cust_id}": ["get", "put"],
    }
    get, put = paths["/customers/{cust_id}"]["get"], paths["/customers/{cust_id}"]["put"]
    assert [(p["name"], p["in"], p.get("required", False)) for p in get["parameters"]] == [
        ("cust_id", "path", True), ("segment", "query", False),
    ]  # fmt: skip
    assert sorted(put["requestBody"]["content"]) == [
        "application/json", "application/x-www-form-urlencoded", "multipart/form-data",
    ]  # fmt: skip
    assert (put["deprecated"], put["x-sunset"]) == (True, "2027-06-30")
    assert "Deprecated since 1 December 2026; it ends on 30 June 2027." in put["description"]
    assert {"Deprecation", "Sunset"} <= put["responses"]["200"]["headers"].keys()


def test_each_status_that_can_happen_is_there_with_its_problem():
    document = openapi.document(interface())
    responses = document["paths"]["/customers/{cust_id}"]["get"]["responses"]
    assert list(responses) == ["200", "400", "401", "429", "500", "default"]
    quota = document["components"]["responses"]["QuotaExceededAny"]
    assert sorted(quota["content"]) == ["application/problem+json", "application/problem+xml"]
    assert sorted(quota["headers"]) == ["RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id"]
    assert sorted(responses["200"]["headers"]) == ["RateLimit", "RateLimit-Policy", "X-Request-Id"]


def test_what_a_service_says_it_answers_with_is_there_too():
    contract = Contract(
        "a", output=(Field("x"),), statuses=(201,), problems=((404, "no-such-a", "there is no such a"),)
    )
    whole = Interface("A", "1", operations=(Operation("a", "a", "rest", "POST", "/a", contract),))
    responses = openapi.document(whole)["paths"]["/a"]["post"]["responses"]
    assert list(responses) == ["201", "404", "default"]
    assert responses["404"]["content"]["application/problem+json"]["examples"]["no-such-a"]["value"]["status"] == 404
    assert faults(openapi.document(whole)) == []


def test_limits_are_told_in_words_and_in_numbers():
    get = openapi.document(interface())["paths"]["/customers/{cust_id}"]["get"]
    assert "10 calls a second, 1,000 calls a day" in get["description"]
    assert get["x-rate-limits"][0] == {"policy": "standard", "level": "channel", "quota": 10, "window": 1}


def test_a_schema_file_finds_its_own_parts_in_the_document():
    add = openapi.document(interface())["components"]["schemas"]["AddInput"]
    assert add["properties"]["name"] == {"$ref": "#/components/schemas/AddInput/$defs/n"}


def test_an_answer_in_a_wrapper_is_described_in_it():
    put = openapi.document(interface())["paths"]["/customers/{cust_id}"]["put"]["responses"]["200"]["content"]
    assert put["application/json"]["schema"]["required"] == ["response"]
    assert put["application/json"]["example"] == {"response": {"result": "done"}}


def test_samples_fit_their_schema():
    fields = (
        *GET.input, Field("name", limits={"minLength": 2}), Field("n", "float", limits={"minimum": 5, "maximum": 6}),
        Field("code", limits={"pattern": "^[A-Z]{3}$"}), Field("day", "date"), Field("any", "opaque"),
        Field("many", "dictlist", fields=(Field("x"),)),
    )  # fmt: skip
    assert Schema(schema_of(fields)).faults(json.loads(strict_json.dumps(sample_of(fields)))) == []


def test_ids_stay_when_a_method_is_added():
    assert operation_ids("get-rate", ["GET"])[0] == operation_ids("get-rate", ["GET", "POST"])[0] == "get-rate"


@pytest.mark.parametrize(("word", "name", "write"), LANGUAGES, ids=[word for word, _, _ in LANGUAGES])
def test_code_says_where_what_and_who(word, name, write):
    whole = interface()
    text = write(request_of(whole, whole.operations[1], "json"))
    assert "https://api.example.com/customers/1" in text
    assert "Ann Smith" in text
    assert "USERNAME" in text


def test_python_and_javascript_and_shell_code_is_code():
    whole = interface()
    for operation in whole.operations:
        compile(LANGUAGES[1][2](request_of(whole, operation, operation.formats[0])), "snippet", "exec")


def test_a_thousand_services_are_documented_within_a_second():
    def one(i):
        contract = Contract(f"s.n{i}", "ns", "Does.", input=GET.input, output=GET.output)
        return Operation(f"c{i}", f"c{i}", "rest", "POST", f"/c{i}/{{id}}", contract)

    operations = tuple(one(i) for i in range(1000))
    began = time.process_time()
    text = openapi.to_json(openapi.document(Interface("Big", "1", operations=operations)))
    seconds = time.process_time() - began
    assert len(text) > 1_000_000
    assert seconds < 1.5  # 0.6 s on a quiet machine; others share it
