"""The demo: a gateway with something to show, in a folder of its own.

`prepare` puts the demo's services, configuration and database into a folder where they can be changed; `upstream.Upstream`
serves the feed that one of its services fetches; `things_to_try` are commands that work once it runs.
"""

from __future__ import annotations

import re
import shutil
import socket
import sqlite3
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

#: Known to everyone, for a gateway that listens on loopback: the demo shows how, it keeps nothing.
PASSWORD = "demo-password"  # noqa: S105
API_KEY = "demo-key-for-machines"

_TREASURY = re.compile(r"(http://127\.0\.0\.1:)(\d+)(/feed)")


class Demo(NamedTuple):
    """A demo that is ready to be served.

    *services* is the folder for ``--services``, *configuration* the document for ``--config``, *environment* the variables
    that the document refers to, *upstream_port* where its connection `treasury` expects the feed.
    """

    services: Path
    configuration: Path
    environment: dict[str, str]
    upstream_port: int


def prepare(directory: Path) -> Demo:
    """The demo in *directory*, made where it is not there yet. What was changed there since is left as it is."""
    directory = directory.resolve()
    services = directory / "services"
    services.mkdir(parents=True, exist_ok=True)
    with as_file(files(__name__)) as ours:
        for source in sorted((ours / "services").iterdir()):
            if source.suffix in (".py", ".json") and not (services / source.name).exists():
                shutil.copyfile(source, services / source.name)
        configuration = directory / "configuration.yaml"
        if not configuration.exists():
            shutil.copyfile(ours / "configuration.yaml", configuration)
        _make_database(directory / "customers.db", (ours / "customers.sql").read_text(encoding="utf-8"))
    environment = {"DEMO_DIRECTORY": str(directory), "DEMO_PASSWORD": PASSWORD, "DEMO_API_KEY": API_KEY}
    return Demo(services, configuration, environment, _agree_on_port(configuration))


def things_to_try(base_url: str) -> list[str]:
    """Commands to print: each works as it stands once the demo serves at *base_url*."""
    person = f"curl -u api:{PASSWORD}"
    machine = f"curl -H 'X-API-Key: {API_KEY}'"
    rate = '{"year": 2013, "month": 9, "day": 3}'
    envelope = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        "<request><year>2013</year><month>9</month><day>3</day></request></e:Body></e:Envelope>"
    )
    return [
        f"curl {base_url}/hello/world",
        f"curl {base_url}/openapi.json  # or open {base_url}/docs in a browser",
        f"{person} {base_url}/customers/1",
        f"{machine} {base_url}/customers/2",
        f"""{person} -X PUT {base_url}/customers/1 -d '{{"name": "Ann Smith", "is_active": true, "region": "north"}}'""",
        f"{person} {base_url}/cases/1",
        f"""{machine} {base_url}/rates/update -d '{{"year": 2013, "month": 9}}'""",
        f"curl {base_url}/client1/get-rate -d '{rate}'",
        f"curl '{base_url}/client2/get-rate?year=2013&month=9&day=3'",
        f"curl {base_url}/client3/get-rate -H 'SOAPAction: get-rates' -d '{envelope}'",
        f"curl '{base_url}/soap/customer?wsdl'",
        f"""curl {base_url}/books -d '{{"name": "The Garden of Cyrus", "pub_year": 1658}}'""",
        f"""curl {base_url}/books -d '{{"user_id": 123}}'""",
        f"curl -i {base_url}/customers/1",
    ]


def _make_database(path: Path, script: str) -> None:
    if path.exists():
        return
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    connection = sqlite3.connect(unfinished)
    try:
        connection.executescript(script)
    finally:
        connection.close()
    unfinished.rename(path)


def _agree_on_port(configuration: Path) -> int:
    """The port that the document expects the feed on; another one is written into it where that is taken."""
    text = configuration.read_text(encoding="utf-8")
    match = _TREASURY.search(text)
    if match is None:  # the user has put another feed there
        return 0
    port = int(match[2])
    if _free(port):
        return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    configuration.write_text(_TREASURY.sub(rf"\g<1>{port}\g<3>", text), encoding="utf-8")
    return port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
