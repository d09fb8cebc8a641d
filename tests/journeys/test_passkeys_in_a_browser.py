"""Passkeys in Chromium, with a device of its own making: added, used after the password, used alone."""

import pytest
from browsing import browser, need_a_browser
from people import PASSWORD
from running import free_port, gateway

CONFIGURATION = """
format: 1
gateway: {{public_url: "http://localhost:{port}"}}
sso:
  enabled: true
  site_name: Acme
  apps: {{crm: {{signup: true, login: true}}}}
  signup: {{email_confirmation: false}}
  second_factor: {{required: "off"}}
  login: {{attempts_per_minute: 0}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    need_a_browser()
    port = free_port()
    options = ("--listen", f"127.0.0.1:{port}")
    with gateway(tmp_path_factory.mktemp("passkeys"), CONFIGURATION.format(port=port), options=options) as found:
        found.base = f"http://localhost:{port}"
        given = {"username": "ann", "email": "ann@acme.example", "password": PASSWORD}
        assert found.post("/sso/v1/signup", json=given).status_code == 202
        yield found


def test_a_passkey_is_added_used_after_the_password_and_used_alone(running):
    with browser(running.base) as window:
        window.open("/sso/login")
        assert "Log in with a passkey" not in window.text  # no script, no button that would do nothing
        window.passkeys().open("/sso/login").label("User name or e-mail address", "ann").label("Password", PASSWORD)
        window.press("Log in").open("/sso/account/passkeys")
        assert window.look() == []
        window.label("Name", "Laptop").press("Add a passkey")
        assert "Recovery codes" in window.text
        window.open("/sso/account/passkeys")
        assert "Laptop" in window.text
        assert window.look() == []

        window.forget().open("/sso/login").label("User name or e-mail address", "ann").label("Password", PASSWORD)
        window.press("Log in")
        assert window.where.startswith("/sso/login/mfa")
        assert window.look() == []
        window.press("Use a passkey")
        assert window.where == "/sso/account"

        window.forget().open("/sso/login?next=%2Fsso%2Faccount%2Fsessions")
        assert window.look() == []
        window.press("Log in with a passkey")
        assert window.where == "/sso/account/sessions"
        assert "two steps" in window.text
        window.open("/sso/account/passkeys").press("Remove the passkey Laptop")
        assert "You have no passkeys yet." in window.text
        assert window.seen == {"foreign": [], "said": []}
