"""SMTP: send mail.

    mail = self.out.smtp["outbox"]
    mail.send(compose("ann@example.org", "Your order", "It is on its way.", html="<p>It is on its way.</p>"))
    with mail.connected() as line:            # several over one connection
        for message in messages:
            line.send(message)

What a server says against one message is `MessageDeferred` (try again later) or `MessageRefused` (never again); everything else
is about the server and no message's fault.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import format_datetime, make_msgid
from typing import Any, Literal, NoReturn

from backends import connectors
from backends.clock import utc_now
from backends.connectors import setting
from specs.problems import BackendError, BackendTimeout, BackendUnavailable, ConfigurationError
from specs.settings import Seconds, Secret

__all__ = ["Connector", "Line", "MessageDeferred", "MessageRefused", "compose"]

PORTS = {"starttls": 587, "implicit": 465, "none": 25}
#: RFC 5321 4.5.3.2.6: how long the server may take to say that it has the message. Whoever gives up sooner sends it twice.
LAST_WORD = 600.0
_LOCAL = ("localhost", "127.0.0.1", "::1")
#: Seven bits and no line of more than 78 characters: what every server takes.
_AS_SENT = POLICY.clone(cte_type="7bit", max_line_length=78)


class MessageDeferred(BackendUnavailable):
    """The server does not take this message now; later it may. The text is its code (RFC 5321, RFC 3463)."""


class MessageRefused(BackendError):
    """The server will never take this message. The text is its code (RFC 5321, RFC 3463)."""


class Line:
    """One open connection to the server, logged in."""

    def __init__(self, name: str, connection: smtplib.SMTP, patience: float) -> None:
        self._name = name
        self._connection = connection
        self._patience = patience

    def send(self, message: EmailMessage) -> None:
        """Hand *message* over: when this returns the server has it. Its ``From`` is the sender, ``To`` and ``Cc`` the recipients.

        Raises MessageDeferred, MessageRefused (one recipient is enough), BackendError and its kinds for the server.
        """
        sender, recipients, content = _envelope(message)
        connection = self._connection
        try:
            code, said = connection.mail(sender)
            if code != 250:
                connection.rset()
                raise _about_us(self._name, "MAIL FROM", code, said)
            for recipient in recipients:
                code, said = connection.rcpt(recipient)
                if code not in (250, 251):
                    self._refuse(code, said)
            code, said = self._data(content)
            if code != 250:
                self._refuse(code, said)
        except (smtplib.SMTPException, OSError) as error:
            raise _explained(self._name, error) from error

    def _data(self, content: bytes) -> tuple[int, bytes]:
        connection = self._connection
        assert connection.sock is not None
        connection.putcmd("data")
        code, said = connection.getreply()
        if code != 354:
            return code, said
        connection.send(_stuffed(content))
        connection.sock.settimeout(max(LAST_WORD, self._patience))
        try:
            return connection.getreply()
        finally:
            if connection.sock is not None:
                connection.sock.settimeout(self._patience)

    def _refuse(self, code: int, said: bytes) -> NoReturn:
        if code == 421:
            raise BackendUnavailable(f"'{self._name}' closes the connection ({_code(code, said)})")
        try:
            self._connection.rset()
        except (smtplib.SMTPException, OSError):
            pass
        raise (MessageRefused if code >= 500 else MessageDeferred)(_code(code, said))


class Connector(connectors.Base):
    """A mail server that takes our mail."""

    class Settings(connectors.Settings):
        """Where the server is, and who we are to it."""

        host: str = setting("name or address of the server")
        port: int | None = setting("its port; 587 for starttls, 465 for implicit, 25 for none", default=None)
        tls: Literal["starttls", "implicit", "none"] = setting(
            "starttls, or implicit from the first byte; none for a server on the same machine", default="starttls"
        )
        verify: bool = setting("whether its certificate is checked", default=True)
        ca: str | None = setting("file of the authorities to trust instead of the machine's", default=None)
        username: str | None = setting("whom to log in as", default=None)
        password: Secret | None = setting("the password of that user", default=None)
        timeout: Seconds = setting("the longest that it may take to answer", default="30s")
        name: str | None = setting("what we call ourselves (EHLO); the machine's name if left out", default=None)

        def check(self, path: str) -> None:
            """Credentials are whole and do not go over an open wire."""
            if (self.username is None) != (self.password is None):
                raise ConfigurationError(path, "username and password go together", "write both, or neither")
            if self.tls == "none" and self.password is not None and self.host not in _LOCAL and "$" not in self.host:
                raise ConfigurationError(
                    f"{path}.tls", "a password would go over the wire in clear", "write starttls or implicit"
                )
            if self.port is not None and not 0 < self.port < 65536:
                raise ConfigurationError(f"{path}.port", f"no such port: {self.port}", "write 587")

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings)
        self._port = settings.port or PORTS[settings.tls]

    def send(self, message: EmailMessage) -> None:
        """Hand one message over, on a connection of its own. Raises as `Line.send` does."""
        with self.connected() as line:
            line.send(message)

    @contextmanager
    def connected(self) -> Iterator[Line]:
        """A connection to hand messages over by. Raises BackendError and its kinds."""
        connection = self._open()
        try:
            yield Line(self.name, connection, float(self.settings.timeout))
        finally:
            try:
                if connection.sock is not None:
                    connection.quit()
            except (smtplib.SMTPException, OSError):
                pass
            connection.close()

    def ping(self) -> None:
        """Connect, log in, and leave again. Raises BackendError."""
        with self.connected():
            pass

    def close(self) -> None:
        """Nothing stays open between messages."""

    def _open(self) -> smtplib.SMTP:
        settings = self.settings
        patience = float(settings.timeout)
        try:
            # WHY: left to itself the library asks the DNS who we are, for as long as that takes.
            made: dict[str, Any] = {"local_hostname": settings.name or socket.gethostname(), "timeout": patience}
            if settings.tls == "implicit":
                made["context"] = self._context()
            # WHY: the host is given to `connect` and not here: what fails here would leave the socket to the collector.
            connection = (smtplib.SMTP_SSL if settings.tls == "implicit" else smtplib.SMTP)(**made)
            try:
                # The name is what the certificate is checked against.
                connection._host = settings.host  # type: ignore[attr-defined]
                code, said = connection.connect(settings.host, self._port)
                if code != 220:
                    raise _about_us(self.name, "greeting", code, said)
                connection.ehlo_or_helo_if_needed()
                if settings.tls == "starttls":
                    # SECURITY: a server that offers no STARTTLS, or a stranger who takes the offer away, gets nothing.
                    if not connection.has_extn("starttls"):
                        raise BackendError(f"'{self.name}' offers no STARTTLS: see the connection's tls")
                    connection.starttls(context=self._context())
                    connection.ehlo()
                if settings.username is not None and settings.password is not None:
                    self._log_in(connection, settings.username, settings.password.reveal())
            except BaseException:
                connection.close()
                raise
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise _explained(self.name, error) from error
        return connection

    def _log_in(self, connection: smtplib.SMTP, username: str, password: str) -> None:
        try:
            connection.login(username, password)
        except smtplib.SMTPServerDisconnected as error:
            if isinstance(error.__context__, TimeoutError):
                raise
            # The library tries one way after the other, and some servers have enough of it.
            raise smtplib.SMTPAuthenticationError(535, "") from error

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.settings.ca)
        if not self.settings.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def compose(
    to: str | Sequence[str], subject: str, text: str, *, html: str = "", sender: str = "", reply_to: str = ""
) -> EmailMessage:
    """A message in plain text, and in HTML beside it where there is any. Raises ValueError for what cannot be in a header.

    >>> message = compose("ann@example.org", "Hello", "How are you?", sender="Acme <no-reply@acme.example>")
    >>> message["To"], message.get_content_type()
    ('ann@example.org', 'text/plain')
    """
    message = EmailMessage(policy=_AS_SENT)
    try:
        # SECURITY: S8. The library refuses line breaks in headers; what is in an address is taken apart by it, and by nobody else.
        message["From"] = sender
        message["To"] = [Address(addr_spec=one) for one in ([to] if isinstance(to, str) else to)]
        message["Subject"] = subject
        if reply_to:
            message["Reply-To"] = reply_to
    except (MessageError, IndexError) as error:
        raise ValueError(f"this cannot be in a header ({type(error).__name__})") from None
    message["Date"] = format_datetime(utc_now())
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].rstrip("> ") or socket.gethostname())
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    return message


def _envelope(message: EmailMessage) -> tuple[str, list[str], bytes]:
    """Who sends to whom, and the bytes that say so. Raises MessageRefused for what no server would take."""
    try:
        senders = [one.addr_spec for one in message["From"].addresses] if message["From"] else []
        fields = [message[name] for name in ("To", "Cc", "Bcc") if message[name]]
        recipients = [one.addr_spec for field in fields for one in field.addresses]
        del message["Bcc"]
        if len(senders) != 1 or not recipients:
            raise MessageRefused("553 a message has one sender, and a recipient")
        for address in (*senders, *recipients):
            if not address.isascii() or any(character in address for character in "\r\n\0<> "):
                raise MessageRefused("553 an address that no server takes")
        return senders[0], recipients, message.as_bytes(policy=_AS_SENT)
    except (MessageError, ValueError, AttributeError, IndexError):
        raise MessageRefused("554 a message that cannot be written down") from None


def _stuffed(content: bytes) -> bytes:
    """Content as it goes over the wire (RFC 5321 4.5.2), its end included."""
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"


def _code(code: int, said: bytes) -> str:
    """The server's code, with the enhanced one where it gives one; never its words, which may hold an address."""
    first = said.split(None, 1)[0].decode("ascii", "replace") if said.split() else ""
    enhanced = first if first.count(".") == 2 and first.replace(".", "").isdigit() else ""
    return f"{code} {enhanced}".strip()


def _about_us(name: str, what: str, code: int, said: bytes) -> BackendError:
    sentence = f"'{name}' does not take our {what} ({_code(code, said)})"
    return BackendUnavailable(sentence) if code < 500 else BackendError(sentence)


def _explained(name: str, error: Exception) -> BackendError:
    """What the library raised, as one of ours: nothing of what the server said but its codes."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return BackendError(f"'{name}' does not take our username and password ({error.smtp_code})")
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return BackendError(f"'{name}' does not offer what is needed to log in: see the connection's tls")
    if isinstance(error, smtplib.SMTPResponseException):
        return _about_us(name, "greeting", error.smtp_code, b"")
    if isinstance(error, ssl.SSLCertVerificationError):
        return BackendError(f"the certificate of '{name}' is not good: {error.verify_message}")
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return BackendTimeout(f"'{name}' does not answer in time")
    if isinstance(error, ssl.SSLError):
        return BackendError(f"'{name}' and we do not agree on TLS ({error.reason}): see the connection's tls")
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return BackendUnavailable(f"'{name}' closed the connection")
    return BackendUnavailable(
        f"'{name}' cannot be reached ({getattr(error, 'strerror', None) or type(error).__name__})"
    )
