"""Spectral and Redocly: independent checkers of OpenAPI documents, from npm (`journeys/openapi_clients`)."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "journeys" / "openapi_clients"


def run(command, folder, **environment):
    """What a command prints; it has to succeed."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, env={**os.environ, **environment}
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def node_tool(name):
    """The path of a program of npm's."""
    path = FOLDER / "node_modules" / ".bin" / name
    if shutil.which("node") is None or not path.exists():
        pytest.skip(f"server missing: {name} (apt-get install nodejs npm, then .ci/servers)")
    return str(path)


def spectral(document):
    """What Spectral says of the file *document* by its own rules, hints included; nothing where it finds nothing."""
    ruleset = document.parent / "spectral.yaml"
    ruleset.write_text('extends: ["spectral:oas"]\n')
    words = ["lint", str(document), "--ruleset", str(ruleset), "--fail-severity", "hint"]
    told = run([node_tool("spectral"), *words], document.parent)
    return "" if "No results" in told else told


def redocly(document):
    """How many problems of each kind Redocly finds in the file *document* by its recommended rules."""
    words = ["lint", str(document), "--extends", "recommended", "--format", "json"]
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    return json.loads(run([node_tool("redocly"), *words], document.parent, **quiet))["totals"]


NOTHING = {"errors": 0, "warnings": 0, "ignored": 0}
