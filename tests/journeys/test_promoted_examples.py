"""A real call becomes an example: sampled while serving, redacted, promoted, shown in every document, and played again."""

import html
import re
import sqlite3
from textwrap import dedent

import pytest
import requests
from lxml import etree
from running import eventually as within
from running import gateway

#: Seconds that a change of services may take on a machine with much else to do: it is checked by a process of its own.
PATIENCE = 120.0
PASSWORD = "correct horse battery"
SERVICES = {
    "people.py": '''
        from gatewright import Bool, Int, List, Service

        class GetPerson(Service):
            """Tells who somebody is."""
            name = "person.get"
            input = Int("id"), "-token"
            output = "name", List("tags"), "session_token", "said"

            def handle(self):
                self.response.payload = {
                    "name": "Zoë Real", "tags": ["vip"], "session_token": "live-0815-4711",
                    "said": "nothing",
                }

        class AddPerson(Service):
            """Adds somebody."""
            name = "person.add"
            input = "name", "-password", "-vat_number"
            output = Int("id")

            def handle(self):
                self.response.payload = {"id": 4711}
        ''',
}
CONFIGURATION = """
    format: 1
    gateway: {EXAMPLES}
    security:
      staff: {type: basic, username: ann, password: "${env:GATEWRIGHT_SECRET_STAFF}"}
    channels:
      person: {type: rest, path: "/people/{id}", methods: [GET], service: person.get, format: [json, xml]SAMPLES}
      add: {type: rest, path: /people, methods: [POST], service: person.add, security: [staff]}
      soap: {type: soap, path: /soap/people, services: [person.add]}
    """
SAMPLES = ", samples: {every: 1ms, redact: [vat_number]}"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    with gateway(folder, written(""), SERVICES, environment={"GATEWRIGHT_SECRET_STAFF": PASSWORD}) as running:
        running.folder = folder
        yield running


def written(samples, changes="example_changes: warn", services=""):
    return CONFIGURATION.rstrip(" ").replace("SAMPLES", samples).replace("EXAMPLES", changes) + services


def eventually(condition):
    return within(condition, PATIENCE)


def ask(served, method, path, **more):
    return requests.request(method, served.admin_url + path, auth=served.administrator(), timeout=20, **more)


def apply(served, text):
    answer = ask(served, "PUT", "/config", data=dedent(text).encode(), headers={"Content-Type": "application/yaml"})
    assert answer.status_code == 200, answer.text
    revision = served.status()["revision"]
    assert eventually(lambda: all(worker["revision"] == revision for worker in served.status()["workers"]))


def samples(served):
    return ask(served, "GET", "/examples").json()["examples"]


