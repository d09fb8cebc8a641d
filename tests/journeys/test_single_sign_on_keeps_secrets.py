"""Whoever reads all that a gateway keeps and writes finds none of what people, programs and operators keep to themselves (S29)."""

import re
import sqlite3
import subprocess
import time
from base64 import b64encode
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import requests
from authenticator import Authenticator
from mail_sink import mail_sink, make_certificate
from peopled import totp_of
from running import eventually, gateway
from servers import postgresql_programs

from gatewright_client import Client, Problem, SecondFactorRequired

ORIGIN = "https://app.test"
#: What the operator wrote into the document.
OPERATORS = {"mail": "mail-password", "partner": "canary-of-a-partner", "key": "canary-key-0123456789abcdef012345"}
CONFIGURATION = """
format: 1
gateway: {{public_url: "{origin}"}}
connections:
  outbox: {{type: smtp, host: 127.0.0.1, port: {port}, tls: starttls, ca: "{ca}", username: gateway, password: "{mail}"}}
sso:
  enabled: true
  site_name: Acme
  apps: {{crm: {{signup: true, login: true}}, erp: {{login: true, credential: true, introspect: any}}}}
  default_app: crm
  mail: {{connection: outbox, from: "Acme <no-reply@acme.example>"}}
  second_factor: {{required: "off"}}
  privacy: {{encrypt_names: true}}
  passkeys: {{domain: app.test, origins: ["{origin}"]}}
  own_links: [partners]
security:
  staff: {{type: sso}}
  partners: {{type: basic, groups: ["*"]}}
  keys: {{type: apikey, groups: ["*"]}}
consumers:
  acme: {{groups: [gold], basic: {{username: acme, password: "{partner}"}}, apikey: {{key: "{key}"}}}}
channels:
  who: {{type: forward_auth, path: /who, security: [staff, partners, keys], unauthenticated: plain}}
"""
PLAIN = "canary-that-may-be-read"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(request, tmp_path_factory):
    """A gateway on a database of each kind, with a mail server."""
    url = request.getfixturevalue("postgresql_server").new_database() if request.param == "postgresql" else ""
    folder = tmp_path_factory.mktemp("secrets")
    authority, certificate = make_certificate(folder)
    with mail_sink(tls="starttls", certificate=certificate, login=True) as sink:
        configuration = CONFIGURATION.format(origin=ORIGIN, port=sink.port, ca=authority, **OPERATORS)
        with gateway(folder, configuration, options=("--database", url) if url else ()) as running:
            running.database = url
            yield running, sink


