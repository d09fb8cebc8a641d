"""Giving way: whoever is ready is served before long work goes on."""

import os
import subprocess
import sys
import threading

import gevent

from security.threads import give_way


def test_sockets_that_are_ready_come_first_and_callbacks_alone_do_not():
    reading, writing = os.pipe()
    seen = []
    watcher = gevent.get_hub().loop.io(reading, 1)
    watcher.start(lambda: (os.read(reading, 1), seen.append("served")))

    def work(pause, count):
        for _ in range(count):
            os.write(writing, b"x")
            pause()
            seen.append("worked")

    gevent.spawn(work, give_way, 3).join()
    assert seen == ["served", "worked"] * 3
    seen.clear()
    gevent.spawn(work, lambda: gevent.sleep(0), 3).join()
    assert seen[:2] == ["worked", "worked"]
    watcher.stop()
    watcher.close()
    os.close(reading)
    os.close(writing)


def test_where_no_hub_runs_it_does_nothing():
    give_way()
    outside = threading.Thread(target=give_way)
    outside.start()
    outside.join()
    words = "import sys; from security.threads import give_way; give_way(); sys.exit('gevent' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words]).returncode == 0
