"""The rate of attempts to log in: how often one address may try, and that nobody is kept out by what others do."""

import pytest
from people import PASSWORD, refused

from security.passwords import PasswordHasher
from specs.problems import ConfigurationError
from sso.login import Credentials
from sso.settings import Sso


@pytest.fixture
def rated(world):
    world.configure(login={"attempts_per_minute": 4})
    return world


def test_an_address_has_so_many_attempts_a_minute_right_ones_too(rated):
    rated.person()
    for _ in range(4):
        rated.log_in()
    with refused("too-many-attempts") as caught:
        rated.log_in()
    assert caught.value.status == 429
    assert dict(caught.value.headers)["Retry-After"] == "60"
    rated.passes(seconds=60)
    rated.log_in()


def test_what_is_beyond_the_rate_is_not_hashed_and_not_counted(rated, monkeypatch):
    rated.person()
    for _ in range(4):
        rated.log_in()
    hashes = []
    monkeypatch.setattr(PasswordHasher, "verify", lambda *given: hashes.append(1))
    for _ in range(20):
        with refused("too-many-attempts"):
            rated.log_in(password="something else entirely")
    assert hashes == []
    monkeypatch.undo()
    rated.passes(seconds=60)
    rated.log_in()


def test_S12_whoever_uses_up_an_address_keeps_nobody_out_elsewhere_nor_a_known_device_at_the_same_one(rated):
    rated.person()
    device = rated.log_in(address="198.51.100.7").device
    for number in range(3):
        with refused("invalid-credentials"):
            rated.log_in(f"nobody-{number}", address="198.51.100.7")
    with refused("too-many-attempts"):
        rated.log_in(address="198.51.100.7")
    assert rated.log_in(address="198.51.100.7", device=device)
    assert rated.log_in(address="198.51.100.8")


def test_a_known_device_has_the_same_rate_for_itself(rated):
    rated.person()
    device = rated.log_in().device
    for number in range(4):
        rated.log_in(address=f"198.51.100.{number}", device=device)
    with refused("too-many-attempts"):
        rated.log_in(address="198.51.100.99", device=device)
    assert rated.log_in(address="198.51.100.99")


def test_S11_the_rate_is_the_same_whatever_the_name_is(rated):
    rated.person()
    answers = set()
    for place, name in enumerate(("ann", "nobody", "no body!")):
        for _ in range(4):
            with refused("invalid-credentials"):
                rated.log_in(name, "wrong wrong wrong", address=f"192.0.2.{place}")
        with refused("too-many-attempts") as caught:
            rated.log_in(name, "wrong wrong wrong", address=f"192.0.2.{place}")
        answers.add(str(caught.value.as_dict("c")))
    assert len(answers) == 1


def test_an_ipv6_network_is_one_address(rated):
    rated.person()
    for number in range(4):
        rated.log_in(address=f"2001:db8:0:1::{number:x}")
    with refused("too-many-attempts"):
        rated.log_in(address="2001:db8:0:1:ffff::1")
    assert rated.log_in(address="2001:db8:0:2::1")


def test_a_service_that_does_not_say_from_where_uses_up_no_address(rated):
    rated.person()
    for _ in range(6):
        assert rated.sso.login.log_in(Credentials("ann", PASSWORD), rated.caller(address=""))


def test_it_is_thirty_where_nothing_is_said_and_none_where_the_document_says_so(world):
    assert Sso.read({}).login.attempts_per_minute == 30
    world.configure(login={"attempts_per_minute": 0})
    world.person()
    for _ in range(40):
        world.log_in()
    with pytest.raises(ConfigurationError) as caught:
        Sso.read({"login": {"attempts_per_minute": -1}})
    assert caught.value.path.endswith("login.attempts_per_minute")
