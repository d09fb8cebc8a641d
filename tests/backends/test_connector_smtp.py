"""Mail is handed to a real server, over every kind of TLS; what it says against it is told apart."""

import socket
import threading

import pytest
from mail_sink import mail_sink, make_certificate
from running import free_port

from backends.connectors.smtp import Connector, MessageDeferred, MessageRefused, compose
from specs.problems import BackendError, BackendTimeout, BackendUnavailable, ConfigurationError

SENDER = "Acme <no-reply@acme.example>"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def connector(port, **settings):
    given = {"host": "127.0.0.1", "port": port, "tls": "none", "timeout": "30s", **settings}
    return Connector("outbox", Connector.Settings.read(given, "connections.outbox"))


def message(text="Hello.", to="ann@example.org", **more):
    return compose(to, more.pop("subject", "Hello"), text, sender=SENDER, **more)


def test_a_message_arrives_as_it_was_written():
    text = "Zürich → 東京\n.\n..dots\nfrom here\n" + "long " * 200
    with mail_sink() as sink:
        connector(sink.port).send(message(text, html="<p>Zürich &amp; more</p>", subject="Grüße → 東京 " + "x" * 150))
    [got] = sink.messages
    assert got["Subject"] == "Grüße → 東京 " + "x" * 150
    assert got.get_body(("plain",)).get_content().replace("\r\n", "\n").rstrip("\n") == text
    assert got.get_body(("html",)).get_content().strip() == "<p>Zürich &amp; more</p>"
    assert got.envelope == ("no-reply@acme.example", ["ann@example.org"])
    assert got["Message-ID"].endswith("@acme.example>")


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_tls_with_an_authority_of_ones_own_and_a_login(tls, certificate):
    authority, server = certificate
    with mail_sink(tls=tls, certificate=server, login=True) as sink:
        one = connector(sink.port, tls=tls, ca=str(authority), username="gateway", password="mail-password")
        one.ping()
        one.send(message())
        assert ([got.encrypted for got in sink.messages], sink.logins[-1][0]) == ([True], "gateway")
        wrong = connector(sink.port, tls=tls, ca=str(authority), username="gateway", password="wrong")
        with pytest.raises(BackendError, match="does not take our username and password") as failed:
            wrong.send(message())
        assert "wrong" not in str(failed.value)
        stranger = connector(sink.port, tls=tls, username="gateway", password="mail-password")
        with pytest.raises(BackendError, match="the certificate of 'outbox' is not good"):
            stranger.send(message())
        connector(sink.port, tls=tls, verify=False, username="gateway", password="mail-password").ping()
    assert len(sink.messages) == 1


def test_a_certificate_of_another_name_is_not_good(tmp_path):
    authority, server = make_certificate(tmp_path, "127.0.0.9")
    with (
        mail_sink(tls="starttls", certificate=server) as sink,
        pytest.raises(BackendError, match="the certificate of 'outbox' is not good"),
    ):
        connector(sink.port, tls="starttls", ca=str(authority)).ping()


def test_a_server_that_offers_no_starttls_gets_nothing():
    with mail_sink() as sink, pytest.raises(BackendError, match="offers no STARTTLS"):
        connector(sink.port, tls="starttls").send(message())
    assert (sink.messages, sink.asked) == ([], 0)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ("451 4.3.0 ann@example.org: try later", MessageDeferred, "451 4.3.0"),
        ("550 5.1.1 no such user ann@example.org", MessageRefused, "550 5.1.1"),
        ("552 too large", MessageRefused, "552"),
        ("RCPT 450 4.2.1 busy", MessageDeferred, "450 4.2.1"),
        ("RCPT 553 not here", MessageRefused, "553"),
    ],
)
def test_what_is_said_against_one_message_is_no_other_messages_fault(answer, kind, said):
    with mail_sink() as sink:
        sink.answers.append(answer)
        with connector(sink.port).connected() as line:
            with pytest.raises(kind) as failed:
                line.send(message())
            line.send(message(subject="next"))
    assert (str(failed.value), sink.subjects) == (said, ["next"])


def test_a_server_that_is_down_or_silent_or_says_no_is_told_apart():
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        connector(free_port()).ping()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(BackendTimeout, match="does not answer in time"):
            connector(silent.getsockname()[1], timeout="0.2s").ping()
    with pytest.raises(BackendError, match=r"greeting \(554\)"):
        connector(greeting(b"554 go away\r\n")).ping()
    with pytest.raises(BackendUnavailable, match="closed the connection"):
        connector(greeting(b"")).ping()


def greeting(line):
    """The port of a server that says *line* and leaves."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        connection.sendall(line)
        connection.close()
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("to", "subject"),
    [
        ("ann@example.org\r\nBcc: eve@example.org", "Hello"),
        ("ann@example.org", "Hello\r\nBcc: eve@example.org"),
        ("ann@example.org", "Hello\nX: y"),
        ("ann@example.org, eve@example.org", "Hello"),
        ("<ann@example.org>", "Hello"),
        ("ännchen@example.org", "Hello"),
        ("", "Hello"),
    ],
)
def test_S8_nobody_writes_headers_of_their_own(to, subject):
    with pytest.raises(ValueError):
        compose(to, subject, "text", sender=SENDER)


def test_S8_a_sender_with_a_line_break_is_refused_as_well():
    with pytest.raises(ValueError):
        compose("ann@example.org", "Hello", "text", sender="Acme <a@b.example>\r\nBcc: eve@example.org")


def test_a_message_to_nobody_is_refused_before_anything_is_sent():
    with mail_sink() as sink:
        one = connector(sink.port)
        with pytest.raises(MessageRefused):
            one.send(message(to=[]))
    assert sink.messages == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "mail.example", "tls": "none", "username": "u", "password": "p"}, "in clear"),
        ({"host": "mail.example", "username": "u"}, "go together"),
        ({"host": "mail.example", "port": 70000}, "no such port"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ConfigurationError, match=said):
        Connector.Settings.read(settings, "connections.outbox")
