"""The documentation of a running gateway: who sees what, under which headers, and that what it says is so."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import requests
from lxml import etree
from running import eventually, gateway

SERVICES = {
    "customers.py": '''
        from gatewright import Bool, Enum, Int, List, Problem, Service

        namespace = "my.api.customer"

        class GetCustomer(Service):
            """Returns basic information about a customer.

            By *id*. <script>alert(1)</script> [here](javascript:alert(1)) ![x](http://elsewhere.example/x.png)
            """
            name = "customer.get"
            invokes = ["customer.secret"]
            input = Int("cust_id", minimum=1, description="whose"), Enum("-segment", "gold", "silver")
            output = "name", "is_active", List("tags"), "-last_seen"

            def handle(self):
                self.response.payload = {"name": "Ann", "is_active": True, "tags": []}

        class Secret(Service):
            """What only gold partners do."""
            name = "customer.secret"
            input = "password"
            output = "result"

            def handle(self):
                self.response.payload.result = "done"

        class Hello(Service):
            """Greets whoever asks."""
            name = "hello"
            input = "name"
            output = "text"

            def handle(self):
                self.response.payload.text = f"Hello, {self.request.input.name}!"
        ''',
}
CONFIGURATION = """
format: 1
security:
  partners: {type: basic, username: api, password: api-password, realm: Partners}
  keys: {type: apikey, groups: ["*"]}
consumers:
  acme: {groups: [gold], apikey: {key: acme-key-that-is-long-enough-to-be-one}}
  other: {apikey: {key: other-key-that-is-long-enough-to-be-one}}
limits:
  ten: {rules: "* = 10/m"}
channels:
  hello: {type: rest, path: "/hello/{name}", methods: [GET], service: hello, limit: ten, format: [json, xml]}
  get: {type: rest, path: "/customers/{cust_id}", methods: [GET, POST], service: customer.get, security: [partners]}
  secret: {type: rest, path: /secret, methods: [POST], service: customer.secret, security: [keys], groups: [gold]}
  far: {type: rest, path: /far, methods: [GET], service: hello, allow: [10.9.9.9]}
  soap: {type: soap, path: /soap, services: [hello], limit: ten}
docs: {title: Acme API, colour: "#ff6600", css: ".brand { letter-spacing: 0 }", namespaces: {my.api.customer: "Our **customers**."}}
"""
PARTNER = {"auth": ("api", "api-password")}
GOLD = {"headers": {"X-API-Key": "acme-key-that-is-long-enough-to-be-one"}}
PLAIN = {"headers": {"X-API-Key": "other-key-that-is-long-enough-to-be-one"}}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("docs"), CONFIGURATION, SERVICES) as running:
        yield running


class Page(HTMLParser):
    """What a browser would load, run or follow."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loaded, self.inline, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.inline += [name for name in found if name == "style" or name.startswith("on")]
        if tag in ("style",) or (tag == "script" and "src" not in found):
            self.inline.append(tag)
        if tag in ("a", "form"):
            self.links.append(found.get("href") or found.get("action"))
        if tag in ("script", "img", "link"):
            self.loaded.append(found.get("src") or found.get("href"))
        if "id" in found:
            self.ids.append(found["id"])


def paths_shown(served, **who):
    return sorted(served.get("/openapi.json", **who).json()["paths"])


def test_A51_each_caller_is_shown_what_they_may_call_and_nothing_else(served):
    for _ in range(2):  # in turns: what is kept for one is not given to another
        assert paths_shown(served) == ["/hello/{name}"]
        assert paths_shown(served, **PARTNER) == ["/customers/{cust_id}", "/hello/{name}"]
        assert paths_shown(served, **GOLD) == ["/hello/{name}", "/secret"]
        assert paths_shown(served, **PLAIN) == ["/hello/{name}"]


def test_A51_pages_and_every_other_document_are_filtered_alike(served):
    paths = ["/docs", "/docs/graph", "/docs/search?q=customer", "/docs/postman.json", "/docs/api.md", "/openapi.yaml",
             "/docs/authentication", "/docs/limits", "/docs/changelog", "/docs/console/openapi.json"]  # fmt: skip
    for path in paths:
        assert "customer.secret" not in served.get(path).text, path
        assert "customer.secret" not in served.get(path, **PARTNER).text, path
    for path in ("services/customer.secret", "schemas/customer.secret.input.json", "channels/secret/openapi.json"):
        assert served.get(f"/docs/{path}").status_code == 404
        assert served.get(f"/docs/{path}", **GOLD).status_code == 200


def test_A51_nobody_else_keeps_what_a_caller_was_given(served):
    first, other = served.get("/openapi.json"), served.get("/openapi.json", **PARTNER)
    for answer in (first, other, served.get("/docs")):
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["Vary"] == "Authorization, Cookie, X-API-Key"
    assert first.headers["ETag"] != other.headers["ETag"]
    again = served.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert served.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]}, **PARTNER).status_code == 200


