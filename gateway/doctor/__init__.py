"""What is right and wrong with a set-up, before it serves or while it does; and what to mend.

`examine` runs `CHECKS`, each a function that yields findings. Nothing is changed: an installation that is not there yet is not
made, an older database is not migrated. The code of --services is run, as the gateway would.
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy.exc import DBAPIError

from gateway.doctor import installation, machine
from gateway.doctor.findings import OK, WARNING, WRONG, Finding, Found, Patient
from gateway.listening import short_name
from gateway.options import Options
from specs.problems import BackendError, ConfigurationError, ConfigurationErrors

__all__ = ["CHECKS", "OK", "WARNING", "WRONG", "Finding", "examine", "status_of"]

#: What is looked at, in the order in which one thing rests on another.
CHECKS: dict[str, Callable[[Patient], Found]] = {
    "python": machine.python,
    "gateway": installation.gateway,
    "open files": machine.open_files,
    "data folder": machine.data_folder,
    "keyring": installation.keyring,
    "database": installation.database,
    "limits": installation.limits,
    "heartbeats": machine.heartbeats,
    "services": installation.services,
    "configuration": installation.document,
    "keys": installation.keys,
    "libraries": installation.libraries,
    "mail": installation.mail,
    "listeners": machine.places,
    "certificate": machine.certificate,
}


def examine(options: Options, now: datetime | None = None) -> Iterator[Finding]:
    """Every finding on what `gatewright run` with *options* would meet, as the checks come to it."""
    patient = Patient(options, now or datetime.now(UTC), status_of(options.data))
    try:
        for subject, check in CHECKS.items():
            try:
                for grade, sentence, *remedy in check(patient):
                    yield Finding(grade, subject, sentence, *remedy)
            except ConfigurationError as error:
                for one in error.errors if isinstance(error, ConfigurationErrors) else (error,):
                    yield Finding(WRONG, subject, str(one).replace("\n", " "))
            except ModuleNotFoundError as error:
                yield Finding(WRONG, subject, *installation.missing(error))
            except (OSError, BackendError) as error:
                yield Finding(WRONG, subject, str(error))
            except (DBAPIError, sqlite3.Error) as error:
                yield Finding(WRONG, subject, str(getattr(error, "orig", error)), "restore a backup")
    finally:
        if patient.database is not None:
            patient.database.close()


def status_of(data: Path) -> dict[str, Any] | None:
    """What the gateway that runs on the folder *data* says of itself; None where none answers."""
    path = data / "control.sock"
    if not path.is_socket():
        return None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, short_name(str(path)) as name:
            connection.settimeout(5.0)
            connection.connect(name)
            connection.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        status = orjson.loads(answer.partition(b"\r\n\r\n")[2])
    except (OSError, ValueError):
        return None
    return status if isinstance(status, dict) else None
