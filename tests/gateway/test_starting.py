"""How the processes of a gateway begin: the steward ahead of the installation that it will serve."""

import os
import subprocess
import sys
import time

from tests.running import ROOT, free_port, kill_group


def test_a_steward_whose_master_ends_before_it_had_work_ends_too():
    done = subprocess.run(
        [sys.executable, "-m", "gateway.steward"], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_start_that_is_refused_leaves_no_steward(tmp_path):
    document = tmp_path / "gateway.yaml"
    document.write_text("format: 1\nchanels: {}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "run", "--config", str(document), "--data", str(tmp_path / "var"),
         "--listen", "127.0.0.1:0", "--admin", f"127.0.0.1:{free_port()}", "--workers", "1"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, errors = process.communicate(timeout=60)
        assert (process.returncode, out) == (1, "")
        assert "chanels" in errors
        assert _ends(process.pid)
    finally:
        kill_group(process)


def _ends(group, seconds=5.0):
    """Whether no process of *group* is left, or soon will be."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
