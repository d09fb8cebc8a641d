"""A whole document: named objects of every kind, what is wrong with them, and what is only doubtful.

>>> from gateway.configuration.kinds import read_object
>>> document = Document.parse("groups: {gold: {limit: standrd}}\\nlimits: {standard: {rules: '* = 10/s'}}", "my.yaml")
>>> check({key: read_object(key[0], body, place(*key)) for key, body in document.objects.items()})
Traceback (most recent call last):
specs.problems.ConfigurationErrors: groups.gold.limit: nothing under 'limits' is called 'standrd': did you mean 'standard'?
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.configuration.kinds import CONNECTORS, KINDS, Consumer, Sso, lifetime_of, place
from gateway.configuration.loader import DEEPEST, load, positions
from gateway.configuration.parts import METHODS
from gateway.routes import Routes
from security.limits.rules import LimitDefinition
from specs.names import GroupName, Name, ServiceName, references
from specs.problems import ConfigurationError, ConfigurationErrors, nearest
from specs.settings import Settings

FORMAT = 1
LONGEST_NAME = 200
ANY_METHODS = [method for method in METHODS if method not in ("HEAD", "OPTIONS")]

Key = tuple[str, str]
"""The kind and the name of an object; a kind of which there is one at most has the empty name."""


class Warned(NamedTuple):
    """Something doubtful: it does not stop the document from being accepted."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True)
class Document:
    """The objects of a document as they were written. *source* is the name of its file, *text* its YAML where it has one."""

    objects: Mapping[Key, dict[str, Any]]
    source: str = "configuration"
    text: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str, source: str = "configuration") -> Document:
        """The document that a YAML (or JSON) text holds. Raises ConfigurationError."""
        return cls(_objects(load(text, source)), source, text)

    @classmethod
    def of(cls, value: Any, source: str = "configuration") -> Document:
        """The document that a map such as ``{"channels": {...}}`` holds. Raises ConfigurationErrors."""
        return cls(_objects(value), source)

    def describe(self, error: ConfigurationError) -> list[str]:
        """Each fault on a line of its own, with file, line and column where they are known."""
        faults = error.errors if isinstance(error, ConfigurationErrors) else (error,)
        places = positions(self.text) if self.text else {}
        return [f"{_where(self.source, fault.path, places)}{fault}" for fault in faults]


def check(settings: Mapping[Key, Settings], services: Collection[str] | None = None) -> list[Warned]:
    """What is doubtful about the objects of a document as a whole. Raises ConfigurationErrors for what is wrong.

    *services* are the names of deployed services; without them no service is looked for.
    """
    errors: list[ConfigurationError] = []
    warnings: list[Warned] = []
    # A service is found without the dashes of its name too.
    deployed = None if services is None else {*services, *(service.replace("-", "") for service in services)}
    names: dict[str, set[str]] = {word: set() for word in KINDS}
    for kind, name in settings:
        names[kind].add(name)
    groups = names["groups"] | {g for s in settings.values() if isinstance(s, Consumer) for g in s.groups}
    for (kind, name), held in settings.items():
        for path, reference in references(held, place(kind, name)):
            if isinstance(reference, GroupName):
                if kind != "consumers" and reference != "*" and reference not in groups:
                    warnings.append(Warned(path, f"nobody is in the group '{reference}'"))
            elif isinstance(reference, ServiceName):
                if deployed is not None and reference not in deployed:
                    warnings.append(Warned(path, f"the service '{reference}' is not deployed"))
            elif reference not in names[reference.kind]:
                errors.append(_unknown(path, reference, names[reference.kind]))
        try:
            lifetime_of(held).check(place(kind, name))
        except ConfigurationError as error:
            errors.append(error)
        if isinstance(held, LimitDefinition):
            warnings += [Warned(place(kind, name), sentence) for sentence in held.compile(name).warnings]
    errors.extend(_clashing_paths(settings))
    errors.extend(_clashing_usernames(settings))
    errors.extend(_without_people(settings))
    errors.extend(_letters_that_go_nowhere(settings))
    warnings.extend(_letters_that_nobody_sends(settings))
    errors.extend(_unread_messages(settings))
    if errors:
        raise ConfigurationErrors(errors)
    return warnings


