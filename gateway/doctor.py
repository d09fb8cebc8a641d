"""What is right and wrong with a set-up, before it serves or while it does; and what to mend.

`examine` runs `CHECKS`, each a function that yields findings. Nothing is changed: an installation that is not there yet is not
made, an older database is not migrated. The code of --services is run, as the gateway would.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from cryptography import x509
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from backends.connectors.sql import DRIVERS
from gateway.built_in import sso_of
from gateway.certificates import Certificates
from gateway.commands import key_file
from gateway.configuration.document import Document
from gateway.configuration.kinds import CONNECTORS
from gateway.configuration.preparation import prepare
from gateway.configuration.sealing import Sealer
from gateway.configuration.store import Store
from gateway.limit_stores import FILE_NAME as LIMITS_FILE
from gateway.listening import bind, short_name
from gateway.migrations import HEAD, migrate, schema_version
from gateway.options import Endpoint, Options
from gateway.rotation import uses_of_keys
from gateway.version import version
from security.database import FILE_NAME, Database, open_database
from security.limits.shm import DEFAULT_SLOTS, HEADER_BYTES, SLOT_BYTES
from security.references import References
from security.secrets import Keyring
from specs.contract import Contract
from specs.problems import BackendError, ConfigurationError, ConfigurationErrors
from sso.letters import Outbox

if TYPE_CHECKING:
    from backends.deployment import Deployments

OK, WARNING, WRONG = "ok", "warning", "wrong"
OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 35)  # `returning` and `vacuum into` in one
LITTLE_ROOM, TOO_LITTLE_ROOM = 1 << 30, 64 << 20
SOON = timedelta(days=21)
#: Filesystems on which neither SQLite's shared memory nor our locks hold.
REMOTE_FILESYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "fuse.sshfs", "fuse.glusterfs", "afs")
#: What a worker needs beside two descriptors a connection: its caller and a system behind it.
OTHER_DESCRIPTORS = 100
#: The extras of the distribution that bring libraries of another name.
EXTRAS = {"psycopg": "postgresql"}


class Finding(NamedTuple):
    """What one check found: *grade* is ``ok``, ``warning`` or ``wrong``; *remedy* says what to do about the last two."""

    grade: str
    subject: str
    sentence: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.grade:8} {self.subject:14} {self.sentence}" + (f": {self.remedy}" if self.remedy else "")


@dataclass
class Patient:
    """What is examined. *status* is what the gateway that runs on the folder says of itself, None where none answers."""

    options: Options
    now: datetime
    status: dict[str, Any] | None = None
    #: Found by some checks, for those after them.
    database: Database | None = None
    keyring: Keyring | None = None
    services: dict[str, Contract] = field(default_factory=dict)
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        """Whether the database is the one in the data folder."""
        return not self.options.database


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
                yield Finding(WRONG, subject, *missing(error))
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


Found = Iterator[tuple[str, str] | tuple[str, str, str]]


def python(patient: Patient) -> Found:
    """The interpreter and the system."""
    found = sys.version_info
    said = f"{found.major}.{found.minor}.{found.micro} on {sys.platform}"
    if found[:2] < OLDEST_PYTHON:
        yield WRONG, said, f"install Python {'.'.join(map(str, OLDEST_PYTHON))} or newer"
    elif sys.platform != "linux" or sys.maxsize < 2**32:
        yield WRONG, said, "the gateway runs on 64-bit Linux"
    elif sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield WRONG, f"SQLite {sqlite3.sqlite_version}", f"install {'.'.join(map(str, OLDEST_SQLITE))} or newer"
    else:
        yield OK, f"{said}, SQLite {sqlite3.sqlite_version}"


def gateway(patient: Patient) -> Found:
    """The gateway that runs on this folder, where one does."""
    status = patient.status
    if status is None:
        yield OK, "none runs on this data folder"
        return
    workers = status.get("workers", [])
    serving = sum(bool(worker.get("serving")) for worker in workers)
    said = (
        f"version {status.get('version')}, revision {status.get('revision')}, {serving} of {len(workers)} workers serve"
    )
    if not serving:
        yield WRONG, said, "look into its log"
    elif status.get("version") != version():
        yield WARNING, said, f"restart it: this program is version {version()}"
    else:
        yield OK, said
    for worker in workers[:1]:
        for fault in worker.get("faults") or ():
            yield WRONG, str(fault), "mend it and apply the document again"
        for name, reason in (worker.get("not_deployed") or {}).items():
            yield WRONG, f"the service set '{name}' is not deployed", str(reason)


def open_files(patient: Patient) -> Found:
    """How many files and sockets a process may hold."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * patient.options.connections + OTHER_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        yield OK, f"{soft} a process"
    else:
        enough = hard == resource.RLIM_INFINITY or hard >= needed
        remedy = f"ulimit -n {needed}" if enough else f"raise the hard limit, such as LimitNOFILE={needed} in its unit"
        yield WARNING, f"{soft} a process, {patient.options.connections} connections may need {needed}", remedy


