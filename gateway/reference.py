"""The reference of this version, made from the declarations themselves: settings, commands, problems, inference by name.

`pages` says it in Markdown, `export` writes it as a small site. `gatewright explain` prints parts of it on a terminal; the room
of both is here, so that neither knows more than the other.
"""

from __future__ import annotations

import textwrap
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway.configuration.kinds import KINDS, Kind
from gateway.version import version
from specs import inference
from specs.problems import CODES, TYPE_PREFIX, TYPES, ConfigurationError
from specs.registry import Registry
from specs.settings import Settings, describe

if typing.TYPE_CHECKING:
    import typer

FORMATS = Registry("format", "specs.formats", "Format")
SCHEMA_FILE = "gatewright.schema.json"
Rows = Sequence[Sequence[str]]


class Page(NamedTuple):
    """One page: the *name* of its file without an ending, and its *text* in Markdown, whose first line is its title."""

    name: str
    text: str

    @property
    def title(self) -> str:
        """Its first line."""
        return self.text.partition("\n")[0].lstrip("# ")


class Described(NamedTuple):
    """A set of settings as readers are told of it: a name, a sentence, and ``(key, type, default, sentence)`` for each."""

    name: str
    sentence: str
    rows: Rows


def first_line(declared: Any) -> str:
    """The sentence that a declaration's docstring begins with."""
    return (declared.__doc__ or "").strip().partition("\n")[0]


def types_of(registry: Registry) -> Iterator[tuple[str, type[Any] | None, str]]:
    """Each word of *registry*, its class and its sentence; no class, and the remedy, where its library is missing."""
    for word in registry.words():
        try:
            found = registry.get(word)
        except ConfigurationError as error:
            yield word, None, f"{error.message}: {error.remedy}"
        else:
            yield word, found, first_line(found)


def described(name: str, declared: Any, settings: type[Settings]) -> Iterator[Described]:
    """The settings of *declared* and, after them, every set of settings that is written within them."""
    yield Described(name, first_line(declared), list(describe(settings)))
    for inner in _inner(settings, {settings}):
        yield Described(f"{name}, {_words(inner)}", first_line(inner), list(describe(inner)))


def problems() -> list[tuple[str, str, str, str]]:
    """The published problems: code, status, title, type."""
    return [(code, str(status), title, TYPES.get(code, TYPE_PREFIX + code)) for code, (status, title) in CODES.items()]


def names() -> list[tuple[str, str, str]]:
    """What is inferred from names: where it stands, the words, the type."""
    return list(inference.table())


def columns(rows: Iterable[Sequence[str]], width: int = 0) -> str:
    """*rows* one below the other, each column as wide as it has to be; the last one wrapped to *width*, unless that is 0."""
    rows = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)] if rows else []
    lines = []
    for row in rows:
        begin = "".join(f"{cell:{w}}  " for cell, w in zip(row, widths, strict=False))
        room = width - len(begin)
        last = textwrap.wrap(row[-1], room) if room >= 20 else [row[-1]]
        lines += [(begin + part).rstrip() if not i else " " * len(begin) + part for i, part in enumerate(last or [""])]
    return "\n".join(lines)


def pages(program: typer.Typer) -> list[Page]:
    """The reference. *program* is the command line."""
    return [_settings_page(), _commands_page(program), _problems_page(), _names_page()]


