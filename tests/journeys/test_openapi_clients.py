"""Clients generated from our OpenAPI document, in Python, TypeScript and Java: they compile, call, are refused, and log in.

Spectral and Redocly find nothing in the document that they are made from.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest
from openapi_lint import FOLDER as TOOLS
from openapi_lint import NOTHING, node_tool, redocly, run, spectral
from running import gateway

SERVICES = {
    "orders.py": '''
        from gatewright import Date, Decimal, Dict, DictList, Enum, Int, List, Problem, Service, Text

        namespace = "shop"
        ORDER = (
            "customer", Enum("segment", "gold", "silver"), Date("day"), Decimal("total"), Dict("address", "street", "-zip"),
            DictList("lines", "item", Int("count")), List("tags", Text), Text("-note", nullable=True),
        )

        class PlaceOrder(Service):
            """Takes an order."""
            name = "order.place"
            input = ORDER
            output = (Int("number"), *ORDER)

            def handle(self):
                self.response.payload = {**self.request.input, "number": 7}

        class FindOrder(Service):
            """Gives an order back."""
            name = "order.find"
            input = Int("number"), Enum("-segment", "gold", "silver")
            output = Int("number"), Enum("-segment", "gold", "silver")

            def handle(self):
                if self.request.input.number == 404:
                    raise Problem(404, "no-such-order", "there is no order 404")
                self.response.payload = self.request.input

        class WhoAmI(Service):
            """Says who calls."""
            name = "who.am-i"
            output = "caller"

            def handle(self):
                self.response.payload.caller = self.identity.name
        ''',
}
CONFIGURATION = """
format: 1
security:
  partners: {type: basic, username: api, password: api-password, realm: Partners}
  keys: {type: apikey, groups: ["*"]}
consumers:
  acme: {apikey: {key: acme-key-that-is-long-enough-to-be-one}}
limits:
  many: {rules: "* = 10000/m"}
channels:
  place-order: {type: rest, path: /orders, methods: [POST], service: order.place, limit: many}
  find-order: {type: rest, path: "/orders/{number}", methods: [GET], service: order.find, format: [json, xml]}
  who-am-i: {type: rest, path: /me, methods: [GET], service: who.am-i, security: [partners, keys]}
  who-by-key: {type: rest, path: /key, methods: [GET], service: who.am-i, security: [keys]}
docs: {title: Shop, contact: "https://shop.test/help", shows: everything}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("shop"), CONFIGURATION, SERVICES) as running:
        yield running


@pytest.fixture(scope="module")
def document(served, tmp_path_factory):
    """The file of the OpenAPI document."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(served.get("/openapi.json").content)
    return path


CREDENTIALS = ("api", "api-password", "acme-key-that-is-long-enough-to-be-one")
#: What every client gets, in whatever language.
EXPECTED = {
    "found": {"number": 7, "segment": "silver"},
    "placed": {
        "number": 7, "customer": "Ann Ą", "segment": "gold", "day": "2026-01-31", "total": "1234567890123456789.10",
        "address": {"street": "Main & 1st"}, "lines": [{"item": "book", "count": 1}, {"item": "pen", "count": 2}],
        "tags": ["a", ""],
    },
    "refused": [404, "no-such-order", "there is no order 404"],
    "stranger": 401,
    "basic": "api",
    "key": "acme",
}  # fmt: skip


def test_spectral_and_redocly_find_nothing(document):
    assert spectral(document) == ""
    assert redocly(document) == NOTHING


@pytest.fixture(scope="module")
def generator():
    """OpenAPI Generator: its jar, and the words that generate a client from a document."""
    package = pytest.importorskip(
        "openapi_generator_cli", reason="server missing: openapi-generator-cli (requirements-dev.lock)"
    )
    if shutil.which("java") is None:
        pytest.skip("server missing: java (apt-get install default-jdk-headless)")
    return Path(package.__file__).parent / "openapi-generator.jar"


#: A virtual machine that does not live long.
JAVA = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]


def generate(generator, document, folder, *words):
    only = "apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"
    command = [
        "java",
        *JAVA,
        "-jar",
        str(generator),
        "generate",
        "-i",
        str(document),
        "-o",
        ".",
        "--global-property",
        only,
    ]
    run([*command, *words], folder)


def test_a_python_client(served, document, generator, tmp_path):
    generate(generator, document, tmp_path, "-g", "python", "--additional-properties", "packageName=shop")
    command = [sys.executable, "-W", "error", str(TOOLS / "client.py"), served.url, *CREDENTIALS]
    assert json.loads(run(command, tmp_path, PYTHONPATH=str(tmp_path))) == EXPECTED


def test_a_typescript_client(served, document, tmp_path):
    generate, compiler = node_tool("openapi-typescript"), node_tool("tsc")
    (tmp_path / "node_modules").symlink_to(TOOLS / "node_modules")
    shutil.copy(TOOLS / "client.ts", tmp_path)
    run([generate, str(document), "-o", "api.ts"], tmp_path)
    options = [
        "--strict",
        "--target",
        "es2022",
        "--module",
        "commonjs",
        "--moduleResolution",
        "node",
        "--types",
        "node",
    ]
    run([compiler, *options, "--skipLibCheck", "client.ts"], tmp_path)
    assert json.loads(run(["node", "client.js", served.url, *CREDENTIALS], tmp_path)) == EXPECTED


def test_a_java_client(served, document, generator, tmp_path):
    annotations = Path("/usr/share/java/geronimo-annotation-1.3-spec.jar")
    if shutil.which("javac") is None or not annotations.exists():
        pytest.skip("server missing: javac (apt-get install default-jdk-headless libgeronimo-annotation-1.3-spec-java)")
    properties = "openApiNullable=false,invokerPackage=shop,apiPackage=shop.api,modelPackage=shop.model"
    generate(generator, document, tmp_path, "-g", "java", "--library", "native", "--additional-properties", properties)
    sources = [str(path) for path in (tmp_path / "src" / "main").rglob("*.java")]
    # The generator brings Jackson, which what it generates needs.
    classes = ["-cp", f"{generator}:{annotations}", "-d", "classes", str(TOOLS / "Client.java")]
    run(
        ["javac", *(f"-J{word}" for word in JAVA), "-proc:none", "-nowarn", "-encoding", "UTF-8", *classes, *sources],
        tmp_path,
    )
    told = run(["java", *JAVA, "-cp", f"classes:{generator}", "Client", served.url, *CREDENTIALS], tmp_path)
    assert json.loads(told) == EXPECTED