def data_folder(patient: Patient) -> Found:
    """The folder of the installation: whose it is, who may look in, what room there is, what it lies on."""
    data = patient.options.data
    there = data
    while not there.exists():
        there = there.parent
    if there.exists() and not there.is_dir():
        yield WRONG, f"{there} is a file", "give a folder by --data"
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield (
            WRONG,
            f"{there} cannot be written to by user {os.geteuid()}",
            f"chown it, or run as user {there.stat().st_uid}",
        )
        return
    kind = filesystem_of(there)
    if kind in REMOTE_FILESYSTEMS:
        yield (
            WRONG,
            f"{data} lies on a network filesystem ({kind})",
            "use a local disk, or --database postgresql+psycopg://",
        )
    free = shutil.disk_usage(there).free
    if free < LITTLE_ROOM:
        grade = WRONG if free < TOO_LITTLE_ROOM else WARNING
        yield grade, f"{free >> 20} MiB are free where {data} is", "free some"
    if data != there:
        yield OK, f"{data} will be made"
        return
    mode = data.stat().st_mode & 0o777
    if mode & 0o077:
        yield WARNING, f"{data} is open to other users ({mode:o})", f"chmod 700 {data}"
    else:
        yield OK, f"{data}, {free >> 30} GiB free"


def keyring(patient: Patient) -> Found:
    """The keys that secrets are encrypted with."""
    path = key_file(patient.options.data, patient.options.keys)
    if path.exists() or patient.options.keys is not None:
        patient.keyring = Keyring.open(path)
        yield OK, str(path)
    elif patient.embedded and not (patient.options.data / FILE_NAME).exists():
        yield OK, f"{path} will be made"
    else:
        yield WRONG, f"{path} is not there, and the database has secrets under it", "bring it back from a backup"


