"""The code that documentation shows runs, in each language that is here: copied from the page, with only credentials filled in."""

import re
import shutil
import subprocess
import sys

import pytest
from lxml import html
from running import gateway

from specs.documents import snippets as snippet
from specs.documents.bodies import pretty
from specs.xml_text import escape

SERVICES = {
    "shop.py": '''
        from gatewright import Bool, Dict, DictList, Int, List, Service

        class Greet(Service):
            name = "greet"
            input = "name", "language"
            output = "text"

            def handle(self):
                self.response.payload.text = f"greeted {self.request.input.name} in {self.request.input.language}"

        class Echo(Service):
            name = "echo"
            input = "text"
            output = "text"

            def handle(self):
                text = self.request.input.text
                self.response.payload.text = f"kept {len(text)} {sum(map(ord, text))}"

        class Place(Service):
            """Places an order."""
            name = "orders.place"
            input = (
                Int("customer_id"), Bool("is_urgent"), List("tags"), Dict("address", "street", "city"),
                DictList("lines", Int("count"), "-note"),
            )
            output = "text"

            def handle(self):
                given = self.request.input
                self.response.payload.text = f"placed for {given.address.city}, {given.lines[0].count} by {self.identity.name}"
        ''',
}
CONFIGURATION = """
format: 1
security:
  partners: {type: basic, username: api, password: secret}
  machines: {type: apikey, key: "machine-key-0123456789"}
channels:
  greet: {type: rest, path: "/greet/{name}", methods: [GET], service: greet}
  place: {type: rest, path: /orders, methods: [POST], service: orders.place, security: [partners]}
  place-xml: {type: xml, path: /xml/orders, methods: [POST], service: orders.place, security: [machines]}
  echo: {type: rest, path: /echo, methods: [POST], service: echo}
  echo-xml: {type: xml, path: /echo-xml, methods: [POST], service: echo}
  soap: {type: soap, path: /soap, services: [orders.place], security: [partners], wsdl: public}
docs: {shows: everything}
"""
USERNAME, PASSWORD, KEY = "api", "secret", "machine-key-0123456789"
PROGRAMS = {
    "curl": "curl",
    "Python": sys.executable,
    "JavaScript": "node",
    "PHP": "php",
    "Java": "java",
    "C#": "mcs",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("snippets"), CONFIGURATION, SERVICES) as running:
        yield running


def snippets(served, service):
    """The code of each way to call a service, by what its tab says."""
    page = html.fromstring(served.get(f"/docs/services/{service}").text)
    found = []
    for section in page.iterfind(".//section[@class='operation two']"):
        panel = section.find(".//div[@class='samples']")[0]
        codes = [code.text_content() for code in panel.iter("pre")]
        labels = [label.text_content() for label in panel.iter("label")]
        labels = labels or [span.text_content() for span in panel.iterfind("figcaption/span")]
        found.append(dict(zip(labels, codes, strict=True)))
    return found


def run(language, code, folder):
    """What a snippet prints."""
    code = code.replace("USERNAME", USERNAME).replace("PASSWORD", PASSWORD).replace("YOUR_KEY", KEY)
    if language == "curl":
        command = ["sh", "-c", code]
    elif language.startswith("Python"):
        command = [sys.executable, "-c", code]
    elif language == "JavaScript":
        (folder / "call.mjs").write_text(code)
        command = ["node", "call.mjs"]
    elif language == "PHP":
        (folder / "call.php").write_text(code)
        command = ["php", "call.php"]
    elif language == "Java":
        imports = [line for line in code.splitlines() if line.startswith("import ")]
        body = "\n".join(line for line in code.splitlines() if not line.startswith("import "))
        (folder / "Call.java").write_text(
            "\n".join(imports)
            + "\npublic class Call { public static void main(String[] a) throws Exception {\n"
            + body
            + "\n} }\n"
        )
        command = ["java", "-XX:TieredStopAtLevel=1", "Call.java"]
    elif language == "C#":
        (folder / "Call.cs").write_text(older_csharp(code), encoding="utf-8")
        options = ["-langversion:latest", "-codepage:utf8", "-r:System.Net.Http.dll", "-out:Call.exe"]
        made = subprocess.run(["mcs", *options, "Call.cs"], cwd=folder, capture_output=True, text=True, timeout=120)
        assert made.returncode == 0, f"{made.stdout}\n{code}"
        command = ["mono", "Call.exe"]
    else:
        pytest.skip(f"no runner for {language}")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stderr}\n{code}"
    return done.stdout


