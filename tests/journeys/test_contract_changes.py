"""The gate before changes that break callers: at a deployment by folder, command and admin API, and where channels change."""

from textwrap import dedent

import pytest
import requests
from running import eventually, gateway

SOURCE = '''
from gatewright import Int, Service


class GetRate(Service):
    """Gives a rate."""

    name = "rate.get"
    input = {input}
    output = {output}

    def handle(self):
        self.response.payload.rate = "1.20"


class Note(Service):
    name = "note.add"
    input = {note}
    output = "done"

    def handle(self):
        self.response.payload.done = "yes"
'''
#: Seconds that a folder may take to be looked at, on a machine that does other things too.
PATIENCE = 90.0
CONFIGURATION = """
format: 1
gateway: {contract_changes: refuse}
services:
  note.add: {contract_changes: warn}
channels:
  rate: {type: rest, path: /rate, methods: [GET], service: rate.get, format: [json, xml]}
  note: {type: rest, path: /note, methods: [POST], service: note.add}
  soap: {type: soap, path: /soap, services: [note.add]}
"""


def source(input='"day"', output='"rate"', note='"text"', **replaced):
    text = SOURCE.format(input=input, output=output, note=note)
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    with gateway(folder, CONFIGURATION, {"rates.py": source()}, options=["--allow-deploy"]) as running:
        yield running


def versions(served):
    answer = requests.get(f"{served.admin_url}/services/services/versions", auth=served.administrator(), timeout=60)
    return len(answer.json()["versions"])


def save(served, name, text):
    (served.data.parent / "services" / name).write_text(dedent(text))


def test_a_folder_is_refused_what_breaks_callers_and_given_what_does_not(served):
    before = versions(served)
    save(served, "rates.py", source(input='"day", "zone"'))
    said = "not deployed: rates.py: rate.get: input zone is required now (breaks JSON and WSDL clients)"
    assert eventually(lambda: said in served.log(), PATIENCE), served.log()
    assert versions(served) == before
    assert served.get("/rate?day=2026-01-31").json() == {"rate": "1.20"}
    # What breaks clients of WSDLs alone breaks nobody here: no SOAP channel has this service.
    save(served, "rates.py", source(input='"day", "-zone"', GetRate="Rate"))
    assert eventually(lambda: versions(served) == before + 1, PATIENCE), served.log()
    # A service of its own policy: this is taken, and said.
    save(served, "rates.py", source(input='"day", "-zone"', GetRate="Rate", note='"text", "title"'))
    assert eventually(
        lambda: "note.add: input title is required now (breaks JSON and WSDL clients)" in served.log(), PATIENCE
    ), served.log()
    assert eventually(lambda: served.post("/note", json={"text": "x"}).status_code == 400, PATIENCE)
    text = served.get("/docs/changelog").text
    assert "input title is required now" in text
    assert "the SOAP operation was GetRate and is Rate <small" in text.replace("&#39;", "'")
    assert "breaks WSDL clients" in text


def test_a_command_is_refused_unless_it_says_otherwise(served, tmp_path):
    serving = source(input='"day", "-zone"', GetRate="Rate", note='"text", "title"')
    (tmp_path / "rates.py").write_text(serving.replace('output = "rate"', 'output = "-rate"'))
    before = versions(served)
    served.command("service", "deploy", str(tmp_path / "rates.py"), expected=1)
    served.command("service", "deploy", str(tmp_path / "rates.py"), "--contract-changes", "never", expected=2)
    assert versions(served) == before
    served.command("service", "deploy", str(tmp_path / "rates.py"), "--contract-changes", "allow")
    assert versions(served) == before + 1


def test_the_admin_api_is_refused_unless_it_says_otherwise(served):
    url, who = f"{served.admin_url}/services/services", served.administrator()
    asked = {"files": {"rates.py": source(input='"-zone"', output='"-rate"', GetRate="Rate", note='"text", "title"')}}
    refused = requests.post(url, json=asked, auth=who, timeout=60)
    assert refused.status_code == 422, refused.text
    assert "input day is gone (breaks JSON and WSDL clients)" in refused.text
    taken = requests.post(url, json={**asked, "contract_changes": "warn"}, auth=who, timeout=60)
    assert taken.status_code == 201, taken.text
    assert "rate.get: input day is gone (breaks JSON and WSDL clients)" in taken.json()["warnings"]


def test_a_channel_that_breaks_its_callers_is_refused_and_a_rollback_never(served):
    config, who = f"{served.admin_url}/config", served.administrator()
    moved = CONFIGURATION.replace("/rate,", "/rates,")
    yaml = {"Content-Type": "application/yaml"}
    refused = requests.put(config, data=moved, auth=who, headers=yaml, timeout=60)
    assert refused.status_code == 422
    assert "the path was /rate and is /rates (breaks JSON clients)" in refused.text
    taken = requests.put(f"{config}?contract_changes=warn", data=moved, auth=who, headers=yaml, timeout=60)
    assert taken.json()["warnings"] == [
        {"path": "channels.rate", "message": "the path was /rate and is /rates (breaks JSON clients)"}
    ]
    # Whoever may call what is there now reads what became of it.
    told = eventually(
        lambda: (page := served.get("/docs/changelog").text) and "the path was /rate and is /rates" in page, PATIENCE
    )
    assert told
    (served.data / "gone.yaml").write_text("format: 1\ngateway: {contract_changes: refuse}")
    served.command("config", "apply", str(served.data / "gone.yaml"), expected=1)
    served.command("config", "apply", str(served.data / "gone.yaml"), "--contract-changes", "allow")
    back = requests.post(f"{config}/rollback", json={"revision": taken.json()["revision"] - 1}, auth=who, timeout=60)
    assert back.status_code == 200
    assert eventually(lambda: served.get("/rate?day=2026-01-31").status_code == 200, PATIENCE)