def test_wrong_credentials_are_refused_with_every_challenge(served):
    answer = served.get("/docs", auth=("api", "wrong"))
    assert answer.status_code == 401
    assert 'Basic realm="Partners"' in answer.headers["WWW-Authenticate"]


def test_a_browser_is_asked_for_credentials_and_then_led_back(served):
    asked = served.get("/docs/sign-in")
    assert (asked.status_code, asked.headers["WWW-Authenticate"]) == (401, 'Basic realm="Partners", charset="UTF-8"')
    led = served.get("/docs/sign-in", allow_redirects=False, **PARTNER)
    assert (led.status_code, led.headers["Location"]) == (303, "/docs")


def test_an_unchecked_host_is_never_repeated(served):
    for path in (
        "/openapi.json",
        "/openapi.yaml",
        "/docs",
        "/docs/services/hello",
        "/.well-known/api-catalog",
        "/docs/postman.json",
    ):
        answer = served.get(path, headers={"Host": "evil.example"})
        assert "evil.example" not in answer.text + str(answer.headers), path
    assert served.get("/openapi.json").json()["servers"] == [{"url": served.url}]


def test_programs_find_the_document(served):
    assert "rel=service-desc" in served.get("/docs").headers["Link"]
    catalog = served.get("/.well-known/api-catalog")
    assert catalog.headers["Content-Type"] == "application/linkset+json"
    [link] = catalog.json()["linkset"]
    assert requests.get(link["service-desc"][0]["href"], timeout=10).json()["openapi"] == "3.1.0"


def every_page(served, **who):
    """Each page that can be reached by links from the first one, with its path."""
    seen, wanted = {}, ["/docs"]
    while wanted:
        path = wanted.pop()
        if path in seen:
            continue
        answer = served.get(path, allow_redirects=False, **who)
        seen[path] = answer
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            links = [link.partition("#")[0] for link in Page(answer.text).links if link]
            wanted += [link for link in links if link.startswith("/docs") and "sign-in" not in link]
    return seen


def test_every_link_leads_somewhere_and_no_page_needs_a_script_or_anyone_else(served):
    pages = every_page(served, **PARTNER)
    assert {path: answer.status_code for path, answer in pages.items() if answer.status_code != 200} == {}
    assert {"/docs", "/docs/services/customer.get", "/docs/graph", "/docs/changelog", "/docs/console"} <= set(pages)
    for path, answer in pages.items():
        if not answer.headers["Content-Type"].startswith("text/html"):
            continue
        page = Page(answer.text)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy, path
        assert page.inline == [], path
        assert [link for link in page.loaded if not link.startswith("/docs/")] == [], path
        assert len(page.ids) == len(set(page.ids)), path
        if path != "/docs/console":
            assert "script-src" not in policy
            assert "<script" not in answer.text
        for link in page.loaded:
            assert served.get(link).status_code == 200


def test_docstrings_are_markdown_and_cannot_do_harm(served):
    text = served.get("/docs/services/customer.get", **PARTNER).text
    assert "<em>id</em>" in text
    assert "&lt;script&gt;" in text
    assert 'href="javascript:' not in text
    assert "<img" not in text.partition("<main")[2]


