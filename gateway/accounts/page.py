"""What a page is: a template, what it shows, and what becomes of the form on it. `Page` shows, `Form` takes, too.

A page is shown again with what is wrong beside each field, and its status is that of the problem.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import falcon
import jinja2
from markupsafe import Markup, escape

from gateway.accounts import devices, safety
from gateway.accounts.languages import LANGUAGES
from gateway.accounts.visit import Visit
from specs.problems import Problem
from sso.browsers import origin_of

if TYPE_CHECKING:
    from sso.settings import PageRules

FOLDER = Path(__file__).parent
HTML = "text/html; charset=utf-8"
#: Whose session is over, or is none for these pages, is asked to log in, and comes back.
LOG_IN_AGAIN = ("session-invalid", "session-binding", "app-unproven")
#: What no page can be shown with.
ELSEWHERE = (*LOG_IN_AGAIN, "reauthentication-required", "mfa-required", "super-user-required", "no-such-user")
_NOTICES = (
    "begin-again",
    "logged-out",
    "confirmed",
    "password-reset",
    "password-changed",
    "saved",
    "sent",
    "ended",
    "removed",
    "done",
)


class Shown(NamedTuple):
    """A page to be shown at once, in answer to a form: for what is shown only once."""

    template: str
    values: Mapping[str, Any]
    status: int = 200


class Page:
    """A page that only shows. *area* says which navigation stands beside it: none, ``account`` or ``admin``."""

    template: ClassVar[str]
    area: ClassVar[str] = ""
    #: SECURITY: S41. What browsers tell others of the address of this page.
    referrer: ClassVar[str] = "same-origin"

    def show(self, visit: Visit) -> Mapping[str, Any] | str:
        """What the template is filled with; or where to go instead."""
        raise NotImplementedError

    def on_get(self, request: falcon.Request, response: falcon.Response, **parts: str) -> None:
        """Show the page."""
        visit = Visit.of(request)
        visit.parts = parts
        try:
            shown = self.show(visit)
        except Problem as problem:
            self.stop(visit, problem)
            return
        self.answer(visit, shown)

    on_head = on_get

    def answer(self, visit: Visit, shown: Mapping[str, Any] | Shown | str) -> None:
        """Answer with a page, or with the way to another."""
        if isinstance(shown, str):
            go(visit, shown)
            return
        template, values, status = (self.template, shown, 200) if not isinstance(shown, Shown) else shown
        if visit.problem is not None:
            status = visit.problem.status
            tell(visit, visit.problem)
        render(visit, template, status, area=self.area, referrer=self.referrer, **values)

    def stop(self, visit: Visit, problem: Problem) -> None:
        """Answer where the page cannot be shown: the way to a login or a proof, or a page that says why."""
        back = visit.mount + visit.path
        if problem.code in LOG_IN_AGAIN:
            if visit.cookie("session"):
                visit.close()
            go(visit, visit.url("/login", next=back))
        elif problem.code == "reauthentication-required":
            go(visit, visit.url("/account/prove", next=back))
        elif problem.code == "mfa-required" and visit.user.has_second_factor:
            go(visit, visit.url("/account/prove", next=back, method="totp"))
        else:
            show_problem(visit, problem)


class Form(Page):
    """A page with a form."""

    def submit(self, visit: Visit) -> Shown | str:
        """Do what was asked; where to go then, or what to show. Raises Problem, which is shown beside the fields."""
        raise NotImplementedError

    def on_post(self, request: falcon.Request, response: falcon.Response, **parts: str) -> None:
        """Take the form."""
        visit = Visit.of(request)
        visit.parts = parts
        try:
            fresh = visit.take_form()
        except Problem as problem:
            show_problem(visit, problem)
            return
        try:
            if not fresh:
                # The form is shown again, with what was filled in but for the secrets.
                safety.refuse_forgery()
            self.answer(visit, self.submit(visit))
        except Problem as problem:
            if problem.code in ELSEWHERE:
                self.stop(visit, problem)
            else:
                self._again(visit, problem)

    def _again(self, visit: Visit, problem: Problem) -> None:
        """The page once more, with what is wrong."""
        visit.problem = problem
        try:
            shown = self.show(visit)
        except Problem as other:
            self.stop(visit, other)
            return
        if isinstance(shown, str):
            show_problem(visit, problem)
        else:
            self.answer(visit, shown)


def go(visit: Visit, where: str) -> None:
    """Send people on."""
    visit.response.status = falcon.HTTP_303
    visit.response.set_header("Location", where)
    protect(visit)


def tell(visit: Visit, problem: Problem) -> None:
    """Have the log know of a problem, and the browser how long to wait."""
    visit.exchange.problem = problem
    for name, value in problem.headers:
        visit.response.set_header(name, value)


def show_problem(visit: Visit, problem: Problem) -> None:
    """A page that says what stands in the way."""
    tell(visit, problem)
    render(visit, "problem.html", problem.status, problem=problem)


def protect(visit: Visit, referrer: str = "same-origin", *, scripted: bool = False) -> None:
    """What every answer says to browsers and caches; *scripted* where a script of ours uses passkeys."""
    response = visit.response
    response.set_header("Cache-Control", "no-store")
    response.set_header("Referrer-Policy", referrer)
    # WHY: browsers look at form-action again where a form's answer sends them on.
    onward = f" {origin_of(visit.next)}" if "://" in visit.next else ""
    home = visit.sso.settings.pages.home
    onward += f" {origin_of(home)}" if "://" in home else ""
    scripts = "script-src 'self'; " if scripted else ""
    response.set_header(
        "Content-Security-Policy",
        f"default-src 'none'; style-src 'self'; img-src 'self'; {scripts}form-action 'self'{onward}; base-uri 'none'; "
        "object-src 'none'; frame-ancestors 'none'",
    )
    response.set_header("Vary", "Cookie, Accept-Language")
    if visit.exchange.scheme == "https":
        response.set_header("Strict-Transport-Security", "max-age=31536000; includeSubDomains")


def render(
    visit: Visit, template: str, status: int = 200, *, area: str = "", referrer: str = "same-origin", **values: Any
) -> None:
    """Fill a template and answer with it."""
    pages: PageRules = visit.sso.settings.pages
    notice = visit.query.get("notice", "")
    text = environment().get_template(template).render(
        visit=visit, t=_translator(visit), wrong=Wrong(visit), site_name=visit.sso.settings.site_name, pages=pages,
        languages=LANGUAGES.values(), language=visit.language, url=visit.url, area=area, here=visit.path,
        asset=lambda name: visit.url(f"/assets/{name}", v=_version(pages, visit.sso.settings.site_name)),
        notice=notice if notice in _NOTICES and visit.problem is None else "", now=visit.sso.clock(), **values,
    )  # fmt: skip
    response = visit.response
    response.status = status
    response.content_type = HTML
    response.set_header("Content-Language", visit.language.code)
    response.text = text
    protect(visit, referrer, scripted=bool(values.get("passkey")))


class Wrong:
    """What is wrong with a form, in the visitor's language."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.problem = visit.problem

    def __bool__(self) -> bool:
        return self.problem is not None

    @property
    def summary(self) -> str:
        """What is wrong, in one sentence."""
        assert self.problem is not None
        return self.visit.language.say("problem.fields") if self.problem.errors else said(self.visit, self.problem)

    def field(self, name: str) -> str:
        """What is wrong with one field; empty where nothing is."""
        for fault in self.problem.errors if self.problem is not None else ():
            if fault.pointer.strip("/").partition("/")[0] == name:
                return self._said(name, fault.code, fault.detail)
        return ""

    def _said(self, name: str, code: str, detail: str) -> str:
        language = self.visit.language
        kind = "password" if name == "new_password" else name
        # The number that a rule is about is in what it says: it is another one for who has a second factor.
        number = re.search(r"[0-9]+", detail)
        for key in (f"fault.{kind}.{code}", f"fault.{code}"):
            if language.has(key):
                return language.say(key, number=number[0] if number else "")
        return detail[:1].upper() + detail[1:]


