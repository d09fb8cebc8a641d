"""What the README shows happens: its examples run, in order, against gateways that its own lines start.

The README is written so that this file can read it:

    ```python title="services/hello.py"             the block is written to that file, in an empty folder
    ```yaml title="x.yaml (added at the end)"       the block is added to it
    ```console                                      lines after "$ " are typed; the others are what they print, no more and
                                                    no less. "..." stands for any text, a line "..." for any lines
    ```sh                                           targets of the Makefile, which are looked up and not run
    <!-- terminal: gateway -->                      above a console block: its last command goes on running, and prints what
                                                    is shown before anything else happens. "^C" ends it
    <!-- terminal: gateway; needs: postgresql -->   the same, on a fresh PostgreSQL database in place of the one that is named

Ports 8000 and 8001 are replaced by free ones. A reader is slower than this file: what the README says happens "within a
second" is waited for between two lines.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import pytest
import requests
from running import ROOT, free_port, kill_group

from gateway.commands import open_installation
from gateway.preparation import deployments_of

README = (ROOT / "README.md").read_text()
FOLDERS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
DATABASE = "postgresql+psycopg://gatewright:secret@database.internal/gatewright"
#: Seconds for one command or wait, on a machine that does other things too; what is waited for ends sooner.
PATIENCE = 120.0

_BLOCK = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s#]+)[^)]*\)")
_PATH = re.compile(r"`([\w.-]+/|[\w./-]+/[\w./-]*|[\w-]*\.[a-z]+|Makefile)`")


class Block(NamedTuple):
    """A fenced block: its language, title, and the words of the comment above it."""

    language: str
    title: str
    terminal: str
    needs: str
    text: str


class Typed(NamedTuple):
    """A line that is typed, and what is shown below it."""

    command: str
    shown: str


def blocks():
    for comment, language, title, text in _BLOCK.findall(README):
        words = dict(word.split(": ") for word in comment.split("; ")) if comment else {}
        yield Block(language, title, words.get("terminal", ""), words.get("needs", ""), text)


def typed(text):
    """The commands of a console block, each with what is shown below it."""
    entries = []
    for line in text.splitlines():
        if line.startswith("$ ") or line == "^C":
            entries.append((line.removeprefix("$ "), []))
        else:
            assert entries, f"a console block begins with a command, not with {line!r}"
            entries[-1][1].append(line)
    return [Typed(command, "".join(f"{line}\n" for line in shown)) for command, shown in entries]


def pattern(shown):
    """What is shown, as an expression for what is printed.

    >>> bool(re.fullmatch(pattern("a\\n...\\nb ... c\\n"), "a\\nb 1 2 c\\n"))
    True
    """
    parts = (
        r"(?:[^\n]*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", r"[^\n]*") + r"\n"
        for line in shown.splitlines()
    )
    return "".join(parts)


def clean(printed):
    """What a terminal shows of *printed*: blanks at ends of lines are not seen, nor that the last line has no end."""
    return "".join(f"{line.rstrip()}\n" for line in printed.rstrip().splitlines())


class Terminal:
    """A shell in *folder*: variables that one command sets are there for the next."""

    def __init__(self, folder, state, environment):
        self.folder = folder
        self.environment = environment
        self._kept = state
        self._kept.write_text("")
        self._process = None
        self._reader = None
        self._printed = []

    def _start(self, command):
        script = f". {self._kept}; trap 'export -p >{self._kept}' EXIT\n{command}"
        return subprocess.Popen(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, command):
        """What *command* prints."""
        process = self._start(command)
        try:
            return process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            kill_group(process)
            process.stdout.close()
            raise

    def begin(self, command, shown):
        """Start *command*, which goes on, and wait until it has printed what is *shown*."""
        self._process = self._start(command)
        self._printed = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wanted = re.compile(pattern(shown))
        end = time.monotonic() + PATIENCE
        while not wanted.match(clean("".join(self._printed))):
            printed = "".join(self._printed)
            assert self._process.poll() is None, f"{command} ended:\n{printed}"
            assert time.monotonic() < end, f"{command} did not print\n{shown}but\n{printed}"
            time.sleep(0.05)

    def interrupt(self):
        """Ctrl-C."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGINT)
            self._process.wait(PATIENCE)
        except ProcessLookupError:
            pass
        finally:
            kill_group(self._process)
            self._reader.join(5)
            self._process.stdout.close()
            self._process = None

    def _read(self):
        for line in self._process.stdout:
            self._printed.append(line)


