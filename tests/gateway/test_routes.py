"""Routing: Falcon's template syntax, one look-up whatever the number of channels."""

import re
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.documentation.operations import openapi_path
from gateway.routes import Routes, parse_template, take_apart
from specs.problems import ConfigurationError


def routes_of(*templates, **more):
    routes = Routes()
    for template in templates:
        routes.add(template, ["GET"], template, name=template, **more)
    return routes


def found(routes, path, host=""):
    match = routes.find(host, path)
    return None if match is None else (match.methods.get("GET"), dict(match.params))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ("/", {})),
        ("/customers", ("/customers", {})),
        ("/customers/", None),
        ("/customers/12", ("/customers/{cust_id}", {"cust_id": "12"})),
        ("/customers/new", ("/customers/new", {})),
        ("/customers/new/cases", ("/customers/{cust_id}/cases", {"cust_id": "new"})),
        ("/orders/17", ("/orders/{number:int}", {"number": "17"})),
        ("/orders/x", ("/orders/{code}", {"code": "x"})),
        ("/files/a/b.txt", ("/files/{name:path}", {"name": "a/b.txt"})),
        ("/files", None),
        ("/files/", None),
        ("/compare/v1...v2", ("/compare/{base}...{head}", {"base": "v1", "head": "v2"})),
        ("/compare/v1", None),
        ("/nowhere", None),
    ],
)
def test_a_path_leads_to_the_most_specific_template(path, expected):
    routes = routes_of(
        "/",
        "/customers",
        "/customers/{cust_id}",
        "/customers/new",
        "/customers/{cust_id}/cases",
        "/orders/{number:int}",
        "/orders/{code}",
        "/files/{name:path}",
        "/compare/{base}...{head}",
    )
    assert found(routes, path) == expected


@pytest.mark.parametrize(
    ("converter", "taken", "refused"),
    [
        ("int", ["0", "-7", "12345678901234567890"], ["", "x", "1.0", "+1", "1_0", "\u0661", "1" * 21]),
        ("int(2)", ["17", "-1"], ["7", "170"]),
        ("int(min=1, max=20)", ["1", "20"], ["0", "21", "-1"]),
        ("int(2, max=20)", ["17"], ["7", "21"]),
        ("float", ["0", "-1.5"], ["", "1.", "nan", "inf", "1e3"]),
        ("float(min=0.5, max=2)", ["0.5", "2"], ["0.4", "2.01"]),
        ("uuid", ["12345678-1234-1234-1234-123456789abc"], ["12345678123412341234123456789abc", "x"]),
        ("dt", ["2026-11-21T17:00:00Z"], ["2026-11-21", "2026-13-21T17:00:00Z"]),
        ("dt('%Y-%m-%d')", ["2026-11-21"], ["2026-02-30", "2026-11-21T17:00:00Z", ""]),
        ('dt("%d.%m.%Y")', ["21.11.2026"], ["2026-11-21"]),
    ],
)
def test_every_converter_of_falcons_takes_what_falcons_does(converter, taken, refused):
    routes = routes_of(f"/x/{{value:{converter}}}", "/x/{other}")
    for text in taken:
        assert found(routes, f"/x/{text}")[1] == {"value": text}
    for text in refused:
        assert (found(routes, f"/x/{text}") or (None, {"other": ""}))[1].get("value") is None


def test_documents_name_a_converted_variable_as_any_other():
    assert openapi_path("/x/{a:int(2, max=20)}/{b:dt('%Y-%m-%d')}") == ("/x/{a}/{b}", ("a", "b"), True)
    assert openapi_path("/x/{a}/{rest:path}") == ("/x/{a}/{rest}", ("a", "rest"), False)


def test_a_prefix_takes_everything_below_it():
    routes = Routes()
    routes.add("/erp/", ["GET"], "erp", name="erp", prefix=True)
    routes.add("/erp/special", ["GET"], "special", name="special")
    assert [found(routes, p) for p in ("/erp/a/b", "/erp/", "/erp", "/erp/special", "/erpx")] == [
        ("erp", {}),
        ("erp", {}),
        ("erp", {}),
        ("special", {}),
        None,
    ]


