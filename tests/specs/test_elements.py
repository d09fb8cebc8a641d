"""What authors write becomes fields, and names tell types by one table."""

import enum
from typing import Any

import pytest

from specs import elements
from specs.contract import TYPES, Field
from specs.elements import (
    CSV,
    ELEMENTS,
    Bool,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Dict,
    DictList,
    Element,
    Enum,
    Float,
    Int,
    Integer,
    List,
    ListOfDicts,
    Nested,
    Text,
    Unicode,
    fields_of,
)  # fmt: skip
from specs.problems import ConfigurationError


def test_Z26_every_element_has_a_type_word_of_its_own() -> None:
    classes = {found for found in vars(elements).values() if isinstance(found, type) and issubclass(found, Element)}
    classes.discard(Element)
    assert {element.type for element in classes} == set(TYPES) == set(ELEMENTS)
    assert len(classes) == len(TYPES)
    assert DateTime.type != Decimal.type


def test_every_element_says_what_it_is() -> None:
    assert [element.__name__ for element in ELEMENTS.values() if not element.__doc__] == []


def test_the_names_that_older_services_know_are_the_same_elements() -> None:
    assert (Integer, Boolean, Unicode, ListOfDicts) == (Int, Bool, Text, DictList)


def test_a_dash_makes_an_element_optional() -> None:
    assert fields_of(("a", "-b", Int("-c"))) == (
        Field("a", origin="any other name"),
        Field("b", required=False, origin="any other name"),
        Field("c", "int", required=False),
    )


def test_a_bare_name_is_a_declaration_of_one() -> None:
    assert [field.name for field in fields_of("name")] == ["name"]


def test_elements_nest_to_any_depth() -> None:
    field = Dict(
        "customer", "name", DictList("-addresses", "street", Dict("geo", Float("lat"))), List("m", List("row", Int))
    ).field()
    assert field.fields is not None
    _, places, matrix = field.fields
    assert places.fields is not None
    assert places.fields[1].fields == (Field("lat", "float"),)
    assert matrix.items is not None
    assert matrix.items.items == Field("item", "int")


def test_limits_are_words_of_json_schema() -> None:
    assert Int("age", minimum=0, exclusive_maximum=150).field().limits == {"minimum": 0, "exclusiveMaximum": 150}
    assert List("tags", max_items=3, unique_items=True).field().limits == {"maxItems": 3, "uniqueItems": True}


def test_an_enum_is_of_values_or_of_a_python_enum() -> None:
    class Segment(enum.Enum):
        GOLD = "gold"
        SILVER = "silver"

    assert Enum("segment", Segment).field() == Enum("segment", "gold", "silver").field()
    assert Enum("segment", ["gold", "silver"]).field() == Enum("segment", "gold", "silver").field()
    assert List("segments", Segment).field().items == Field("item", "enum", values=("gold", "silver"))


def test_iso_is_the_format_that_needs_no_word() -> None:
    assert DateTime("at", format="iso").field().format == ""
    assert Date("at", format="%Y").field().format == "%Y"


@pytest.mark.parametrize(
    ("declared", "path", "message"),
    [
        (Int("age", min=3), "age", "Int has no limit called 'min': did you mean 'minimum'?"),
        (Text("a", "b"), "a", "Text takes a name and nothing else"),
        (Text("a", format="%Y"), "a", "Text has no format"),
        (Text(""), "", "Text needs a name that is a text"),
        (Text(7), "", "Text needs a name that is a text"),  # type: ignore[arg-type]
        (" a", "", "an element needs a name"),
        ("-", "", "an element needs a name"),
        (Int, "", 'Int has no name: write Int("name")'),
        (7, "", "not a name or an element: 7"),
        (Enum("e"), "e", "an Enum has one or more values"),
        (Enum("e", 1.5), "e", "an Enum has one or more values"),
        (List("l", Int, Text), "l", "a List has one kind of element"),
        (List("l", object()), "l", "not an element"),
        (Dict("d", "a", Dict("b", Int("c", foo=1))), "d.b.c", "Int has no limit called 'foo'"),
        (Nested("d", "a", "-a"), "d.a", "this name is declared twice"),
    ],
)
def test_what_cannot_be_declared_is_refused_with_its_place(declared: Any, path: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        fields_of((declared,))
    assert caught.value.path == path
    assert message in str(caught.value)


@pytest.mark.parametrize("declared", [{"a": 1}, 7, object()])
def test_a_declaration_is_names_and_elements(declared: Any) -> None:
    with pytest.raises(ConfigurationError, match="this is names and elements"):
        fields_of(declared, "input")


def test_a_csv_takes_the_limits_of_a_list() -> None:
    assert CSV("tags", max_items=2).field().limits == {"maxItems": 2}
