"""The demo's OpenAPI document, checked: by linters, and by a tool that calls everything in it; what it says is what happens."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from openapi_lint import NOTHING, redocly, spectral
from running import gateway

from backends import demo

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    prepared = demo.prepare(folder / "demo")
    services = {path.name: path.read_text() for path in prepared.services.iterdir() if path.is_file()}
    configuration = prepared.configuration.read_text()
    with gateway(folder, configuration, services, environment=prepared.environment) as running:
        yield running


def test_spectral_and_redocly_find_nothing_on_the_demo(served, tmp_path):
    document = tmp_path / "openapi.json"
    document.write_bytes(served.get("/openapi.json", auth=("api", demo.PASSWORD)).content)
    assert spectral(document) == ""
    assert redocly(document) == NOTHING


@pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="server missing: schemathesis (requirements-dev.lock)")
def test_schemathesis_finds_nothing_on_the_demo(served, tmp_path):
    done = subprocess.run(
        [
            str(SCHEMATHESIS), "run", f"{served.url}/openapi.json", "-a", f"api:{demo.PASSWORD}",
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