def test_a_host_is_preferred_to_any_host():
    routes = Routes()
    routes.add("/x", ["GET"], "any", name="any")
    routes.add("/x", ["GET"], "mine", name="mine", hosts=["API.example.com"])
    routes.add("/y", ["GET"], "only", name="only", hosts=["api.example.com"])
    assert found(routes, "/x", "api.example.com") == ("mine", {})
    assert found(routes, "/x", "other.example.com") == ("any", {})
    assert found(routes, "/y", "other.example.com") is None


@pytest.mark.parametrize(
    "template",
    [
        "x",
        "/{}",
        "/{a",
        "/a}",
        "/{a}/{a}",
        "/{a:nope}",
        "/{a:path}/b",
        "//a",
        "/a/../b",
        "/a b",
        "/a?b",
        "/{a:int}x",
        "/{1}",
        "/{a:}",
        "/{a:int(}",
        "/{a:int(0)}",
        "/{a:int('x')(}",
        "/{a:int(nope=1)}",
        "/{a:int(min='x')}",
        "/{a:dt(1)}",
        "/{a:uuid(4)}",
        "/{a:float(finite=False)}",
        "/{a:int(__import__('os'))}",
    ],
)
def test_what_is_no_template_is_refused_with_its_place(template):
    with pytest.raises(ConfigurationError) as refused:
        parse_template(template, "channels.c.path")
    assert refused.value.path == "channels.c.path"
    assert refused.value.remedy


def test_two_channels_cannot_have_one_path_and_method():
    routes = routes_of("/a/{x}")
    routes.add("/a/{x}", ["PUT"], "other", name="other")
    with pytest.raises(ConfigurationError, match="leads to the channel"):
        routes.add("/a/{x}", ["GET"], "third", name="third")
    with pytest.raises(ConfigurationError, match="with other names"):
        routes.add("/a/{y}", ["POST"], "fourth", name="fourth")


segments = st.text(
    st.characters(codec="utf-8", exclude_characters="/{}", exclude_categories=["Cc", "Cs", "Zs"]), min_size=1
)


@given(st.lists(segments, min_size=1, max_size=6))
def test_what_the_variables_took_is_what_the_path_holds(parts):
    template = "/" + "/".join(f"{{v{i}}}" for i in range(len(parts)))
    assert found(routes_of(template), "/" + "/".join(parts)) == (template, {f"v{i}": p for i, p in enumerate(parts)})


def test_ten_thousand_channels_are_found_like_ten():
    routes = Routes()
    for number in range(10_000):
        routes.add(f"/api/ch{number}/items/{{item_id}}", ["GET"], number, name=f"ch{number}")
    assert found(routes, "/api/ch9999/items/7") == (9999, {"item_id": "7"})
    assert len(routes) == 10_000


few = st.text("ab-.", max_size=3)


@given(st.lists(few, min_size=2, max_size=5).map(tuple), st.text("ab-.", max_size=14), st.booleans())
def test_a_segment_is_taken_apart_as_an_expression_of_short_texts_would(literals, text, fitting):
    segment = text.join(literals) if fitting else text
    found = re.fullmatch("(.+?)".join(map(re.escape, literals)), segment)
    assert take_apart(segment, literals) == (list(found.groups()) if found else None)


def test_A42_a_long_segment_that_nearly_fits_costs_nothing():
    routes = Routes()
    routes.add("/v{a}-{b}-{c}.json", ["GET"], "target", name="mixed")

    def too_long(*_):
        raise AssertionError("a segment of 8 KB takes seconds")

    # An expression would take an hour.
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(60)
    try:
        assert routes.find("", "/v" + "-" * 8000) is None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert routes.find("", "/v1-2-3.json").params == {"a": "1", "b": "2", "c": "3"}
