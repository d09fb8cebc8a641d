"""A browser that tests drive: Chromium, with scripts switched off but for `passkeys`.

Fields and buttons are found by what people read.
"""

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "journeys" / "browser"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def need_a_browser():
    """Skip the test where there is none."""
    if CHROMIUM is None or shutil.which("node") is None:
        pytest.skip("server missing: chromium and node (apt-get install chromium nodejs npm)")
    if not (FOLDER / "node_modules" / "axe-core").is_dir():
        pytest.skip("server missing: axe and puppeteer-core (npm ci in tests/journeys/browser)")


class Browser:
    """One window; `fresh` is another one, of somebody else."""

    def __init__(self, process):
        self._process = process

    def _tell(self, command, **given):
        self._process.stdin.write(json.dumps({"command": command, **given}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the browser has ended"
        answer = json.loads(line)
        assert "failed" not in answer, answer["failed"]
        return answer["done"]

    def open(self, path):
        self._tell("open", path=path)
        return self

    def label(self, label, value):
        """Fill in the field with that label."""
        self._tell("fill", label=label, value=value)
        return self

    def press(self, name):
        """Press the button or link called *name*, and wait for the page that follows."""
        self._tell("press", name=name)
        return self

    def fresh(self):
        self._tell("fresh")
        return self

    def passkeys(self):
        """Plug in a device with passkeys; pages run their scripts from the next page on."""
        self._tell("passkeys")
        return self

    def forget(self):
        """Take all cookies away."""
        self._tell("forget")
        return self

    def resize(self, width, height, scale=1):
        self._tell("resize", width=width, height=height, scale=scale)
        return self

    def language(self, code):
        self._tell("language", code=code)
        return self

    def tab(self, times):
        return self._tell("tab", times=times)

    def enter(self):
        self._tell("enter")
        return self

    def shoot(self, file, scheme="light", whole=True):
        self._tell("shoot", file=str(file), scheme=scheme, whole=whole)
        return self

    def look(self):
        """What axe finds wrong with the page, in light and in dark."""
        return self._tell("look")

    @property
    def text(self):
        return self._tell("text")

    @property
    def title(self):
        return self._tell("title")

    @property
    def where(self):
        """The path and query of the page."""
        return self._tell("where")

    @property
    def focused(self):
        return self._tell("focused")

    @property
    def cookies(self):
        return {one["name"]: one for one in self._tell("cookies")}

    @property
    def seen(self):
        """Requests to others, and what the console said."""
        return self._tell("seen")


@contextmanager
def browser(base):
    """A browser for the pages at the URL *base*; it ends with the block."""
    process = subprocess.Popen(
        ["node", "drive.cjs", base], cwd=FOLDER, env={**os.environ, "CHROMIUM": CHROMIUM or ""}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Browser(process)
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        process.stdout.close()
