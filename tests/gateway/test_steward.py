"""The steward's tasks: begun with it, tried again when they fail, told when it ends."""

import gevent
import pytest

from gateway.administrators import Administrators
from gateway.listening import bind, place_of
from gateway.metrics import Collected
from gateway.migrations import migrate
from gateway.options import Endpoint, Options
from gateway.steward import Steward, open_installation
from security.database import open_database
from specs.problems import ConfigurationError


@pytest.fixture
def installation(tmp_path):
    database = open_database(tmp_path)
    migrate(database)
    database.close()
    return open_installation(Options(data=tmp_path))


def test_a_task_that_fails_begins_again_and_one_that_waits_is_told_of_the_end(installation, caplog):
    seen = []

    def task(steward):
        seen.append(steward.options.data)
        if len(seen) == 1:
            raise RuntimeError("the first time")
        steward.stopping.wait()
        seen.append("ended")

    steward = Steward(installation, {}, (task,))
    steward.start()
    with gevent.Timeout(5):
        while len(seen) < 2:
            gevent.sleep(0.01)
        steward.stop()
        while "ended" not in seen:
            gevent.sleep(0.01)
    assert seen == [installation.options.data] * 2 + ["ended"]
    assert "begins again" in caplog.text


def test_an_installation_has_all_its_parts(installation):
    assert isinstance(installation.administrators, Administrators)
    assert isinstance(installation.collected, Collected)
    assert installation.store.head() == 0
    assert "anything" not in installation.services()


@pytest.mark.parametrize(
    ("place", "endpoint"),
    [
        ("127.0.0.1:80", Endpoint("127.0.0.1", 80)),
        ("[::1]:80", Endpoint("::1", 80)),
        ("localhost:0", Endpoint("localhost", 0)),
        ("unix:/a/b", Endpoint("", 0, "/a/b")),
    ],
)
def test_places_to_listen_at(place, endpoint):
    assert Endpoint.parse(place) == endpoint
    assert str(endpoint) == place


@pytest.mark.parametrize("place", ["", "80", ":80", "a:", "a:b", "a:-1", "a:70000", "a:²", "::1:80", "unix:"])
def test_what_is_no_place_is_refused(place):
    with pytest.raises(ConfigurationError):
        Endpoint.parse(place)


def test_a_socket_file_is_private_replaces_a_dead_one_and_refuses_a_living_one(tmp_path):
    path = tmp_path / ("long" * 30) / "control.sock"
    path.parent.mkdir()
    endpoint = Endpoint("", 0, str(path))
    first = bind(endpoint, "data", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigurationError, match="address already in use"):
        bind(endpoint, "data", mode=0o600)
    first.close()
    bind(endpoint, "data", mode=0o600).close()


def test_the_port_that_0_became_is_told():
    sock = bind(Endpoint("127.0.0.1", 0), "listen")
    assert place_of(sock).port > 0
    sock.close()


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"listen": ("nowhere",)}, "listen"),
        ({"listen": ()}, "listen"),
        ({"admin": "x"}, "admin"),
        ({"health": "x"}, "health"),
        ({"log_format": "xml"}, "log-format"),
    ],
)
def test_options_that_cannot_be_served_are_named(options, place):
    with pytest.raises(ConfigurationError) as refused:
        Options(**options).check()
    assert refused.value.path == place


def test_a_certificate_goes_with_its_key(tmp_path):
    with pytest.raises(ConfigurationError, match="go together"):
        Options(tls_cert=tmp_path).check()
    with pytest.raises(ConfigurationError, match="no file"):
        Options(tls_cert=tmp_path / "a", tls_key=tmp_path / "b").check()
