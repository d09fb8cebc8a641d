"""A gateway with people: its document, a service that says who calls, and somebody with a program that calls it."""

import hashlib
import hmac
import http.client
import itertools
import json
import struct
import time
from base64 import b32decode

from people import PASSWORD

from sso import audit
from sso.system import COMMAND
from sso.users import NewUser

CONFIGURATION = """
format: 1
gateway:
  trusted_proxies: [127.0.0.9]
sso:
  enabled: true
  site_name: Acme
  apps: {crm: {signup: true, login: true}, batch: {login: true}, shut: {}}
  default_app: crm
  signup: {email_confirmation: false}
  second_factor: {required: "off"}
  login: {attempts_per_minute: 0}
  user_limit: each
  users:
    limited: {limit: few}
    far: {deny: [127.0.0.0/8]}
security:
  staff: {type: sso}
  crm-staff: {type: sso, apps: [crm], cookie: false}
  proven: {type: sso, second_factor: true}
  partners: {type: basic, groups: "*"}
  keys: {type: apikey, key: "0123456789abcdef0123456789abcdef"}
consumers:
  acme: {groups: [gold], basic: {username: acme, password: "correct horse battery"}}
limits:
  each: {rules: [{from: "*", rate: 1000/minute}]}
  few: {rules: [{from: "*", rate: 3/hour}]}
channels:
  who: {type: rest, path: /who, service: people.who, security: [staff, partners, keys]}
  crm: {type: rest, path: /crm, service: people.who, security: [crm-staff]}
  proven: {type: rest, path: /proven, service: people.who, security: [proven]}
  both: {type: rest, path: /both, service: people.who, security: [[staff, keys]]}
  clerks: {type: rest, path: /clerks, service: people.who, security: [staff], groups: [clerk]}
  own: {type: rest, path: /own, service: people.own, security: [staff]}
"""
SERVICES = {
    "people.py": '''
    import os

    from gatewright import Service


    class Who(Service):
        """Says who calls."""

        def handle(self):
            one = self.identity
            self.response.payload = {
                "name": one.name, "kind": one.kind, "user": one.user, "groups": sorted(one.groups),
                "facts": dict(one.attributes), "worker": os.getpid(),
            }


    class Own(Service):
        """Looks its caller up where people are kept."""

        def handle(self):
            self.response.payload = {"email": self.sso.users.get(self.identity.user).email}
    '''
}
_numbers = itertools.count(1)


class Person:
    """Somebody with a program that calls *running* by the path of each call below ``/sso/v1``."""

    def __init__(self, running, name="", password=PASSWORD):
        self.running = running
        self.name = name or f"person-{next(_numbers)}"
        self.password = password
        self.token = ""
        self.id = ""
        self.session = ""

    def call(self, method, path, payload=None, **headers):
        """The status, and the JSON of the answer or the code of the problem."""
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        answer = self.running.request(method, f"/sso/v1{path}", json=payload, headers=headers)
        told = answer.json() if answer.content else None
        return answer.status_code, told["code"] if answer.status_code >= 400 else told

    def sign_up(self):
        given = {"username": self.name, "email": f"{self.name}@example.org", "password": self.password}
        assert self.call("POST", "/signup", given) == (202, {"status": "accepted"})
        return self

    def log_in(self, app="crm", **more):
        self.token = ""
        given = {"username": self.name, "password": self.password, **more}
        status, told = self.call("POST", "/login", given, **{"X-Gateway-App": app})
        assert (status, told.get("status")) == (200, "ok"), told
        self.token, self.id, self.session = told["token"], told["user"]["id"], told["session"]["id"]
        return self

    def get(self, path, **headers):
        """The answer of a channel to this person's program."""
        return self.running.get(path, headers={"Authorization": f"Bearer {self.token}", **headers})

    def statuses(self, path="/who", count=12):
        """How a channel answers, each time on a connection of its own, so that all workers are asked."""
        return {self.get(path).status_code for _ in range(count)}


def let_in(console, person, app="crm"):
    """Open a session for *person*, who need not prove themselves: hashing takes long."""
    row = console.database.read(lambda connection: console.users.row(connection, person.id))
    caller = audit.Caller(app=app, address="127.0.0.1")
    opened = console.database.write(lambda connection: console.sessions.open(connection, row, ("password",), caller))
    person.token, person.session = opened.token, opened.session.id
    return person


def made(console, running, name="", app="crm", password="", **more):
    """Somebody who is there and logged in."""
    person = Person(running, name)
    person.id = console.users.create(NewUser(person.name, f"{person.name}@example.org", password, **more), COMMAND).id
    return let_in(console, person, app)


class Caller:
    """One connection to ``/who`` on which the same head comes again and again; *worker* is the process that answers."""

    def __init__(self, running, *credentials):
        self.sock = running.connect()
        lines = ("POST /who HTTP/1.1", f"Host: {running.url.partition('//')[2]}", "Content-Length: 0", *credentials)
        self.head = "\r\n".join((*lines, "", "")).encode()
        self.worker = 0

    def ask(self):
        """How it is answered."""
        self.sock.sendall(self.head)
        answer = http.client.HTTPResponse(self.sock, method="POST")
        answer.begin()
        self.worker = json.loads(answer.read()).get("worker", 0)
        return answer.status


def known_at_each_worker(running, token):
    """A connection to each worker, by bearer token and by cookie, on which the session was taken more than once."""
    ways = ((f"Authorization: Bearer {token}",), (f"Cookie: gw_session_dev={token}", f"Origin: {running.url}"))
    count = len(ways) * len(running.workers())
    opened, found = [], {}
    # A worker that has nothing to run on takes no connection; who asks all the time would come to a limit.
    for turn in range(200):
        for way in ways:
            opened.append(Caller(running, *way))
            assert opened[-1].ask() == 200
            found[opened[-1].worker, way] = opened[-1]
        if len(found) == count:
            break
        time.sleep(0.01 if turn < 50 else 0.3)
    assert len(found) == count
    assert {caller.ask() for caller in found.values() for _ in range(2)} == {200}
    for caller in opened:
        if caller not in found.values():
            caller.sock.close()
    return list(found.values())


def totp_of(secret, moment=None):
    """RFC 6238, by hand: the code of this moment."""
    counter = struct.pack(">Q", int(moment or time.time()) // 30)
    mac = hmac.digest(b32decode(secret), counter, hashlib.sha1)
    place = mac[-1] & 15
    return f"{(int.from_bytes(mac[place : place + 4]) & 0x7FFFFFFF) % 10**6:06}"
