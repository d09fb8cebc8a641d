"""Takes the pictures of the guide to the documentation, from a demo of its own.

python tests/journeys/browser/documentation_pictures.py [FOLDER]
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSER = Path(__file__).parent
ROOT = BROWSER.parents[2]
FOLDER = ROOT / "gateway" / "documentation" / "pictures"
PICTURES = {
    "first-page": "/docs",
    "service": "/docs/services/get-customer",
    "service-dark": "/docs/services/get-customer|dark",
    "service-phone": "/docs/services/get-customer|phone",
    "first-page-phone-dark": "/docs|phone|dark",
    "limits": "/docs/limits",
    "console": "/docs/console",
}


def main(folder: Path) -> None:
    """Start the demo, and take each picture."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from running import gateway

    from backends import demo

    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
    with tempfile.TemporaryDirectory() as temporary:
        prepared = demo.prepare(Path(temporary) / "demo")
        services = {path.name: path.read_text() for path in prepared.services.iterdir() if path.is_file()}
        configuration = prepared.configuration.read_text()
        with gateway(Path(temporary), configuration, services, environment=prepared.environment) as running:
            wanted = [f"{name}={place}" for name, place in PICTURES.items()]
            subprocess.run(
                ["node", "shoot.cjs", running.url, folder, *wanted],
                cwd=BROWSER,
                env={**os.environ, "CHROMIUM": chromium},
                check=True,
            )
    for path in sorted(folder.glob("*.webp")):
        print(f"{path.name:30} {path.stat().st_size / 1024:6.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
