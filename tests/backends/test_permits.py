"""Permits: never more than there are, none lost, and who waits longest is next."""

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

from scripted import eventually

from backends.permits import Permits

ROOT = Path(__file__).parents[2]


def test_there_are_never_more_than_so_many_and_none_is_lost():
    permits, lock, most, held, taken = Permits(3), threading.Lock(), [0], [0], [0]

    def take():
        for _ in range(200):
            if not permits.acquire(30):
                continue
            with lock:
                held[0] += 1
                taken[0] += 1
                most[0] = max(most[0], held[0])
            time.sleep(0)
            with lock:
                held[0] -= 1
            permits.release()

    threads = [threading.Thread(target=take) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (taken[0], most[0] <= 3) == (12 * 200, True)
    assert [permits.acquire(0.0) for _ in range(4)] == [True, True, True, False]


def test_who_waits_too_long_goes_and_takes_nothing_with_them():
    permits = Permits(1)
    assert permits.acquire(0.0)
    began = time.monotonic()
    assert not permits.acquire(0.05)
    assert time.monotonic() - began >= 0.05
    permits.release()
    assert permits.acquire(0.0)


def test_a_permit_goes_to_whoever_waits_longest():
    permits, order = Permits(1), []
    assert permits.acquire(0.0)

    def wait(number):
        assert permits.acquire(30)
        order.append(number)
        permits.release()

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        eventually(lambda wanted=number + 1: len(permits._waiting) == wanted)
    permits.release()
    for thread in threads:
        thread.join(30)
    assert order == [0, 1, 2, 3, 4]


def test_under_gevent_one_that_is_killed_while_it_waits_leaves_its_place_to_the_next():
    script = """
        import gevent.monkey
        gevent.monkey.patch_all()
        import sys
        sys.path[:0] = [%r]
        import gevent
        from backends.permits import Permits

        permits = Permits(1)
        assert permits.acquire(0.0)
        waiting = [gevent.spawn(permits.acquire, 30) for _ in range(3)]
        gevent.sleep(0)
        waiting[0].kill()
        permits.release()
        waiting[1].kill()  # it has been handed the permit: it took it in time, or somebody else gets it
        if waiting[1].value is True:
            permits.release()
        assert waiting[2].get(timeout=10)
        permits.release()
        assert permits.acquire(0.0) and not permits.acquire(0.01)
        print("done")
    """
    code = textwrap.dedent(script) % str(ROOT)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("done\n", "")
