"""The documentation as a folder of files: every page and document of an installation, whoever may call what.

Links in it are relative, so that it can be put anywhere, or be opened from a disk. Nobody has to answer: there is no search, no
console and nothing about what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from backends.examples import Examples
from gateway.contract_changes import history
from gateway.documentation import files
from gateway.documentation.assets import asset
from gateway.documentation.audience import Audience
from gateway.documentation.site import Site, quoted
from gateway.limit_stores import Stores
from gateway.quotas import Limits
from gateway.replay import Nonces
from gateway.runtime import Runtime
from gateway.snapshot import Compiler
from security.credentials import CredentialCache, Verifier
from security.limits.memory import MemoryStore
from specs.settings import Settings

if TYPE_CHECKING:
    from gateway.commands import Installation

ASSETS = ("docs.css", "brand.css", "logo")


def export(installation: Installation, folder: Path) -> Iterator[Path]:
    """Write the site of *installation* into *folder*; the files as they are written."""
    runtime = Runtime(installation.database, installation.keyring, enforce=False)
    try:
        store = MemoryStore()
        verifier = Verifier(runtime.hasher, runtime.hashing, CredentialCache())
        compiler = Compiler(
            verifier,
            Limits(Stores(store)),
            lambda: None,
            first_use=Nonces(store).first_use,
            listener="http://127.0.0.1:8000",
            history=lambda: history(runtime.store, runtime.deployments),
            examples=Examples(installation.database),
        )
        configuration = runtime.store.load()
        catalogue = runtime.catalogue(configuration, runtime.deployments.load())
        people = runtime.single_sign_on(configuration)
        executor = runtime.executor(configuration, catalogue)
        snapshot = compiler.compile(configuration, catalogue, 0, executor, people)
        audience = Audience(snapshot, (configuration.gateway.public_url or "http://127.0.0.1:8000").rstrip("/"))
        interface = audience.whole()
        docs = audience.docs
        documents = list(files.paths(interface))
        known = frozenset({*documents, *(f"assets/{name}" for name in ASSETS)})

        def url_from(page: str) -> Site:
            depth = page.count("/")

            def url(path: str) -> str:
                name = safe(path) if path in known else f"{safe(path) or 'index'}.html"
                return "../" * depth + quoted(name)

            # A reader of files cannot sign in, and sees whatever the exporter chose to give away.
            shown = type(docs).read({**_plain(docs), "console": False, "shows": "everything"})
            return Site(interface, shown, url, releases=snapshot.history, static=True)

        for path in url_from("").paths():
            text = url_from(path).render(path)
            assert text is not None
            yield _write(folder, f"{safe(path) or 'index'}.html", text.encode())
        for path in documents:
            found = files.find(path, interface)
            assert found is not None
            yield _write(folder, safe(path), found[1]())
        for name in ASSETS:
            made = asset(name, docs)
            assert made is not None
            yield _write(folder, f"assets/{name}", made.body)
    finally:
        runtime.close()


def safe(path: str) -> str:
    """A page's path as the name of a file.

    >>> safe("services/My service"), safe("services/../x")
    ('services/My service', 'services/__/x')
    """
    # SECURITY: services are called as their authors wish; no name leads out of the folder.
    parts = (
        "__" if part in ("", ".", "..") else part.replace("\\", "_").replace("\0", "_") for part in path.split("/")
    )
    return "/".join(parts) if path else ""


def _plain(docs: Settings) -> dict[str, object]:
    return {key: getattr(docs, attribute) for key, attribute in docs.keys().items()}


def _write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
