"""The demo's OpenAPI document, checked by a tool that calls everything in it: what it says is what happens."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import gateway

from backends import demo

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"


@pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="server missing: schemathesis (requirements-dev.lock)")
def test_schemathesis_finds_nothing_on_the_demo(tmp_path):
    prepared = demo.prepare(tmp_path / "demo")
    services = {path.name: path.read_text() for path in prepared.services.iterdir() if path.is_file()}
    with gateway(tmp_path, prepared.configuration.read_text(), services, environment=prepared.environment) as running:
        done = subprocess.run(
            [
                str(SCHEMATHESIS), "run", f"{running.url}/openapi.json", "-a", f"api:{demo.PASSWORD}",
                "-H", f"X-API-Key: {demo.API_KEY}", "--max-examples", "4", "--seed", "1", "--checks", "all",
                # WHY: the document says what to send, not all that is taken: numbers for guessed texts, text for numbers.
                "--exclude-checks", "negative_data_rejection",
                "--phases", "examples,coverage,fuzzing", "--mode", "all",
                "--generation-database", "none", "--no-color", "--suppress-health-check", "all",
                # Calls that the bundled feed would have to answer; it does not run here.
                "--exclude-path", "/rates/update",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        shutil.rmtree(tmp_path / ".schemathesis", ignore_errors=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
