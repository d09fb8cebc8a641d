"""Long JSON read piece by piece is what it is when it is read as a whole, and is refused with the same words."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs import long_json, strict_json
from specs.problems import Problem


def told(parse, body, **more):
    """What *parse* makes of *body*: a value with its types, or a problem with all that it says."""
    try:
        return repr(parse(body, **more))
    except Problem as problem:
        return problem.as_dict("cid")


def by_pieces(body, piece=7, **more):
    return told(lambda octets, **rest: long_json.parse(octets, piece=piece, **rest), body, **more)


def whole(body, **more):
    return told(strict_json.parse, body, **more)


names = st.sampled_from(["a", "b", "", "\\", '"', "[,", "é", "{", "\U0001f600"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(['"', "\\", "],[", "}{", ",", "\\u0041", "é", "a\nb", '\\",'])
)


@st.composite
def texts(draw):
    """JSON with names that come twice, blanks and escapes wherever they may be."""

    def blank():
        return draw(st.sampled_from(["", "", "", " ", "\n\t"]))

    def text(value):
        return json.dumps(value, ensure_ascii=draw(st.booleans()))

    def one(depth):
        kind = draw(st.sampled_from(["list", "map", "leaf"])) if depth else "leaf"
        if kind == "leaf":
            return text(draw(scalars))
        count = draw(st.integers(0, 4))
        if kind == "list":
            inside = [f"{blank()}{one(depth - 1)}{blank()}" for _ in range(count)]
            return f"[{','.join(inside) or blank()}]"
        inside = [f"{blank()}{text(draw(names))}{blank()}:{blank()}{one(depth - 1)}{blank()}" for _ in range(count)]
        return f"{{{','.join(inside) or blank()}}}"

    return (blank() + one(4) + blank()).encode()


@settings(max_examples=100)
@given(texts(), st.integers(1, 40), st.booleans(), st.integers(1, 5))
def test_what_is_read_by_pieces_is_what_is_read_as_a_whole(body, piece, exact, depth):
    assert by_pieces(body, piece, exact_decimals=exact) == whole(body, exact_decimals=exact)
    found, expected = by_pieces(body, piece, max_depth=depth), whole(body, max_depth=depth)
    if found != expected:  # what is too deep is in a member whose name comes again: both are wrong with it
        assert found["detail"] == f"the body is nested more than {depth} levels deep"
        assert expected["errors"][0]["code"] == "duplicate"


@settings(max_examples=100)
@given(texts(), st.data(), st.integers(1, 20))
def test_A41_what_is_no_json_is_refused_with_the_same_words(body, data, piece):
    at = data.draw(st.integers(0, len(body)))
    put = data.draw(
        st.sampled_from([b"", b",", b"]", b"}", b"[", b"{", b'"', b"\\", b":", b"1", b"\xff", b"\x00", b"//"])
    )
    cut = data.draw(st.integers(0, 3))
    broken = body[:at] + put + body[at + cut :]
    assert by_pieces(broken, piece) == whole(broken)


@pytest.mark.parametrize(
    "body",
    [
        b"[1,,2]", b"[1,]", b"[,1]", b"[1,2,]", b'{"a":1,}', b'{,"a":1}', b'{"a":[1,2},"b":3]', b"[[1,2],3],4", b"[1],[2]", b"1,2",
        b'[1,"2]', b'["a\\",1]', b'[\\",1]', b"[1 2,3]", b"{1,2}", b"[[[[[[[[", b"]]]]]]]],]", b"", b" ", b"\xef\xbb\xbf[1,2]",
    ],
)  # fmt: skip
def test_A41_commas_where_none_belong_and_brackets_that_do_not_match_are_refused(body):
    for piece in range(1, 12):
        assert by_pieces(body, piece) == whole(body)


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b'{"a":1,"b":[1,2,3,4,5,6],"a":2}', ["/a"]),
        (b'{"a":[1,2,3,4],"b":1,"a":[5,6,7,8,9,10,11],"c":3}', ["/a"]),
        (b'[[1,2,{"x":1,"y":{"z":1,"z":[1,2,3,4,5]},"x":3}],7]', ["/0/2/x", "/0/2/y/z"]),
        (b'[[1,2,{"x":1,"y":{"z":1,"z":[1,2,3,4,5]},"w":3}],7,18446744073709551616]', ["/0/2/y/z", "/2"]),
        (b'{"a":{"b":1,"c":2,"b":{"d":[1,2,{"e":1}]}},"\\u0061":1}', ["/a"]),
    ],
)
def test_A41_members_that_come_twice_are_named_wherever_the_text_is_cut(body, pointers):
    for piece in range(1, len(body)):
        assert [fault["pointer"] for fault in by_pieces(body, piece)["errors"]] == pointers
    assert whole(body) == by_pieces(body)


def test_A41_levels_are_counted_from_the_beginning_of_the_document():
    body = b'{"a":[[1,2,3],[4,[5,6,7,[8,9]],10]]}'
    for piece in range(1, len(body)):
        assert by_pieces(body, piece, max_depth=5) == repr(orjson.loads(body))
        assert by_pieces(body, piece, max_depth=4)["detail"] == "the body is nested more than 4 levels deep"


def test_A41_a_long_document_is_never_read_in_one_call(monkeypatch):
    read = []
    monkeypatch.setattr(
        long_json.orjson, "loads", lambda text, loads=orjson.loads: (read.append(len(text)), loads(text))[1]
    )
    inner = b'{"name":"Ann \\"A\\" Smith","tags":[1,2.5,[]],"more":{"x":null}}'
    body = b'{"rows":[' + b",".join([inner] * 20_000) + b'],"a":[' + b",".join([b"[[]]"] * 50_000) + b"]}"
    found = long_json.parse(body)
    assert max(read) < long_json.PIECE + 100
    assert sum(read) < 1.1 * len(body)
    assert found == json.loads(body)


def test_A41_many_faults_name_the_first_hundred():
    body = b"[" + b",".join([b'{"a":1,"a":2}'] * 20_000) + b"]"
    found = by_pieces(body, long_json.PIECE)
    assert found == whole(body)
    assert len(found["errors"]) == 100
