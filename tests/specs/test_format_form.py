"""Forms: URL-encoded and multipart, with what browsers and curl send and what attackers do."""

from __future__ import annotations

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from specs import query
from specs.contract import Contract, Field
from specs.exchange import UploadedFile
from specs.formats import Parsed
from specs.formats.form import Format
from specs.problems import Problem

CONTRACT = Contract(
    "s",
    input=(
        Field("name"),
        Field("tags", "list", items=Field("item"), required=False),
        Field("photo", "bytes", required=False),
    ),
)
URLENCODED = "application/x-www-form-urlencoded"


def part(disposition: str, content: str = "x", *more: str) -> str:
    return "\r\n".join(["--b", f"Content-Disposition: form-data; {disposition}", *more, "", content, ""])


def multipart(*parts: str, boundary: str = "b", contract: Contract | None = None) -> Parsed:
    body = "".join(parts) + "--b--\r\n"
    return Format().parse(body.encode(), contract, content_type=f"multipart/form-data; boundary={boundary}")


def refusal(body: bytes, content_type: str = URLENCODED) -> Problem:
    with pytest.raises(Problem) as caught:
        Format().parse(body, None, content_type=content_type)
    return caught.value


def test_a_urlencoded_form_is_texts_by_name() -> None:
    parsed = Format().parse(b"name=Zo%C3%AB+x&a=1&a=2&empty=&flag", None, content_type=URLENCODED)
    assert parsed == ({"name": "Zoë x", "a": ["1", "2"], "empty": "", "flag": ""}, True, (), "")


@pytest.mark.parametrize("body", [b"tags=a", b"tags[]=a", b"tags%5B%5D=a"])
def test_a_list_field_given_once_is_a_list(body: bytes) -> None:
    assert Format().parse(body, CONTRACT, content_type=URLENCODED).payload == {"tags": ["a"]}


def test_a_list_field_given_both_ways_is_one_list() -> None:
    body = b"tags=a&tags[]=b&tags[]=c&name[]=x"
    got = Format().parse(body, CONTRACT, content_type=URLENCODED).payload
    assert got == {"tags": ["a", "b", "c"], "name[]": "x"}


def test_an_empty_form_has_no_members() -> None:
    assert Format().parse(b"", CONTRACT, content_type=URLENCODED).payload == {}


@pytest.mark.parametrize("body", [b"a=%zz", b"a=%", b"a=%c3", b"a=\xff", b"%ff=1", b"&".join([b"a=1"] * 100_000)])
def test_A44_a_form_that_is_broken_or_endless_is_400(body: bytes) -> None:
    assert (refusal(body).status, refusal(body).code) == (400, "malformed-body")


@given(
    st.lists(
        st.sampled_from(["a", "+", "é", "%41", "%C3%A9", "%c3", "%", "%4", "%zz", "%E2%82%AC", "%26"]), max_size=20
    ),
    st.integers(3, 9),
)
def test_a_long_form_is_read_in_pieces_as_a_short_one_is_as_a_whole(units: list[str], piece: int) -> None:
    body = ("a=" + "".join(units)).encode()

    def told(size: int) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(query, "_PIECE", size)
            try:
                return Format().parse(body, None, content_type=URLENCODED).payload
            except Problem as problem:
                return problem.as_dict("cid")

    assert told(piece) == told(65536)


def test_another_charset_is_415() -> None:
    assert refusal(b"a=1", URLENCODED + "; charset=utf-16").status == 415


def test_what_the_requests_library_uploads_arrives() -> None:
    prepared = requests.Request(
        "POST",
        "http://127.0.0.1/",
        data={"name": "Zoë", "tags": ["a", "b"]},
        files={"photo": ("C:\\tmp\\..\\me.png", b"\x00\xff\r\n--b", "image/png"), "notes": ("n.txt", b"")},
    ).prepare()
    assert isinstance(prepared.body, bytes)
    parsed = Format().parse(prepared.body, CONTRACT, content_type=prepared.headers["Content-Type"])
    assert parsed.payload == {"name": "Zoë", "tags": ["a", "b"], "photo": "AP8NCi0tYg=="}
    assert parsed.files == (
        UploadedFile("photo", "me.png", "image/png", b"\x00\xff\r\n--b"),
        UploadedFile("notes", "n.txt", "text/plain", b""),
    )


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("a.txt", "a.txt"), ("/etc/passwd", "passwd"), ("../../x", "x"), ("C:\\\\a\\\\b.txt", "b.txt"), ("..", ""),
        ("a/", ""), ("a\x01b\x7f", "ab"), (" a b ", "a b"), ("%2e%2e%2fx", "%2e%2e%2fx"),
    ],
)  # fmt: skip
def test_a_file_name_has_no_path(sent: str, expected: str) -> None:
    (file,) = multipart(part(f'name="f"; filename="{sent}"')).files
    assert file.filename == expected


def test_a_file_input_left_alone_is_no_file() -> None:
    assert multipart(part('name="f"; filename=""', "")) == ({}, True, (), "")


def test_A44_parts_are_bounded() -> None:
    assert len(multipart(*[part(f'name="{n}"') for n in range(100)]).payload) == 100
    with pytest.raises(Problem) as caught:
        multipart(*[part(f'name="{n}"') for n in range(101)])
    assert caught.value.code == "malformed-body"


@pytest.mark.parametrize(
    "parts",
    [
        part('name="a"', "x", "X-Long: " + "x" * 5000),
        part("name="),
        part('filename="x"'),
        part('name="a"', "x", "Content-Type: multipart/mixed; boundary=c"),
        part('name="a"', "x", "Content-Transfer-Encoding: base64"),
        "--b\r\n\r\nx\r\n",
        "--bx\r\n\r\nx\r\n",
        "nothing",
    ],
    ids=["headers", "no name", "file without name", "nested", "base64", "no headers", "other boundary", "nothing"],
)
def test_A44_malformed_parts_are_400(parts: str) -> None:
    with pytest.raises(Problem) as caught:
        multipart(parts)
    assert (caught.value.status, caught.value.code) == (400, "malformed-body")


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_form_that_is_cut_short_is_400(cut: int) -> None:
    body = part('name="a"').encode()[:cut]
    assert refusal(body, "multipart/form-data; boundary=b").code == "malformed-body"


@pytest.mark.parametrize("value", [b"\xff", b"\xc3"])
def test_text_that_is_not_utf8_is_400(value: bytes) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + value + b"\r\n--b--\r\n"
    assert refusal(body, "multipart/form-data; boundary=b").code == "malformed-body"
    body = b'--b\r\nContent-Disposition: form-data; name="' + value + b'"\r\n\r\nx\r\n--b--\r\n'
    assert refusal(body, "multipart/form-data; boundary=b").code == "malformed-body"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "b" * 71,
        'multipart/form-data; boundary="b\\"c"',
        "multipart/form-data; boundary=b; boundary=c",
    ],
)
def test_a_boundary_is_one_to_seventy_characters(content_type: str) -> None:
    assert refusal(b"--b--", content_type).status == 415


def test_answers_and_problems_are_json() -> None:
    assert Format().render({"a": 1}, None) == b'{"a":1}'
    assert Format().render_problem(Problem.of("bad-request"), "1")[1] == "application/problem+json"
    assert Format.content_type == "application/json"
