"""What a session costs beside HTTP Basic: the whole path of the same channel, with as many limits."""

from __future__ import annotations

import sys

import workload
from harness import ROOT, Load, Sample
from subjects import Running, gatewright, say

sys.path.insert(0, str(ROOT))

TURNS = 3
#: As much of its speed the whole path keeps with a session.
AIM = 0.8
CONFIGURATION = (
    workload.CONFIGURATION.replace("security:\n", "security:\n  people: {type: sso, limit: second}\n", 1)
    + """
  people: {type: rest, path: /people, methods: [POST], service: orders.place, security: [people], limit: first,
           allow: [127.0.0.0/8, 10.0.0.0/8]}
sso: {enabled: true, apps: {bench: {login: true}}, user_limit: third}
"""
)


def lines(load: Load, seconds: float) -> list[str]:
    """The table's lines."""
    rows = {"Basic, single sign-on off": [], "Basic": [], "session": []}
    for _ in range(TURNS):
        with gatewright() as server:
            whole = [workload.request("/orders", workload.ORDER)]
            rows["Basic, single sign-on off"].append(load.measure(server.port, server.pid, whole, seconds))
        with gatewright(CONFIGURATION) as server:
            asked = workload.request("/people", workload.ORDER, user="")
            head = f"\r\nAuthorization: Bearer {session(server)}\r\nContent-Type".encode()
            theirs = [asked.replace(b"\r\nContent-Type", head, 1)]
            rows["Basic"].append(load.measure(server.port, server.pid, whole, seconds))
            rows["session"].append(load.measure(server.port, server.pid, theirs, seconds))
    best: dict[str, Sample] = {name: min(samples, key=lambda one: one.cpu) for name, samples in rows.items()}
    found = [
        f"{name:30} {one.cpu:8.1f} us CPU a request, {one.per_second:8.0f} requests a second"
        for name, one in best.items()
    ]
    share = best["Basic"].cpu / best["session"].cpu
    found.append(
        f"with a session the whole path keeps {share:.0%} of the speed that it has with Basic (aim: {AIM:.0%})"
    )
    for line in found:
        say(line)
    return found


def session(server: Running) -> str:
    """The token of somebody who is made and logged in by a command on the same machine."""
    from security.database import open_database
    from security.secrets import Keyring
    from security.stamps import FILE_NAME, Stamps
    from sso.settings import Sso
    from sso.system import COMMAND, Caller, SingleSignOn
    from sso.users import NewUser

    data = server.folder / "data"
    database, stamps = open_database(data), Stamps(data / FILE_NAME)
    try:
        settings = Sso.read({"apps": {"bench": {"login": True}}})
        sso = SingleSignOn(database, Keyring.open(data / "keys.json").ring("edge"), settings, stamps=stamps)
        user = sso.users.create(NewUser("bench", "bench@example.org"), COMMAND)
        row = sso.database.read(lambda connection: sso.users.row(connection, user.id))
        caller = Caller("bench", "127.0.0.1")
        return sso.database.write(lambda connection: sso.sessions.open(connection, row, ("password",), caller)).token
    finally:
        database.close()
        stamps.close()
