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


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The demo, and what drives a browser through it: a script's name and its arguments give what it printed."""
    if CHROMIUM is None or shutil.which("node") is None:
        pytest.skip("server missing: chromium and node (apt-get install chromium nodejs npm)")
    if not (BROWSER / "node_modules" / "axe-core").is_dir():
        pytest.skip("server missing: axe and puppeteer-core (npm ci in tests/journeys/browser)")
    folder = tmp_path_factory.mktemp("shown")
    prepared = demo.prepare(folder / "demo")
    services = {path.name: path.read_text() for path in prepared.services.iterdir() if path.is_file()}
    with gateway(folder, prepared.configuration.read_text(), services, environment=prepared.environment) as running:

        def drive(script, *words, **environment):
            done = subprocess.run(
                ["node", script, running.url, *words], cwd=BROWSER, capture_output=True, text=True, timeout=400,
                env={**os.environ, "CHROMIUM": CHROMIUM, **environment},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        drive.password = prepared.environment["DEMO_PASSWORD"]
        yield drive


@pytest.mark.parametrize(
    ("paths", "views"), [(FEW, 2), pytest.param(ALL, 4, marks=pytest.mark.soak)], ids=["few", "all"]
)
def test_pages_are_accessible_need_nobody_else_and_fit_the_screen(shown, paths, views):
    pages = shown("look.cjs", *paths, VIEWS=str(views))
    assert len(pages) == views * len(paths)
    for page in pages:
        assert (page["violations"], page["foreign"], page["said"]) == ([], [], []), page


def test_a_reader_goes_from_a_page_to_a_real_call_with_their_own_credentials(shown):
    found = shown("call.cjs", "/docs/services/get-customer", BROWSER_AS=f"api:{shown.password}")
    assert (found["status"], found["foreign"], found["said"]) == ("200", [], []), found
    assert '"name"' in found["body"]
    assert "script-src 'self'" in found["policy"]
    assert "unsafe" not in found["policy"]
