"""What is installed: the gateway that runs, its keys and database, services, configuration, mail and libraries."""

from __future__ import annotations

import shutil
from contextlib import closing
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from backends.connectors.sql import DRIVERS
from gateway.built_in import sso_of
from gateway.commands import key_file
from gateway.configuration.document import Document
from gateway.configuration.kinds import CONNECTORS
from gateway.configuration.preparation import prepare
from gateway.configuration.sealing import Sealer
from gateway.configuration.store import Store
from gateway.doctor.findings import OK, WARNING, WRONG, Found, Patient
from gateway.limit_stores import FILE_NAME as LIMITS_FILE
from gateway.migrations import HEAD, migrate, schema_version
from gateway.rotation import uses_of_keys
from gateway.version import version
from security.database import FILE_NAME, Database, open_database
from security.limits.chains import COMPILED
from security.limits.table import DEFAULT_SLOTS, HEADER_BYTES, SLOT_BYTES
from security.references import References
from security.secrets import Keyring
from specs.problems import BackendError, ConfigurationError
from sso.letters import Outbox

if TYPE_CHECKING:
    from backends.deployment import Deployments

#: The extras of the distribution that bring libraries of another name.
EXTRAS = {"psycopg": "postgresql"}


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
            yield OK, f"{path}, {path.stat().st_size >> 20} MiB; {_debits()}"
        return
    there = patient.options.data
    while not there.exists():
        there = there.parent
    if shutil.disk_usage(there).free < size:
        yield WRONG, f"there is no room for {path}, {size >> 20} MiB", "free some"
    else:
        yield OK, f"{path} will be made, {size >> 20} MiB; {_debits()}"


def _debits() -> str:
    if COMPILED:
        return "debits run in C"
    return "debits run in Python, since there was no C compiler or no Python.h when this was installed"


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


def missing(error: ModuleNotFoundError) -> tuple[str, str]:
    """A library that is not installed, and how to install it."""
    return (
        f"the library '{error.name}' is not installed",
        f"pip install 'gatewright[{EXTRAS.get(str(error.name), error.name)}]'",
    )
