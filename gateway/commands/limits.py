"""`gatewright limits`: how callers stand, who is refused, and what other limits would have done."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, open_installation, refusing

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration
    from gateway.quotas import Limits

app = typer.Typer(help="Explain, reset and try out limits.", no_args_is_help=True)

Channel = Annotated[str, typer.Option("--channel", help="Name of the channel that is called.")]
Consumer = Annotated[str, typer.Option("--consumer", help="Name of the consumer who calls; anonymous if left out.")]
Address = Annotated[str, typer.Option("--address", help="Address that the call comes from.")]
Security = Annotated[str, typer.Option("--security", help="Security definition that proves the caller.")]
User = Annotated[
    str, typer.Option("--user", help="The person who calls, by user name; or whom the caller is linked to.")
]
Operation = Annotated[str, typer.Option("--operation", help="Operation that is called, where the channel has several.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def explain(
    channel: Channel,
    consumer: Consumer = "",
    address: Address = "127.0.0.1",
    security: Security = "",
    operation: Operation = "",
    user: User = "",
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Every level that a call is charged to: its state, which one binds, and when that frees. Nothing is taken."""
    import time

    from gateway.limit_reports import Question, explain

    with refusing(), _limits(data, database, keys) as (configuration, limits):
        question = Question(channel, consumer, address, security, operation, user)
        answer = explain(configuration, limits, question, time.monotonic_ns())
    if as_json:
        _print_json(answer)
        return
    if "code" in answer:
        print(f"refused: {answer['code']}: {answer['detail']}")
        return
    for level in answer["levels"]:
        window = f" in {level['window_seconds']} s" if level["window_seconds"] else ""
        marks = [word for word in ("binds", "refuses") if level[word]] + (
            ["shadow"] if level["mode"] == "shadow" else []
        )
        print(
            f"{level['level']:<10} {level['policy']:<24} {level['remaining']} of {level['quota']} {level['unit']}{window}, "
            f"{level['algorithm']}, {level['storage']}; frees in {level['frees_in_seconds']} s"
            + (f"  [{', '.join(marks)}]" if marks else "")
        )
    if not answer["levels"]:
        print("no limit applies")
    elif answer["allowed"]:
        print("allowed")
    else:
        print(f"refused by {answer['binds']}: try again in {answer['retry_after']} s")


@app.command()
def reset(
    channel: Channel,
    consumer: Consumer = "",
    address: Address = "127.0.0.1",
    security: Security = "",
    operation: Operation = "",
    user: User = "",
    level: Annotated[str, typer.Option("--level", help="Only this level; every level if left out.")] = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Empty the buckets of a call, while the gateway runs or not."""
    from gateway.limit_reports import Question, charges_of
    from specs.problems import ConfigurationError, Problem

    with refusing(), _limits(data, database, keys) as (configuration, limits):
        try:
            charges = charges_of(
                configuration, limits, Question(channel, consumer, address, security, operation, user), level
            )
        except Problem as problem:
            raise ConfigurationError("", f"{problem.code}: {problem.detail}") from None
        if not charges:
            raise ConfigurationError(level, "no such limit applies to this call", "see gatewright limits explain")
        limits.stores.reset(configuration.gateway.limit_storage, charges)
    for one in charges:
        print(f"emptied: {one.level} {one.policy}")


@app.command()
def top(
    most: Annotated[int, typer.Option("--most", help="How many callers to show.")] = 20,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Who is refused most since the gateway started, on this machine."""
    from gateway.limit_reports import refused_callers

    rows = refused_callers(data / "run" / "metrics", most)
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        print(f"{row['refused']:>9}  {row['who']}\t{row['address']}\t{row['policy']}")
    if not rows:
        print("nobody was refused")


@app.command()
def replay(
    log: Annotated[
        Path, typer.Argument(metavar="ACCESS.log", help="An access log, JSON or text; - for standard input.")
    ],
    config: Annotated[Path, typer.Option("--config", help="The document whose limits are tried.")],
    as_json: AsJson = False,
) -> None:
    """What the limits of a document would have done with the requests of an access log. Nothing is applied or counted."""
    from gateway.configuration.document import Document
    from gateway.limit_reports import Replay, configuration_of

    with refusing():
        document = Document.parse(config.read_text(encoding="utf-8"), str(config))
    with refusing(document):
        replayed = Replay(configuration_of(document))
        if str(log) == "-":
            replayed.read(sys.stdin)
        else:
            with log.open("rb") as lines:
                replayed.read(lines)
    answer = {
        "requests": replayed.requests,
        "skipped": replayed.skipped,
        "refused": replayed.refused,
        "refused_then": replayed.refused_then,
        "policies": [[*key, count] for key, count in replayed.policies.most_common(50)],
        "callers": [[*key, count] for key, count in replayed.callers.most_common(20)],
    }
    if as_json:
        _print_json(answer)
        return
    share = 100 * replayed.refused / max(1, replayed.requests)
    print(
        f"{replayed.requests} requests, {replayed.refused} refused ({share:.1f} %); then it were {replayed.refused_then}"
    )
    if replayed.skipped:
        print(
            f"{replayed.skipped} lines skipped: no line of an access log, or a channel that the document does not have"
        )
    for (level, policy, verdict), count in replayed.policies.most_common(50):
        print(f"{count:>9}  {verdict} by {level} {policy}")
    for (who, channel), count in replayed.callers.most_common(20):
        print(f"{count:>9}  {who} on {channel}")


@contextmanager
def _limits(data: Path, database: str, keys: Path | None) -> Iterator[tuple[Configuration, Limits]]:
    from gateway.limit_stores import Stores, durable_store, open_store
    from gateway.quotas import Limits

    with open_installation(data, database, keys) as installation:
        stores = Stores(open_store(data), durable=lambda: durable_store(installation.database))
        try:
            yield installation.store().load(), Limits(stores)
        finally:
            stores.close()


def _print_json(value: Any) -> None:
    import orjson

    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
