"""People at the pages of a gateway that runs, in Chromium with scripts switched off, with letters from a real mail server.

Each page on the way is looked at in light and in dark by axe, and nobody else is asked for anything.
"""

import re
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import pyotp
import requests
from browsing import browser, need_a_browser
from mail_sink import mail_sink
from people import OTHER, PASSWORD
from running import eventually, gateway

from security.database import open_database
from security.secrets import Keyring
from sso.login import Credentials
from sso.settings import Sso
from sso.system import COMMAND, Caller, SingleSignOn
from sso.users import NewUser

#: What nobody comes by on the way, for whom is logged in.
FURTHER = (
    "/account/second-factor", "/account/email", "/account/email/confirm?token=gwt_", "/account/prove", "/account/prove?method=totp",
    "/logout", "/signup/again", "/signup/confirm?token=gwt_", "/signup?app=other", "/password/reset?token=gwt_",
    "/login/password?why=password-expired&factor=1", "/goodbye",
    "/login?app=erp&next=https://erp.example/in",
)  # fmt: skip
CONFIGURATION = """
format: 1
sso:
  enabled: true
  site_name: Acme
  apps: {{crm: {{signup: true, login: true}}, other: {{login: true}}, erp: {{login: true, credential: true, origins: ["https://erp.example"]}}}}
  default_app: crm
  signup: {{approval: true}}
  login: {{attempts_per_minute: 0}}
  mail: {{connection: outbox, from: "Acme <no-reply@acme.example>"}}
connections:
  outbox: {{type: smtp, host: 127.0.0.1, port: {port}, tls: none}}
"""


def code(secret, seconds=0):
    return pyotp.TOTP(secret).at(int(time.time()) + seconds)


@contextmanager
def console(running):
    """What a command on the same machine reaches."""
    database = open_database(running.data)
    settings = Sso.read({"enabled": True, "apps": {"crm": {"login": True}}})
    try:
        yield SingleSignOn(database, Keyring.open(running.data / "keys.json").ring("edge"), settings)
    finally:
        database.close()


def super_user(running):
    """A super-user with a second factor, and what makes its codes."""
    caller = Caller(app="crm", address="127.0.0.1")
    with console(running) as sso:
        sso.users.create(
            NewUser("boss", "boss@acme.example", PASSWORD, display_name="Ida Boss", is_super_user=True), COMMAND
        )
        session = sso.login.log_in(Credentials("boss", PASSWORD), caller).session
        secret = sso.factors.enrol(session, caller).secret
        sso.factors.confirm(session, code(secret), caller)
    return secret


def link_in(sink, address, words):
    """The path and query of the link in the letter to *address* whose subject has these words."""

    def found():
        return [letter for letter in sink.to(address) if words in letter["Subject"]]

    letters = eventually(found, 60)
    assert letters, f"no letter '{words}' to {address} among {sink.subjects}"
    parts = urlsplit(re.search(r"https?://\S+", letters[-1].get_body(("plain",)).get_content())[0])
    return f"{parts.path}?{parts.query}"


def test_people_sign_up_are_let_in_and_look_after_their_account(tmp_path):
    need_a_browser()
    wrong, looked = [], set()
    with (
        mail_sink() as sink,
        gateway(tmp_path, CONFIGURATION.format(port=sink.port)) as running,
        browser(running.url) as page,
    ):

        def look():
            """Note what is wrong with the page; one that says the same is looked at once."""
            place = (page.where.partition("?")[0], page.text)
            if place not in looked:
                looked.add(place)
                wrong.extend(f"{place[0]}: {one}" for one in page.look())
            return page

        secret = super_user(running)

        # With the keyboard alone: where one comes to, and what is said.
        page.open("/sso/login")
        assert page.tab(5) == ["Acme", "username", "password", "Forgot your password?", "Log in"]
        page.enter()
        assert page.title.startswith("Error: ")
        assert page.focused == "Please look at what is marked below."
        look()

        # Ann signs up, reads her mail, and confirms.
        page.press("Sign up")
        look().label("E-mail address", "ann@acme.example").label("User name", "ann").label(
            "Your name (optional)", "Ann Lee"
        )
        look().label("Password", PASSWORD).press("Sign up")
        look()
        assert "Look at your mail" in page.text
        page.open(link_in(sink, "ann@acme.example", "Confirm"))
        look().press("Confirm address")
        look()
        assert "Almost there" in page.text

        # A super-user lets her in.
        page.fresh().open("/sso/login").label("User name or e-mail address", "boss").label("Password", PASSWORD).press(
            "Log in"
        )
        look().label("6-digit code", code(secret, 30)).press("Continue")
        page.press("Approvals")
        look().press("Approve ann")
        look()
        assert "Nobody is waiting." in page.text
        page.press("Users")
        look().press("Ann Lee")
        look().press("Audit")
        look().press("Verify all records")
        assert "are as they were written." in page.text

        # She logs in and sets two-step log-in up.
        page.fresh().open("/sso/login").label("User name or e-mail address", "ann").label("Password", PASSWORD).press(
            "Log in"
        )
        assert "Ann Lee" not in page.title
        look()
        for name in ("Password", "Sessions", "Linked credentials", "Your data", "Two-step log-in"):
            page.press(name)
            look()
        page.press("Set up two-step log-in")
        look()
        hers = re.search(r"(?:[A-Z2-7]{4} ){7}[A-Z2-7]{4}", page.text)[0].replace(" ", "")
        page.label("6-digit code of the app", "000000").press("Switch on")
        look().label("6-digit code of the app", code(hers)).press("Switch on")
        codes = re.findall(r"\d\d-\w{5}-\w{5}", look().text)
        assert len(codes) == 10

        # She logs out, and in again with a recovery code; and from another browser too, where she ends the first session.
        page.press("Log out")
        assert "You are logged out." in look().text
        kept = []
        for number in (0, 1):
            page.fresh().open("/sso/login").label("User name or e-mail address", "ann").label("Password", PASSWORD)
            page.press("Log in").press("Use a recovery code instead")
            page.label("Recovery code", codes[number]).press("Continue")
            assert page.where == "/sso/account"
            kept.append({name: one["value"] for name, one in page.cookies.items() if "session" in name})
        assert all(one["httpOnly"] and one["sameSite"] == "Lax" for one in page.cookies.values())
        page.press("Sessions")
        look().press("End the session of Chrome at 127.0.0.1")
        there = [
            requests.get(f"{running.url}/sso/account", cookies=one, allow_redirects=False, timeout=20).status_code
            for one in kept
        ]
        assert there == [303, 200]

        for path in FURTHER:
            page.open(f"/sso{path}")
            look()

        # On a telephone, in German, with a password that was forgotten.
        page.fresh().resize(390, 844).language("de").open("/sso/password/forgot")
        look().label("Benutzername oder E-Mail-Adresse", "ann").press("Link senden")
        look().open(link_in(sink, "ann@acme.example", "password"))
        look().label("Neues Passwort", OTHER).press("Passwort setzen")
        assert "überall abgemeldet" in look().text
        page.open("/sso/nothing")
        look()
        seen = page.seen
        log = running.log()
    assert wrong == []
    assert len(looked) >= 35
    assert seen == {"foreign": [], "said": []}
    assert [secret for secret in (PASSWORD, OTHER, hers, *codes, *kept[0].values(), "gwt_") if secret in log] == []
