"""Plain text, and bodies that nobody looks into."""

from __future__ import annotations

import pytest

from specs.formats.plain import Format
from specs.problems import Problem


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        ("Zoë".encode(), "", "Zoë"),
        ("Zoë".encode(), "text/plain", "Zoë"),
        ("Zoë".encode("iso-8859-1"), "text/csv; charset=ISO-8859-1", "Zoë"),
        (b"\xff\x00", "application/octet-stream", b"\xff\x00"),
        (b"", "text/plain", None),
    ],
)
def test_a_body_is_text_or_bytes(body: bytes, content_type: str, expected: object) -> None:
    assert Format().parse(body, None, content_type=content_type).payload == expected


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [(b"\xff", "text/plain", 400), (b"x", "text/plain; charset=utf-7", 415), (b"x", "text/plain; charset=rot13", 415)],
)
def test_what_is_not_text_is_refused(body: bytes, content_type: str, status: int) -> None:
    with pytest.raises(Problem) as caught:
        Format().parse(body, None, content_type=content_type)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", b"a"), (b"\xff", b"\xff"), (None, b""), (1.5, b"1.5"), ({"a": [True]}, b'{"a":[true]}')],
)
def test_answers_are_text_or_else_json(value: object, expected: bytes) -> None:
    assert Format().render(value, None) == expected


def test_problems_are_json() -> None:
    assert Format().render_problem(Problem.of("bad-request"), "1")[1] == "application/problem+json"