def test_a_page_shows_fields_types_samples_limits_and_how_types_were_found(served):
    text = re.sub(r"</?i[^>]*>", "", served.get("/docs/services/customer.get", **PARTNER).text)
    for expected in ("cust_id", "whose", "At least 1.", "gold", "silver", "prefix is_", "list", "import requests",
                     "HttpClient", "file_get_contents", "fetch("):  # fmt: skip
        assert expected in text, expected


def test_what_is_left_of_a_limit_is_told_and_reading_takes_nothing_of_it(served):
    def left():
        row = re.search(r"<code>hello</code>.*?</meter> (\d+)", served.get("/docs/limits").text, re.DOTALL)
        return int(row[1])

    before = left()
    assert left() == before
    served.get("/hello/Ann")
    assert left() == before - 1


def test_the_soap_sample_is_a_message_that_works(served):
    text = served.get("/docs/services/hello").text
    assert "zeep.Client" in text
    sample = re.search(r"(&lt;soap:Envelope.*?/soap:Envelope)", re.sub(r"</?i[^>]*>", "", text), re.DOTALL)[1]
    message = sample.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"') + ">"
    answer = served.post("/soap", data=message.encode(), headers={"Content-Type": "text/xml"})
    assert answer.status_code == 200
    assert "Hello, Ann Smith!" in etree.fromstring(answer.content).xpath("string(//*[local-name()='text'])")


def test_code_that_is_shown_runs(served):
    text = re.sub(r"</?i[^>]*>", "", served.get("/docs/services/hello").text)
    codes = [
        code.replace("&#34;", '"').replace("&#39;", "'")
        for code in re.findall(r"<pre[^>]*><code>(.*?)</code>", text, re.DOTALL)
    ]
    python = next(code for code in codes if code.startswith("import requests"))
    done = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, timeout=30)
    assert done.stdout == "{'text': 'Hello, Ann Smith!'}\n", done.stderr
    shell = next(code for code in codes if code.startswith("curl"))
    assert (
        subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=30).stdout
        == '{"text":"Hello, Ann Smith!"}'
    )


def test_the_colour_is_made_readable_and_a_style_sheet_is_added(served):
    brand = served.get("/docs/assets/brand.css")
    assert brand.headers["Content-Type"].startswith("text/css")
    assert "#ff6600" not in brand.text.partition("@media")[0]
    assert ".brand { letter-spacing: 0 }" in brand.text
    assert served.get("/docs/assets/logo").headers["Content-Type"] == "image/svg+xml"