class Tour:
    """A reader of the README with two terminals, who starts in an empty folder."""

    def __init__(self, folder):
        self.folder = folder / "shop"
        self.folder.mkdir()
        self.address, self.admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.places = {"127.0.0.1:8000": self.address, "127.0.0.1:8001": self.admin}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWRIGHT_")}
        environment |= {
            "PATH": f"{programs(folder / 'bin', folder / 'demo')}:{os.environ['PATH']}",
            "GATEWRIGHT_LISTEN": self.address,
            "GATEWRIGHT_ADMIN": self.admin,
            "GATEWRIGHT_WORKERS": "2",
            "PYTHONUNBUFFERED": "1",
            # Where it prints to a terminal, curl shows no meter.
            "CURL_HOME": str(folder),
        }
        (folder / ".curlrc").write_text("silent\nshow-error\n")
        self.terminals = {
            name: Terminal(self.folder, folder / f"variables{name}", environment) for name in ("", "gateway")
        }

    def close(self):
        for terminal in self.terminals.values():
            terminal.interrupt()

    def here(self, text):
        """*text* of the README with the places that are meant here."""
        for place, meant in self.places.items():
            text = text.replace(place, meant)
        return text

    def follow(self, block):
        """Do what *block* shows."""
        if block.title:
            self.write(block)
        elif block.language == "console":
            entries = typed(self.here(block.text))
            for number, entry in enumerate(entries, 1):
                goes_on = block.terminal == "gateway" and number == len(entries)
                self.type(self.terminals[block.terminal], entry, goes_on)

    def write(self, block):
        """Save a file, and let the gateway take it up."""
        name, _, added = block.title.partition(" ")
        assert added in ("", "(added at the end)")
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        before = self.deployment()
        path.write_text((path.read_text() if added else "") + self.here(block.text))
        if name.startswith("services/"):
            self.wait_until_followed(before)

    def type(self, terminal, entry, goes_on):
        """Type a command and compare what it prints with what is shown."""
        if entry.command == "^C":
            terminal.interrupt()
            return
        if goes_on:
            terminal.begin(entry.command, entry.shown)
            return
        deploys = re.search(r"service (rollback|unpin|deploy)| services/\S*$", entry.command) is not None
        before = self.deployment() if deploys else None
        printed = clean(terminal.run(entry.command))
        if not re.fullmatch(pattern(entry.shown), printed):
            pytest.fail(f"$ {entry.command}\n{printed}--- but shown is\n{entry.shown}", pytrace=False)
        if deploys and "pytest" not in entry.command:
            self.wait_until_followed(before)
        elif re.search(r"config (apply|rollback)", entry.command):
            self.wait_until_followed(None)

    def heads(self):
        with open_installation(self.folder / "var") as installation:
            deployments = deployments_of(installation.database, installation.keyring)
            return installation.store().head(), deployments.head()

    def deployment(self):
        """The number of the deployment that serves, or None where nothing does."""
        return self.heads()[1] if (self.folder / "var/control.sock").exists() else None

    def wait_until_followed(self, before):
        """Wait until every worker serves what was accepted; where *before* is given, a deployment later than that."""
        if not (self.folder / "var/control.sock").exists():
            return
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            revision, deployment = self.heads()
            workers = requests.get(f"http://{self.admin}/status", timeout=10).json()["workers"]
            same = all((w.get("revision"), w.get("deployment")) == (revision, deployment) for w in workers)
            if same and (before is None or deployment > before):
                return
            time.sleep(0.1)
        raise AssertionError(f"the workers did not follow: {workers}")


