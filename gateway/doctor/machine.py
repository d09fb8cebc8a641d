"""The machine that a gateway runs on: its interpreter, its limits, its disks, and the places to listen at."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import sys
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from gateway.certificates import Certificates
from gateway.doctor.findings import OK, WARNING, WRONG, Found, Patient
from gateway.listening import bind
from gateway.options import Endpoint
from specs.problems import ConfigurationError

OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 35)  # `returning` and `vacuum into` in one
LITTLE_ROOM, TOO_LITTLE_ROOM = 1 << 30, 64 << 20
SOON = timedelta(days=21)
#: Filesystems on which neither SQLite's shared memory nor our locks hold.
REMOTE_FILESYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "fuse.sshfs", "fuse.glusterfs", "afs")
#: What a worker needs beside two descriptors a connection: its caller and a system behind it.
OTHER_DESCRIPTORS = 100


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


def heartbeats(patient: Patient) -> Found:
    """Where workers tell the master that they live: in memory, or a slow disk makes them seem dead."""
    memory = "/dev/shm"  # noqa: S108 - only asked whether it is there
    if os.access(memory, os.W_OK):
        yield OK, memory
    else:
        yield WARNING, f"{memory} cannot be written to", "mount it: on a slow disk workers seem dead and are killed"


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
