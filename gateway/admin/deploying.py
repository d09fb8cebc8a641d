"""Deployment in a process of its own: `deploy`.

Checking a module means running it. One that never ends, or ends its process, must not take the steward with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from backends.gate import Policy
from gateway.options import Options
from specs.problems import ConfigurationError, ConfigurationErrors

#: The longest that the modules of a set may take to be imported and checked, in seconds.
PATIENCE = 60.0
_ROOT = str(Path(__file__).parent.parent.parent)


def deploy(
    options: Options,
    files: Mapping[str, str | None],
    *,
    author: str,
    set_name: str,
    contract_changes: Policy | None = None,
    patience: float = PATIENCE,
) -> dict[str, Any]:
    """Deploy *files* (None takes one away); the new version as JSON values.

    *contract_changes* stands for what the configuration says of changes that break callers. Raises ConfigurationErrors with
    file, line and reason; the old version goes on serving then.
    """
    asked = {"options": orjson.Fragment(options.as_json()), "files": files, "author": author, "set_name": set_name}
    try:
        # WHY -P: a module in the folder that the gateway was started from must not shadow one of ours.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "gateway.admin.deploying"],
            input=orjson.dumps({**asked, "contract_changes": contract_changes}),
            capture_output=True,
            timeout=patience,
            check=False,
            env={**os.environ, "PYTHONPATH": _ROOT},
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError("files", f"checking them took more than {patience:g} s: do modules do work?") from None
    # What the modules print comes before our line.
    try:
        told: dict[str, Any] = orjson.loads(done.stdout.rpartition(b"\n")[2])
    except orjson.JSONDecodeError:
        raise ConfigurationError("files", "checking them ended the process that did it") from None
    if "errors" in told:
        raise ConfigurationErrors(ConfigurationError(*fault) for fault in told["errors"])
    return told


def main() -> int:
    """Do what standard input asks for; the outcome is the last line of standard output."""
    from gateway.commands import open_installation
    from gateway.preparation import deployments_of

    asked = orjson.loads(sys.stdin.buffer.read())
    options = Options.from_json(orjson.dumps(asked["options"]))
    files = {name: None if text is None else text.encode() for name, text in asked["files"].items()}
    try:
        with open_installation(options.data, options.database, options.keys) as installation:
            made = deployments_of(installation.database, installation.keyring).deploy(
                files,
                source="admin API",
                author=asked["author"],
                set_name=asked["set_name"],
                contract_changes=asked["contract_changes"],
            )
        told: dict[str, Any] = asdict(made)
    except ConfigurationError as error:
        errors = error.errors if isinstance(error, ConfigurationErrors) else (error,)
        told = {"errors": [[one.path, one.message, one.remedy] for one in errors]}
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\n" + orjson.dumps(told))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    # SECURITY: a module may leave threads behind, or exit handlers; the outcome has been told.
    code = main()
    os._exit(code)
