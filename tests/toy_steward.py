"""A steward in miniature, for tests that have no use for the real one: says that it is there, and waits for the end."""

import json
import os
import signal
import sys
import time

from gateway.child import HANDED, sign_of_life
from gateway.options import Options

signal.signal(signal.SIGHUP, signal.SIG_IGN)
options = Options.from_json(sys.stdin.buffer.read())
os.write(json.loads(os.environ[HANDED])["news"], b"s")
master = os.getppid()
os.kill(master, signal.SIGCHLD)
while os.getppid() == master:
    time.sleep(0.2)
    sign_of_life(options)