def test_from_a_call_to_a_document_and_back(served):
    # Off: nothing is kept.
    assert served.get("/people/7?token=tttt-9999").json()["name"] == "Zoë Real"
    assert samples(served) == []
    # On, while it runs.
    services = "    services: {person.add: {samples: {every: 1ms, redact: [vat_number]}}}\n"
    apply(served, written(SAMPLES, services=services))
    served.get("/people/7?token=tttt-9999")
    body = {"name": "Bob", "password": "hunter2-long", "vat_number": "DE123"}
    served.post("/people", json=body, auth=("ann", PASSWORD))
    assert eventually(lambda: len(samples(served)) == 2)
    by_service = {one["service"]: one for one in samples(served)}
    got, added = by_service["person.get"], by_service["person.add"]
    assert (got["input"], got["output"]["name"], got["redacted"]) == (
        {"id": 7, "token": "correct horse battery"}, "Zoë Real", ["input/token", "output/session_token"],
    )  # fmt: skip
    assert added["redacted"] == ["input/password", "input/vat_number"]
    with sqlite3.connect(served.data / "gatewright.db") as connection:
        kept = "\n".join(connection.iterdump())
    assert "Zoë Real" in kept
    for secret in ("tttt-9999", "live-0815-4711", "hunter2-long", "DE123"):
        assert secret not in kept
    # A sample is nobody's business but the administrator's.
    assert "Zoë Real" not in served.get("/openapi.json").text
    shown_to_staff = {"auth": ("ann", PASSWORD)}

    assert ask(served, "GET", f"/examples/{got['id']}").json() == got
    promoted = served.command("docs", "examples", "promote", str(got["id"]), "--title", "A VIP")
    assert promoted.startswith("* ")
    assert "'A VIP'" in promoted
    answer = ask(served, "POST", f"/examples/{added['id']}/promote", json={"title": "Bob comes"})
    assert (answer.status_code, answer.json()["runs"]) == (200, False)

    document = served.get("/openapi.json", **shown_to_staff).json()
    operation = document["paths"]["/people/{id}"]["get"]
    assert operation["parameters"][0]["example"] == 7
    content = operation["responses"]["200"]["content"]
    for media_type in ("application/json", "application/xml"):
        (example,) = content[media_type]["examples"].values()
        assert (example["summary"], example["value"]["name"], example["value"]["tags"]) == (
            "A VIP",
            "Zoë Real",
            ["vip"],
        )
    (sent,) = document["paths"]["/people"]["post"]["requestBody"]["content"]["application/json"]["examples"].values()
    assert sent["value"]["name"] == "Bob"
    page = served.get("/docs/services/person.get").text
    assert "/people/7" in page
    assert "Zoë Real" in page
    soap = served.get("/docs/services/person.add").text
    sample = etree.fromstring(message_in(soap).encode())
    assert sample.xpath("string(//*[local-name()='name'])") == "Bob"
    # Whoever may not call it is not shown it.
    assert "Bob" not in served.get("/openapi.json").text

    # A new version is asked again: what differs is told, and the version serves.
    change(served, "Zoë Real", "Zoë Other")
    assert eventually(lambda: served.get("/people/7").json()["name"] == "Zoë Other")
    sentence = f'person.get: example {got["id"]} \'A VIP\': output /name was "Zoë Real" and is "Zoë Other"'
    assert eventually(lambda: sentence in served.log())
    # Where differences are refused, what served goes on.
    apply(served, written(SAMPLES, "example_changes: refuse"))
    change(served, "Zoë Other", "Zoë Third")
    assert eventually(lambda: f"not deployed: people.py: {sentence}"[:60] in served.log())
    assert eventually(lambda: 'was "Zoë Real" and is "Zoë Third"' in served.log())
    assert served.get("/people/7").json()["name"] == "Zoë Other"
    # Back to what the example says, with another contract: the POST is compared with that and never run.
    text = (served.folder / "services" / "people.py").read_text()
    (served.folder / "services" / "people.py").write_text(
        text.replace("Zoë Third", "Zoë Real").replace('"-vat_number"', '"vat_number", "country"')
    )
    assert eventually(lambda: "input /country: this member is required" in served.log())
    assert served.get("/people/7").json()["name"] == "Zoë Other"
    assert ask(served, "DELETE", f"/examples/{added['id']}").json()["title"] == "Bob comes"
    change(served, '"country"', '"country", "-x"')
    assert eventually(lambda: served.get("/people/7").json()["name"] == "Zoë Real")
    # What no longer fits is not shown; what was dropped is not either.
    ask(served, "DELETE", f"/examples/{got['id']}")
    assert eventually(lambda: "Zoë Real" not in served.get("/openapi.json").text)
    assert ask(served, "DELETE", "/examples/999").status_code == 404


def change(served, old, new):
    path = served.folder / "services" / "people.py"
    path.write_text(path.read_text().replace(old, new))


def message_in(page):
    code = next(code for code in re.findall(r"<pre[^>]*><code>(.*?)</code>", page, re.DOTALL) if "Envelope" in code)
    text = html.unescape(re.sub(r"</?i[^>]*>", "", code))
    return text.partition("?>\n")[2] if text.startswith("<?xml") else text