def test_what_is_not_there_is_a_problem_in_the_readers_format(served):
    answer = served.get("/docs/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    page = served.get("/docs/nothing", headers={"Accept": "text/html"})
    assert page.headers["Content-Type"].startswith("text/html")
    for path in ("/docs/assets/../docs.py", "/docs/assets/docs.py", "/docs/assets/swagger-ui.LICENSE"):
        assert served.get(path).status_code in (400, 404)


def test_reading_is_logged_as_any_call(served):
    served.get("/docs/errors", headers={"User-Agent": "a-reader"})
    assert eventually(lambda: re.search(r'"path":"/docs/errors".*"channel":"docs".*a-reader', served.log()))


def test_documentation_is_moved_secured_limited_and_switched_off_while_it_runs(served):
    def apply(docs):
        (served.data.parent / "other.yaml").write_text(CONFIGURATION.rpartition("docs:")[0] + docs)
        served.command("config", "apply", str(served.data.parent / "other.yaml"))

    apply("docs: {path: /reference, openapi: false, security: [partners], limit: ten, console: false}")
    assert eventually(lambda: served.get("/docs").status_code == 404)
    assert served.get("/openapi.json").status_code == 404
    assert served.get("/reference").status_code == 401
    assert served.get("/reference/openapi.json", **PARTNER).json()["openapi"] == "3.1.0"
    assert served.get("/reference/console", **PARTNER).status_code == 404
    assert eventually(lambda: served.get("/reference", **PARTNER).status_code == 429)
    apply("docs: {enabled: false}")
    assert eventually(lambda: served.get("/reference").status_code == 404)
    apply("docs: {shows: everything, title: Whole}\n")
    assert eventually(lambda: served.get("/openapi.json").status_code == 200)
    assert paths_shown(served) == ["/customers/{cust_id}", "/far", "/hello/{name}", "/secret"]


def test_a_service_without_a_channel_is_shown_as_not_exposed_where_that_is_wanted(tmp_path):
    configuration = """
        format: 1
        channels:
          hello: {type: rest, path: "/hello/{name}", methods: [GET], service: hello}
        docs: {internal: true}
        """
    with gateway(tmp_path, configuration, SERVICES) as running:
        for path in ("/docs/internal", "/docs"):
            assert 'href="/docs/internal"' in running.get(path).text
        assert 'href="/docs/services/customer.get"' in running.get("/docs/internal").text
        page = re.sub(r"</?i[^>]*>", "", running.get("/docs/services/customer.get").text)
        for expected in ("Not exposed", "cust_id", "is_active", 'self.invoke("customer.get"', "customer.secret"):
            assert expected in page, expected
        assert running.get("/docs/schemas/customer.get.input.json").json()["required"] == ["cust_id"]
        assert list(running.get("/openapi.json").json()["paths"]) == ["/hello/{name}"]
        assert "gatewright." not in running.get("/docs/internal").text
        (tmp_path / "less.yaml").write_text("docs: {internal: false}")
        running.command("config", "apply", "--merge", str(tmp_path / "less.yaml"))
        assert eventually(lambda: running.get("/docs/internal").status_code == 404)
        assert running.get("/docs/services/customer.get").status_code == 404
        assert "customer.get" not in running.get("/docs/changelog").text
        # Files are written for those who run the gateway: they have everything.
        running.command("docs", "export", str(tmp_path / "site"))
        site = tmp_path / "site" / "api"
        assert "Not exposed" in (site / "services" / "customer.get.html").read_text()
        assert (site / "schemas" / "customer.get.output.json").is_file()


def test_what_is_configured_comes_before_what_is_built_in(tmp_path):
    configuration = """
        format: 1
        gateway: {public_url: "https://api.example.com/v1/"}
        channels:
          mine: {type: rest, path: /openapi.json, methods: [GET], service: hello}
          any: {type: rest, path: "/{name}", methods: [GET], service: hello}
          partners-docs: {type: pages, path: /partners/docs, application: docs}
        """
    with gateway(tmp_path, configuration, SERVICES) as running:
        assert running.get("/openapi.json?name=Ann").json() == {"text": "Hello, Ann!"}
        assert running.get("/Bob").json() == {"text": "Hello, Bob!"}
        first = running.get("/partners/docs/openapi.json")
        assert first.json()["servers"] == [{"url": "https://api.example.com/v1"}]
        assert 'href="/partners/docs/errors"' in running.get("/partners/docs").text

        # The changelog grows as services are deployed, and tells what breaks callers.
        changed = SERVICES["customers.py"].replace('input = "name"', 'input = "name", "mood"')
        (tmp_path / "services" / "customers.py").write_text(__import__("textwrap").dedent(changed))
        assert eventually(lambda: "input mood is required now" in running.get("/docs/changelog").text)
        assert "Breaking" in running.get("/docs/changelog").text

        # An earlier installation's export is the same site, in files that lead to one another.
        running.command("docs", "export", str(tmp_path / "site"))
        site = tmp_path / "site" / "api"
        pages = sorted(site.rglob("*.html"))
        assert {"index.html", "errors.html"} < {path.relative_to(site).as_posix() for path in pages}
        for path in pages:
            page = Page(path.read_text())
            for link in [*page.links, *page.loaded]:
                target = link.partition("#")[0].partition("?")[0]
                if target and not target.startswith("http"):
                    assert (path.parent / requests.utils.unquote(target)).is_file(), (path, link)
        assert "breaks JSON and WSDL clients" in running.command("docs", "diff", "1", "2", expected=3)
        running.command("docs", "diff", "1", "1")
        assert "breaks" in running.command("docs", "diff", "1", "2", "--refuse-breaking", expected=1)
        assert "by its name: prefix is_" in running.command("docs", "types", "customer.get")
    with gateway(tmp_path, configuration, {}) as restarted:
        again = restarted.get("/partners/docs/openapi.json")
        assert (again.content, again.headers["ETag"]) != (b"", None)
        assert restarted.get("/partners/docs/openapi.json").content == again.content
