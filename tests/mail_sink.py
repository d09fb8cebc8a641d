"""A real SMTP server that keeps what it is sent, and misbehaves as told: `mail_sink(...)`."""

import datetime
import ipaddress
import ssl
import warnings
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from running import free_port


class MailSink:
    """*messages* are those that were accepted; *answers* are taken one after the other in place of "250 OK" after the data, or
    for recipients where the text begins with "RCPT "."""

    def __init__(self):
        self.port = free_port()
        self.messages = []
        self.answers = []
        self.logins = []
        self.asked = 0
        self.implicit = False

    @property
    def subjects(self):
        return [message["Subject"] for message in self.messages]

    def to(self, address):
        return [message for message in self.messages if address in message["To"]]

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.answers and self.answers[0].startswith("RCPT "):
            return self.answers.pop(0).removeprefix("RCPT ")
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("250"):
            message = message_from_bytes(envelope.original_content, policy=default)
            message.encrypted = self.implicit or session.ssl is not None
            message.envelope = (envelope.mail_from, envelope.rcpt_tos)
            self.messages.append(message)
        return answer

    def authenticate(self, server, session, envelope, mechanism, data):
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=self.logins[-1] == ("gateway", "mail-password"), handled=False)


@contextmanager
def mail_sink(*, tls="none", certificate=None, login=False, sink=None):
    """A sink at 127.0.0.1. *tls* is that of the connector, *certificate* a file of both parts; a *sink* goes on at its port."""
    sink = sink or MailSink()
    sink.implicit = tls == "implicit"
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    rules = {"enable_SMTPUTF8": False}
    if login:
        rules |= {"authenticator": sink.authenticate, "auth_required": True}

    class Sink(Controller):
        def factory(self):
            if tls == "starttls":
                return SMTP(self.handler, tls_context=context, require_starttls=True, **rules)
            with warnings.catch_warnings():
                # It does not see that the connection is encrypted already.
                warnings.simplefilter("ignore", UserWarning)
                return SMTP(self.handler, **rules, auth_require_tls=False)

    implicit = context if tls == "implicit" else None
    # A machine with much else to do is slow to start it, and that is no fault.
    controller = Sink(sink, hostname="127.0.0.1", port=sink.port, ssl_context=implicit, ready_timeout=60)
    controller.start()
    try:
        yield sink
    finally:
        controller.stop()


def make_certificate(folder, name="127.0.0.1"):
    """A certificate authority's file, and one that holds a certificate of it for *name* and its key."""
    now = datetime.datetime.now(datetime.UTC)

    def made(subject, issuer, key, signer, extension):
        builder = x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named(issuer))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=2)).add_extension(extension, critical=False)
        return builder.sign(signer, hashes.SHA256())

    def named(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = made("test authority", "test authority", authority, authority, x509.BasicConstraints(ca=True, path_length=0))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))])
    leaf = made(name, "test authority", key, authority, address)
    (folder / "authority.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + private)
    return folder / "authority.pem", folder / "server.pem"
