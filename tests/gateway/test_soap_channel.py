"""Settings of SOAP channels and WS-Security definitions, and nonces that work once."""

import pytest

from gateway.authenticators import wss
from gateway.channels import soap
from gateway.options import Options
from gateway.replay import Nonces
from security.limits import NANOSECONDS, Store, StoreUnavailable
from security.limits.shm import SharedMemoryStore
from specs.problems import ConfigurationError, Problem


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"services": []}, "one operation at least"),
        ({"services": ["a", "a"]}, "named twice"),
        ({"services": ["a"], "methods": ["GET"]}, "SOAP is called with POST"),
        ({"services": ["a"], "namespace": "not a uri"}, "not a URI"),
        ({"services": ["a"], "wsdl": "no"}, "wsdl"),
        ({}, "services"),
    ],
)
def test_a_channel_that_could_not_serve_is_refused(body, message):
    with pytest.raises(ConfigurationError, match=message):
        soap.Channel.Settings.read({"path": "/a", **body}, "channels.a")


def test_one_service_is_a_list_of_one():
    assert soap.Channel.Settings.read({"path": "/a", "services": "a"}, "channels.a").services == ("a",)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "username and a password, or groups"),
        ({"username": "a"}, "nobody could come in"),
        ({"username": "a", "password": "b", "groups": ["g"]}, "username and a password, or groups"),
        ({"groups": ["g"], "password": "b"}, "passwords of their own"),
        ({"groups": ["g"], "accept": "digest"}, "kept as hashes"),
        ({"username": "a", "password": "b", "max_age": "2d"}, "a second to a day"),
        ({"username": "a", "password": "b", "realm": 'x"y'}, "no quotes"),
    ],
)
def test_a_definition_that_could_let_nobody_in_is_refused(body, message):
    with pytest.raises(ConfigurationError, match=message):
        wss.Authenticator.Settings.read(body, "security.a")


def test_the_password_of_a_definition_is_not_shown():
    settings = wss.Authenticator.Settings.read({"username": "a", "password": "hunter2"}, "security.a")
    assert "hunter2" not in repr(settings)


def test_a_nonce_works_once_until_it_is_forgotten(tmp_path):
    clock = [1_000 * NANOSECONDS]
    store = SharedMemoryStore(tmp_path / "limits.table")
    first, other = (Nonces(store, lambda: clock[0]) for _ in range(2))
    assert first.first_use("d", b"n", 600)
    assert not other.first_use("d", b"n", 600)
    assert other.first_use("e", b"n", 600)
    clock[0] += 599 * NANOSECONDS
    assert not first.first_use("d", b"n", 600)
    clock[0] += 2 * NANOSECONDS
    assert first.first_use("d", b"n", 600)
    store.close()


class Lost(Store):
    def debit(self, charges, now_ns):
        raise StoreUnavailable("gone")


def test_a_nonce_that_cannot_be_remembered_is_not_taken():
    with pytest.raises(Problem, match="overloaded"):
        Nonces(Lost()).first_use("d", b"n", 600)


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        (("127.0.0.1:8000",), "http://127.0.0.1:8000"),
        (("unix:/run/a.sock", "[::1]:8080"), "http://[::1]:8080"),
        (("unix:/run/a.sock",), "http://localhost:80"),
    ],
)
def test_where_a_gateway_is_reached_without_a_public_url(listen, expected):
    assert Options(listen=listen).reached_at == expected
