"""`gatewright explain`: what can be written in a document, from the declarations themselves."""

from __future__ import annotations

from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("explain")(explain)


def explain(
    kind: Annotated[str, typer.Argument(metavar="[KIND]", help="channel, connector, authenticator, limits ...")] = "",
    word: Annotated[str, typer.Argument(metavar="[WORD]", help="A type of that kind.")] = "",
) -> None:
    """Print the settings of an object of the document, with a sentence on each."""
    from gateway.commands import refusing
    from gateway.configuration.kinds import KINDS
    from specs.problems import ConfigurationError, nearest
    from specs.settings import Settings, describe

    registries = {k.registry.kind: k for k in KINDS.values() if k.registry is not None}
    with refusing():
        if not kind:
            for each in KINDS.values():
                print(f"{each.word:14} {each.sentence}")
            for name, each in registries.items():
                assert each.registry is not None
                print(f"{name:14} a type of {each.word}: {', '.join(each.registry.words())}")
            return
        found = registries.get(kind) or KINDS.get(kind) or KINDS.get(f"{kind}s")
        if found is None:
            raise ConfigurationError("", f"no kind called '{kind}'", nearest(kind, [*KINDS, *registries]))
        settings: type[Settings]
        if found.registry is not None:
            if not word:
                for known in found.registry.words():
                    print(f"{known:14} {(found.registry.get(known).__doc__ or '').partition(chr(10))[0]}")
                return
            described = found.registry.get(word)
            settings = described.Settings
        else:
            assert found.settings is not None
            described = settings = found.settings
        print((described.__doc__ or "").partition("\n\n")[0], end="\n\n")
        for key, type_, default, sentence in describe(settings):
            print(f"{key:18} {type_:34} {default:16} {sentence}")