def said(visit: Visit, problem: Problem) -> str:
    """A problem as a sentence for people; one of the operator's own services says it in its own words."""
    language = visit.language
    wait = next((int(value) for name, value in problem.headers if name == "Retry-After" and value.isdigit()), 0)
    if wait and problem.status == 429:
        unit, count = ("minutes", -(-wait // 60)) if wait > 90 else ("seconds", wait)
        return language.say(f"wait.{unit}", count=count)
    key = f"problem.{problem.code}"
    return language.say(key) if language.has(key) else problem.detail[:1].upper() + problem.detail[1:]


def _translator(visit: Visit) -> Any:
    def t(name: str, /, **values: Any) -> Markup:
        # SECURITY: S8. The sentence is ours; what it is filled with is somebody's, and escaped.
        safe = {key: escape(value) if isinstance(value, str) else value for key, value in values.items()}
        return Markup(visit.language.say(name, **safe))  # noqa: S704

    return t


@lru_cache(maxsize=16)
def _version(pages: PageRules, site_name: str) -> str:
    """What differs whenever a style sheet, a script or the logo does."""
    files = [path.read_bytes() for path in sorted((FOLDER / "static").iterdir())]
    brand = [text.encode() for text in (pages.colour, pages.css, pages.logo, site_name)]
    return hashlib.blake2b(b"\0".join([*files, *brand]), digest_size=6).hexdigest()


@cache
def environment() -> jinja2.Environment:
    """Where templates come from."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    made.globals.update(device=devices.name_of, said=said)
    return made
