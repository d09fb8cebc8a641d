"""What letters say: a template for each kind and language, ours or the operator's.

A folder of ours or theirs holds ``LANGUAGE/KIND.txt``, whose first line is ``Subject: ...``, and may hold ``LANGUAGE/KIND.html``;
without one the HTML is made of the plain text and ``layout.html``. Templates are Jinja's, in its sandbox; what is filled into
HTML is escaped, and a subject is one line whatever is filled in.

>>> Templates().fill("welcome", "en", {"site_name": "Acme", "username": "ann"}).subject
'Welcome to Acme'
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import escape

log = logging.getLogger("gatewright.mail")

FOLDER: Final = Path(__file__).parent / "templates"
LANGUAGES: Final = ("en", "de")
_SUBJECT: Final = "Subject:"
_LONGEST_SUBJECT: Final = 200


class Filled(NamedTuple):
    """A letter as it is sent."""

    subject: str
    text: str
    html: str


class Templates:
    """The templates of one installation: those in *folder* come before ours. *links* say where those of letters lead, by kind."""

    def __init__(self, folder: Path | None = None, links: Mapping[str, str] | None = None) -> None:
        self._links = dict(links or {})
        self._ours = _environment([FOLDER])
        self._theirs = _environment([folder, FOLDER]) if folder is not None else None

    def kinds(self) -> list[str]:
        """The kinds of letters that there are."""
        return sorted(path.stem for path in (FOLDER / LANGUAGES[0]).glob("*.txt"))

    def fill(self, kind: str, language: str, values: Mapping[str, Any]) -> Filled:
        """A letter of that kind, in the language or the nearest there is. Raises ValueError for a kind that is not there.

        A template of the operator's that cannot be filled is said in the log, and ours is used.
        """
        given = self._given(kind, {"site_name": "", "username": "", **values})
        if self._theirs is not None:
            try:
                return _fill(self._theirs, kind, language, given)
            except (TemplateError, TypeError, ValueError) as error:
                log.error("the template for '%s' (%s) cannot be used, ours is: %s", kind, language, error)
        try:
            return _fill(self._ours, kind, language, given)
        except TemplateNotFound:
            raise ValueError(f"there is no letter of the kind '{kind}'") from None

    def check(self, kind: str, language: str, values: Mapping[str, Any]) -> Filled:
        """As `fill`, but raises ValueError for a template of the operator's that cannot be filled."""
        try:
            return _fill(self._theirs or self._ours, kind, language, self._given(kind, values))
        except TemplateNotFound as error:
            raise ValueError(f"there is no letter of the kind '{kind}' ({error})") from None
        except (TemplateError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None

    def _given(self, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        # SECURITY: S8. A name with a line break in it stays on its line, and out of the headers.
        plain = {name: " ".join(v.split()) if isinstance(v, str) else v for name, v in values.items()}
        return {**plain, "link": self._links.get(kind, "").replace("{token}", str(values.get("token", "")))}


def _environment(folders: list[Path]) -> SandboxedEnvironment:
    return SandboxedEnvironment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        autoescape=lambda name: name is not None and name.endswith(".html"),
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _fill(environment: SandboxedEnvironment, kind: str, language: str, values: dict[str, Any]) -> Filled:
    spoken = list(dict.fromkeys((language, language.partition("-")[0], LANGUAGES[0])))
    template = environment.select_template([f"{one}/{kind}.txt" for one in spoken])
    first, _, rest = template.render(values).partition("\n")
    if not first.startswith(_SUBJECT):
        raise ValueError(f"the first line of {template.name} is not 'Subject: ...'")
    subject = " ".join(first.removeprefix(_SUBJECT).split())[:_LONGEST_SUBJECT]
    text = rest.strip("\n") + "\n"
    found = str(template.name).partition("/")[0]
    try:
        html = environment.get_template(f"{found}/{kind}.html").render({**values, "subject": subject})
    except TemplateNotFound:
        paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
        layout = {**values, "subject": subject, "language": found, "paragraphs": [*map(escape, paragraphs)]}
        layout["link"] = escape(values["link"]) if values["link"] else ""
        html = environment.get_template("layout.html").render(layout)
    return Filled(subject, text, html)