def programs(folder, demo_data):
    """A folder with the programs that the README calls: this checkout's, whatever is installed."""
    folder.mkdir()
    python = f"{shlex.quote(sys.executable)} -P"
    root = shlex.quote(str(ROOT))
    make = (
        f"{shlex.quote(shutil.which('make') or 'make')} --no-print-directory -C {root} BIN={shlex.quote(str(folder))}"
    )
    scripts = {
        "gatewright": f"PYTHONPATH={root} exec {python} -m gateway.cli",
        "pytest": f"PYTHONPATH={root}:$PYTHONPATH exec {python} -m pytest -p no:cacheprovider",
        "python": f"PYTHONPATH={root} exec {python}",
        # What sets .venv up is left out.
        "make": f"GATEWRIGHT_DATA={shlex.quote(str(demo_data))} exec {make} -o .venv/.installed -o .venv/.developed",
    }
    for name, script in scripts.items():
        (folder / name).write_text(f'#!/bin/sh\n{script} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    for program in ("curl", "make"):
        if shutil.which(program) is None:
            pytest.skip(f"server missing: {program} (apt-get install {program})")
    tour = Tour(tmp_path_factory.mktemp("readme"))
    try:
        for block in blocks():
            if not block.needs:
                tour.follow(block)
        yield tour
    finally:
        tour.close()


def test_the_tour_goes_as_shown(tour):
    assert sorted(path.name for path in (tour.folder / "services").glob("*.py")) == ["greeting.py", "visits.py"]


def test_a_gateway_on_postgresql_goes_as_shown(tour, postgresql_server):
    assert DATABASE in README
    tour.places[DATABASE] = postgresql_server.new_database()
    for block in blocks():
        if block.needs == "postgresql":
            tour.follow(block)
    answer = requests.get(f"http://{tour.address}/greet/Ann", timeout=20)
    assert answer.json() == {"text": "Good morning, Ann!"}


def test_the_targets_that_are_named_exist():
    named = re.findall(
        r"^make (\w+)", "".join(block.text for block in blocks() if block.language == "sh"), re.MULTILINE
    )
    assert named == ["run", "test"]
    wanted = {"run": "gatewright demo", "test": "pytest"}
    for target in named:
        planned = subprocess.run(
            ["make", "-n", target, "-o", ".venv/.installed", "-o", ".venv/.developed"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert wanted[target] in planned.stdout


def test_every_block_is_of_a_kind_that_is_run():
    kinds = {(block.language, bool(block.title)) for block in blocks()}
    assert kinds <= {("text", False), ("sh", False), ("console", False), ("python", True), ("yaml", True)}
    assert README.count("\n```") == 2 * len(list(blocks()))


def documents():
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("*/README.md"))]


def rooms(path):
    """The files and folders that a README's tables of rooms name: what stands in the first column."""
    for row in re.findall(r"^\| *(.*?) *\|", path.read_text(), re.MULTILINE):
        if row not in ("file", "room", "where", "chosen") and "`" in row:
            yield from _PATH.findall(row)


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_map_names_is_there(document):
    named = {*rooms(document), *_LINK.findall(document.read_text())}
    missing = {name for name in named if "://" not in name and not (document.parent / name).exists()}
    assert missing == set()


def test_the_map_of_the_readme_names_every_folder():
    named = {name.strip("/").partition("/")[0] for name in rooms(ROOT / "README.md")}
    assert {*FOLDERS, "tests"} - named == set()


@pytest.mark.parametrize("folder", [*FOLDERS, "tests"])
def test_every_folder_at_the_top_has_a_sign(folder):
    assert (ROOT / folder / "README.md").is_file()


@pytest.mark.parametrize("folder", ["gateway", "sso", "backends", "security", "specs"])
def test_a_layers_readme_names_all_of_its_files(folder):
    text = (ROOT / folder / "README.md").read_text()
    files = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
    folders = {f"{path.parent.name}/" for path in (ROOT / folder).glob("*/__init__.py")}
    unnamed = {name for name in files | folders if name not in text}
    assert unnamed == set(), f"name them where {folder}/README.md lists its rooms"


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_no_place_of_one_machine_and_no_ticket(document):
    assert re.findall(r"(?<![\w.}])/(?:home|root|mnt|work|Users)/\S*|\bissue #?\d+", document.read_text()) == []
