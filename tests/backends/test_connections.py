"""Leases on live objects, and how services find them."""

import pytest

from backends.connections import CONNECTORS, Connections, Outgoing, UnknownConnection, digest_of
from backends.connectors import Base, Settings, setting
from specs.problems import BackendUnavailable
from specs.settings import Secret


class Fake(Base):
    """Counts what is made and closed."""

    class Settings(Settings):
        host: str = setting("where", default="h")
        password: Secret | None = setting("whom", default=None)
        options: dict[str, str] = setting("more", default={})

    also_found_under = ("faked",)
    made = 0
    closed = 0

    def __init__(self, name, settings):
        super().__init__(name, settings)
        type(self).made += 1

    def close(self):
        type(self).closed += 1


class FakeRegistry:
    def words(self):
        return ["fake", "rest"]

    def get(self, word, path=""):
        return Fake


@pytest.fixture
def connections():
    Fake.made = Fake.closed = 0
    return Connections(FakeRegistry())


def settings(**values):
    return Fake.Settings.read(values)


def test_the_same_settings_are_the_same_object_and_the_last_lease_closes_it(connections):
    first, second = connections.lease("fake", "crm", settings()), connections.lease("fake", "crm", settings())
    assert first.connector is second.connector
    first.release()
    first.release()
    assert (Fake.closed, connections.live()) == (0, [second.connector])
    second.release()
    assert (Fake.made, Fake.closed, connections.live()) == (1, 1, [])


def test_other_settings_or_another_name_are_another_object(connections):
    leases = [
        connections.lease("fake", "crm", settings()),
        connections.lease("fake", "crm", settings(password="new")),
        connections.lease("fake", "erp", settings()),
    ]
    assert len({id(lease.connector) for lease in leases}) == 3


def test_nothing_is_made_before_it_is_used_and_what_was_never_made_is_not_closed(connections):
    connections.lease("fake", "crm", settings()).release()
    assert (Fake.made, Fake.closed) == (0, 0)


def test_a_connection_given_up_and_leased_again_is_made_again(connections):
    lease = connections.lease("fake", "crm", settings())
    old = lease.connector
    lease.release()
    assert connections.lease("fake", "crm", settings()).connector is not old


def test_a_connector_that_cannot_be_closed_does_not_stop_the_others(connections, monkeypatch, caplog):
    lease = connections.lease("fake", "crm", settings())
    monkeypatch.setattr(lease.connector, "close", lambda: 1 / 0)
    lease.release()
    assert "connection 'crm' could not be closed" in caplog.text


def test_a_digest_tells_settings_apart_by_value_and_secret_alone():
    same = [settings(options={"a": "1", "b": "2"}), settings(options={"b": "2", "a": "1"})]
    assert digest_of(same[0]) == digest_of(same[1])
    others = [settings(), settings(host="i"), settings(password="1"), settings(password="2"), same[0]]
    assert len({digest_of(one) for one in others}) == len(others)


def test_services_find_connections_by_type_and_by_the_names_they_know(connections):
    lease = connections.lease("fake", "My MS SQL Connection", settings())
    out = Outgoing([lease], FakeRegistry())
    assert out.fake["My MS SQL Connection"] is out.faked.get("My MS SQL Connection") is lease.connector
    assert (list(out.fake), len(out.fake), "my.ftp" in out.fake) == (["My MS SQL Connection"], 1, False)


def test_a_name_that_does_not_exist_is_refused_with_the_nearest(connections):
    out = Outgoing([connections.lease("fake", "crm", settings())], FakeRegistry())
    for look_up in (out.fake.get, out.fake.__getitem__):
        with pytest.raises(UnknownConnection, match=r"no fake connection called 'crn': did you mean 'crm'\?"):
            look_up("crn")
    assert issubclass(UnknownConnection, BackendUnavailable)


def test_a_word_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(AttributeError, match="no kind of connection called 'sqll': did you mean 'sql'"):
        Outgoing().sqll  # noqa: B018


def test_every_word_can_be_asked_though_nothing_is_connected():
    out = Outgoing()
    for word in (*CONNECTORS.words(), "plain_http"):
        assert len(getattr(out, word)) == 0


def test_a_new_snapshot_replaces_what_services_see(connections):
    out = Outgoing([connections.lease("fake", "old", settings())], FakeRegistry())
    family = out.fake
    out.use([connections.lease("fake", "new", settings())])
    assert (list(out.fake), list(family)) == (["new"], ["old"])
