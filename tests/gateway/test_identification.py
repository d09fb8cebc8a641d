"""Who is calling: alternatives, what a refusal costs, and what counts as a failure."""

from base64 import b64encode
from types import SimpleNamespace

import pytest

from gateway.authenticators import Credential, apikey, basic
from gateway.identification import Consumers, Security
from security.credentials import ApiKeys
from specs.exchange import Identity
from specs.problems import Problem


class CountingVerifier:
    """Stands for the one that hashes: the stored text is the password, and each comparison is counted."""

    def __init__(self):
        self.compared = 0

    def verify(self, definition, username, password, stored):
        self.compared += 1
        return stored is not None and password == stored


ACME, TIN = Identity("acme", "consumer", groups=frozenset({"gold"})), Identity("tin", "consumer")
USERS = {"acme": Credential("acme-password", ACME), "tin": Credential("tin-password", TIN)}
KEYS = {ApiKeys.digest("device-key"): ACME}


@pytest.fixture
def world():
    verifier, failures = CountingVerifier(), []
    tools = SimpleNamespace(verifier=verifier, directory=Consumers(USERS, KEYS), digest=ApiKeys.digest)

    def passwords(name, **settings):
        told = {"username": None, "password": None, "groups": ["*"], "realm": "R", **settings}
        return basic.Authenticator(name, SimpleNamespace(**told), tools)

    def shut(exchange):
        raise Problem.of("forbidden", "nobody comes in here")

    own = SimpleNamespace(reveal=lambda: "other")
    definitions = {
        "own": passwords("own", username="acme", password=own, groups=None),
        "users": passwords("users"),
        "gold": passwords("gold", groups=["gold"]),
        "shut": SimpleNamespace(name="shut", word="shut", guessed=False, challenge="S", identify=shut),
        "device": apikey.Authenticator("device", SimpleNamespace(header="X-Device", key=None, groups=["*"]), tools),
    }

    def identify(alternatives, username=None, password="", device=None):
        headers = {}
        if username is not None:
            headers["authorization"] = "Basic " + b64encode(f"{username}:{password}".encode()).decode()
        if device is not None:
            headers["x-device"] = device
        security = Security([[definitions[name] for name in one] for one in alternatives], failures.append)
        verifier.compared, failures[:] = 0, []
        try:
            found = security.identify(SimpleNamespace(headers=headers, kept={})).name
        except Problem as problem:
            found = None if problem.code == "unauthenticated" else problem.code
        return found, verifier.compared, len(failures)

    return identify


@pytest.mark.parametrize(
    "alternatives", [[["users"]], [["own"], ["users"]], [["own"], ["users"], ["gold"]], [["users", "device"]]]
)
def test_A26_every_refusal_costs_the_same_whoever_is_known_to_whom(world, alternatives):
    """acme is known to all definitions, tin to one, nobody to none; the second factor is missing, wrong or right."""
    costs = {
        (username, device): world(alternatives, username, "wrong", device)[1:]
        for username in ("acme", "tin", "nobody")
        for device in (None, "wrong-key", "device-key")
    }
    hashing = {name for one in alternatives for name in one} - {"device"}
    assert set(costs.values()) == {(len(hashing), 1)}


def test_any_alternative_lets_a_caller_in_and_that_is_no_failure(world):
    assert world([["own"], ["users"]], "tin", "tin-password")[::2] == ("tin", 0)
    assert world([["own"], ["users"]], "acme", "other")[::2] == ("acme", 0)
    assert world([["users"], ["device"]], "acme", "acme-password", "device-key") == ("acme", 1, 0)


@pytest.mark.parametrize("alternatives", [[["users"], ["device"]], [["device"], ["gold"], ["users"]]])
def test_A26_A33_who_is_let_in_by_one_credential_guesses_at_no_other_for_nothing(world, alternatives):
    """A wrong password beside a right key costs what a refusal costs, whoever exists, and counts as one."""
    costs = {name: world(alternatives, name, "wrong", "device-key") for name in ("acme", "tin", "nobody")}
    assert set(costs.values()) == {("acme", len(alternatives) - 1, 1)}


def test_A26_who_is_refused_by_a_later_definition_has_paid_for_the_earlier_ones(world):
    """A definition that refuses for good, such as a session of another application, hides nothing of who exists."""
    costs = {name: world([["users"], ["shut"]], name, "wrong") for name in ("acme", "nobody")}
    assert set(costs.values()) == {("forbidden", 1, 1)}
    assert world([["users"], ["shut"]], "acme", "acme-password") == ("forbidden", 1, 0)


def test_all_of_an_and_are_needed_and_a_right_part_does_not_excuse_a_wrong_one(world):
    both = [["users", "device"]]
    assert world(both, "tin", "tin-password", "device-key") == ("tin", 1, 0)
    assert world(both, "tin", "tin-password", "wrong-key") == (None, 1, 1)
    assert world(both, "tin", "wrong", "device-key") == (None, 1, 1)
    assert world(both, "nobody", "wrong", "device-key") == (None, 1, 1)


def test_who_sends_nothing_is_refused_for_nothing(world):
    for alternatives in ([["users"]], [["own"], ["users"]], [["users", "device"]]):
        assert world(alternatives) == (None, 0, 0)
    assert world([["users", "device"]], device="device-key") == (None, 0, 0)
