"""Single sign-on in the documents: how people prove who they are, at channels of type sso and at its own services."""

import pytest
from openapi_lint import NOTHING, redocly, spectral
from openapi_spec_validator import OpenAPIV31SpecValidator
from running import gateway

CONFIGURATION = """
format: 1
gateway: {public_url: "https://people.test"}
sso: {enabled: true, apps: {crm: {signup: true, login: true}}, default_app: crm, signup: {email_confirmation: false}}
security:
  staff: {type: sso, apps: [crm]}
  programs: {type: sso, cookie: false}
  keys: {type: apikey, key: "0123456789abcdef0123456789abcdef"}
channels:
  hello: {type: rest, path: /hello, methods: [GET], service: hello, security: [[staff, keys], programs]}
docs: {shows: everything, title: People, contact: "https://people.test/help"}
"""
SERVICES = {
    "hello.py": '''
        from gatewright import Service

        class Hello(Service):
            """Greets whoever asks."""
            name = "hello"
            output = "text"

            def handle(self):
                self.response.payload.text = "hello"
        ''',
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("people"), CONFIGURATION, SERVICES) as running:
        yield running


@pytest.fixture(scope="module")
def document(served):
    return served.get("/openapi.json").json()


def test_a_session_comes_as_a_bearer_token_or_as_the_cookie(document):
    schemes = document["components"]["securitySchemes"]
    assert schemes["staff"] == {"type": "http", "scheme": "bearer"}
    cookie = schemes["staff-cookie"]
    assert (cookie["type"], cookie["in"], cookie["name"]) == ("apiKey", "cookie", "__Host-gw_session")
    assert "programs-cookie" not in schemes
    assert document["paths"]["/hello"]["get"]["security"] == [
        {"staff": [], "keys": []}, {"staff-cookie": [], "keys": []}, {"programs": []},
    ]  # fmt: skip


def test_services_that_look_at_the_session_themselves_say_how_it_is_sent(document):
    paths = document["paths"]
    assert paths["/sso/v1/login"]["post"]["security"] == []
    for path, method in (("/sso/v1/me", "get"), ("/sso/v1/users/search", "post"), ("/sso/v1/logout", "post")):
        operation = paths[path][method]
        assert operation["security"] == [{"sso-session": []}, {"sso-session-cookie": []}], path
        assert "401" in operation["responses"]


def test_pages_tell_it_too(served):
    page = served.get("/docs/authentication").text
    assert "__Host-gw_session" in page
    assert "Bearer" in page
    assert served.get("/docs/services/sso.me.get").status_code == 200


def test_checkers_find_nothing(served, document, tmp_path):
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    path = tmp_path / "openapi.json"
    path.write_bytes(served.get("/openapi.json").content)
    assert spectral(path) == ""
    assert redocly(path) == NOTHING
