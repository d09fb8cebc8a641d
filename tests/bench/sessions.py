"""What a session costs beside HTTP Basic: the whole path of the same channel, with as many limits.

The rows take turns, many and short, and what is kept of the speed is the median of the turns: what others do on the machine
falls on the rows of one turn alike, and it is over in a minute however busy they are.
"""

from __future__ import annotations

import sys
from statistics import median

import workload
from harness import ROOT, Load, Sample
from subjects import Running, gatewright, say

sys.path.insert(0, str(ROOT))

TURNS = 12
#: Seconds of a turn, of warming up before it, and of waiting for the core before that.
SECONDS, WARM, PATIENCE = 1.0, 0.2, 0.5
#: As much of its speed the whole path keeps with a session.
AIM = 0.8
BASIC, SESSION = "Basic", "session"
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
    found: dict[str, list[Sample]] = {}
    asked = workload.request("/people", workload.ORDER, user="")
    with gatewright() as without, gatewright(CONFIGURATION) as server:
        token = session(server)
        origin = b"http://127.0.0.1:8000"  # as the Host header of these requests has it
        rows = [
            ("Basic, single sign-on off", without, workload.request("/orders", workload.ORDER)),
            (BASIC, server, workload.request("/orders", workload.ORDER)),
            (SESSION, server, _with(asked, b"Authorization: Bearer " + token)),
            ("session by cookie", server, _with(asked, b"Cookie: gw_session_dev=" + token + b"\r\nOrigin: " + origin)),
        ]
        for _ in range(TURNS):
            for name, where, octets in rows:
                sample = load.measure(
                    where.port, where.pid, [octets], min(seconds, SECONDS), warm=WARM, attempts=1, patience=PATIENCE
                )  # fmt: skip
                if sample.refused:
                    raise RuntimeError(f"{name}: {sample.refused} requests were refused")
                found.setdefault(name, []).append(sample)
    told = [
        f"{name:30} {median(one.cpu for one in samples):8.1f} us CPU a request,"
        f" {median(one.per_second for one in samples):8.0f} requests a second"
        for name, samples in found.items()
    ]
    share = median(basic.cpu / one.cpu for basic, one in zip(found[BASIC], found[SESSION], strict=True))
    told.append(f"with a session the whole path keeps {share:.0%} of the speed that it has with Basic (aim: {AIM:.0%})")
    for line in told:
        say(line)
    return told


def _with(request: bytes, headers: bytes) -> bytes:
    """The request, with these headers besides."""
    return request.replace(b"\r\nContent-Type", b"\r\n" + headers + b"\r\nContent-Type", 1)


def session(server: Running) -> bytes:
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
        return sso.database.write(
            lambda connection: sso.sessions.open(connection, row, ("password",), caller)
        ).token.encode()
    finally:
        database.close()
        stamps.close()
