"""What the Tab key is offered: the verbs, options and values that may come next on a command line.

The scripts of `gatewright completion` start the program with the words so far in the environment variable `VARIABLE`, one a
line, the last one being the one that is typed; the answer is one offer a line, with a sentence after a tab. No offer means
that a file may come.

# PERF: a press of Tab takes 0.3 s. Typer's own way reads the line as if it were to run it and takes 0.5 s, most of it for
# importing what checks values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import typer
import typer.main

#: WHY: a variable, and no arguments: a program that does not know it prints its help, and runs nothing.
VARIABLE = "_GATEWRIGHT_COMPLETE"


class Offer(NamedTuple):
    """A word that may come, and a sentence on it."""

    word: str
    sentence: str = ""

    def __str__(self) -> str:
        return f"{self.word}\t{' '.join(self.sentence.split())}" if self.sentence else self.word


def answer(program: typer.Typer, line: str) -> str:
    """What the program prints for *line*, the value of `VARIABLE`."""
    return "".join(f"{offer}\n" for offer in offers(typer.main.get_command(program), line.split("\n")[1:]))


def offers(command: Any, words: Sequence[str]) -> list[Offer]:
    """What may come in place of the last of *words*, which follow the name of the program *command*; it begins as that one does."""
    *before, typed = words or [""]
    arguments = 0
    pending: Any = None  # the option whose value comes next
    only_arguments = False
    for word in before:
        if word == "=" and pending is not None:  # bash splits --data=var in three
            continue
        if pending is not None:
            pending = None
        elif word == "--" and not only_arguments:
            only_arguments = True
        elif word.startswith("-") and word != "-" and not only_arguments:
            name, equals, _ = word.partition("=")
            pending = None if equals else _valued(command, name)
        elif word in _commands(command) and not arguments:
            command = _commands(command)[word]
        else:
            arguments += 1
    if pending is not None:
        found = _values(command, pending, "" if typed == "=" else typed)
    elif typed.startswith("-") and not only_arguments:
        found = _options(command)
    elif _commands(command):
        found = _verbs(command) if not arguments else iter(())
    else:
        found = _argument(command, arguments, typed)
    return [offer for offer in found if offer.word.startswith(typed)]


def _commands(command: Any) -> dict[str, Any]:
    return {name: below for name, below in getattr(command, "commands", {}).items() if not below.hidden}


def _verbs(command: Any) -> Iterator[Offer]:
    for name, below in _commands(command).items():
        yield Offer(name, below.get_short_help_str(200))


def _parameters(command: Any, kind: str) -> list[Any]:
    return [one for one in command.get_params(typer.Context(command)) if one.param_type_name == kind]


def _options(command: Any) -> Iterator[Offer]:
    for option in _parameters(command, "option"):
        if not option.hidden:
            for spelling in (*option.opts, *option.secondary_opts):
                yield Offer(spelling, option.help or "")


def _valued(command: Any, name: str) -> Any:
    """The option called *name*, if a value follows it."""
    for option in _parameters(command, "option"):
        if name in option.opts and not option.is_flag and not option.count:
            return option
    return None


def _argument(command: Any, position: int, typed: str) -> Iterator[Offer]:
    taken = _parameters(command, "argument")
    if position < len(taken):
        yield from _values(command, taken[position], typed)


def _values(command: Any, parameter: Any, typed: str) -> Iterator[Offer]:
    for item in parameter.shell_complete(typer.Context(command), typed):
        if item.type == "plain":
            yield Offer(str(item.value), item.help or "")