def _objects(value: Any) -> dict[Key, dict[str, Any]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError("", "a document is a map", f"begin with format: {FORMAT}")
    errors: list[ConfigurationError] = []
    objects: dict[Key, dict[str, Any]] = {}
    for key, held in value.items():
        if key == "$schema":
            continue
        if key == "format":
            if held != FORMAT or isinstance(held, bool):
                errors.append(ConfigurationError("format", f"no format called {held!r}", f"write {FORMAT}"))
        elif key not in KINDS:
            errors.append(ConfigurationError(str(key), "no such key", nearest(str(key), [*KINDS, "format"])))
        elif held is not None and not isinstance(held, Mapping):
            errors.append(ConfigurationError(key, "this is a map", "write {name: {...}}"))
        elif KINDS[key].single:
            objects[key, ""] = dict(held or {})
        else:
            for name, body in (held or {}).items():
                fault = _name_fault(name) or _body_fault(body)
                if fault:
                    errors.append(ConfigurationError(f"{key}.{name}", *fault))
                else:
                    objects[key, name] = dict(body or {})
    for (kind, name), body in objects.items():
        errors.extend(_foreign_values(body, place(kind, name), 0))
    if errors:
        raise ConfigurationErrors(errors)
    return objects


def _name_fault(name: Any) -> tuple[str, str] | None:
    if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
        return "not a name", "names have printable characters, and no blanks around them"
    if len(name) > LONGEST_NAME:
        return "a name that is too long", f"use {LONGEST_NAME} characters at most"
    return None


def _body_fault(body: Any) -> tuple[str, str] | None:
    if body is None or isinstance(body, Mapping):
        return None
    return "this is a map of settings", "write {setting: value}"


def _foreign_values(value: Any, path: str, depth: int) -> Iterator[ConfigurationError]:
    """What a document cannot hold, whoever made it: a file by way of YAML, or the admin API by way of JSON."""
    if isinstance(value, str):
        if "\0" in value or not _encodable(value):
            yield ConfigurationError(path, "a text with a character that cannot be stored", "leave it out")
    elif isinstance(value, Mapping):
        for key, held in value.items():
            # SECURITY: keys with a dollar are how stored objects mark boxes and hashes; from outside they would pass for those.
            if not isinstance(key, str) or not key or key[0] == "$" or "\0" in key or not _encodable(key):
                yield ConfigurationError(f"{path}.{key!r}", "not a key", "begin it with a letter")
            elif depth == DEEPEST:
                yield ConfigurationError(path, f"nested more than {DEEPEST} levels deep")
            else:
                yield from _foreign_values(held, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for position, held in enumerate(value):
            if depth == DEEPEST:
                yield ConfigurationError(path, f"nested more than {DEEPEST} levels deep")
                return
            yield from _foreign_values(held, f"{path}[{position}]", depth + 1)
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            yield ConfigurationError(path, "a whole number beyond 64 bits", "write it as text")
    elif isinstance(value, float):
        if not abs(value) < float("inf"):
            yield ConfigurationError(path, "not a finite number", "write a number")
    elif value is not None:
        yield ConfigurationError(path, f"a document cannot hold a {type(value).__name__}", "write it as text")


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unknown(path: str, name: Name, known: Collection[str]) -> ConfigurationError:
    remedy = nearest(name, known) if known else f"declare it under '{name.kind}'"
    return ConfigurationError(path, f"nothing under '{name.kind}' is called '{name}'", remedy)


def _clashing_paths(settings: Mapping[Key, Settings]) -> Iterator[ConfigurationError]:
    """Two channels on one path. A channel that lists no methods may have any: its service says so, and may change."""
    routes = Routes()
    for (kind, name), held in settings.items():
        path = getattr(held, "path", None)
        if kind == "channels" and path is not None and getattr(held, "enabled", True):
            methods = getattr(held, "methods", None) or ANY_METHODS
            try:
                routes.add(path, methods, name, name=name, hosts=getattr(held, "host", None) or ())
            except ConfigurationError as error:
                yield error


def _clashing_usernames(settings: Mapping[Key, Settings]) -> Iterator[ConfigurationError]:
    owners: dict[str, str] = {}
    for (kind, name), held in settings.items():
        if isinstance(held, Consumer):
            for credential in held.basics:
                other = owners.setdefault(credential.username, name)
                if other != name or credential.username in [c.username for c in held.basics if c is not credential]:
                    yield ConfigurationError(
                        f"{place(kind, name)}.basic",
                        f"the username '{credential.username}' belongs to the consumer '{other}' already",
                        "give each credential a username of its own",
                    )


def _without_people(settings: Mapping[Key, Settings]) -> Iterator[ConfigurationError]:
    """Definitions of type sso where nobody logs in, and applications that there are not."""
    people = settings.get(("sso", ""))
    known = people.apps if isinstance(people, Sso) and people.enabled else None
    for (kind, name), held in settings.items():
        # PERF: by its name: documents without people do without importing what people need, 0.1 s.
        if kind != "security" or type(held).__module__ != "gateway.authenticators.sso":
            continue
        if known is None:
            yield ConfigurationError(place(kind, name), "single sign-on is off", "write sso: {enabled: true}")
            continue
        for position, app in enumerate(getattr(held, "apps", ())):
            if app not in known:
                path = f"{place(kind, name)}.apps[{position}]"
                yield ConfigurationError(path, f"no application '{app}'", "add it to sso.apps")


def _letters_that_go_nowhere(settings: Mapping[Key, Settings]) -> Iterator[ConfigurationError]:
    """Mail of people over a connection that sends none. (One that there is not is found as any other name is.)"""
    people = settings.get(("sso", ""))
    mail = people.mail if isinstance(people, Sso) else None
    held = settings.get(("connections", mail.connection)) if mail is not None else None
    if mail is None or held is None:
        return
    word = CONNECTORS.word_of(held)
    if word and not hasattr(CONNECTORS.get(word), "connected"):
        fault = f"the connection '{mail.connection}' is of type {word}, which sends no mail"
        yield ConfigurationError(f"{place('sso', '')}.mail.connection", fault, "name a connection of type smtp")


def _letters_that_nobody_sends(settings: Mapping[Key, Settings]) -> Iterator[Warned]:
    """People who can sign up and then wait for a letter."""
    people = settings.get(("sso", ""))
    if isinstance(people, Sso) and people.enabled and people.mail is None and people.signup.email_confirmation:
        open_to = next((name for name, app in people.apps.items() if app.signup), None)
        if open_to is not None:
            said = "nobody can confirm a sign-up, for no letter is sent: write mail, or signup: {email_confirmation: false}"
            yield Warned(f"{place('sso', '')}.apps.{open_to}.signup", said)


def _unread_messages(settings: Mapping[Key, Settings]) -> Iterator[ConfigurationError]:
    """Definitions that read messages, on channels that open none: nobody would ever come in."""
    reading = {
        name for (kind, name), held in settings.items() if kind == "security" and getattr(held, "in_message", False)
    }
    for (kind, name), held in settings.items():
        choices = (
            getattr(held, "security", ()) if kind in ("channels", "docs") and not getattr(held, "opens", False) else ()
        )
        for position, choice in enumerate(choices):
            for one in choice:
                if one in reading:
                    yield ConfigurationError(
                        f"{place(kind, name)}.security[{position}]",
                        f"'{one}' is read from SOAP messages, and none come here: nobody could come in by it",
                        "name another definition, or give the channel the type soap",
                    )


def _where(source: str, path: str, places: Mapping[str, tuple[int, int]]) -> str:
    """``file:line:column: `` of the nearest part of *path* that the text has, or nothing."""
    if path.startswith(f"{source}:"):
        return ""
    while path:
        if path in places:
            return "{}:{}:{}: ".format(source, *places[path])
        shorter = re.sub(r"(\.[^.\[]*|\[\d+\])$", "", path)
        path = shorter if shorter != path else ""
    return ""
