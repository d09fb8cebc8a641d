"""Several processes share a terminal: a line of one is not cut by a line of another."""

import os
import subprocess
import sys


def test_a_line_and_its_end_are_one_write():
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # as in containers: each write goes out at once
    program = "import sys; from gateway.process_log import say; say('ready', sys.stdout); say('steady', sys.stdout)"
    reading, writing = os.pipe2(os.O_DIRECT)  # keeps writes apart
    try:
        subprocess.run([sys.executable, "-c", program], stdout=writing, env=environment, check=True)
        assert [os.read(reading, 4096), os.read(reading, 4096)] == [b"ready\n", b"steady\n"]
    finally:
        os.close(reading)
        os.close(writing)
