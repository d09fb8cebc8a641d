"""JSON Schema: of contracts, of files with their local references, and never from the network."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from specs.elements import (
    CSV,
    UTC,
    Bool,
    Date,
    DateTime,
    Decimal,
    Dict,
    DictList,
    Enum,
    Int,
    List,
    Nested,
    Opaque,
    Secret,
    Text,
)
from specs.elements import fields_of as fields
from specs.problems import ConfigurationError, Fault
from specs.schema import Schema, load, schema_of, schema_of_contract
from specs.simpleio import contract_of


def test_a_contract_is_described_in_2020_12() -> None:
    declared = fields(
        (
            "cust_id", Text("-name", max_length=5, description="who", nullable=True), Bool("-flag", default=False),
            Enum("-segment", "gold", "silver", nullable=True), Date("-day"), UTC("-at"), DateTime("-then", format="%Y"),
            Decimal("-sum", minimum=0), CSV("-codes", max_items=2), Secret("-pin"), Opaque("-any"), List("-free"),
            List("-tags", Int, max_items=3), Dict("-map"), Nested("-who", "a"), DictList("-lines", "sku", Int("-count")),
        )
    )  # fmt: skip
    integer = {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1}
    got = schema_of(declared)
    assert got["required"] == ["cust_id"]
    assert got["properties"] == {
        "cust_id": integer,
        "name": {"type": ["string", "null"], "maxLength": 5, "description": "who"},
        "flag": {"type": "boolean", "default": False},
        "segment": {"type": ["string", "null"], "enum": ["gold", "silver", None]},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "then": {"type": "string", "description": "as %Y"},
        "sum": {"type": "string", "format": "decimal", "pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,6})?$"},
        "codes": {"type": "string"},
        "pin": {"type": "string", "format": "password", "writeOnly": True},
        "any": {},
        "free": {"type": "array", "items": {}},
        "tags": {"type": "array", "items": integer, "maxItems": 3},
        "map": {"type": "object"},
        "who": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        "lines": {
            "type": "array",
            "items": {"type": "object", "properties": {"sku": {"type": "string"}, "count": integer}, "required": ["sku"]},
        },
    }  # fmt: skip
    assert Schema(got).faults({"cust_id": 7, "tags": [1], "segment": None}) == []


def test_a_repeated_output_is_a_list_and_an_undeclared_input_is_its_schema_file() -> None:
    contract = contract_of({"output": "name", "output_repeated": True, "schema": {"type": "object"}}, service="test")
    assert schema_of_contract(contract, "output")["type"] == "array"
    assert schema_of_contract(contract, "input") == {"type": "object"}


def test_every_fault_has_a_pointer_and_a_word_and_never_the_value() -> None:
    schema = Schema(
        {
            "type": "object",
            "required": ["na/me"],
            "properties": {
                "age": {"type": "integer", "minimum": 18},
                "code": {"pattern": "^[A-Z]+$", "maxLength": 3},
                "kind": {"enum": ["a", "b"]},
                "list": {"items": {"type": "string", "format": "date"}, "uniqueItems": True},
                "any": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            "additionalProperties": False,
        }
    )
    value = {"age": 5, "code": "hunter2", "kind": "hunter2", "list": ["hunter2", "hunter2"], "any": 5, "~more": 1}
    found = schema.faults(value)
    assert sorted((fault.pointer, fault.code) for fault in found) == [
        ("/age", "out-of-range"),
        ("/any", "any-of"),
        ("/code", "pattern-mismatch"),
        ("/code", "too-long"),
        ("/kind", "not-allowed"),
        ("/list", "not-unique"),
        ("/list/0", "invalid-format"),
        ("/list/1", "invalid-format"),
        ("/na~1me", "missing"),
        ("/~0more", "unknown-member"),
    ]
    assert "hunter2" not in str(found)


def test_Z32_a_seeds_schema_refuses_with_the_fault_of_the_caller() -> None:
    schema = Schema(
        {
            "type": "object",
            "required": ["name", "pub_year"],
            "properties": {"name": {"type": "string"}, "pub_year": {"type": "number"}},
        }
    )
    assert schema.faults({"name": "The Garden of Cyrus", "pub_year": 1658}) == []
    assert [fault.pointer for fault in schema.faults({"user_id": 123})] == ["/name", "/pub_year"]


def test_values_that_are_not_json_are_checked_in_their_json_form() -> None:
    import datetime
    from decimal import Decimal as Exact

    schema = Schema({"properties": {"day": {"format": "date"}, "sum": {"type": "number", "maximum": 5}}})
    assert schema.faults({"day": datetime.date(2026, 1, 31), "sum": Exact("4.5")}) == []
    assert [fault.pointer for fault in schema.faults({"day": datetime.date(2026, 1, 31), "sum": Exact("5.5")})] == [
        "/sum"
    ]
    assert schema.faults({"day": object()}) == [Fault("", "wrong-type", "this cannot be written as JSON")]


def test_no_more_than_a_hundred_faults_are_told() -> None:
    assert len(Schema({"items": {"type": "integer"}}).faults(["a"] * 10_000)) == 100


def test_A42_a_pattern_that_explodes_costs_next_to_nothing() -> None:
    schema = Schema({"pattern": "^(a+)+$"})
    contract = contract_of({"input": Text("x", pattern="^(a+)+$")}, service="test")
    started = time.perf_counter()
    assert schema.faults("a" * 40 + "!") != []
    from specs.compiled import CompiledContract
    from specs.problems import Problem

    with pytest.raises(Problem):
        CompiledContract(contract).read({"x": "a" * 40 + "!"})
    assert time.perf_counter() - started < 2


def test_A42_schemas_that_refer_to_themselves_end() -> None:
    tree = Schema({"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"})
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    assert [fault.code for fault in tree.faults(deep)] == ["wrong-type"]
    assert Schema({"$ref": "#"}).faults(1) == []


# files


def write(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in files.items():
        text = document if isinstance(document, str) else json.dumps(document)
        (folder / f"{name}.json").write_text(text)
    return folder


def test_a_file_without_references_is_kept_as_it_is(tmp_path: Path) -> None:
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
    assert load(write(tmp_path, a=document) / "a.json", tmp_path) == document


def test_local_references_are_bundled_wherever_they_lead_below_the_root(tmp_path: Path) -> None:
    order = {"lines": {"items": {"$ref": "line.json"}}, "to": {"$ref": "../a b.json#/$defs/zip"}}
    line = {"order": {"$ref": "order.json"}, "sku": {"$ref": "#/$defs/s"}}
    write(tmp_path / "orders", order={"properties": order})
    write(tmp_path / "orders", line={"type": "object", "properties": line, "$defs": {"s": {"type": "string"}}})
    write(tmp_path, **{"a b": {"$defs": {"zip": {"$anchor": "zip", "pattern": "^[0-9]+$"}}}})
    bundle = load(tmp_path / "orders" / "order.json", tmp_path)
    schema = Schema(json.loads(json.dumps(bundle)))
    assert schema.faults({"lines": [{"sku": "a", "order": {"lines": []}}], "to": "123"}) == []
    assert sorted(
        fault.pointer for fault in schema.faults({"lines": [{"sku": 1, "order": {"lines": [1]}}], "to": "x"})
    ) == [
        "/lines/0/order/lines/0",
        "/lines/0/sku",
        "/to",
    ]


def test_files_that_name_themselves_by_a_url_find_their_neighbours(tmp_path: Path) -> None:
    base = "https://acme.example/schemas/"
    write(
        tmp_path,
        a={"$id": base + "a.json", "items": {"$ref": base + "b.json"}},
        b={"$id": base + "b.json", "type": "integer"},
    )
    assert [fault.pointer for fault in Schema(load(tmp_path / "a.json", tmp_path)).faults([1, "x"])] == ["/1"]


def test_what_only_looks_like_a_reference_is_left_alone(tmp_path: Path) -> None:
    document = {
        "properties": {"$ref": {"type": "integer"}, "enum": {"$ref": "b.json"}},
        "const": {"$ref": "nowhere.json", "enum": 5},
    }
    write(tmp_path, a=document, b={"type": "integer"})
    got = load(tmp_path / "a.json", tmp_path)
    assert got["const"] == document["const"]
    assert sorted(fault.pointer for fault in Schema({**got, "const": {}}).faults({"$ref": "x", "enum": "x"})) == [
        "",
        "/$ref",
        "/enum",
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}}, "'/properties/a/$ref' refers to http://127.0.0.1:9/x.json"),
        ({"$ref": "https://acme.example/x.json#/a"}, "nothing is fetched"),
        ({"$ref": "ftp://acme.example/x.json"}, "nothing is fetched"),
        ({"$dynamicRef": "http://acme.example/x.json"}, "nothing is fetched"),
        ({"$ref": "../outside.json"}, "that is outside"),
        ({"$ref": "file:///etc/passwd"}, "that is outside"),
        ({"$ref": "/etc/passwd"}, "that is outside"),
        ({"$ref": "link.json"}, "that is outside"),
        ({"$ref": "missing.json"}, "there is no such file"),
        ({"$ref": "#/$defs/missing"}, "not a JSON Schema at '/'"),
        ({"$defs": {"a": {"$id": "http://acme.example/", "$ref": "x.json"}}, "$ref": "#/$defs/a"}, "not a JSON Schema"),
        ({"properties": {"a": {"type": "strng"}}}, "not a JSON Schema at '/properties/a/type'"),
        ({"pattern": "("}, "not a JSON Schema at '/pattern'"),
        ('{"type": ', "not JSON"),
        ("[]", "a schema file holds an object"),
    ],
)  # fmt: skip
def test_A42_a_schema_that_cannot_be_used_is_refused_with_its_file_and_place(
    tmp_path: Path, document: Any, message: str
) -> None:
    root = write(tmp_path / "root", a=document)
    write(tmp_path, outside={})
    os.symlink(tmp_path / "outside.json", root / "link.json")
    with pytest.raises(ConfigurationError) as caught:
        load(root / "a.json", root)
    assert caught.value.path == str(root / "a.json")
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.json: this file cannot be read"):
        load(tmp_path / "missing.json", tmp_path)


def test_an_older_dialect_that_a_file_names_is_honoured() -> None:
    document = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}
    assert [fault.pointer for fault in Schema(document).faults(["x"])] == ["/0"]


def many(rows):
    return {"rows": rows, "name": 7}


LARGE = Schema(
    {
        "type": "object",
        "required": ["rows", "name", "last"],
        "properties": {
            "name": {"type": "string"},
            "rows": {
                "type": "array",
                "maxItems": 300_000,
                "minItems": 20_000,
                "items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}},
            },
        },
    }
)


def test_A42_the_faults_of_a_large_value_are_told_without_making_an_error_of_each():
    rows = [{"a": "x"} for _ in range(30_000)]
    made = []
    validator = LARGE._validator

    class Counting:
        def iter_errors(self, value):
            made.extend(found := list(validator.iter_errors(value)))
            return iter(found)

        def validate(self, value):
            validator.validate(value)

    schema = Schema({})
    schema._validator, schema._is_valid = Counting(), validator.is_valid
    faults = schema.faults(many(rows))
    assert len(made) < 12_000
    assert len(faults) == 100
    assert len(set(faults)) == 100
    assert {fault.pointer for fault in faults} == {"/last", *(f"/rows/{position}/a" for position in range(99))}


def test_A42_what_is_wrong_at_the_end_of_a_large_value_is_told():
    rows = [{"a": 1} for _ in range(30_000)]
    assert LARGE.faults({"rows": rows, "name": "Ann", "last": 1}) == []
    rows[-1] = {"a": "x"}
    found = LARGE.faults({"rows": rows, "name": "Ann", "last": 1})
    assert [(fault.pointer, fault.code) for fault in found] == [("/rows/29999/a", "wrong-type")]


def test_A42_what_a_large_value_has_is_not_told_to_be_missing():
    rows = [{"a": 1, "tags": [0] * 20} for _ in range(25_000)]
    found = LARGE.faults({"rows": rows, "name": 7, "last": 1})
    assert [(fault.pointer, fault.code) for fault in found] == [("/name", "wrong-type")]
