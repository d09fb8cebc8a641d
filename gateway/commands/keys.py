"""`gatewright keys`: the keys that everything secret is under, and another one for all of it, while the gateway serves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, key_file, open_installation, refusing

if TYPE_CHECKING:
    from gateway.rotation import Rotation

app = typer.Typer(help="The keys that secrets are encrypted with, and how they are replaced.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Its id, as `gatewright keys list` shows it.")]
Reason = Annotated[str, typer.Option("--reason", help="Kept in the audit.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_keys(
    as_json: AsJson = False, data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None
) -> None:
    """Every key: whether it encrypts, what is under it, and which processes use it."""
    from gateway.keyrings import users_of_keys

    with _rotation(data, database, keys) as rotation:
        uses, users = rotation.uses(), users_of_keys(rotation.database)
        rows: list[dict[str, Any]] = []
        for name in rotation.keyring.names:
            ring = rotation.keyring.ring(name)
            missing = {use.key_id for use in uses if use.ring == name} - set(ring.keys)
            for key_id in [*ring.keys, *sorted(missing)]:
                used = [use for use in uses if (use.ring, use.key_id) == (name, key_id)]
                state = "missing" if key_id in missing else "active" if key_id == ring.active else "kept"
                encrypts = [user.process for user in users if user.rings.get(name, {}).get("active") == key_id]
                rows.append({"ring": name, "key": key_id, "state": state, "uses": used, "encrypts": encrypts})
    if as_json:
        _print_json([{**row, "uses": [{"what": u.what, "number": u.number} for u in row["uses"]]} for row in rows])
        return
    for row in rows:
        held = "; ".join(f"{use.number} {use.what}" for use in row["uses"]) or "nothing is under it"
        by = f"; {len(row['encrypts'])} processes encrypt with it" if row["encrypts"] else ""
        print(f"{row['ring']:<12} {row['key']:<10} {row['state']:<8} {held}{by}")


@app.command()
def add(
    ring: Annotated[str, typer.Option("--ring", help="Only for this ring, edge or connections; else for both.")] = "",
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Make a new key. It encrypts nothing before it is activated: hand the key file to every machine first."""
    with _rotation(data, database, keys) as rotation:
        for name, made in rotation.add((ring,) if ring else rotation.keyring.names, reason).items():
            print(f"{name} {made}")


@app.command()
def activate(
    key: KeyId, reason: Reason = "", data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None
) -> None:
    """Encrypt with this key from now on. Refused while a machine that serves does not know it."""
    with _rotation(data, database, keys) as rotation:
        ring = rotation.ring_of(key)
        rotation.activate(ring, key, reason)
    print(f"{ring} {key} encrypts from now on")


@app.command()
def reencrypt(
    batch: Annotated[int, typer.Option("--batch", min=1, max=10_000, help="Things to one transaction.")] = 500,
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Bring everything that is encrypted or signed under the active keys. Begin again where it was interrupted."""
    faults: tuple[str, ...] = ()
    done = 0
    with _rotation(data, database, keys) as rotation:
        for progress in rotation.reencrypt(batch, reason):
            done, faults = progress
            if sys.stderr.isatty():
                print(f"\r{done}", end="", file=sys.stderr, flush=True)
    print(f"{done} encrypted again")
    for fault in faults:
        print(f"gatewright: {fault}", file=sys.stderr)
    if faults:
        raise typer.Exit(1)


@app.command()
def retire(
    key: KeyId,
    reason: Reason = "",
    settle: Annotated[float, typer.Option("--settle", min=0.0, help="Seconds that writes in flight may take.")] = 5.0,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Forget a key for good. Refused while it is active, while a machine encrypts with it, and while anything is under it."""
    with _rotation(data, database, keys) as rotation:
        ring = rotation.ring_of(key)
        rotation.retire(ring, key, reason, settle=settle)
    print(f"{ring} {key} is retired; backups from before need the key file of their time")


@app.command()
def wrap(
    vault: Annotated[str, typer.Option("--vault", help="URL of Vault, such as https://vault:8200.")] = "",
    name: Annotated[str, typer.Option("--key", help="Name of the key in Vault's Transit engine.")] = "gatewright",
    mount: Annotated[str, typer.Option("--mount", help="Where the engine is mounted.")] = "transit",
    namespace: Annotated[str, typer.Option("--namespace", help="Vault's namespace, where there is one.")] = "",
    ca: Annotated[Path | None, typer.Option("--ca", help="File of the authorities to trust.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Write the keys as they are again, without Vault.")] = False,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Have Vault encrypt the keys in the key file, so that the file alone opens nothing; nothing else changes.

    The token is read from GATEWRIGHT_VAULT_TOKEN, or from the file that GATEWRIGHT_VAULT_TOKEN_FILE names. Without --vault the
    keys are brought under the newest version of the key that Vault has for them.
    """
    from security.transit import Transit
    from specs.problems import ConfigurationError

    if undo and vault:
        print("gatewright: --undo goes without --vault", file=sys.stderr)
        raise typer.Exit(2)
    with _rotation(data, database, keys) as rotation:
        transit = Transit(vault, name, mount, namespace, str(ca.resolve()) if ca else "") if vault else None
        if not undo and transit is None and not rotation.keyring.wrapped:
            raise ConfigurationError("keys", "the keys are not wrapped", "give Vault's URL by --vault")
        rotation.wrap(transit, undo=undo)
    print(f"{key_file(data, keys)}: {'as they are' if undo else 'wrapped by Vault'}")


@contextmanager
def _rotation(data: Path, database: str, keys: Path | None) -> Iterator[Rotation]:
    """The keys of the installation. What is refused ends the program with 1."""
    import secrets

    from gateway.preparation import deployments_of
    from gateway.rotation import Rotation

    with refusing(), open_installation(data, database, keys) as installation:
        deployments = deployments_of(installation.database, installation.keyring)
        yield Rotation(installation.database, installation.keyring, deployments, randomness=secrets.token_bytes)


def _print_json(value: Any) -> None:
    import orjson

    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
