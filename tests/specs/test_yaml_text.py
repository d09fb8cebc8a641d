"""What is written as YAML is read as what it was, by readers of YAML that are not ours."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from specs.yaml_text import write

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    ["on", "no", "1", "1.5", "1e3", "0x1f", "1_000", "~", "null", ".inf", "2026-11-21", "a: b", "a #b", "- a", "{a}", "'a'",
     "a\nb", "a\n\nb\n", "a\n", "\na", " a\nb", "a \nb", "a\n b", "a\nb\n\n", "\n", "=", "<<", "!a", "&a", "*a", "%a", "@a", "`a",
     "12:30:45", "a\u2028b", "\x85", "\ufeff", "a\tb", "/orders/{id}", "$ref", "#/components"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
@given(value=st.dictionaries(texts, values, max_size=4))
@example(value={})
@example(value={"a": [[], [[1]], {}, {"b": [{"c": "x\ny"}]}]})
@example(value={"a": {"": {"b\n": "c\n\n\nd"}}})
def test_what_is_written_is_read_again(loader, value):
    assert yaml.load(write(value), loader) == value


def test_long_texts_are_blocks_and_short_ones_plain():
    found = write({"paths": {"/orders/{id}": {"get": {"summary": "Gives one", "description": "One.\n\n- two\n"}}}})
    assert found == (
        'paths:\n  "/orders/{id}":\n    get:\n      summary: Gives one\n      description: |\n        One.\n\n        - two\n'
    )
