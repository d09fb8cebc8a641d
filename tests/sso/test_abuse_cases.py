"""Each abuse case, S1 to S50, is in the name of a test that runs on SQLite and on PostgreSQL; or it says here why not.

So is each defect of single sign-on that was known of elsewhere, Z1 to Z20, on one of them at least.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CASES = {f"S{number}" for number in range(1, 51)}
#: Cases in which no database takes part, or one of one kind alone.
ELSEWHERE = {
    "S48": "what a proxy is answered is decided before any database is asked; see tests/gateway/test_forward_auth.py",
    "S49": "a file does not go away as a server does; see tests/journeys/test_single_sign_on_attacked.py",
}
_NAME = re.compile(r"::test_([A-Za-z0-9_]+)(?:\[(.*)\])?$")


def on_both(node_ids):
    """The cases whose tests run on both databases, whole: the same test on each."""
    kinds = {}
    for node_id in node_ids:
        found = _NAME.search(node_id)
        if found is None:
            continue
        name, parameters = found[1], set((found[2] or "").split("-"))
        for kind in parameters & {"sqlite", "postgresql"}:
            kinds.setdefault((node_id.partition("::")[0], name), set()).add(kind)
    named = set()
    for (_, name), of in kinds.items():
        if len(of) == 2:
            named |= CASES & set(name.split("_"))
    return named


def test_every_abuse_case_is_a_test_on_both_databases(request):
    found = on_both(item.nodeid for item in request.session.items)
    if found != CASES - set(ELSEWHERE):
        # Only a part of the tests was asked for.
        folder = ROOT / "tests"
        files = [
            *folder.glob("gateway/test_account*.py"),
            *folder.glob("journeys/test_single_sign_on*.py"),
            folder / "sso",
        ]
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *map(str, files)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        found = on_both(done.stdout.splitlines())
    assert CASES - found == set(ELSEWHERE)


def test_every_known_defect_is_a_test():
    named = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"^def test_(\w+)", file.read_text(), re.MULTILINE):
            named |= {part for part in name.split("_") if part.startswith("Z")}
    assert {f"Z{number}" for number in range(1, 21)} - named == set()