def export(written: Sequence[Page], folder: Path) -> Iterator[Path]:
    """Write pages as HTML into *folder*, with an index and the JSON Schema of the document; the files as they are written."""
    import jinja2
    import orjson
    from markdown_it import MarkdownIt

    from gateway.configuration.schema import schema

    folder.mkdir(parents=True, exist_ok=True)
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("reference.html")
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    items = "".join(f"- [{page.title}]({page.name}.html)\n" for page in written)
    index = Page("index", f"# Gatewright {version()}\n\n{items}- [JSON Schema of the document]({SCHEMA_FILE})\n")
    for page in (index, *written):
        body = _anchored(markdown.render(page.text))
        path = folder / f"{page.name}.html"
        path.write_text(template.render(page=page, pages=written, body=body, version=version()), "utf-8")
        yield path
    path = folder / SCHEMA_FILE
    path.write_bytes(orjson.dumps(schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    yield path


def _settings_page() -> Page:
    text = "# Settings\n\nEvery key of the configuration document, in the order in which it is written.\n"
    for kind in KINDS.values():
        text += f"\n## {kind.word}\n\n{_sentence(kind)}\n"
        for found in _sets(kind):
            text += f"\n### {found.name}\n\n{found.sentence}\n\n" if found.name != kind.word else "\n"
            text += _table(("setting", "what it takes", "default", "what it says"), _coded(found.rows, 0, 2))
    return Page("settings", text)


def _sets(kind: Kind) -> Iterator[Described]:
    if kind.registry is None:
        assert kind.settings is not None
        yield from described(kind.word, kind.settings, kind.settings)
        return
    for word, found, sentence in types_of(kind.registry):
        name = f"{kind.word}: {word}"
        if found is None:
            yield Described(name, sentence, [])
        else:
            yield from described(name, found, found.Settings)


def _sentence(kind: Kind) -> str:
    words = kind.sentence[0].upper() + kind.sentence[1:]
    if kind.single:
        return f"{words}."
    return f"{words}: a map by name." + (" The key `type` says which." if kind.registry is not None else "")


def _commands_page(program: typer.Typer) -> Page:
    import typer.main

    text = "# Commands\n\nExit codes: 0 done; 1 refused or failed; 2 usage.\n"
    return Page("commands", text + "".join(_command(typer.main.get_command(program), "gatewright", None)))


def _command(command: Any, name: str, parent: Any) -> Iterator[str]:
    import typer

    context = typer.Context(command, info_name=name, parent=parent)
    usage = command.get_usage(context).removeprefix("Usage: ")
    yield f"\n## {context.command_path}\n\n{command.help or ''}\n\n    {usage}\n\n"
    parameters = (parameter.get_help_record(context) for parameter in command.get_params(context))
    rows = [record for record in parameters if record is not None and record[0] != "--help"]
    yield _table(("option", "what it says"), _coded(rows, 0))
    for below, one in sorted(getattr(command, "commands", {}).items()):
        yield from _command(one, below, context)


def _problems_page() -> Page:
    rows = _coded(problems(), 0, 3)
    text = "# Problems\n\nWhat callers are told, as RFC 9457 writes it. A code is never used for something else.\n\n"
    return Page("problems", text + _table(("code", "status", "title", "type"), rows))


def _names_page() -> Page:
    rows = [(kind, " ".join(f"`{word}`" for word in words.split()), f"`{type_}`") for kind, words, type_ in names()]
    text = (
        "# Types inferred from names\n\nA bare name in `input` or `output` has the type that its name tells; an explicit "
        "element always wins. The first row that fits decides.\n\n"
    )
    return Page("names", text + _table(("where", "words", "type"), rows))


def _table(head: Sequence[str], rows: Rows) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *([" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _coded(rows: Rows, *at: int) -> Rows:
    return [[f"`{cell}`" if i in at and cell else cell for i, cell in enumerate(row)] for row in rows]


def _anchored(html: str) -> str:
    """Headings that can be linked to: ``settings.html#channels-rest``."""
    parts = html.split("<h")
    for i, part in enumerate(parts[1:], 1):
        level, _, rest = part.partition(">")
        heading = rest.partition("</h")[0]
        anchor = "-".join("".join(c if c.isalnum() or c == "_" else " " for c in heading.lower()).split())
        parts[i] = f'{level} id="{anchor}">{rest}' if level in "123" else part
    return "<h".join(parts)


def _inner(settings: type[Settings], seen: set[type[Settings]]) -> Iterator[type[Settings]]:
    for kind in settings.types().values():
        for found in _settings_in(kind):
            if found not in seen:
                seen.add(found)
                yield found
                yield from _inner(found, seen)


def _settings_in(kind: Any) -> Iterator[type[Settings]]:
    if isinstance(kind, type) and issubclass(kind, Settings):
        yield kind
    for argument in typing.get_args(kind):
        yield from _settings_in(argument)


def _words(kind: type[Any]) -> str:
    name = kind.__name__
    return "".join(f" {c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
