"""Takes the pictures that `gateway/accounts/README.md` shows: ``.venv/bin/python tests/journeys/browser/pictures.py [FOLDER]``.

With the font Inter (on Debian ``fonts-inter``) they look as they do at a desk; without it a system's own font is used.
"""

import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyotp

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from browsing import browser  # noqa: E402
from people import PASSWORD  # noqa: E402
from running import free_port, gateway  # noqa: E402

from security.database import open_database  # noqa: E402
from security.secrets import Keyring  # noqa: E402
from sso.login import Credentials  # noqa: E402
from sso.settings import Sso  # noqa: E402
from sso.system import COMMAND, Caller, SingleSignOn  # noqa: E402
from sso.users import NewUser  # noqa: E402

CONFIGURATION = """
format: 1
gateway: {{public_url: "http://localhost:{port}"}}
sso:
  enabled: true
  site_name: Acme
  apps: {{crm: {{signup: true, login: true}}}}
  signup: {{approval: true, email_confirmation: false}}
  second_factor: {{required: "off"}}
  pages: {{terms: /terms, privacy: /privacy, support: help@acme.example}}
"""
AGENTS = {
    "192.0.2.14": "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15",
    "198.51.100.7": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile Safari/604.1",
    "203.0.113.80": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0",
}
WAITING = {"lena.hoffmann": "Lena Hoffmann", "amir": "Amir Haddad", "jo": "Jo Kowalczyk"}
ACTIVE = {"maria": "Maria Silva", "tom.becker": "Tom Becker", "yuki": "Yuki Tanaka"}


@contextmanager
def installation(data, ago):
    """Single sign-on of the gateway at *data*, some time ago."""
    database = open_database(data)
    settings = {"enabled": True, "apps": {"crm": {"login": True, "signup": True}}, "second_factor": {"required": "off"}}
    signup = {"approval": True, "email_confirmation": False}
    ring = Keyring.open(data / "keys.json").ring("edge")
    moment = datetime.now(UTC) - ago
    try:
        yield SingleSignOn(database, ring, Sso.read({**settings, "signup": signup}), clock=lambda: moment)
    finally:
        database.close()


def furnish(running):
    """People, those who wait, and sessions here and there; what makes the super-user's codes."""
    caller = Caller(app="crm", address="203.0.113.9")
    with installation(running.data, timedelta(days=40)) as sso:
        sso.users.create(
            NewUser("ida", "ida@acme.example", PASSWORD, display_name="Ida Lindqvist", is_super_user=True), COMMAND
        )
        for name, shown in ACTIVE.items():
            sso.users.create(
                NewUser(name, f"{name}@acme.example", PASSWORD, display_name=shown, roles=("sales",)), COMMAND
            )
    for number, (name, shown) in enumerate(WAITING.items()):
        with installation(running.data, timedelta(hours=3 * number, minutes=20)) as sso:
            sso.signup.sign_up(NewUser(name, f"{name}@example.org", PASSWORD, display_name=shown), caller)
    for ago, (address, agent) in zip((5, 190, 2000), AGENTS.items(), strict=True):
        with installation(running.data, timedelta(minutes=min(ago, 25))) as sso:
            for name in ("ida", "maria"):
                sso.login.log_in(Credentials(name, PASSWORD), Caller(app="crm", address=address, user_agent=agent))


def log_in(page, name):
    page.fresh().open("/sso/login").label("User name or e-mail address", name).label("Password", PASSWORD).press(
        "Log in"
    )


def take(page, folder):
    """Each picture, by the name of its file."""
    desk, telephone = (1180, 780, 1.5), (390, 780, 1.5)
    page.resize(*desk).fresh().passkeys().open("/sso/login").shoot(folder / "log-in.webp", whole=False)
    page.shoot(folder / "log-in-dark.webp", "dark", whole=False)
    page.press("Sign up").label("E-mail address", "kai@example.org").label("User name", "kai").label(
        "Password", "kai-2026"
    )
    page.press("Sign up").shoot(folder / "sign-up.webp")
    log_in(page, "ida")
    page.label("Name", "Ida Lindqvist").shoot(folder / "profile.webp")
    page.press("Sessions").shoot(folder / "sessions.webp")
    page.press("Two-step log-in").press("Set up two-step log-in").shoot(folder / "second-factor-dark.webp", "dark")
    secret = "".join(page.text.split("Type this key instead")[1].split()[:8])
    page.label("6-digit code of the app", pyotp.TOTP(secret).now()).press("Switch on").shoot(
        folder / "recovery-codes.webp"
    )
    page.press("Approvals").shoot(folder / "approvals.webp")
    page.press("Users").press("Maria Silva").shoot(folder / "person-dark.webp", "dark")
    page.press("Audit").shoot(folder / "audit.webp", whole=False)
    page.resize(*telephone).fresh().language("de").open("/sso/login").label("Benutzername oder E-Mail-Adresse", "ida")
    page.label("Passwort", PASSWORD).press("Anmelden").shoot(folder / "telephone-dark.webp", "dark", whole=False)
    log_in_german(page)
    page.shoot(folder / "telephone.webp", whole=False)


def log_in_german(page):
    page.fresh().language("de").open("/sso/login").label("Benutzername oder E-Mail-Adresse", "maria")
    page.label("Passwort", PASSWORD).press("Anmelden").press("Sitzungen")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "gateway" / "accounts" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    given = {"configuration": CONFIGURATION.format(port=port), "options": ("--listen", f"127.0.0.1:{port}")}
    # Passkeys need a name of a host, and browsers take this one without TLS.
    with tempfile.TemporaryDirectory() as scratch, gateway(scratch, **given) as running:
        furnish(running)
        with browser(f"http://localhost:{port}") as page:
            take(page, folder)
    total = sum(path.stat().st_size for path in folder.glob("*.webp"))
    print(f"{len(list(folder.glob('*.webp')))} pictures, {total // 1024} KiB, in {folder}")
