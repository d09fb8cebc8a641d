"""What every connector does, whatever it connects to: one suite over every entry of the registry."""

import threading

import pytest
from mail_sink import mail_sink
from scripted import ok, scripted

from backends.connections import CONNECTORS, Connections
from backends.connectors import Base, Settings
from specs.problems import BackendError
from specs.settings import describe

WORDS = CONNECTORS.words()


@pytest.fixture
def settings_for(tmp_path):
    """Settings with which an entry works, and with which its system is down. A new entry adds its own here."""
    with scripted(*[ok(b"{}")] * 50) as server, mail_sink() as sink:
        working = {
            "rest": {"url": server.url},
            "smtp": {"host": "127.0.0.1", "port": sink.port, "tls": "none"},
            "sql": {"url": f"sqlite:///{tmp_path}/behave.db"},
        }
        down = {
            "rest": {"url": "http://127.0.0.1:1", "retries": 0, "connect_timeout": "1s"},
            "smtp": {"host": "127.0.0.1", "port": 1, "tls": "none", "timeout": "10s"},
            "sql": {"url": "postgresql+psycopg://gw@127.0.0.1:1/none", "timeout": "2s"},
        }
        yield lambda word, up=True: CONNECTORS.get(word).Settings.read((working if up else down)[word], word)


@pytest.mark.parametrize("word", WORDS)
def test_it_is_a_connector_that_says_what_it_is(word):
    connector = CONNECTORS.get(word)
    assert issubclass(connector, Base)
    assert issubclass(connector.Settings, Settings)
    assert connector.__doc__
    assert connector.Settings.__doc__
    assert all(name.isidentifier() for name in (word, *connector.also_found_under))


@pytest.mark.parametrize("word", WORDS)
def test_each_setting_has_a_sentence_and_secrets_are_marked(word):
    connector = CONNECTORS.get(word)
    rows = list(describe(connector.Settings))
    assert rows
    for key, _, _, sentence in rows:
        assert len(sentence) > 8, key
        assert not sentence.endswith("."), key
    for name, kind in connector.Settings.types().items():
        if name in ("password", "api_key", "token", "passphrase", "private_key"):
            assert "Secret" in str(kind), name


@pytest.mark.parametrize("word", WORDS)
def test_it_pings_closes_and_closes_again(word, settings_for):
    connector = CONNECTORS.get(word)("one", settings_for(word))
    connector.ping()
    connector.close()
    connector.close()


@pytest.mark.parametrize("word", WORDS)
def test_it_goes_on_answering_whoever_still_holds_it_after_it_was_closed(word, settings_for):
    connector = CONNECTORS.get(word)("one", settings_for(word))
    connector.close()
    connector.ping()
    connector.close()


@pytest.mark.parametrize("word", WORDS)
def test_a_system_that_is_down_is_found_by_the_ping_and_not_before(word, settings_for):
    lease = Connections().lease(word, "down", settings_for(word, up=False))
    connector = lease.connector
    with pytest.raises(BackendError) as failed:
        connector.ping()
    assert failed.value.problem().status in (502, 503, 504)
    lease.release()


@pytest.mark.parametrize("word", WORDS)
def test_many_threads_may_use_it_at_once(word, settings_for):
    connector = CONNECTORS.get(word)("one", settings_for(word))
    failures = []

    def ping():
        try:
            for _ in range(5):
                connector.ping()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ping) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connector.close()
    assert failures == []


@pytest.mark.parametrize("word", WORDS)
def test_it_says_how_its_pool_stands(word, settings_for):
    connector = CONNECTORS.get(word)("one", settings_for(word))
    connector.ping()
    usage = connector.usage()
    if usage is not None:
        busy, idle, most = usage
        assert (busy, idle <= most, most > 0) == (0, True, True)
    connector.close()
