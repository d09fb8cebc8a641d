"""`gatewright completion`: let bash, zsh and fish complete the verbs, options and files of `gatewright`.

At each press of Tab the shell runs the program that is being typed, so what is offered is always what that version takes, and
nothing has to be installed again after an upgrade.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from gateway.commands import refusing

app = typer.Typer(help="Completion of commands by the Tab key, for bash, zsh and fish.", no_args_is_help=True)

MARK = "# completion of gatewright"

BASH = """\
# bash completion of gatewright
_gatewright_completion() {
    local IFS=$'\\n' offer
    COMPREPLY=()
    while read -r offer; do
        COMPREPLY+=("${offer%%$'\\t'*}")
    done < <(_GATEWRIGHT_COMPLETE="${COMP_WORDS[*]:0:COMP_CWORD+1}" "${1/#\\~\\//$HOME/}" 2>/dev/null)
}
complete -o default -F _gatewright_completion gatewright
"""

ZSH = """\
#compdef gatewright
_gatewright() {
    local -a offers
    local offer tab=$'\\t'
    for offer in "${(@f)$(_GATEWRIGHT_COMPLETE="${(F)words[1,CURRENT]}" ${~words[1]} 2>/dev/null)}"; do
        [[ -n $offer ]] && offers+=("${${offer%%$tab*}//:/\\\\:}:${offer#*$tab}")
    done
    if (( $#offers )); then
        _describe gatewright offers
    else
        _files
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _gatewright "$@"
else
    compdef _gatewright gatewright
fi
"""

FISH = """\
# fish completion of gatewright
function __gatewright_completion
    set -l words (commandline -opc)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -l typed (commandline -ct)
    set -l before (string join \\n -- $words | string collect)
    set -lx _GATEWRIGHT_COMPLETE "$before"\\n"$typed"
    set -l offers ($program 2>/dev/null)
    if test (count $offers) -gt 0
        printf '%s\\n' $offers
    else
        __fish_complete_path $typed
    end
end
complete --command gatewright --no-files --arguments '(__gatewright_completion)'
"""


class Shell(StrEnum):
    """The shells that can be told."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


class Place(NamedTuple):
    """Where a shell's *script* belongs, and the file and the line of its start-up that read it where nothing else does.

    *asks* is what the shell is given to run, to see whether something else does.
    """

    script: str
    file: Path
    start_up: Path | None = None
    line: str = ""
    asks: str = ""


@app.command()
def install(
    shell: Annotated[Shell | None, typer.Option("--shell", help="For which shell; else for the one in use.")] = None,
) -> None:
    """Write the script for a shell where it looks for one. Again is no harm."""
    from specs.problems import ConfigurationError

    with refusing():
        found = shell or _shell_in_use(os.environ.get("SHELL", ""))
        if found is None:
            raise ConfigurationError("", "cannot tell which shell this is", "say --shell bash, zsh or fish")
        place = place_for(found, Path.home(), os.environ)
        _say(place.file, _write(place.file, place.script))
        if place.start_up is not None and not _is_found(found, place):
            before = place.start_up.read_text() if place.start_up.exists() else ""
            if place.line not in before:
                gap = "" if not before or before.endswith("\n") else "\n"
                _write(place.start_up, f"{before}{gap}{MARK}\n{place.line}\n")
                _say(place.start_up, True)
    print(f"a new {found} completes gatewright when you press Tab")


@app.command()
def show(shell: Annotated[Shell, typer.Argument(help="The shell.")]) -> None:
    """Print the script for a shell, to be put where you want it."""
    sys.stdout.write(place_for(shell, Path("/"), {}).script)


def place_for(shell: Shell, home: Path, environment: os._Environ[str] | dict[str, str]) -> Place:
    """Where the completion of *shell* belongs for the user whose home folder is *home*."""
    shared = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
    if shell == Shell.FISH:
        settings = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
        return Place(FISH, settings / "fish" / "completions" / "gatewright.fish")
    if shell == Shell.ZSH:
        file = shared / "zsh" / "site-functions" / "_gatewright"
        start_up = Path(environment.get("ZDOTDIR") or home) / ".zshrc"
        load = f"(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}; source {shlex.quote(str(file))}"
        return Place(ZSH, file, start_up, load, "(( $+functions[_gatewright] ))")
    folder = Path(environment.get("BASH_COMPLETION_USER_DIR") or shared / "bash-completion")
    file = folder / "completions" / "gatewright"
    # bash-completion reads the file when it is first needed; its loader has had these names.
    asks = "declare -F _comp_load || declare -F __load_completion || declare -F _completion_loader"
    return Place(BASH, file, home / ".bashrc", f"source {shlex.quote(str(file))}", asks)


def _is_found(shell: Shell, place: Place) -> bool:
    """Whether an interactive *shell* of this user reads the script without being told to."""
    try:
        # WHY: in a session of its own, or an interactive shell would take the terminal from us and stop us.
        done = subprocess.run(  # noqa: S603
            [shell, "-i", "-c", place.asks],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _shell_in_use(login_shell: str) -> Shell | None:
    """The shell that runs this program, else the user's login shell."""
    process = os.getppid()
    for _ in range(4):
        try:
            words = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            break
        name, _, rest = words.partition("(")[2].rpartition(")")
        if name in tuple(Shell):
            return Shell(name)
        process = int(rest.split()[1])
    name = Path(login_shell).name
    return Shell(name) if name in tuple(Shell) else None


def _write(file: Path, content: str) -> bool:
    """Make *content* that of *file*, at once; whether it was anything else."""
    if file.is_file() and file.read_text() == content:
        return False
    # A start-up file may be a link into somebody's collection of them: what it leads to is replaced, not the link.
    file = file.resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(content)
    if file.exists():
        beside.chmod(file.stat().st_mode & 0o777)
    beside.replace(file)
    return True


def _say(file: Path, changed: bool) -> None:
    print(f"{'written:  ' if changed else 'unchanged:'} {file}")