def database(patient: Patient) -> Found:
    """The database: whether it opens, is whole, and has this program's schema."""
    path = patient.options.data / FILE_NAME
    if patient.embedded:
        if not path.exists():
            yield OK, f"{path} will be made"
            return
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            yield WARNING, f"{path} is open to other users ({mode:o})", f"chmod 600 {path}"
    opened = patient.database = open_database(patient.options.database or patient.options.data)
    if opened.dialect == "sqlite":
        found = opened.read(lambda connection: connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        if found != "ok":
            yield WRONG, f"it is damaged ({found})", "restore a backup"
            return
    schema = schema_version(opened)
    said = str(path) if patient.embedded else opened.url.render_as_string(hide_password=True)
    if not schema:
        yield OK, f"{said} is empty and will be filled"
    elif schema > HEAD:
        yield WRONG, f"its schema is {schema}, and this program knows {HEAD}", "use a newer program"
    elif schema < HEAD:
        yield WARNING, f"its schema is {schema}", f"`gatewright run` brings it to {HEAD}; make a backup first"
    else:
        yield OK, f"{said}, schema {schema}"


def limits(patient: Patient) -> Found:
    """The table of the limits' counters, one file that every worker maps."""
    path = patient.options.data / LIMITS_FILE
    size = DEFAULT_SLOTS * SLOT_BYTES + HEADER_BYTES
    if path.exists():
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            yield WARNING, f"{path} is open to other users ({mode:o})", f"chmod 600 {path}"
        else:
            yield OK, f"{path}, {path.stat().st_size >> 20} MiB"
        return
    there = patient.options.data
    while not there.exists():
        there = there.parent
    if shutil.disk_usage(there).free < size:
        yield WRONG, f"there is no room for {path}, {size >> 20} MiB", "free some"
    else:
        yield OK, f"{path} will be made, {size >> 20} MiB"


def heartbeats(patient: Patient) -> Found:
    """Where workers tell the master that they live: in memory, or a slow disk makes them seem dead."""
    memory = "/dev/shm"  # noqa: S108 - only asked whether it is there
    if os.access(memory, os.W_OK):
        yield OK, memory
    else:
        yield WARNING, f"{memory} cannot be written to", "mount it: on a slow disk workers seem dead and are killed"


def services(patient: Patient) -> Found:
    """The service files: whether each can be deployed."""
    from backends import builtins
    from backends.catalogue import deployed_from
    from backends.deployment import Deployments
    from backends.folder import Folder

    def names(database: Database, keyring: Keyring) -> Deployments:
        return Deployments(database, keyring.ring("edge"), builtin=deployed_from(builtins))

    folder = patient.options.services
    patient.services |= {one.contract.service: one.contract for one in deployed_from(builtins)}
    if patient.database is not None and patient.keyring is not None and schema_version(patient.database) == HEAD:
        patient.services |= names(patient.database, patient.keyring).contracts()
    if folder is not None:
        # What the folder would lead to is tried on an installation that is thrown away.
        with TemporaryDirectory(prefix="gatewright-doctor-") as temporary:
            ring = Keyring.generate()
            with closing(open_database(temporary)) as trial:
                migrate(trial)
                deployments = names(trial, ring)
                scan = Folder(folder, trial, deployments).scan()
                found = deployments.contracts()
        patient.services |= found
        for error in scan.errors:
            yield WRONG, f"{folder}: {error}", "what was deployed before it goes on"
        if scan.taken or not scan.errors:
            yield OK, f"{folder}: {len(scan.taken)} files"
    yield OK, f"{len(patient.services)} known, those built in among them"


def document(patient: Patient) -> Found:
    """The document of --config, or the configuration that was applied."""
    store = None
    if patient.database is not None and patient.keyring is not None and schema_version(patient.database) == HEAD:
        store = Store(patient.database, patient.keyring)
    path = patient.options.config
    if path is not None:
        try:
            found = Document.parse(path.read_text("utf-8"), str(path))
        except UnicodeDecodeError as error:
            yield WRONG, f"{path} is not UTF-8 text, at byte {error.start}"
            return
        patient.connections = {name: body for (kind, name), body in found.objects.items() if kind == "connections"}
        references = References(path.resolve().parent)
        try:
            if store is not None:
                warnings = store.check(found, references=references, services=patient.services).warnings
            else:
                sealer = Sealer(Keyring.generate(), str, str)
                warnings = prepare(found, sealer, references, stored={}, services=patient.services).warnings
        except ConfigurationError as error:
            for line in found.describe(error):
                yield WRONG, line
            return
        for warning in warnings:
            yield WARNING, str(warning)
        yield OK, f"{path}: {len(found.objects)} objects"
    if store is not None:
        configuration = store.load()
        patient.connections = {**store.document().get("connections", {}), **patient.connections}
        for key, fault in configuration.faults.items():
            yield WRONG, f"{'.'.join(part for part in key if part)} cannot be read: {fault.message}", fault.remedy
        yield OK, f"revision {configuration.revision}: {len(configuration.objects)} objects"


def keys(patient: Patient) -> Found:
    """Whether the keyring has every key that something in the database is under."""
    if patient.database is None or patient.keyring is None or schema_version(patient.database) != HEAD:
        yield OK, "nothing to compare with"
        return
    missing_keys: dict[tuple[str, str], list[str]] = {}
    uses = uses_of_keys(patient.database, patient.keyring)
    for use in uses:
        if use.ring in patient.keyring.names and use.key_id not in patient.keyring.ring(use.ring).keys:
            missing_keys.setdefault((use.ring, use.key_id), []).append(str(use))
    for (ring, key_id), held in missing_keys.items():
        yield (
            WRONG,
            f"the ring '{ring}' has no key '{key_id}', and under it are {'; '.join(held)}",
            "bring back the key file of that time, or enter these again",
        )
    if not missing_keys:
        yield OK, f"{len({(use.ring, use.key_id) for use in uses})} in use, all of them are there"


def mail(patient: Patient) -> Found:
    """Whether people can be written to."""
    if patient.database is None or patient.keyring is None or schema_version(patient.database) != HEAD:
        yield OK, "nothing to send"
        return
    configuration = Store(patient.database, patient.keyring).load()
    people = sso_of(configuration)
    if people is None:
        yield OK, "single sign-on is off"
        return
    outbox = Outbox(patient.keyring.ring("edge"), lambda: patient.now, bytes)
    waiting, given_up = patient.database.read(outbox.counts)
    if given_up:
        yield WARNING, f"{given_up} letters were given up", "see gatewright sso mail list --given-up"
    settings = people.settings.mail
    connection = configuration.find("connections", settings.connection) if settings is not None else None
    if settings is None or connection is None:
        yield WARNING, f"nobody can be written to, and {waiting} letters wait", "name a connection in sso.mail"
        return
    try:
        CONNECTORS.get(connection.type)(connection.name, connection.settings).ping()
    except BackendError as error:
        yield WRONG, f"{error}; {waiting} letters wait", "mend the connection, or the server"
    else:
        yield OK, f"'{connection.name}' takes mail; {waiting} letters wait"


def libraries(patient: Patient) -> Found:
    """The libraries that the types of connections need."""
    for name, body in patient.connections.items():
        try:
            CONNECTORS.get(str(body.get("type")))
            scheme = str(body.get("url", "")).partition("://")[0]
            if body.get("type") == "sql" and scheme in DRIVERS:
                make_url(f"{DRIVERS[scheme]}://").get_dialect().import_dbapi()
        except ConfigurationError as error:
            yield WRONG, f"{name}: {error.message}", error.remedy
        except ModuleNotFoundError as error:
            sentence, remedy = missing(error)
            yield WRONG, f"{name}: {sentence}", remedy
    yield OK, f"{len(patient.connections)} connections"


def places(patient: Patient) -> Found:
    """The places to listen at: free, or held by the gateway that runs here."""
    options = patient.options
    asked = [("listen", place) for place in options.listen] + [("admin", options.admin)]
    asked += [("health", options.health)] if options.health else []
    for option, place in asked:
        endpoint = Endpoint.parse(place, option)
        if option == "admin" and not endpoint.path and not is_loopback(endpoint.host):
            yield (
                WARNING,
                f"the admin listener at {endpoint} is reached from other machines",
                "use 127.0.0.1 and a tunnel",
            )
        if endpoint.path and patient.status is not None and Path(endpoint.path).is_socket():
            yield OK, f"{option} {endpoint} is in use, and a gateway runs on this data folder"
            continue
        if endpoint.path:
            folder = Path(endpoint.path).parent
            usable = os.access(folder, os.W_OK | os.X_OK)
            yield (
                (OK, f"{option} {endpoint}") if usable else (WRONG, f"{folder} cannot be written to", f"make {folder}")
            )
            continue
        try:
            bind(endpoint, option, backlog=1).close()
        except ConfigurationError as error:
            if error.remedy == "address already in use" and patient.status is not None:
                yield OK, f"{option} {endpoint} is in use, and a gateway runs on this data folder"
            elif error.remedy == "address already in use":
                yield WRONG, f"{option} {endpoint} is in use by another program", "stop that, or choose another port"
            elif error.remedy == "permission denied":
                yield WRONG, f"user {os.geteuid()} may not listen at {endpoint}", "choose a port above 1023, or setcap"
            else:
                yield WRONG, f"{option}: {error.message}", error.remedy
        else:
            yield OK, f"{option} {endpoint} is free"


def certificate(patient: Patient) -> Found:
    """The certificate of the public listeners and its key."""
    paths = (patient.options.tls_cert, patient.options.tls_key)
    if paths == (None, None):
        yield OK, "none: the public listeners speak plain HTTP"
        return
    chain, key = paths
    if chain is None or key is None:
        yield WRONG, "a certificate and its key go together", "give --tls-cert and --tls-key"
        return
    Certificates(chain, key)
    if key.stat().st_mode & 0o077:
        yield WARNING, f"{key} is open to other users", f"chmod 600 {key}"
    first = x509.load_pem_x509_certificates(chain.read_bytes())[0]
    until, since = first.not_valid_after_utc, first.not_valid_before_utc
    if until <= patient.now:
        yield WRONG, f"{chain} has been invalid since {until:%Y-%m-%d}", "renew it"
    elif since > patient.now:
        yield WRONG, f"{chain} is not valid before {since:%Y-%m-%d %H:%M} UTC", "look at the clock of this machine"
    elif until - patient.now < SOON:
        yield WARNING, f"{chain} is valid until {until:%Y-%m-%d} only", "renew it; the new one is taken up by itself"
    else:
        yield OK, f"{chain}, valid until {until:%Y-%m-%d}"


#: What is looked at, in the order in which one thing rests on another.
CHECKS: dict[str, Callable[[Patient], Found]] = {
    "python": python,
    "gateway": gateway,
    "open files": open_files,
    "data folder": data_folder,
    "keyring": keyring,
    "database": database,
    "limits": limits,
    "heartbeats": heartbeats,
    "services": services,
    "configuration": document,
    "keys": keys,
    "libraries": libraries,
    "mail": mail,
    "listeners": places,
    "certificate": certificate,
}


def missing(error: ModuleNotFoundError) -> tuple[str, str]:
    """A library that is not installed, and how to install it."""
    return (
        f"the library '{error.name}' is not installed",
        f"pip install 'gatewright[{EXTRAS.get(str(error.name), error.name)}]'",
    )


def filesystem_of(path: Path) -> str:
    """The kind of filesystem that *path* lies on, as Linux names it; empty where it does not say."""
    path = path.resolve()
    best, kind = -1, ""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        words, _, more = line.partition(" - ")
        mount = Path(words.split()[4].replace("\\040", " "))
        if path.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), more.split()[0]
    return kind


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches *host*."""
    return host in ("localhost", "::1") or host.startswith("127.")
