"""People of a gateway that runs: they sign up, log in, and are known on its channels, by any of its workers."""

import pytest
from people import OTHER, PASSWORD
from running import gateway

CONFIGURATION = """
format: 1
sso:
  enabled: true
  site_name: Acme
  apps: {crm: {signup: true, login: true}, batch: {login: true}}
  default_app: crm
  signup: {email_confirmation: false}
"""


class Person:
    """Somebody with a program that calls *running* by the path of each call below ``/sso/v1``."""

    def __init__(self, running, name, password=PASSWORD):
        self.running = running
        self.name = name
        self.password = password
        self.token = ""
        self.id = ""

    def call(self, method, path, payload=None, **headers):
        """The status, and the JSON of the answer or the code of the problem."""
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        answer = self.running.request(method, f"/sso/v1{path}", json=payload, headers=headers)
        told = answer.json() if answer.content else None
        return answer.status_code, told["code"] if answer.status_code >= 400 else told

    def sign_up(self):
        given = {"username": self.name, "email": f"{self.name}@example.org", "password": self.password}
        assert self.call("POST", "/signup", given) == (202, {"status": "accepted"})
        return self

    def log_in(self, **more):
        self.token = ""
        status, told = self.call("POST", "/login", {"username": self.name, "password": self.password, **more})
        assert (status, told.get("status")) == (200, "ok"), told
        self.token, self.id = told["token"], told["user"]["id"]
        return self


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def running(request, tmp_path_factory):
    """A gateway with two workers, on a database of each kind."""
    folder = tmp_path_factory.mktemp("people")
    options = ()
    if request.param == "postgresql":
        options = ("--database", request.getfixturevalue("postgresql_server").new_database())
    with gateway(folder, CONFIGURATION, workers=2, options=options) as found:
        yield found


def test_people_sign_up_log_in_and_change_their_password(running):
    ann = Person(running, "ann").sign_up().log_in()
    status, told = ann.call("GET", "/session")
    assert (status, told["user"]["username"], told["session"]["app"]) == (200, "ann", "crm")
    assert ann.call("POST", "/me/password", {"current_password": PASSWORD, "new_password": OTHER})[0] == 204
    assert Person(running, "ann").call("POST", "/login", {"username": "ann", "password": PASSWORD}) == (
        401, "invalid-credentials",
    )  # fmt: skip
    assert Person(running, "ann", OTHER).log_in().call("GET", "/me")[0] == 200
    assert ann.call("POST", "/logout", {}) == (204, None)
    assert ann.call("GET", "/session") == (401, "session-invalid")


def test_the_api_is_in_the_documents_with_its_methods_and_paths(running):
    paths = running.get("/openapi.json").json()["paths"]
    assert set(paths["/sso/v1/sessions/{id}"]) == {"delete"}
    assert {"/sso/v1/signup", "/sso/v1/login", "/sso/v1/users/search", "/sso/v1/audit"} <= set(paths)
