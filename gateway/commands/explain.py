"""`gatewright explain`: what can be written in a document, from the declarations themselves."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.configuration.kinds import Kind
    from gateway.reference import Described
    from specs.registry import Registry


def add_to(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("explain")(explain)


def _kinds(incomplete: str) -> list[str]:
    """What KIND may be, for completion."""
    from gateway.configuration.kinds import KINDS

    return [word for word in (*KINDS, "formats", "problems", "names") if word.startswith(incomplete)]


def explain(
    kind: Annotated[
        str, typer.Argument(help="A key of the document, or formats, problems or names.", autocompletion=_kinds)
    ] = "",
    word: Annotated[str, typer.Argument(help="A type, a setting or a code of it.")] = "",
) -> None:
    """Print what can be written in a document, with a sentence on each setting."""
    from gateway.commands import refusing
    from gateway.configuration.kinds import KINDS
    from gateway.reference import FORMATS, names, problems
    from specs.problems import ConfigurationError, nearest

    with refusing():
        if not kind:
            _overview()
            return
        if kind in ("problem", "problems"):
            _print(_only(problems(), word, "problem"))
            return
        if kind in ("name", "names"):
            _print(names())
            return
        if kind in ("format", "formats"):
            _print(_only(_types(FORMATS), word, "format"))
            return
        known = {k.registry.kind: k for k in KINDS.values() if k.registry is not None}
        known |= (
            {f"{one}s": k for one, k in known.items()} | {one.removesuffix("s"): k for one, k in KINDS.items()} | KINDS
        )
        if kind not in known:
            raise ConfigurationError(
                "", f"no kind called '{kind}'", nearest(kind, [*known, "problems", "names", "formats"])
            )
        _explain_kind(known[kind], word)


def _overview() -> None:
    from gateway.configuration.kinds import KINDS

    rows = []
    for kind in KINDS.values():
        types = f"; type: {', '.join(kind.registry.words())}" if kind.registry is not None else ""
        rows.append((kind.word, kind.sentence + types))
    _print(rows)
    print()
    _print(
        [
            ("formats", "how the bytes of a body become values"),
            ("problems", "the codes that callers are told"),
            ("names", "the types that are inferred from names"),
        ]
    )


def _explain_kind(kind: Kind, word: str) -> None:
    from gateway.reference import described

    if kind.registry is not None:
        if not word:
            _print(_types(kind.registry))
            return
        found = kind.registry.get(word)
        _print_settings(described(word, found, found.Settings))
        return
    assert kind.settings is not None
    whole = list(described(kind.word, kind.settings, kind.settings))
    if word:
        rows = _only(whole[0].rows, word, "setting")
        inner = [one for one in whole[1:] if one.name.partition(", ")[2] in rows[0][1]]
        whole = [whole[0]._replace(rows=rows), *inner]
    _print_settings(whole)


def _types(registry: Registry) -> list[tuple[str, str]]:
    from gateway.reference import types_of

    return [(word, sentence) for word, _, sentence in types_of(registry)]


def _only(rows: Iterable[Sequence[str]], word: str, kind: str) -> list[Sequence[str]]:
    """The row that begins with *word*, or all of them without one. Raises ConfigurationError."""
    from specs.problems import ConfigurationError, nearest

    found = {row[0]: row for row in rows}
    if not word:
        return list(found.values())
    if word not in found:
        raise ConfigurationError("", f"no {kind} called '{word}'", nearest(word, found))
    return [found[word]]


def _print_settings(sets: Iterable[Described]) -> None:
    for position, one in enumerate(sets):
        if position:
            print(f"\n{one.name.partition(', ')[2]}:", end=" ")
        print(one.sentence, end="\n\n")
        _print(
            one.rows
            if one.rows
            else [
                (
                    "",
                    "nothing can be set",
                )
            ]
        )


def _print(rows: Iterable[Sequence[str]]) -> None:
    from gateway.reference import columns

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    print(columns(rows, width))
