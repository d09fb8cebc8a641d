"""The required tests for draft 2020-12 of the JSON Schema Test Suite, read where it lies: beside the project, or where
JSON_SCHEMA_TEST_SUITE says.
"""

import json
import os
from pathlib import Path

import pytest
from running import ROOT

from specs.problems import ConfigurationError
from specs.schema import Schema

PLACE = Path(os.environ.get("JSON_SCHEMA_TEST_SUITE") or ROOT.parent / "shared" / "data" / "json-schema-test-suite")
DRAFT = "draft2020-12"
#: Where the suite's schemas say that they find one another.
REMOTE = "http://localhost:1234/"


def resources():
    """The suite's further schemas, by their URI: nothing is fetched."""
    folder = PLACE / "remotes"
    names = {path: path.relative_to(folder).as_posix() for path in folder.rglob("*.json")}
    others = tuple(
        f"{path.name}/" for path in folder.glob("*") if path.name.startswith(("draft", "v")) and path.name != DRAFT
    )
    return {REMOTE + name: json.loads(path.read_text()) for path, name in names.items() if not name.startswith(others)}


def differing(case, known):
    """What of a case's tests comes out otherwise than the suite says."""
    try:
        schema = Schema(case["schema"], resources=known, asserts_formats=False)
    except ConfigurationError as error:
        return [f"{case['description']}: {error}"] * len(case["tests"])
    return [
        f"{case['description']}: {test['description']}"
        for test in case["tests"]
        if (schema.faults(test["data"]) == []) != test["valid"]
    ]


def test_the_required_tests_of_draft_2020_12_pass(capsys):
    files = sorted((PLACE / "tests" / DRAFT).glob("*.json"))
    if not files:
        pytest.skip("the JSON Schema Test Suite is not here: say where it is in JSON_SCHEMA_TEST_SUITE")
    known = resources()
    cases = [case for path in files for case in json.loads(path.read_text())]
    failed = [sentence for case in cases for sentence in differing(case, known)]
    count = sum(len(case["tests"]) for case in cases)
    with capsys.disabled():
        print(
            f"\nJSON Schema Test Suite, {DRAFT}: {count - len(failed)} of {count} ({(count - len(failed)) / count:.2%})"
        )
    assert len(failed) <= count * 0.005, failed


def test_a_format_is_asserted_unless_it_is_to_be_a_note():
    document = {"type": "string", "format": "date"}
    assert [fault.code for fault in Schema(document).faults("soon")] == ["invalid-format"]
    assert Schema(document, asserts_formats=False).faults("soon") == []


def test_a_schema_refers_to_what_it_is_given_and_to_nothing_else():
    document = {"$ref": "https://acme.example/whole.json"}
    assert Schema(document, resources={"https://acme.example/whole.json": {"type": "integer"}}).faults(1) == []
    with pytest.raises(ConfigurationError, match="not a JSON Schema"):
        Schema(document)
