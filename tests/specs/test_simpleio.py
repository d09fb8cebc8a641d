"""Both forms of SimpleIO, dataclasses and Structs give one contract; a mistake is told with its class, element and remedy."""

import dataclasses
import datetime
import enum
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from specs.contract import UNSET, Contract, Field
from specs.elements import Bool, DateTime, Enum, Int, List, Opaque, Text
from specs.problems import ConfigurationError
from specs.simpleio import contract_of, summary_of

TEXT = "any other name"


def of(declaration: Any, **options: Any) -> Contract:
    return contract_of(declaration, service="test", **options)


def by_name(fields: tuple[Field, ...] | None) -> dict[str, Field]:
    return {field.name: field for field in fields or ()}


class GetCustomer:
    """Returns basic information about a customer. Reads the
    customer database.

    More about it.
    """

    namespace = "my.api.customer"
    input = "cust_id", "-segment"
    output = "name", "is_active", List("tags"), "-last_seen"
    invokes = ("audit.log",)
    deadline = "1m30s"
    blocking = True


def test_the_newer_form_is_a_contract() -> None:
    contract = of(GetCustomer, module="customers")
    assert contract == Contract(
        "test",
        namespace="my.api.customer",
        summary="Returns basic information about a customer.",
        documentation=("Returns basic information about a customer. Reads the\ncustomer database.\n\nMore about it."),
        class_name="GetCustomer",
        module="customers",
        input=(Field("cust_id", "int", origin="suffix _id"), Field("segment", required=False, origin=TEXT)),
        output=(
            Field("name", origin=TEXT),
            Field("is_active", "bool", origin="prefix is_"),
            Field("tags", "list"),
            Field("last_seen", required=False, origin=TEXT),
        ),
        invokes=("audit.log",),
        deadline=90.0,
        blocking=True,
    )
    assert Contract.from_record(contract.as_record()) == contract


def test_the_older_form_gives_the_same_contract_wrapped_in_response() -> None:
    class Older:
        class SimpleIO:
            input_required = "cust_id"
            input_optional = ("segment",)
            output_required = "name", "is_active", List("tags")
            output_optional = ("last_seen",)

    newer, older = of(GetCustomer), of(Older)
    assert (older.input, older.output) == (newer.input, newer.output)
    assert (older.response_elem, newer.response_elem) == ("response", "")


@pytest.mark.parametrize(("given", "wanted"), [(None, ""), ("", ""), ("customer", "customer")])
def test_response_elem_names_the_wrapper_or_takes_it_away(given: Any, wanted: str) -> None:
    assert of({"SimpleIO": {"output_required": "name", "response_elem": given}}).response_elem == wanted


def test_the_listings_of_older_platforms_are_declarations() -> None:
    class SSHInvoker:
        class SimpleIO:
            input_required = "host", "command"
            output_required = "is_ok", "cid"
            output_optional = "stdout", "stderr"
            skip_empty_keys = True
            response_elem = None

    class OnMessageHook:
        class SimpleIO:
            input_optional = (Opaque("ctx"),)

    contract = of(SSHInvoker)
    assert (contract.skip_empty_keys, contract.response_elem) == (True, "")
    assert [field.required for field in contract.output or ()] == [True, True, False, False]
    assert of(OnMessageHook).input == (Field("ctx", "opaque", required=False),)
    assert of(OnMessageHook).output is None


def test_what_is_not_declared_is_none_and_what_is_empty_is_empty() -> None:
    class Nothing:
        """"""

    assert (of(Nothing).input, of(Nothing).output, of(Nothing).summary) == (None, None, "")
    assert of({"input": ()}).input == ()


def test_options_of_the_older_form_are_kept() -> None:
    class Older:
        class SimpleIO:
            input_required = "name", Int("age")
            input_optional = "segment", Int("size"), DateTime("at"), Text("note", default="own")
            output_optional = "rate", "day"
            output_repeated = True
            default_value = "none"
            date_time_format = "%d.%m.%Y"
            allow_empty_required = False
            force_empty_keys = "rate"
            request_elem = "customer"
            encrypt_secrets = False

    contract = of(Older)
    fields = by_name(contract.input)
    assert (contract.repeated, contract.force_empty_keys, contract.request_elem) == (True, ("rate",), "customer")
    assert {name: field.default for name, field in fields.items()} == {
        "name": UNSET, "age": UNSET, "segment": "none", "size": UNSET, "at": UNSET, "note": "own",
    }  # fmt: skip
    assert fields["at"].format == "%d.%m.%Y"
    assert fields["name"].limits == {"minLength": 1}


def test_a_shared_base_class_of_options_is_inherited() -> None:
    class Common:
        response_elem = None

    class Older:
        class SimpleIO(Common):
            output_required = "name"

    assert of(Older).response_elem == ""


def test_defaults_are_kept_as_json_and_make_an_element_optional() -> None:
    contract = of(
        {
            "input": (
                DateTime("at", default=datetime.datetime(2026, 1, 31)),
                Int("n", default="5"),
                Bool("b", default=None),
            )
        }
    )
    assert [(field.default, field.required) for field in contract.input or ()] == [
        ("2026-01-31T00:00:00", False), (5, False), (None, False),
    ]  # fmt: skip


