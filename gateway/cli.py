"""The program `gatewright`: its verbs, each a function in `gateway.commands`.

What a verb needs is imported when it runs, so that completion, which starts the program at each press of Tab, stays quick.
"""

from __future__ import annotations

import os
import sys

#: Set by the scripts of `gatewright completion`: the words that a shell wants completed (`gateway.completion`).
COMPLETING = "_GATEWRIGHT_COMPLETE"
#: The verbs that serve: gevent has to patch before anything else is imported.
SERVING = ("run", "demo")

if len(sys.argv) > 1 and sys.argv[1] in SERVING and "--help" not in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import typer  # noqa: E402

from gateway.commands import (  # noqa: E402
    administration,
    completion,
    config,
    connection,
    docs,
    explain,
    keys,
    limits,
    service,
    serving,
    sso,
)
from specs.problems import ConfigurationError, Problem  # noqa: E402

app = typer.Typer(
    name="gatewright",
    help="An API gateway with single sign-on, rate limiting and spec generation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,  # `gatewright completion` installs it, where each shell looks for it
)
app.add_typer(config.app, name="config")
app.add_typer(service.app, name="service")
app.add_typer(connection.app, name="connection")
app.add_typer(limits.app, name="limits")
app.add_typer(administration.admin, name="admin")
app.add_typer(keys.app, name="keys")
app.add_typer(sso.app, name="sso")
app.add_typer(docs.app, name="docs")
app.add_typer(completion.app, name="completion")
serving.add_to(app)
administration.add_to(app)
explain.add_to(app)


def main() -> None:
    """Run the verb that the command line names. Exit codes: 0 done, 1 refused or failed, 2 usage."""
    try:
        if COMPLETING in os.environ:
            from gateway.completion import answer

            sys.stdout.write(answer(app, os.environ[COMPLETING]))
        else:
            app(prog_name="gatewright")
    except (ConfigurationError, Problem) as error:
        for line in str(error).splitlines():
            print(f"gatewright: {line}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
