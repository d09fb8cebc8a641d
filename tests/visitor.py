"""Somebody at the pages of people, without a browser: cookies are kept, forms are sent with what is hidden in them.

Pages run as the execute step of their channel, as in a gateway; what is in front of that step is tested elsewhere.
"""

from http.cookies import SimpleCookie
from types import SimpleNamespace
from urllib.parse import urlencode, urljoin, urlsplit

from lxml import html

from gateway.channels.pages import Channel
from gateway.pages.accounts import Pages
from specs.exchange import Exchange
from specs.problems import Problem

BASE = "https://acme.example"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"


class Answer:
    """What a visitor gets: *status*, *headers* by lower-case name, every *cookies* line, *text*."""

    def __init__(self, exchange):
        self.status = exchange.response_status
        self.headers = {name.lower(): value for name, value in exchange.response_headers}
        self.names = [name.lower() for name, _ in exchange.response_headers]
        self.cookies = [value for name, value in exchange.response_headers if name.lower() == "set-cookie"]
        self.body = exchange.response_body
        self.text = self.body.decode()
        self.exchange = exchange

    @property
    def location(self):
        return self.headers.get("location", "")

    @property
    def page(self):
        return html.fromstring(self.text)

    @property
    def heading(self):
        return " ".join(self.page.xpath("string(//h1)").split())

    @property
    def message(self):
        """What is said above everything else."""
        return " ".join(self.page.xpath("string(//*[contains(@class, 'message')]/p)").split())

    def fault(self, name):
        """What is said beside a field; the field says that it is about it."""
        found = self.page.xpath(f"string(//*[@id='{name}-fault'])").strip()
        assert not found or f"{name}-fault" in self.page.xpath(f"string(//*[@id='{name}']/@aria-describedby)")
        return found

    def value(self, name):
        return self.page.xpath(f"string(//input[@name='{name}']/@value)")

    def shown(self, expression):
        return [" ".join(one.text_content().split()) for one in self.page.xpath(expression)]


class Visitor:
    """A browser at the pages of *world*, from *address*."""

    def __init__(self, world, address="192.0.2.1", base=BASE, mount="/sso", invoked=None):
        self.world = world
        self.base = base
        self.mount = mount
        self.address = address
        self.jar = {}
        self.at = ""
        self.answer = None
        self.headers = {"accept-language": "en", "user-agent": CHROME}
        self.invoked = [] if invoked is None else invoked
        self.channel = Channel("accounts", SimpleNamespace(methods=["GET", "POST"], max_body=65536), Pages(mount, base))

    def executor(self, platform):
        def invoke_async(name, payload):
            self.invoked.append((name, payload))

        return SimpleNamespace(platform=platform, perform=self.perform, invoke_async=invoke_async)

    def perform(self, call):
        self.invoked.append((call.service, call.payload))
        return SimpleNamespace(payload=None)

    def send(self, method, path, body=b"", **headers):
        """One request, and its answer; nothing is followed."""
        parts = urlsplit(urljoin(f"{self.base}{self.mount}/", path))
        given = {"host": urlsplit(self.base).netloc, **self.headers, **headers}
        if self.jar:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        exchange = Exchange(
            "c1d", method, parts.path, parts.query, {name: value for name, value in given.items() if value is not None},
            started_ns=0, host=urlsplit(self.base).hostname, scheme=urlsplit(self.base).scheme, address=self.address,
            body_length=len(body), read_body=lambda most: body,
        )  # fmt: skip
        platform = SimpleNamespace(sso=self.world.sso)
        exchange.snapshot = SimpleNamespace(executor=self.executor(platform))
        try:
            self.channel.read(exchange)
            self.channel.run(exchange)
            self.channel.write(exchange)
        except Problem as problem:
            self.channel.refuse(exchange, problem)
        answer = Answer(exchange)
        for line in answer.cookies:
            for name, morsel in SimpleCookie(line).items():
                self.jar.pop(name, None)
                if morsel.value:
                    self.jar[name] = morsel.value
        if method == "GET" and answer.status == 200:
            self.at = parts.path + (f"?{parts.query}" if parts.query else "")
        self.answer = answer
        return answer

    def get(self, path, **query):
        """A page, of the last address that it leads to."""
        answer = self.send("GET", self.mount + path + (f"?{urlencode(query)}" if query else ""))
        return self.follow(answer)

    def follow(self, answer):
        for _ in range(5):
            if answer.status != 303 or not answer.location.startswith("/"):
                return answer
            answer = self.send("GET", answer.location)
        raise AssertionError(f"sent on and on, at last to {answer.location}")

    def post(self, path, fields, **headers):
        """A form as somebody has made it; nothing is followed."""
        headers = {"content-type": "application/x-www-form-urlencoded", "origin": self.base, **headers}
        return self.send("POST", self.mount + path, urlencode(fields).encode(), **headers)

    def press(self, button, **fields):
        """Fill in the form that has this button on the last page, send it, and follow. ``then=False`` does not."""
        follow = fields.pop("then", True)
        place = fields.pop("place", 0)
        found = self.answer.page.xpath(
            "//button[normalize-space()=$name or @aria-label=$name]/ancestor::form", name=button
        )
        assert found, f"no button '{button}' on {self.at}: {self.answer.text}"
        form = found[place]
        given = {one.get("name"): one.get("value") or "" for one in form.xpath(".//input[@name]")}
        given |= {
            one.get("name"): (one.xpath("string(.//option[@selected]/@value)") or one.xpath("string(.//option/@value)"))
            for one in form.xpath(".//select")
        }
        pressed = form.xpath(".//button[normalize-space()=$name or @aria-label=$name]", name=button)[0]
        if pressed.get("name"):
            given[pressed.get("name")] = pressed.get("value")
        unknown = set(fields) - set(given)
        assert not unknown, f"the form has no {unknown}"
        answer = self.post_to(form.get("action") or self.at, {**given, **fields})
        return self.follow(answer) if follow else answer

    def post_to(self, path, fields):
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "origin": self.base,
            "sec-fetch-site": "same-origin",
        }
        return self.send("POST", path, urlencode(fields).encode(), **headers)

    def click(self, name):
        """Follow the link of that name."""
        found = self.answer.page.xpath("//a[normalize-space()=$name]/@href", name=name)
        assert found, f"no link '{name}' on {self.at}"
        return self.follow(self.send("GET", found[0]))

    def log_in(self, name="ann", password=None, **query):
        from people import PASSWORD

        self.get("/login", **query)
        return self.press("Log in", username=name, password=password or PASSWORD)