class Planting:
    """Somebody who uses everything that takes or gives a secret. *planted* is what nobody else may find, by what it is."""

    def __init__(self, running, sink):
        self.running = running
        self.sink = sink
        self.planted = dict(OPERATORS)
        self.client = Client(running.url)
        self.name = "ann"

    def plant(self, what, secret):
        self.planted[what] = secret
        return secret

    def token_of_letter(self, what, address, subject):
        """The token in the newest letter to *address* about *subject*."""
        assert eventually(lambda: self._letters(address, subject), 60)
        text = self._letters(address, subject)[-1].get_body(("plain",)).get_content()
        return self.plant(what, re.search(r"token=([\w.-]+)", text)[1])

    def _letters(self, address, subject):
        return [letter for letter in self.sink.to(address) if subject in letter["Subject"]]

    def sign_up(self):
        address, password = (
            self.plant("address", "canary-mail@example.org"),
            self.plant("password", "canary-password-of-ann"),
        )
        names = self.plant("name", "Canary Displayed")
        self.client.signup(username=self.name, email=address, password=password, display_name=names)
        self.client.signup.confirm(token=self.token_of_letter("confirmation", address, "Confirm"))
        with refused():
            self.client.log_in(self.name, self.plant("wrong password", "canary-password-that-is-wrong"))
        self.session = self.client.log_in(self.name, password)
        self.plant("session", self.session.token)

    def keep_attributes(self):
        self.session.attributes.set(name="colour", value=PLAIN)
        iban = self.plant("encrypted attribute", "canary-iban-of-ann")
        self.session.attributes.set(name="iban", value=iban, encrypted=True)
        cart = self.plant("encrypted attribute of a session", "canary-cart-of-ann")
        self.session.attributes.set(name="cart", value=cart, encrypted=True, of="session")

    def enrol(self):
        self.secret = self.plant("TOTP secret", self.session.me.totp.enrol()["secret"])
        told = self.session.me.totp.confirm(code=self.plant("TOTP code", totp_of(self.secret)))
        self.codes = told["recovery_codes"]
        for number, code in enumerate(self.codes):
            self.plant(f"recovery code {number}", code)
        with pytest.raises(SecondFactorRequired) as stage:
            self.client.log_in(self.name, self.planted["password"])
        self.plant("second stage", stage.value._token)
        done = stage.value.finish(recovery_code=self.codes[0])
        self.plant("session by recovery code", done.token)

    def use_passkeys(self):
        device = Authenticator(ORIGIN)
        options = self.session.me.webauthn.options()["options"]
        self.plant("passkey challenge", options["challenge"])
        self.session.me.webauthn.add(credential=device.create(options), name="Key")
        options = self.client.login.webauthn.options()["options"]
        used = device.get(options)
        self.plant("passkey signature", used["response"]["signature"])
        done = self.client.login.webauthn(credential=used)
        self.plant("session by passkey", done["token"])
        self.plant("device", done["device"] or "")

    def change(self):
        new = self.plant("new address", "canary-other@example.org")
        self.session.me.email(email=new)
        self.session.me.email.confirm(token=self.token_of_letter("address change", new, "Confirm your new"))
        password = self.plant("second password", "canary-second-password")
        code = totp_of(self.secret, time.time() + 30)
        self.session.me.password(
            current_password=self.planted["password"], new_password=password, totp_code=code, keep_current_session=True
        )
        self.session.renew()
        self.plant("renewed session", self.session.token)

    def reset(self):
        self.client.password.forgot(identifier=self.name)
        token = self.token_of_letter("reset", self.planted["new address"], "Set a new password")
        key = self.plant("reset key", self.client.password.reset.verify(token=token)["reset_key"])
        password = self.plant("third password", "canary-third-password")
        self.client.password.reset(reset_key=key, new_password=password)
        self.session = self.client.log_in(self.name, password, recovery_code=self.codes[1])
        self.plant("last session", self.session.token)

    def link_and_introspect(self):
        self.session.me.links.add(definition="partners", username="acme", password=OPERATORS["partner"])
        secret = self.plant("application's credential", self.running.command(
            "sso", "apps", "add-credential", "erp", *(("--database", self.running.database) if self.running.database else ())
        ).strip())  # fmt: skip
        asked = {"token": self.session.token}
        for given, status in ((secret, 200), (self.plant("wrong credential", "gwa_" + "canary" * 7 + "a"), 401)):
            answer = self.running.post("/sso/v1/introspect", data=asked, auth=("erp", given))
            assert answer.status_code == status, answer.text

    def call(self):
        """Channels, with what is right and what is wrong, and with what does not belong into an address."""
        token = self.session.token
        for headers in (
            {"Authorization": f"Bearer {token}"}, {"Cookie": f"__Host-gw_session={token}"},
            {"Authorization": f"Bearer {token[:-1]}"}, {"X-API-Key": OPERATORS["key"]},
        ):  # fmt: skip
            self.running.get("/who", headers=headers)
        self.running.get("/who", auth=("acme", OPERATORS["partner"]))
        self.running.get("/who", auth=("acme", self.plant("wrong password of a partner", "canary-guess")))
        self.running.get(f"/sso/v1/session?token={token}-in-an-address")
        self.running.get(f"/sso/password/reset?token={self.planted['reset']}")
        assert self.session.me.export()["profile"]["email"] == self.planted["new address"]


@contextmanager
def refused():
    """The block ends in a refusal."""
    with pytest.raises(Problem):
        yield


def everything_kept(running):
    """All bytes that the gateway has kept and written: its data folder, its database as text, its log, what it measures."""
    kept = [path.read_bytes() for path in running.data.rglob("*") if path.is_file() and path.name != "admin-password"]
    if running.database:
        place = urlsplit(running.database)
        command = [
            postgresql_programs() / "pg_dump", "-h", place.hostname, "-p", str(place.port), "-U", place.username, place.path[1:],
        ]  # fmt: skip
        kept.append(subprocess.run(command, env={"PGPASSWORD": place.password}, capture_output=True, check=True).stdout)
    else:
        with sqlite3.connect(running.data / "gatewright.db") as connection:
            kept.append("\n".join(connection.iterdump()).encode())
    for path in ("/metrics", "/status", "/health"):
        kept.append(requests.get(running.admin_url + path, timeout=20).content)
    kept.append(running.log().encode())
    return b"\n".join(kept)


def test_S29_S41_what_is_kept_logged_and_measured_holds_no_secret(served):
    running, sink = served
    ann = Planting(running, sink)
    for step in (
        ann.sign_up, ann.keep_attributes, ann.enrol, ann.use_passkeys, ann.change, ann.reset, ann.link_and_introspect, ann.call,
    ):  # fmt: skip
        step()
    assert ("gateway", OPERATORS["mail"]) in sink.logins
    assert eventually(lambda: "sso.me.export" in running.log(), 20)
    kept = everything_kept(running)
    # What may be read is there: the search itself works, and what was done was done there.
    assert [text.encode() in kept for text in (PLAIN, ann.name, "password.reset", "session.renew")] == [True] * 4
    assert [what for what, secret in ann.planted.items() if not secret] == []
    found = {
        what: form
        for what, secret in ann.planted.items()
        for form in (secret, secret.encode().hex(), b64encode(secret.encode()).decode().rstrip("="))
        if form.encode() in kept
    }
    assert found == {}
