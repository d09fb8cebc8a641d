"""What tests of `gatewright sso` share: an installation that nobody serves, and its verbs."""

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path

from program import invoke

from gateway.commands import open_installation
from gateway.configuration.document import Document
from security.references import References
from sso.login import Credentials
from sso.system import Caller, SingleSignOn

CONFIGURATION = """
format: 1
gateway: {public_url: "https://acme.example"}
connections:
  outbox: {type: smtp, host: 127.0.0.1, port: PORT, tls: none}
sso:
  enabled: true
  site_name: Acme
  apps: {crm: {signup: true, login: true}, batch: {login: true}}
  default_app: crm
  second_factor: {required: "off"}
  mail: {connection: outbox, from: "Acme <no-reply@acme.example>"}
"""


class Shell:
    """Runs verbs; each gives what it printed."""

    def __init__(self, folder, port):
        self.data = folder / "var"
        with open_installation(self.data) as installation:
            document = Document.parse(CONFIGURATION.replace("PORT", str(port)))
            installation.store().apply(document, references=References(None))

    def __call__(self, *words, stdin=None, expected=0):
        done = invoke(["sso", *map(str, words), "--data", str(self.data)], input=stdin)
        assert done.exit_code == expected, done.output
        return done.stdout if not expected else done.stderr

    def json(self, *words):
        return json.loads(self(*words, "--json"))

    def people(self, work):
        """What *work* gives, of single sign-on as a process that serves has it."""
        with open_installation(self.data) as installation:
            settings = installation.store().load().find("sso").settings
            return work(SingleSignOn(installation.database, installation.keyring.ring("edge"), settings))

    def log_in(self, name, password):
        return self.people(lambda sso: sso.login.log_in(Credentials(name, password), Caller(app="crm")))


@contextmanager
def memory():
    """A folder in the memory of the machine, where it has one: a commit that waits for no disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)
