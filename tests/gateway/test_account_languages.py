"""The languages of the pages: each says everything, in whole sentences, and visitors get the one that they can read."""

import re
import string

import pytest
from people import PASSWORD, in_memory
from visitor import Visitor

from gateway.accounts.languages import LANGUAGES, choose
from gateway.accounts.page import FOLDER
from gateway.built_in import built_in_channels
from gateway.configuration.kinds import Sso
from gateway.configuration.objects import Configuration, Definition
from specs.problems import CODES as COMMON
from specs.problems import ConfigurationError
from sso.problems import CODES
from sso.workflow import STATES

TEMPLATES = "".join(path.read_text() for path in (FOLDER / "templates").glob("*.html"))
#: Sentences that are asked for by names which a template makes up of two parts.
MADE = (
    "nav.",
    "notice.",
    "warning.",
    "state.",
    "must_change.",
    "person.",
    "audit.",
    "fault.",
    "problem.",
    "ago.",
    "wait.",
)


@pytest.fixture(scope="module")
def world():
    with in_memory() as world:
        yield world


@pytest.fixture
def visitor(world):
    return Visitor(world.emptied())


def fields(text):
    texts = text.values() if isinstance(text, dict) else [text]
    return [sorted(name for _, name, _, _ in string.Formatter().parse(str(one)) if name) for one in texts]


@pytest.mark.parametrize("code", sorted(set(LANGUAGES) - {"en"}))
def test_a_language_has_all_sentences_with_all_that_is_filled_in(code):
    english, other = LANGUAGES["en"].texts, LANGUAGES[code].texts
    assert set(other) == set(english)
    assert {name for name in english if fields(other[name])[-1] != fields(english[name])[-1]} == set()
    assert all(str(text).strip() == str(text) != "" for text in other.values() if not isinstance(text, dict))


def test_every_sentence_that_templates_ask_for_is_there_and_no_other():
    asked = set(re.findall(r"\bt\([\"']([a-z_.-]+[a-z_-])[\"'][,)]", TEMPLATES))
    there = set(LANGUAGES["en"].texts)
    assert asked - there == set()
    unasked = {name for name in there - asked if not name.startswith(MADE)}
    assert unasked == {"language", "date.months", "date.day"}


def test_every_sentence_about_a_refusal_is_about_one_that_there_is():
    said = {name.removeprefix("problem.") for name in LANGUAGES["en"].texts if name.startswith("problem.")}
    assert said - set(CODES) - set(COMMON) == {"title", "gone", "not_allowed", "home", "cid", "fields"}
    assert {state for state in STATES if not LANGUAGES["en"].has(f"state.{state}")} == {"deleted"}


@pytest.mark.parametrize(
    ("accepted", "chosen", "found"), [
        ("", "", "en"), ("de", "", "de"), ("de-AT,de;q=0.9,en;q=0.8", "", "de"), ("fr,nl;q=0.9", "", "en"), ("DE", "", "de"),
        ("en;q=0.2,de;q=0.7", "", "de"), ("de;q=0,en", "", "en"), ("de", "en", "en"), ("en", "klingon", "en"), ("*", "", "en"),
        (";;;q=,,de;q=x", "", "en"),
    ],
)  # fmt: skip
def test_visitors_get_the_language_that_they_can_read(accepted, chosen, found):
    assert choose(accepted, chosen, "en").code == found


def test_a_language_is_chosen_by_a_link_and_kept(visitor):
    visitor.get("/login", next="/orders", app="crm")
    german = visitor.click("Deutsch")
    assert (german.heading, german.page.get("lang"), german.headers["content-language"]) == (
        "Bei Acme anmelden",
        "de",
        "de",
    )
    assert (german.value("next"), german.value("app")) == ("/orders", "crm")
    assert visitor.get("/signup").heading == "Ihr Konto bei Acme"


def test_a_letters_link_stays_in_the_address_when_the_language_is_changed(world, visitor):
    world.person()
    world.sso.accounts.forgot("ann", world.caller())
    visitor.get("/password/reset", token=world.letters("password-reset")[-1].values["token"])
    assert visitor.click("Deutsch").heading == "Neues Passwort wählen"


def test_who_signs_up_in_a_language_is_written_to_in_it(world, visitor):
    visitor.headers["accept-language"] = "de-CH"
    visitor.get("/signup")
    visitor.press("Registrieren", username="ann", email="ann@example.org", password=PASSWORD)
    assert world.letters("confirm")[0].language == "de"


