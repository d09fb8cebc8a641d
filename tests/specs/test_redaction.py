"""Redaction: no credential of a call is left in what is kept of it, and what stands in its place fits the contract."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.contract import Contract, Field
from specs.redaction import MASK, Redaction, credentials_in, is_secret_name
from specs.values import compile_input

FIELDS = (
    Field("user"),
    Field("password", "secret", limits={"minLength": 6}),
    Field("pin_code", "int"),
    Field("note", required=False),
    Field("cards", "dictlist", fields=(Field("holder"), Field("cvv")), required=False),
    Field("keys", "list", items=Field("item", "secret"), required=False),
    Field("more", "opaque", required=False),
)


def redacted(value, **more):
    return Redaction(**more).record(value, FIELDS)


def test_secrets_go_by_type_by_name_at_any_depth_and_by_form():
    sent = {
        "user": "ann",
        "password": "hunter2!",
        "pin_code": 1234,
        "note": "call me: https://bob:s3cret@example.com/",
        "cards": [{"holder": "Ann", "cvv": "123"}],
        "keys": ["k1", "k2"],
        "more": {"deep": [{"X-Api-Key": "abc", "plain": 1}], "jwt": None},
    }
    found, pointers = redacted(sent)
    assert pointers == ["/cards/0/cvv", "/keys", "/more/deep/0/X-Api-Key", "/note", "/password", "/pin_code"]
    text = json.dumps(found)
    assert not [secret for secret in ("hunter2", "1234", "s3cret", "123", "k1", "abc") if secret in text]
    assert (found["user"], found["cards"][0]["holder"], found["more"]["deep"][0]["plain"]) == ("ann", "Ann", 1)
    assert found["more"]["deep"][0]["X-Api-Key"] == MASK


@pytest.mark.parametrize(
    "text",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "-----BEGIN RSA PRIVATE KEY-----\nMII",
        "Bearer abcdefgh12345678",
        "gws_0123456789abcdefghij",
        "4111 1111 1111 1111",
        "4111111111111111",
    ],
)
def test_texts_that_are_credentials_by_their_form_are_taken_out_wherever_they_stand(text):
    found, pointers = redacted({"user": f"see {text}", "more": [text]})
    assert (found["more"], pointers) == ([MASK], ["/more/0", "/user"])
    assert text not in found["user"]


def test_what_only_looks_a_little_like_it_stays():
    sent = {
        "user": "4111 1111 1111 1112",
        "note": "the bearer of news, 2026-11-21T09:30:00Z",
        "more": {"tokens_used": 7},
    }
    assert redacted(sent) == (sent, [])


def test_named_members_and_credentials_that_came_with_the_call_are_taken_out():
    headers = {
        "authorization": "Basic " + base64.b64encode(b"acme:correct horse").decode(),
        "cookie": 'session="0123456789"; theme=dark',
        "x-api-key": "k-778899",
        "accept": "text/plain",
    }
    credentials = list(credentials_in(headers))
    sent = {
        "user": "Correct? correct horse", "note": "0123456789", "more": ["k-778899", "dark", "text/plain", {"vat": "1"}],
    }  # fmt: skip
    found, pointers = redacted(sent, names=["VAT"], credentials=credentials)
    assert pointers == ["/more/0", "/more/3/vat", "/note", "/user"]
    assert found["more"][1:] == ["dark", "text/plain", {"vat": MASK}]


def test_names_of_secrets():
    for name in ("password", "userPassword", "API-KEY", "api_key", "clientSecret", "session_id", "oauth.token", "cvv"):
        assert is_secret_name(name), name
    for name in ("keyboard", "pinned", "passenger", "tokens", "sessions", "secretary", "key"):
        assert not is_secret_name(name), name


texts = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.just("token"), inner, max_size=3),
    max_leaves=8,
)


@given(values, st.text(min_size=5, max_size=12))
def test_no_credential_is_left_and_what_is_kept_has_the_same_shape(value, credential):
    sent = {"user": credential, "more": [value, f"a{credential}b", {"x": credential}]}
    found, _ = redacted(sent, credentials=[credential])
    assert found["user"] != credential
    assert (found["more"][1], found["more"][2]) == (MASK, {"x": MASK})
    assert credential not in [text for text in texts_in(found["more"]) if text != MASK]
    assert redacted(found, credentials=[credential])[0]["more"] == found["more"]


def texts_in(value):
    if isinstance(value, dict):
        return [text for held in value.values() for text in texts_in(held)]
    if isinstance(value, list):
        return [text for held in value for text in texts_in(held)]
    return [value] if isinstance(value, str) else []


@given(
    st.fixed_dictionaries(
        {"user": texts, "password": st.text(min_size=6, max_size=9), "pin_code": st.integers(0, 9999)},
        optional={"note": texts, "keys": st.lists(texts, min_size=1, max_size=2)},
    )
)
def test_what_is_kept_is_still_taken_by_the_contract(sent):
    found, _ = redacted(sent)
    compile_input(Contract("s", input=FIELDS)).read(found)
