"""A process as a worker is: gevent's patches, a consumer and a scheduler as greenlets. Run by the tests, not collected."""
# ruff: noqa: E402

from gevent import monkey

monkey.patch_all()

import sys
import threading
import time

import gevent

from backends.background import Queue
from backends.consumer import Consumer
from backends.jobs import Jobs
from backends.leases import Lease
from backends.scheduler import Scheduler
from security.database import Database
from specs.exchange import Call, Outcome

ended: list[str] = []


def execute(call: Call) -> Outcome:
    print("begin", call.cid, flush=True)
    time.sleep(call.payload or 0)
    print("end", call.cid, flush=True)
    ended.append(call.cid)
    return Outcome()


def main(url: str, holder: str, calls: int) -> None:
    """Work until so many calls have ended, a minute at most; print what begins and ends."""
    database = Database(url)
    queue = Queue(database)
    consumer = Consumer(queue, execute, holder=holder, concurrency=5, claim_for=1.5, spawn=gevent.spawn)
    lease = Lease(database, "scheduler", holder, ttl=2)
    scheduler = Scheduler(Jobs(database, queue, new_cid=lambda: "job"), lease)
    stop = threading.Event()
    loops = [gevent.spawn(consumer.run, stop), gevent.spawn(scheduler.run, stop)]
    end = time.monotonic() + 60
    while time.monotonic() < end and (len(ended) < calls or consumer.running):
        gevent.sleep(0.01)
    stop.set()
    gevent.joinall(loops, timeout=5, raise_error=True)
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
