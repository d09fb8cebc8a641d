"""What happens before anything listens, in a process of its own: the installation is made or brought up to date.

folder and keyring     made where they are missing, for their owner alone
database               migrated; a newer one than this program knows is refused
administrator          the first start makes a credential
services               the folder is looked through, so that channels find their services
configuration          the document of --config is applied, unless it is what was applied from there last
limits                 the table of their counters gets its room on the disk
"""

from __future__ import annotations

from backends import builtins
from backends.catalogue import deployed_from
from backends.deployment import Deployments
from backends.folder import Folder
from gateway.administrators import Administrators
from gateway.commands import open_installation
from gateway.configuration.document import Document
from gateway.configuration.store import Store
from gateway.contract_changes import policies_of
from gateway.limit_stores import open_store
from gateway.options import Options
from gateway.process_log import say
from gateway.rehearsal import Rehearsal
from security.database import Database
from security.references import References
from security.secrets import Keyring
from specs.problems import BackendError, ConfigurationError


def prepare(options: Options) -> int:
    """Prepare the installation that *options* name; the exit code. Everything said goes to standard error."""
    document: Document | None = None
    try:
        if options.config is not None:
            document = read_document(options)
        with open_installation(options.data, options.database, options.keys) as installation:
            database, keyring = installation.database, installation.keyring
            ensure_administrator(database, keyring, options)
            deployments = deployments_of(database, keyring)
            if options.services is not None:
                deploy_folder(options, database, deployments)
            if document is not None:
                apply(document, options, installation.store(), deployments)
        # The counters of limits get their room now: no worker is told later that there is none.
        open_store(options.data).close()
    except ConfigurationError as error:
        lines = document.describe(error) if document is not None else str(error).splitlines()
        for line in lines:
            say(f"gatewright: {line}")
        return 1
    except (BackendError, OSError) as error:
        say(f"gatewright: {error}")
        return 1
    return 0


def read_document(options: Options) -> Document:
    """The document that --config names. Raises ConfigurationError."""
    assert options.config is not None
    try:
        text = options.config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("config", f"'{options.config}' cannot be read", str(error)) from None
    return Document.parse(text, str(options.config))


def deployments_of(database: Database, keyring: Keyring) -> Deployments:
    """The deployments of an installation, as every process has them."""
    policies = policies_of(Store(database, keyring))
    rehearsal = Rehearsal(database, keyring)
    return Deployments(
        database, keyring.ring("edge"), builtin=deployed_from(builtins), policies=policies, rehearse=rehearsal
    )


def deploy_folder(options: Options, database: Database, deployments: Deployments) -> None:
    """Deploy what is new in --services. What is broken is said, and does not keep the rest from serving."""
    assert options.services is not None
    if not options.services.is_dir():
        raise ConfigurationError(
            "services", f"there is no folder '{options.services}'", "make it, or leave --services out"
        )
    scan = Folder(options.services, database, deployments).scan()
    for error in scan.errors:
        say(f"gatewright: not deployed: {error}")


def apply(document: Document, options: Options, store: Store, deployments: Deployments) -> None:
    """Apply the document of --config. Raises ConfigurationErrors."""
    assert options.config is not None
    path = options.config.resolve()
    references = References(path.parent)
    applied = store.apply_once(document, str(path), references=references, services=deployments.contracts())
    for warning in applied.warnings if applied is not None else ():
        say(f"gatewright: warning: {warning}")


def ensure_administrator(database: Database, keyring: Keyring, options: Options) -> None:
    """Make the first administrator's credential where there is none, and say where it is."""
    place = Administrators(database, keyring).ensure_first(options.data)
    if place is not None:
        say(f"gatewright: the administrator's password is in {place}")
