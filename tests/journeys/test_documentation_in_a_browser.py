"""The documentation in Chromium: accessible in light and dark, wide and narrow, with nothing blocked and nobody else asked."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from running import gateway

from backends import demo

BROWSER = Path(__file__).parent / "browser"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FEW = ["/docs", "/docs/services/get-customer", "/docs/limits", "/docs/console"]
ALL = [
    *FEW, "/docs/services/books.add", "/docs/services/linuxjournal.get-rate", "/docs/errors", "/docs/graph", "/docs/types",
    "/docs/changelog", "/docs/authentication", "/docs/search?q=customer", "/docs/namespaces/my.api.customer",
]  # fmt: skip


@pytest.mark.parametrize("paths", [FEW, pytest.param(ALL, marks=pytest.mark.soak)], ids=["few", "all"])
def test_pages_are_accessible_need_nobody_else_and_fit_the_screen(tmp_path, paths):
    if CHROMIUM is None or shutil.which("node") is None:
        pytest.skip("server missing: chromium and node (apt-get install chromium nodejs npm)")
    if not (BROWSER / "node_modules" / "axe-core").is_dir():
        pytest.skip("server missing: axe and puppeteer-core (npm ci in tests/journeys/browser)")
    prepared = demo.prepare(tmp_path / "demo")
    services = {path.name: path.read_text() for path in prepared.services.iterdir() if path.is_file()}
    with gateway(tmp_path, prepared.configuration.read_text(), services, environment=prepared.environment) as running:
        done = subprocess.run(
            ["node", "look.cjs", running.url, *paths], cwd=BROWSER, env={**os.environ, "CHROMIUM": CHROMIUM},
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = json.loads(done.stdout)
    assert len(pages) == 2 * len(paths)
    for page in pages:
        assert (page["violations"], page["foreign"], page["said"]) == ([], [], []), page
