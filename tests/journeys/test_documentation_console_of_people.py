"""The console of the documentation in a real browser, by somebody who has logged in on our pages: it calls with their session."""

import json
import os
import re
import subprocess

import pytest
from browsing import CHROMIUM, FOLDER, need_a_browser
from people import PASSWORD
from peopled import Person
from running import gateway

CONFIGURATION = """
format: 1
sso:
  enabled: true
  apps: {crm: {signup: true, login: true}}
  signup: {email_confirmation: false}
  second_factor: {required: "off"}
security:
  staff: {type: sso}
  proven: {type: sso, second_factor: true}
channels:
  who: {type: rest, path: /who, methods: [GET], service: staff.who, security: [staff]}
  note: {type: rest, path: /notes, methods: [POST], service: staff.note, security: [staff]}
docs: {security: [staff], shows: callable}
"""
SERVICES = {
    "staff.py": '''
    from gatewright import Service


    class Who(Service):
        """Says who calls."""

        name = "staff.who"
        output = "name"

        def handle(self):
            self.response.payload.name = self.identity.name


    class Note(Service):
        """Takes a note down."""

        name = "staff.note"
        input = "text"
        output = "by", "text"

        def handle(self):
            self.response.payload = {"by": self.identity.name, "text": self.request.input.text}
    '''
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    need_a_browser()
    with gateway(tmp_path_factory.mktemp("console"), CONFIGURATION, SERVICES) as running:
        running.ann = Person(running, "ann").sign_up()
        yield running


def called(served, service):
    """What came of logging in, going from the page of a service to the console, and calling it there."""
    done = subprocess.run(
        ["node", "call.cjs", served.url, f"/docs/services/{service}"], cwd=FOLDER, capture_output=True, text=True, timeout=300,
        env={**os.environ, "CHROMIUM": CHROMIUM, "BROWSER_PERSON": f"ann:{PASSWORD}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("service", ["staff.who", "staff.note"])
def test_the_console_calls_with_the_session_of_whoever_has_logged_in_on_our_pages(served, service):
    found = called(served, service)
    assert (found["status"], found["foreign"], found["said"]) == ("200", [], []), found
    assert '"ann"' in found["body"]
    assert "script-src 'self'" in found["policy"]
    assert "connect-src 'self'" in found["policy"]


def test_who_has_not_logged_in_reads_nothing(served):
    assert served.get("/docs/console").status_code == 401


def test_who_has_not_logged_in_is_shown_where_to_and_comes_back(served):
    page = served.get("/docs/search?q=a%26b", headers={"Accept": "text/html"})
    (way,) = re.findall(r'<a href="([^"]*)">Log in</a>', page.text)
    assert (page.status_code, way) == (401, "/sso/login?next=%2Fdocs%2Fsearch%3Fq%3Da%2526b")
    form = served.get(way)
    assert (form.status_code, 'name="password"' in form.text) == (200, True)
    assert "Log in" not in served.get("/docs/search").text  # who is no browser is told in JSON


def test_S19_a_page_of_another_site_cannot_do_what_the_console_does(served):
    ann = Person(served, "ann").log_in(cookie=False)
    cookie = {"Cookie": f"gw_session_dev={ann.token}", "Content-Type": "application/json"}

    def note(**more):
        return served.post("/notes", data=b'{"text": "x"}', headers={**cookie, **more}).status_code

    assert note(Origin=served.url, **{"Sec-Fetch-Site": "same-origin"}) == 200
    for elsewhere in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {},
    ):
        assert note(**elsewhere) == 403
