"""Every key of an installation is replaced while it serves: nobody who calls notices, nor does who starts it again."""

import os
import threading
from contextlib import contextmanager

import pytest
import requests
from running import eventually, gateway
from transit_double import transit_double

from gateway.commands import open_installation
from gateway.keyrings import users_of_keys
from gateway.preparation import deployments_of
from gateway.rotation import Rotation
from security.secrets import Keyring
from security.transit import Transit
from specs.problems import ConfigurationError

CONFIGURATION = """
format: 1
security:
  partners: {type: basic, username: api, password: "${env:P}"}
  keyed: {type: apikey, groups: [callers]}
groups: {callers: {}}
consumers:
  acme: {groups: [callers], apikey: {key: "a-key-that-is-long-enough"}}
channels:
  hello: {type: rest, path: /hello, service: hello, security: [partners]}
  keyed: {type: rest, path: /keyed, service: hello, security: [keyed]}
"""
SERVICES = {
    "hello.py": """
        from gatewright import Service


        class Hello(Service):
            name = "hello"
            output = ("text",)

            def handle(self):
                self.response.payload.text = "hello"
    """
}
BASIC = ("api", "partners-password")
KEY = {"X-API-Key": "a-key-that-is-long-enough"}


class Callers:
    """Two threads that call on and on; what was not answered with 200 is kept."""

    def __init__(self, running):
        self.running = running
        self.answers = 0
        self.wrong = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.call, args=(one,)) for one in ("/hello", "/keyed")]
        [thread.start() for thread in self.threads]

    def call(self, path):
        while not self.stopping.wait(0.01):
            headers = KEY if path == "/keyed" else {}
            answer = self.running.get(path, auth=BASIC if path == "/hello" else None, headers=headers)
            self.answers += 1
            if answer.status_code != 200:
                self.wrong.append((path, answer.status_code, answer.text))

    def stop(self):
        self.stopping.set()
        [thread.join() for thread in self.threads]


@contextmanager
def rotation(data):
    """What `gatewright keys` works with, in this process: a second one beside those that serve."""
    with open_installation(data) as installation:
        deployments = deployments_of(installation.database, installation.keyring)
        yield Rotation(installation.database, installation.keyring, deployments, randomness=os.urandom)


def actives(database, ring):
    return sorted(user.rings[ring]["active"] for user in users_of_keys(database))


def test_S50_every_key_is_replaced_under_load_over_all_workers_and_after_it(tmp_path):
    environment = {"P": BASIC[1]}
    other = CONFIGURATION.replace("username: api", "username: api, realm: other")
    with gateway(tmp_path, CONFIGURATION, SERVICES, workers=2, environment=environment) as running:
        callers = Callers(running)
        try:
            with rotation(running.data) as keys:
                old = {ring: keys.keyring.ring(ring).active for ring in keys.keyring.names}
                assert eventually(lambda: actives(keys.database, "edge") == [old["edge"]] * 2, 60)
                new = keys.add(keys.keyring.names, "spring")
                for ring, key_id in new.items():
                    keys.activate(ring, key_id)
                with pytest.raises(ConfigurationError, match="is still used by"):
                    keys.retire("edge", old["edge"])
                # What the steward writes from now on is under the new keys; the workers take it up.
                answer = requests.put(
                    running.admin_url + "/config", data=other, auth=running.administrator(), timeout=20,
                    headers={"Content-Type": "application/yaml"},
                )  # fmt: skip
                assert answer.status_code == 200, answer.text
                for _ in keys.reencrypt(2):
                    pass
                assert eventually(lambda: actives(keys.database, "edge") == [new["edge"]] * 2, 60)
                for ring, key_id in old.items():
                    keys.retire(ring, key_id, settle=0.5)
                assert {(use.ring, use.key_id) for use in keys.uses()} <= set(new.items())
            before = callers.answers
            assert eventually(lambda: callers.answers > before + 20, 60)
        finally:
            callers.stop()
        assert callers.wrong == []
    with gateway(tmp_path, other, SERVICES, environment=environment) as running:
        assert running.get("/hello", auth=BASIC).status_code == 200
        assert running.get("/keyed", headers=KEY).status_code == 200
        assert running.status()["workers"][0]["not_deployed"] == {}


def test_a_gateway_whose_keys_vault_wraps_serves_on_without_vault_and_does_not_start_without_it(tmp_path, monkeypatch):
    with transit_double() as vault:
        monkeypatch.setenv("GATEWRIGHT_VAULT_TOKEN", vault.token)
        Keyring.open(tmp_path / "var" / "keys.json", create=True).wrap(Transit(vault.url, "gatewright"))
        with gateway(tmp_path, CONFIGURATION, SERVICES, environment={"P": BASIC[1]}) as running:
            vault.token = "another"
            for path, credential in (("/hello", {"auth": BASIC}), ("/keyed", {"headers": KEY})):
                assert running.get(path, **credential).status_code == 200
    with pytest.raises(ConfigurationError, match=r"Vault at .* does not answer"), rotation(tmp_path / "var"):
        pass
