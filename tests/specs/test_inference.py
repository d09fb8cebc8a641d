"""One published table of types by name."""

import pytest

from specs.contract import TYPES
from specs.inference import RULES, infer, table


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("id", "int"),
        ("cust_id", "int"),
        ("item_count", "int"),
        ("page_size", "int"),
        ("page_size_min", "int"),
        ("page_size_max", "int"),
        ("read_timeout", "int"),
        ("is_active", "bool"),
        ("has_id", "bool"),
        ("by_name", "bool"),
        ("may_login", "bool"),
        ("needs_id", "bool"),
        ("should_stop", "bool"),
        ("password", "secret"),
        ("token", "secret"),
        ("api_key", "secret"),
        ("apiKey", "secret"),
        ("status_code", "text"),
        ("last_contact_date", "text"),
        ("identity", "text"),
        ("idea", "text"),
        ("island", "text"),
        ("ID", "text"),
        ("tokens", "text"),
    ],
)
def test_a_name_tells_its_type(name: str, kind: str) -> None:
    assert infer(name)[0] == kind


def test_the_rule_that_decided_is_told() -> None:
    assert infer("has_id") == ("bool", "prefix has_")
    assert infer("token") == ("secret", "exact token")
    assert infer("rate") == ("text", "any other name")


def test_the_table_has_every_rule_and_types_that_exist() -> None:
    rows = list(table())
    assert len(rows) == len(RULES) + 1
    assert {kind for _, _, kind in rows} <= set(TYPES)
