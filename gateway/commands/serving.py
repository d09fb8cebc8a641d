"""`gatewright run` and `gatewright demo`: the verbs that serve."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from gateway.options import Options
from gateway.process_log import say

Data = Annotated[Path, typer.Option(envvar="GATEWRIGHT_DATA", help="Folder of the installation.")]


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    app.command("run")(run)
    app.command("demo")(demo)


def run(
    config: Annotated[Path | None, typer.Option(envvar="GATEWRIGHT_CONFIG", help="Document to apply at start.")] = None,
    services: Annotated[Path | None, typer.Option(envvar="GATEWRIGHT_SERVICES", help="Folder of services.")] = None,
    data: Data = Path("var"),
    listen: Annotated[
        list[str] | None, typer.Option(envvar="GATEWRIGHT_LISTEN", help="HOST:PORT or unix:PATH; may be repeated.")
    ] = None,
    admin: Annotated[
        str, typer.Option(envvar="GATEWRIGHT_ADMIN", help="HOST:PORT of the admin listener.")
    ] = "127.0.0.1:8001",
    admin_host: Annotated[
        list[str] | None, typer.Option(envvar="GATEWRIGHT_ADMIN_HOST", help="Further names of the admin listener.")
    ] = None,
    health: Annotated[str, typer.Option(envvar="GATEWRIGHT_HEALTH", help="HOST:PORT of a listener for probes.")] = "",
    workers: Annotated[
        int, typer.Option(envvar="GATEWRIGHT_WORKERS", min=0, help="Worker processes; 0: one a core.")
    ] = 0,
    role: Annotated[str, typer.Option(envvar="GATEWRIGHT_ROLE", help="What this process does; all, for now.")] = "all",
    database: Annotated[
        str, typer.Option(envvar="GATEWRIGHT_DATABASE_URL", help="Database in place of --data's.")
    ] = "",
    keys: Annotated[Path | None, typer.Option(envvar="GATEWRIGHT_KEYS", help="Keyring in place of --data's.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(envvar="GATEWRIGHT_TLS_CERT", help="Certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar="GATEWRIGHT_TLS_KEY", help="Its private key, PEM.")] = None,
    secrets_dir: Annotated[
        Path | None, typer.Option(envvar="GATEWRIGHT_SECRETS_DIR", help="Files that the admin API may refer to.")
    ] = None,
    allow_deploy: Annotated[
        bool,
        typer.Option("--allow-deploy", envvar="GATEWRIGHT_ALLOW_DEPLOY", help="Let the admin API deploy services."),
    ] = False,
    access_log: Annotated[
        str,
        typer.Option(
            envvar="GATEWRIGHT_ACCESS_LOG", help="File of access lines; - for standard error, empty for none."
        ),
    ] = "-",
    log_format: Annotated[str, typer.Option(envvar="GATEWRIGHT_LOG_FORMAT", help="json or text.")] = "json",
    log_level: Annotated[
        str, typer.Option(envvar="GATEWRIGHT_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
    max_requests: Annotated[
        int, typer.Option(envvar="GATEWRIGHT_MAX_REQUESTS", min=0, help="Requests after which a worker is replaced.")
    ] = 0,
    proxy_protocol: Annotated[
        bool,
        typer.Option(
            "--proxy-protocol",
            envvar="GATEWRIGHT_PROXY_PROTOCOL",
            help="Trusted proxies begin each connection with a PROXY header, version 1 or 2.",
        ),
    ] = False,
    reuse_port: Annotated[
        bool,
        typer.Option("--reuse-port", envvar="GATEWRIGHT_REUSE_PORT", help="A listening socket for each worker."),
    ] = False,
    graceful_timeout: Annotated[
        int, typer.Option(envvar="GATEWRIGHT_GRACEFUL_TIMEOUT", min=1, help="Seconds for running requests at the end.")
    ] = 30,
    reload_timeout: Annotated[
        int,
        typer.Option(envvar="GATEWRIGHT_RELOAD_TIMEOUT", min=1, help="Seconds that SIGHUP may take to prepare."),
    ] = 120,
) -> None:
    """Serve. Prints `ready http://HOST:PORT` when it does; SIGTERM drains, SIGHUP reads the document again."""
    if role != "all":
        print(f"gatewright: the role '{role}' is not part of this version: leave --role out", file=sys.stderr)
        raise typer.Exit(2)
    _serve(
        Options(
            config=config,
            services=services,
            data=data,
            listen=tuple(listen or ["127.0.0.1:8000"]),
            admin=admin,
            admin_hosts=tuple(admin_host or ()),
            health=health,
            workers=workers,
            database=database,
            keys=keys,
            tls_cert=tls_cert,
            tls_key=tls_key,
            secrets_dir=secrets_dir,
            allow_deploy=allow_deploy,
            access_log=access_log,
            log_format=log_format,
            log_level=log_level,
            max_requests=max_requests,
            proxy_protocol=proxy_protocol,
            reuse_port=reuse_port,
            graceful_timeout=graceful_timeout,
            reload_timeout=reload_timeout,
        )
    )


def demo(
    data: Data = Path("var"),
    listen: Annotated[str, typer.Option(envvar="GATEWRIGHT_LISTEN", help="HOST:PORT.")] = "127.0.0.1:8000",
    admin: Annotated[
        str, typer.Option(envvar="GATEWRIGHT_ADMIN", help="HOST:PORT of the admin listener.")
    ] = "127.0.0.1:8001",
    workers: Annotated[
        int, typer.Option(envvar="GATEWRIGHT_WORKERS", min=0, help="Worker processes; 0: one a core.")
    ] = 0,
) -> None:
    """Serve the demo, which lives in DATA/demo and may be changed there, and print what to try."""
    import os

    from backends import demo as demonstration

    prepared = demonstration.prepare(data / "demo")
    os.environ.update(prepared.environment)
    if prepared.upstream_port:
        _start_upstream(prepared.upstream_port)

    def announce(url: str) -> None:
        lines = ["", "The demo serves. Things to try:", ""]
        lines += [f"  {line}" for line in demonstration.things_to_try(url)]
        lines += ["", f"Administration: http://{admin}/status, and more with the password in {data / 'admin-password'}"]
        lines += [f"The services are in {prepared.services}: change one and call it again.", ""]
        say("\n".join(lines), sys.stdout)

    _serve(
        Options(
            config=prepared.configuration,
            services=prepared.services,
            data=data,
            listen=(listen,),
            admin=admin,
            workers=workers,
            log_format="text",
            log_level="warning",
        ),
        announce,
    )


def _start_upstream(port: int) -> None:
    """Start the feed that one of the demo's services fetches; it ends when this process does."""
    import os

    from gevent import monkey

    # WHY the native one: gevent's would watch the child on a loop that the master does without.
    monkey.get_original("os", "posix_spawn")(
        sys.executable,
        [sys.executable, "-P", "-m", "backends.demo.upstream", str(port)],
        {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )


def _serve(options: Options, announce: Callable[[str], None] | None = None) -> None:
    from gateway.server import serve

    raise typer.Exit(serve(options, _prepare, announce=announce))


def _prepare(options: Options) -> int:
    # PERF: imported by the process that prepares, after the master has imported what both need.
    from gateway.preparation import prepare

    return prepare(options)