def test_what_a_service_of_the_operators_refuses_with_is_said_in_its_words(world, visitor):
    from specs.problems import Problem

    world.configure(signup={"validation_service": "crm.may-join"})

    def refuse(call):
        raise Problem(403, "not-a-customer", "only customers may sign up")

    visitor.perform = refuse
    visitor.get("/signup")
    answer = visitor.press("Sign up", username="ann", email="ann@example.org", password=PASSWORD)
    assert (answer.status, answer.message) == (403, "Only customers may sign up")


def test_the_brand_is_that_of_the_settings(world, visitor):
    world.configure(
        site_name="Björk & Söhne <3",
        pages={
            "colour": "#ffcc00", "css": ".card { border: 0; }", "support": "help@example.org",
            "terms": "https://example.org/terms", "privacy": "/privacy",
        },
    )  # fmt: skip
    page = visitor.get("/login")
    assert page.heading == "Log in to Björk & Söhne <3"
    assert page.page.xpath("//footer/p/a/@href") == ["https://example.org/terms", "/privacy", "mailto:help@example.org"]
    sheet = visitor.send("GET", "/sso/assets/brand.css")
    assert "--solid: #" in sheet.text
    assert ".card { border: 0; }" in sheet.text
    assert sheet.headers["content-type"].startswith("text/css")
    assert visitor.send("GET", "/sso/assets/logo").headers["content-type"] == "image/svg+xml"
    before = page.page.xpath("//link[@rel='stylesheet']/@href")
    assert all(visitor.send("GET", one).headers["cache-control"] == "public, max-age=86400" for one in before)
    world.configure(pages={"colour": "#112233"})
    assert set(visitor.get("/login").page.xpath("//link[@rel='stylesheet']/@href")).isdisjoint(before)
    for name in ("nothing", "..%2f..%2fpage.py", "__init__.py"):
        assert visitor.send("GET", f"/sso/assets/{name}").status == 404


def test_there_is_no_such_page(visitor):
    answer = visitor.get("/nothing")
    assert (answer.status, answer.heading) == (404, "There is no such page")
    assert [visitor.send("GET", path).status for path in ("/sso/login/", "/sso", "/sso/")] == [200, 303, 303]
    assert visitor.send("GET", "/sso/v1/nothing", accept="application/json").exchange.problem is None
    assert visitor.answer.headers["content-type"] == "application/problem+json"


def channels_of(**settings):
    definition = Definition("sso", "", "", Sso.read({"enabled": True, **settings}), "digest", 1)
    return built_in_channels(Configuration(1, {("sso", ""): definition}))


def test_the_pages_are_a_channel_that_can_be_moved_limited_and_switched_off():
    there = channels_of()["accounts"].settings
    assert (there.path, list(there.methods), there.application) == ("/sso", ["GET", "POST"], "accounts")
    moved = channels_of(path="/people", allow=["10.0.0.0/8"])["accounts"].settings
    assert (moved.path, list(moved.allow)) == ("/people", ["10.0.0.0/8"])
    off = channels_of(pages={"enabled": False})
    assert "accounts" not in off
    assert len(off) > 30


def test_pages_below_another_path_lead_nowhere_else(world):
    moved = Visitor(world.emptied(), mount="/people/of/acme")
    world.person()
    page = moved.log_in()
    assert page.heading == "Profile"
    addresses = page.page.xpath("//@href | //@src | //@action")
    assert all(address.startswith(("/people/of/acme/", "#")) for address in addresses)


@pytest.mark.parametrize(
    ("pages", "remedy"), [
        ({"colour": "blue"}, "#4f46e5"), ({"origins": ["https://app.example/path"]}, "https://app.example.org"),
        ({"origins": ["*"]}, "https://app.example.org"), ({"home": "//evil.example"}, "a path"), ({"logo": "logo.png"}, "logo.svg"),
        ({"terms": "javascript:alert(1)"}, "https://example.org/terms"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_with_the_remedy(pages, remedy):
    with pytest.raises(ConfigurationError) as caught:
        Sso.read({"pages": pages})
    assert remedy in str(caught.value)
    assert f"pages.{next(iter(pages))}" in str(caught.value)