def older_csharp(code):
    """The same for a compiler of C# 7: the class, the imports and the texts that later versions need not have, or write otherwise.

    A raw text (C# 11) ends at as many quotes as it began with; the blanks before those are before no line of it.
    """
    implicit = ("System", "System.Net.Http", "System.Threading.Tasks")
    lines = code.splitlines()
    imports = [*(f"using {name};" for name in implicit), *(line for line in lines if re.match(r"using [\w.]+;", line))]
    body = "\n".join(line for line in lines if not re.match(r"using [\w.]+;", line))
    body = re.sub(r"^using var ", "var ", body, flags=re.MULTILINE)

    def verbatim(found):
        blanks = found[3]
        held = found[2].split("\n")
        assert all(line.startswith(blanks) or not line.strip() for line in held), "indented less than its end"
        text = "\n".join(line.removeprefix(blanks) for line in held)
        return '@"' + text.replace('"', '""') + '"'

    body = re.sub(r'("{3,})\n(.*?)\n( *)\1(?!")', verbatim, body, flags=re.DOTALL)
    main = "static void Main() { Work().GetAwaiter().GetResult(); }"
    return "\n".join([*imports, "class Call {", main, "static async Task Work() {", body, "} }"])


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript", "PHP", "Java", "C#"])
def test_a_call_runs_as_it_is_shown(served, language, tmp_path):
    program = PROGRAMS[language]
    if shutil.which(program) is None:
        pytest.skip(f"server missing: {program} (apt-get install {program})")
    (greet,) = snippets(served, "greet")
    assert "greeted Ann Smith in en" in run(language, greet[language], tmp_path)
    as_json, as_xml, _ = snippets(served, "orders.place")
    assert "placed for London, 1 by api" in run(language, as_json[language], tmp_path)
    assert "placed for London, 1 by machines" in run(language, as_xml[language], tmp_path)


NASTY = """a\"\"\"b \\n ${x} `id` $(id) 'c' "d" {%s} <&> é 😀 \\u0041 */ \"\"\"\"+\\"""


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript", "PHP", "Java", "C#"])
def test_whatever_an_example_holds_stays_a_text(served, language, tmp_path):
    """A promoted example holds what some caller sent: it must neither break the code nor become a part of it."""
    if shutil.which(PROGRAMS[language]) is None:
        pytest.skip(f"server missing: {PROGRAMS[language]}")
    write = next(write for _, name, write in snippet.LANGUAGES if name == language)
    expected = f"kept {len(NASTY)} {sum(map(ord, NASTY))}"
    body = pretty({"text": NASTY})
    as_json = snippet.Request("POST", f"{served.url}/echo", body=body, value={"text": NASTY})
    assert expected in run(language, write(as_json), tmp_path)
    document = f"<request><text>{escape(NASTY)}</text></request>"
    headers = (("Content-Type", "application/xml"),)
    assert expected in run(
        language, write(snippet.Request("POST", f"{served.url}/echo-xml", headers, body=document)), tmp_path
    )


def test_a_call_by_soap_runs_as_it_is_shown(served, tmp_path):
    *_, soap = snippets(served, "orders.place")
    assert "placed for London, 1 by api" in run("Python (zeep)", soap["Python (zeep)"], tmp_path)


def test_every_language_is_shown(served):
    assert set(snippets(served, "greet")[0]) == set(PROGRAMS)
