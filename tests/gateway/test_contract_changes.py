"""What a changed configuration breaks for callers of its channels, and whose word decides what becomes of that."""

import pytest

from gateway.configuration.kinds import read_object
from gateway.contract_changes import Way, channel_changes, policy_for, policy_from
from specs.contract import Contract, Field
from specs.problems import ConfigurationError

CONTRACTS = {
    "rate.get": Contract("rate.get", class_name="GetRate", input=(Field("day"),), output=(Field("rate"),)),
    "rate.list": Contract(
        "rate.list", class_name="ListRates", input=(Field("day"),), output=(Field("rate"), Field("at"))
    ),
    "note-add": Contract("note-add", class_name="AddNote", input=(), output=(), verbs=("POST",)),
}
REST = {"type": "rest", "path": "/rate", "methods": ["GET"], "service": "rate.get", "format": ["json", "xml"]}
SOAP = {"type": "soap", "path": "/soap", "services": ["rate.get", "noteadd"], "namespace": "urn:a"}


def changed(old, **new):
    ways = [
        {"c": Way(one["type"], read_object("channels", one, "channels.c"))} if one else {}
        for one in (old, {**old, **new} if "gone" not in new else None)
    ]
    return [(change.sentence, change.effect) for change in channel_changes(*ways, CONTRACTS)]


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ({"limit": None, "security": ["staff"], "allow": ["10.0.0.0/8"], "methods": ["GET", "POST"]}, []),
        ({"gone": True}, ["the channel is gone"]),
        ({"enabled": False}, ["the channel is gone"]),
        ({"path": "/rates"}, ["the path was /rate and is /rates"]),
        ({"host": ["a.example"]}, ["it does not answer to any other host any more"]),
        ({"methods": ["POST"]}, ["it does not take GET any more"]),
        ({"methods": None}, []),
        ({"format": ["xml"]}, ["json is not a format any more"]),
        ({"format": ["xml", "json"]}, ["it answers in xml and no longer in json where nobody asks for either"]),
        (
            {"service": "note-add", "methods": None},
            ["it does not take GET any more", "input day is gone", "output rate is gone"],
        ),
    ],
)
def test_callers_of_a_rest_channel(new, said):
    assert changed(REST, **new) == [(sentence, "breaks JSON clients") for sentence in said]


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ({"wsdl": "public"}, []),
        ({"gone": True}, ["the channel is gone"]),
        ({"services": ["rate.get"]}, ["the operation AddNote is gone"]),
        ({"namespace": "urn:b"}, ["the target namespace was urn:a and is urn:b"]),
        ({"services": ["rate.get", "note-add", "not.deployed"]}, []),
    ],
)
def test_clients_of_a_soap_channel(new, said):
    assert changed(SOAP, **new) == [(sentence, "breaks WSDL clients") for sentence in said]


def test_what_is_new_in_an_answer_is_safe_by_json():
    assert changed(REST, service="rate.list") == [("output at is new", "safe")]


def test_the_strictest_policy_of_the_services_decides_and_else_that_of_the_gateway():
    settings = {
        ("gateway", ""): read_object("gateway", {"contract_changes": "allow"}, "gateway"),
        ("services", "a-b"): read_object("services", {"contract_changes": "warn"}, "services.a-b"),
        ("services", "c"): read_object("services", {"contract_changes": "refuse"}, "services.c"),
        ("services", "d"): read_object("services", {}, "services.d"),
    }
    found = [policy_for(settings, names) for names in (["x"], ["d"], ["ab"], ["a-b", "c"])]
    assert found == ["allow", "allow", "warn", "refuse"]
    assert policy_for({}, ["x"]) == "warn"


def test_a_policy_that_there_is_not_is_refused_with_the_nearest():
    assert policy_from("") is None
    with pytest.raises(ConfigurationError, match="no policy called 'refused': did you mean 'refuse'"):
        policy_from("refused")
