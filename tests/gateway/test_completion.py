"""Completion: what Tab is offered, in real shells, and what installing leaves behind."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli import app
from gateway.commands.completion import Shell, place_for
from gateway.completion import offers

ROOT = Path(__file__).parents[2]


PROGRAM = typer.main.get_command(app)


def words(*typed):
    return [offer.word for offer in offers(PROGRAM, typed)]


def commands(command, path=()):
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


@pytest.fixture
def home(tmp_path):
    """A home folder, and a program `gatewright` on the path."""
    program = tmp_path / "bin" / "gatewright"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m gateway.cli "$@"\n')
    program.chmod(0o755)
    folder = tmp_path / "home"
    folder.mkdir()
    environment = {"HOME": str(folder), "PATH": f"{program.parent}:{os.environ['PATH']}", "SHELL": "", "TERM": "dumb"}

    def run(*command, text=None):
        done = subprocess.run(
            command, env=environment, cwd=folder, input=text, capture_output=True, text=True, timeout=60
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


def needs(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"program missing: {shell} (apt-get install {shell})")


def test_verbs_are_offered_by_how_they_begin():
    assert words("con") == ["config", "connection"]
    assert words("config", "") == ["validate", "diff", "apply", "dump", "history", "rollback", "schema"]


def test_every_command_offers_every_verb_and_option_that_its_help_names():
    for path, command in commands(PROGRAM):
        assert words(*path, "") == list(getattr(command, "commands", {})) or not getattr(command, "commands", {})
        given = [one for one in command.params if one.param_type_name == "option"]
        options = {spelling for one in given for spelling in (*one.opts, *one.secondary_opts)}
        assert set(words(*path, "--")) == options | {"--help"}


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("completion", "show", ""), ["bash", "zsh", "fish"]),
        (("completion", "install", "--shell", "f"), ["fish"]),
        (("completion", "install", "--shell", "=", "f"), ["fish"]),  # as bash splits it
        (("completion", "install", "--shell", "="), []),
        (("explain", "chan"), ["channels"]),
        (("run", "--listen", "127.0.0.1", ":", "8000", "--adm"), ["--admin", "--admin-host"]),
        (("run", "--allow-deploy", "--adm"), ["--admin", "--admin-host"]),
        (("config", "validate", "/etc/ho"), []),  # a file: the shell knows those
        (("config", "validate", "--data", "v"), []),
        (("config", "--", "val"), ["validate"]),
        (("no-such-verb", "con"), []),
        (("",), [path[0] for path, _ in commands(PROGRAM) if len(path) == 1]),
    ],
)
def test_what_is_offered_where(typed, offered):
    assert words(*typed) == offered


def test_an_offer_takes_neither_gevent_nor_the_database_and_runs_nothing():
    script = (
        "import os, sys; os.environ['_GATEWRIGHT_COMPLETE'] = 'gatewright\\nrun\\n--conf'; sys.argv = ['gatewright']\n"
        "import gateway.cli; gateway.cli.main()\n"
        "print(sorted({'gevent', 'sqlalchemy', 'pydantic', 'falcon', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.splitlines(), done.stderr) == (["--config\tDocument to apply at start.", "[]"], "")


def test_bash_completes_after_one_command_and_again_is_no_harm(home):
    first = home("gatewright", "completion", "install", "--shell", "bash")
    start_up = home.folder / ".bashrc"
    before = start_up.read_text() if start_up.exists() else ""
    second = home("gatewright", "completion", "install", "--shell", "bash")
    after = start_up.read_text() if start_up.exists() else ""
    file = home.folder / ".local/share/bash-completion/completions/gatewright"
    assert f"written:   {file}" in first
    assert f"unchanged: {file}" in second
    assert before == after
    asked = """
        source ~/.bashrc 2>/dev/null || source ~/.local/share/bash-completion/completions/gatewright
        ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _gatewright_completion gatewright; echo "${COMPREPLY[*]}"; }
        complete -p gatewright
        ask gatewright conf
        ask gatewright config va
        ask gatewright completion install --shell = z
        ask gatewright config validate /etc/host
    """
    assert home("bash", "--norc", "-c", asked).splitlines() == [
        "complete -o default -F _gatewright_completion gatewright", "config", "validate", "zsh", "",
    ]  # fmt: skip


def test_the_start_up_file_keeps_what_it_has_its_mode_and_its_link(home):
    kept = home.folder / "dotfiles"
    kept.write_text("alias ll='ls -l'")
    kept.chmod(0o600)
    (home.folder / ".bashrc").symlink_to(kept)
    home("gatewright", "completion", "install", "--shell", "bash")
    script = home.folder / ".local/share/bash-completion/completions/gatewright"
    assert kept.read_text() == f"alias ll='ls -l'\n# completion of gatewright\nsource {script}\n"
    assert (home.folder / ".bashrc").is_symlink()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_zsh_completes_after_one_command(home):
    needs("zsh")
    home("gatewright", "completion", "install", "--shell", "zsh")
    # Completion itself needs a terminal: what the function hands to zsh is looked at instead.
    asked = """
        source ~/.zshrc
        _describe() { print -l -- $offers }
        _files() { print files }
        words=(gatewright conf); CURRENT=2; _gatewright
        words=(gatewright config validate ''); CURRENT=4; _gatewright
        print $_comps[gatewright]
    """
    assert home("zsh", "-f", "-c", asked).splitlines() == [
        "config:Check, compare, apply and write out the configuration.", "files", "_gatewright",
    ]  # fmt: skip
    assert "unchanged" in home("gatewright", "completion", "install", "--shell", "zsh")


def test_fish_completes_after_one_command(home):
    needs("fish")
    home("gatewright", "completion", "install", "--shell", "fish")
    assert home("fish", "-c", 'complete -C "gatewright conf"; complete -C "gatewright completion show "').splitlines() == [
        "config\tCheck, compare, apply and write out the configuration.", "bash", "fish", "zsh",
    ]  # fmt: skip
    (home.folder / "gateway.yaml").touch()
    assert home("fish", "-c", 'complete -C "gatewright config validate gate"').split() == ["gateway.yaml"]


@pytest.mark.parametrize("shell", list(Shell))
def test_what_is_shown_is_what_would_be_installed(shell):
    result = CliRunner().invoke(app, ["completion", "show", shell])
    assert (result.exit_code, result.stdout) == (0, place_for(shell, Path("/home/u"), {}).script)


def test_a_shell_that_nobody_knows_is_asked_for(home):
    result = subprocess.run(
        [sys.executable, "-c", "import os; os.environ['SHELL'] = '/bin/tcsh'\n"
         "import gateway.commands.completion as c; c._shell_in_use = lambda login: None\n"
         "import sys; sys.argv = ['gatewright', 'completion', 'install']\nimport gateway.cli; gateway.cli.main()"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "gatewright: cannot tell which shell this is: say --shell bash, zsh or fish\n"


def test_places_follow_the_environment():
    home = Path("/home/u")
    assert place_for(Shell.BASH, home, {"XDG_DATA_HOME": "/d"}).file == Path(
        "/d/bash-completion/completions/gatewright"
    )
    assert place_for(Shell.FISH, home, {"XDG_CONFIG_HOME": "/c"}).file == Path("/c/fish/completions/gatewright.fish")
    assert place_for(Shell.ZSH, home, {"ZDOTDIR": "/z"}).start_up == Path("/z/.zshrc")