def test_verbs_are_the_handlers_that_are_there() -> None:
    class Rest:
        def handle_POST(self) -> None: ...
        def handle_GET(self) -> None: ...
        def handle_(self) -> None: ...

    assert of(Rest).verbs == ("GET", "POST")


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("", ""),
        ("Gets a rate", "Gets a rate"),
        ("Gets a rate\nfor a day. Or more.", "Gets a rate for a day."),
        ("Version 1.5 of it.\n\nMore.", "Version 1.5 of it."),
    ],
)
def test_a_summary_is_the_first_sentence(text: str, summary: str) -> None:
    assert summary_of(text) == summary


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Line:
    sku: str
    price: Decimal
    count: int = 1


@dataclasses.dataclass
class Order:
    number: int
    lines: list[Line]
    first: Line
    colour: Colour
    size: Literal["s", "m"]
    anything: Any
    extra: dict[str, Any]
    note: str | None = None
    tags: list[str] = dataclasses.field(default_factory=list)
    day: datetime.date = dataclasses.field(default=datetime.date(2026, 1, 31), metadata={"description": "the day"})
    either: int | str = 5


def test_a_dataclass_is_an_input() -> None:
    line = (Field("sku"), Field("price", "decimal"), Field("count", "int", required=False, default=1))
    assert of({"input": Order}).input == (
        Field("number", "int"),
        Field("lines", "dictlist", fields=line),
        Field("first", "dict", fields=line),
        Field("colour", "enum", values=("red", "blue")),
        Field("size", "enum", values=("s", "m")),
        Field("anything", "opaque"),
        Field("extra", "dict"),
        Field("note", required=False, nullable=True),
        Field("tags", "list", required=False, items=Field("item"), default=[]),
        Field("day", "date", required=False, default="2026-01-31", description="the day"),
        Field("either", "opaque", required=False, default=5),
    )


def test_a_list_of_a_dataclass_is_a_repeated_output() -> None:
    for declared in (list[Line], [Line]):
        contract = of({"output": declared})
        assert (contract.repeated, len(contract.output or ())) == (True, 3)


class Point(msgspec.Struct, rename="camel"):
    max_lat: Annotated[float, msgspec.Meta(ge=-90, le=90, description="degrees north")]
    names: Annotated[list[str], msgspec.Meta(max_length=3)] = []
    label: str | msgspec.UnsetType = msgspec.UNSET
    parent: str | None = None


def test_a_struct_is_an_input_with_its_limits_and_names() -> None:
    assert of({"input": Point}).input == (
        Field("maxLat", "float", limits={"minimum": -90, "maximum": 90}, description="degrees north"),
        Field("names", "list", required=False, items=Field("item"), limits={"maxItems": 3}, default=[]),
        Field("label", required=False),
        Field("parent", required=False, nullable=True),
    )


@dataclasses.dataclass
class Loop:
    inner: "Loop | None" = None


@dataclasses.dataclass
class Odd:
    when: datetime.timedelta


class WithBadElement:
    input = "a", Int("b", minimum="low")


class WithTwoForms:
    input = "a"

    class SimpleIO:
        input_required = "a"


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        (WithBadElement, "WithBadElement.input.b: minimum is 'low': this limit is a number"),
        (WithTwoForms, "WithTwoForms: both forms of SimpleIO are used: use input and output, or class SimpleIO"),
        (
            {"input": Int("a", default="x")},
            "input.a: the default does not fit the element: this is a whole number, not 'x'",
        ),
        ({"input": Text("a", pattern="(")}, "input.a: pattern is '(': this is not a regular expression (ECMA 262)"),
        ({"input": Loop}, 'input.inner: Loop holds itself: declare the inner one as Any or Dict("name")'),
        ({"input": Odd}, "input.when: no element is a timedelta: use str, int, Decimal, date, list[...] ..."),
        ({"input": list[Line]}, 'input: an input is one record: write List("items", ...) in it'),
        (
            {"SimpleIO": {"input_requird": "a"}},
            "SimpleIO.input_requird: no such option: did you mean 'input_required'?",
        ),
        (
            {"SimpleIO": {"use_channel_params_only": True}},
            "SimpleIO.use_channel_params_only: this option is not supported",
        ),
        ({"SimpleIO": {"input_required": "a", "input_optional": "a"}}, "input_optional.a: this name is declared twice"),
        ({"SimpleIO": {"input": "a", "input_optional": "b"}}, "input: this is declared twice"),
        ({"SimpleIO": {"output_repeated": ("a",)}}, "output_repeated: this is True or False"),
        ({"output": "a", "force_empty_keys": "b"}, "force_empty_keys: no output called 'b'"),
        ({"deadline": "soon"}, "deadline: not a time span: 'soon'"),
        ({"invokes": 7}, "invokes: this is a list of names, not 7"),
        ({"schema": "x.json"}, "schema: 'x.json' is relative to no folder"),
        ({"schema": {"type": "x"}}, "schema: not a JSON Schema at '/type'"),
        (
            {"input": Enum("a", "b", default="c")},
            "input.a: the default does not fit the element: this is one of b, not 'c'",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(declaration: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        of(declaration)
    assert str(caught.value).startswith(message)


def test_a_schema_file_is_relative_to_the_root_or_absolute(tmp_path: Path) -> None:
    file = tmp_path / "my.json"
    file.write_text('{"type": "object", "required": ["name"]}')
    wanted = {"type": "object", "required": ["name"]}
    assert of({"schema": "my.json"}, root=tmp_path).schema == wanted
    assert of({"schema": str(file)}).schema == wanted
    assert of({"schema": file}, root=tmp_path / "elsewhere").schema == wanted
