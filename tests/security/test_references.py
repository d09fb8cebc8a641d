import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.references import References, is_reference
from specs.problems import ConfigurationError


@pytest.fixture
def references(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "key.txt").write_text("from file\n")
    (tmp_path / "outside.txt").write_text("outside")
    return References(tmp_path / "docs", environ={"NAME": "v${env:OTHER}", "EMPTY": "", "GATEWRIGHT_SECRET_A": "a"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("$ { } $$ $", "$ { } $$ $"),
        ("${file:key.txt}", "from file"),
        ("<${file:key.txt}|${file:../outside.txt}>", "<from file|outside>"),
        ("${env:NAME}", "v${env:OTHER}"),
        ("$${env:NAME}", "${env:NAME}"),
        ("a$${b${env:GATEWRIGHT_SECRET_A}$${", "a${ba${"),
    ],
)
def test_references_are_replaced_once_and_the_rest_stays(references, text, expected):
    assert references.resolve(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${env:MISSING}", "MISSING is not set"),
        ("${env:EMPTY}", "EMPTY is empty"),
        ("${env:", "not closed"),
        ("${env:}", "names nothing"),
        ("${NAME}", r"write \$\{env:NAME\}"),
        ("${fil:x}", "did you mean 'file'"),
        ("${file:none.txt}", "none.txt' cannot be read: no such file"),
        ("${file:.}", "not a file"),
        ("${file:a\0b}", "cannot be read: not a name"),
        ("${}", "no kind of reference"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named_with_its_place(references, text, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        references.resolve(text, "connections.crm.password")
    assert caught.value.path == "connections.crm.password"


@given(st.text(alphabet="$${}:envfile A"))
def test_text_without_references_resolves_and_with_them_is_told(text):
    references = References(None, environ={})
    if is_reference(text):
        with pytest.raises(ConfigurationError):
            references.resolve(text)
    else:
        assert references.resolve(text) == text.replace("$${", "${")


def test_a_document_from_the_network_reaches_only_what_was_set_aside(references, tmp_path):
    (tmp_path / "docs" / "link").symlink_to(tmp_path / "outside.txt")
    (tmp_path / "docs" / "inner").symlink_to(tmp_path / "docs" / "key.txt")
    limited = References.from_api(tmp_path / "docs", environ=references.environ)
    assert limited.resolve("${env:GATEWRIGHT_SECRET_A} ${file:inner}") == "a from file"
    for text in ("${env:NAME}", "${file:../outside.txt}", "${file:link}", f"${{file:{tmp_path / 'outside.txt'}}}"):
        with pytest.raises(ConfigurationError, match="may not refer"):
            limited.resolve(text)
    with pytest.raises(ConfigurationError, match="--secrets-dir"):
        References.from_api(None).resolve("${file:key.txt}")


def test_a_file_that_never_ends_or_is_too_large_is_refused(references, tmp_path):
    os.mkfifo(tmp_path / "docs" / "pipe")
    (tmp_path / "docs" / "large").write_bytes(b"a" * 65_537)
    (tmp_path / "docs" / "binary").write_bytes(b"\xff\xfe")
    for name, said in (
        ("pipe", "not a file"),
        ("large", "too large"),
        ("binary", "not UTF-8"),
        ("/dev/zero", "not a file"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            references.resolve(f"${{file:{name}}}")
